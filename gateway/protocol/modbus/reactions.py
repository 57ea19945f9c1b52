"""What each exception code means for the one who asked: one table, used by every way of polling.

| exception | reaction to a read |
| --- | --- |
| 1 illegal function | the block's tags are bad (configuration error); the block is asked again with back-off |
| 2 illegal data address, 3 illegal data value | the block is cut in two until the refused tag stands alone; then as 1 |
| 4 server device failure, 8 memory parity error, any other | the block's tags are bad (device failure), back-off |
| 5 acknowledge, 6 server device busy | asked again after half a second; values age, no breaker counts it |
| 10 gateway path unavailable, 11 gateway target failed to respond | the unit is silent, as if by time-out |

None of them touches the connection: a unit that refuses is a unit that answers. Only 10 and 11 count towards the unit's
breaker, since there it is somebody else who answers.

Source: MODBUS Application Protocol V1.1b3, section 7.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from gateway.core.types import Quality
from gateway.protocol.modbus.codes import ModbusException


class Reaction(Enum):
    SPLIT = "split"
    """Cut the block in search of what is refused; a block of one tag is refused for good."""
    REFUSED = "refused"
    LATER = "later"
    """The device is busy with something else."""
    UNREACHABLE = "unreachable"
    """A gateway on the way says that the unit does not answer."""


class Rule(NamedTuple):
    reaction: Reaction
    quality: Quality
    remedy: str
    """What whoever reads the event may do about it."""


_ADDRESS: Final = Rule(Reaction.SPLIT, Quality.BAD_CONFIG, "check address and table against its manual")
_BUSY: Final = Rule(Reaction.LATER, Quality.UNCERTAIN, "if it stays so, ask it less often")
_AWAY: Final = Rule(Reaction.UNREACHABLE, Quality.BAD_COMM_FAILURE, "check its power, wiring and unit id")
_FAULT: Final = Rule(Reaction.REFUSED, Quality.BAD_DEVICE_FAILURE, "check the device's own diagnostics")

_RULES: Final[dict[int, Rule]] = {
    ModbusException.ILLEGAL_FUNCTION: Rule(
        Reaction.REFUSED, Quality.BAD_CONFIG, "check address and table against its manual"
    ),
    ModbusException.ILLEGAL_DATA_ADDRESS: _ADDRESS,
    ModbusException.ILLEGAL_DATA_VALUE: _ADDRESS,
    ModbusException.SERVER_DEVICE_FAILURE: _FAULT,
    ModbusException.ACKNOWLEDGE: _BUSY,
    ModbusException.SERVER_DEVICE_BUSY: _BUSY,
    ModbusException.MEMORY_PARITY_ERROR: _FAULT,
    ModbusException.GATEWAY_PATH_UNAVAILABLE: _AWAY,
    ModbusException.GATEWAY_TARGET_FAILED_TO_RESPOND: _AWAY,
}


def rule_of(code: int) -> Rule:
    """The rule of an exception code; one that the specification does not know is the device's own trouble."""
    return _RULES.get(code, _FAULT)
