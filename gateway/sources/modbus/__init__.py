"""Modbus links: `source` polls one, `session` is the connection under it, `connect` and `serial` make it."""

from gateway.sources.modbus.counts import METRICS
from gateway.sources.modbus.source import ModbusSource

__all__ = ["METRICS", "ModbusSource"]
