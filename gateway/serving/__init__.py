"""What others read: SCADA by Modbus, people and Prometheus by HTTP."""
