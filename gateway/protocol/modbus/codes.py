"""Function and exception codes, and the limits that the specification sets.

Source: MODBUS Application Protocol Specification V1.1b3, sections 6 and 7; MODBUS Messaging on TCP/IP V1.0b.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Function(IntEnum):
    READ_COILS = 1
    READ_DISCRETE_INPUTS = 2
    READ_HOLDING_REGISTERS = 3
    READ_INPUT_REGISTERS = 4
    WRITE_SINGLE_COIL = 5
    WRITE_SINGLE_REGISTER = 6
    WRITE_MULTIPLE_COILS = 15
    WRITE_MULTIPLE_REGISTERS = 16
    MASK_WRITE_REGISTER = 22
    READ_WRITE_REGISTERS = 23
    ENCAPSULATED = 43


class ModbusException(IntEnum):
    ILLEGAL_FUNCTION = 1
    ILLEGAL_DATA_ADDRESS = 2
    ILLEGAL_DATA_VALUE = 3
    SERVER_DEVICE_FAILURE = 4
    ACKNOWLEDGE = 5
    SERVER_DEVICE_BUSY = 6
    MEMORY_PARITY_ERROR = 8
    GATEWAY_PATH_UNAVAILABLE = 10
    GATEWAY_TARGET_FAILED_TO_RESPOND = 11


EXCEPTION_BIT: Final = 0x80
READ_REGISTERS_MAX: Final = 125
READ_BITS_MAX: Final = 2000
WRITE_REGISTERS_MAX: Final = 123
WRITE_BITS_MAX: Final = 1968
READ_WRITE_REGISTERS_MAX: Final = 121
"""What function 23 writes."""
MBAP_BYTES: Final = 7
ADU_BYTES_MAX: Final = 260
"""MBAP header (7) and PDU (253)."""
