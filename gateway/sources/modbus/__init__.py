"""Modbus links: `fast_source` and its thread poll plain TCP, `source` everything else; `connect` makes connections."""

from gateway.sources.modbus.counts import METRICS
from gateway.sources.modbus.fast_source import FastModbusSource, is_for_thread
from gateway.sources.modbus.fast_thread import METRICS as THREAD_METRICS
from gateway.sources.modbus.fast_thread import PollThread, Share
from gateway.sources.modbus.source import ModbusSource

__all__ = [
    "METRICS",
    "THREAD_METRICS",
    "FastModbusSource",
    "ModbusSource",
    "PollThread",
    "Share",
    "is_for_thread",
]
