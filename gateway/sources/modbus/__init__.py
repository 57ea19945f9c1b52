"""Modbus TCP links: `source` polls one, `session` is the connection under it."""

from gateway.sources.modbus.source import METRICS, ModbusSource

__all__ = ["METRICS", "ModbusSource"]
