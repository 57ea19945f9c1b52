"""Writes of SCADA clients: what they are answered, and whether a client may command a loop now."""

from __future__ import annotations

from typing import Final

from gateway.protocol.modbus.codes import ModbusException
from gateway.writing.arbiter import Commander, CommandRefusedError
from gateway.writing.sending import Why
from gateway.writing.service import Writer

ANSWERS: Final = {
    Why.FORBIDDEN: ModbusException.ILLEGAL_FUNCTION,
    Why.UNKNOWN: ModbusException.ILLEGAL_DATA_ADDRESS,
    Why.VALUE: ModbusException.ILLEGAL_DATA_VALUE,
    Why.BUSY: ModbusException.SERVER_DEVICE_BUSY,
    Why.AWAY: ModbusException.GATEWAY_TARGET_FAILED_TO_RESPOND,
    Why.FAULT: ModbusException.SERVER_DEVICE_FAILURE,
}
"""What a client is told of a write to a tag that was not, or not surely, carried out."""
WAY: Final = "scada"


class ScadaDoor:
    """Of one plant. A point of a loop is named as in the register map: control.NAME/setpoint."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def write(self, tag: str, value: float, client: str) -> ModbusException | None:
        outcome = await self._writer.write(tag, value, way=WAY, who=client)
        return None if outcome.is_ok else ANSWERS[outcome.why]

    def may(self, who: str, point: str) -> tuple[ModbusException, str] | None:
        """What to answer, and why, when whoever asks may not command the loop of this point now."""
        try:
            self._writer.check_loop(_dotted(point), Commander(WAY, who))
        except CommandRefusedError as error:
            return ANSWERS[Why.BUSY if error.is_held else Why.FORBIDDEN], str(error)
        return None

    def note(self, client: str, who: str, point: str, old: str, new: str) -> None:
        """The loop's executive has taken it."""
        self._writer.note_loop(client, Commander(WAY, who), _dotted(point), old, new)


def _dotted(point: str) -> str:
    return point.replace("/", ".")
