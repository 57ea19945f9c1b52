"""Modbus links: `fast_source` and its thread poll plain TCP, `source` everything else; `connect` makes connections."""
