"""The Modbus server over the register image."""
