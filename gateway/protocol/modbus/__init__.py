"""Modbus application protocol and its TCP framing."""
