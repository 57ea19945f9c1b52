"""The serving side of Modbus RTU, without I/O and without a clock: bytes of a line in, requests out.

A slave hears all of its line: requests to others and their answers, which have no mark that says which they are. A
frame is known by its checksum at one of the two lengths that it may have, and passed over when it is not for a unit of
ours. What comes for one of ours can only be a request: the answers of our units are ours.

The silence in front of a frame tells a slave where it begins, but adapters and the kernel hand bytes over in heaps and
late. So what is no frame is searched for the next one that is; and when a silence came that is long enough for every
adapter (`silence`), a request at the very end is taken, whatever stood in front of it, and the rest dropped, counted.

Source: MODBUS over Serial Line V1.02, 2.5.1 (RTU framing); Application Protocol V1.1b3, 6 (lengths).
"""

from __future__ import annotations

from typing import Final

from gateway.protocol.modbus.codes import EXCEPTION_BIT, Function
from gateway.protocol.modbus.line import IMPOSSIBLE, NEED_MORE, RTU_BYTES_MAX, crc16
from gateway.protocol.modbus.server import Adu

FRAME_BYTES_MIN: Final = 4
HELD_BYTES_MAX: Final = 2 * RTU_BYTES_MAX
"""What is held while no frame is found in it. Overflow: the oldest are dropped, counted."""

_READS: Final = (
    Function.READ_COILS,
    Function.READ_DISCRETE_INPUTS,
    Function.READ_HOLDING_REGISTERS,
    Function.READ_INPUT_REGISTERS,
)
_REQUESTS: Final[dict[int, int]] = {
    **dict.fromkeys(_READS, 8),
    Function.WRITE_SINGLE_COIL: 8,
    Function.WRITE_SINGLE_REGISTER: 8,
    Function.MASK_WRITE_REGISTER: 10,
}
_COUNTED_REQUESTS: Final[dict[int, int]] = {
    Function.WRITE_MULTIPLE_COILS: 6,
    Function.WRITE_MULTIPLE_REGISTERS: 6,
    Function.READ_WRITE_REGISTERS: 10,
}
"""Where the byte count stands."""
_ANSWERS: Final[dict[int, int]] = {
    Function.WRITE_SINGLE_COIL: 8,
    Function.WRITE_SINGLE_REGISTER: 8,
    Function.WRITE_MULTIPLE_COILS: 8,
    Function.WRITE_MULTIPLE_REGISTERS: 8,
    Function.MASK_WRITE_REGISTER: 10,
}
_COUNTED_ANSWERS: Final = (*_READS, Function.READ_WRITE_REGISTERS)
_EXCEPTION_BYTES: Final = 5


def rtu_frame(unit: int, pdu: bytes) -> bytes:
    adu = bytes((unit,)) + pdu
    return adu + crc16(adu).to_bytes(2, "little")


class RtuRequests:
    """The requests to `units` on one line. `discarded` counts bytes that belonged to no frame."""

    def __init__(self, units: frozenset[int]) -> None:
        self._units = units
        self._held = bytearray()
        self._echo = b""
        self.discarded = 0

    @property
    def is_clear(self) -> bool:
        """Whether no frame has begun."""
        return not self._held

    def feed(self, data: bytes) -> list[Adu]:
        """The requests that `data` completes."""
        self._held += data
        found = []
        at = 0
        while at < len(self._held):
            size = self._size(at)
            if size == NEED_MORE:
                break
            if size == IMPOSSIBLE:
                sound = next((n for n in range(at + 1, len(self._held)) if self._size(n) > 0), -1)
                if sound < 0:
                    break
                self.discarded += sound - at
                at = sound
                continue
            if self._held[at] in self._units and not self._is_echo(at, size):
                found.append(self._request(at, at + size))
            at += size
        del self._held[:at]
        if len(self._held) > HELD_BYTES_MAX:
            self._drop(len(self._held) - RTU_BYTES_MAX)
        return found

    def silence(self) -> list[Adu]:
        """Nothing came for so long that nothing goes on that was begun: the request at its end, if there is one."""
        self._echo = b""
        stop = len(self._held)
        is_frame = stop >= FRAME_BYTES_MIN and crc16(self._held) == 0
        if is_frame and self._held[0] not in self._units:
            self._held.clear()
            return []
        for at in range(stop - FRAME_BYTES_MIN + 1):
            is_whole = is_frame if at == 0 else self._request_size(at) == stop - at and self._is_sound(at, stop - at)
            if is_whole and self._held[at] in self._units:
                self.discarded += at
                request = self._request(at, stop)
                self._held.clear()
                return [request]
        self._drop(stop)
        return []

    def sent(self, frame: bytes) -> None:
        """What was answered. The answer to function 6 repeats its request: where an adapter hands back what it sends,
        we would obey ourselves. So the same bytes in front of the next silence are an echo."""
        self._echo = frame

    def _is_echo(self, at: int, size: int) -> bool:
        if not self._echo or self._held[at : at + size] != self._echo:
            return False
        self._echo = b""
        self.discarded += size
        return True

    def _request(self, at: int, stop: int) -> Adu:
        return Adu(0, self._held[at], bytes(self._held[at + 1 : stop - 2]))

    def _drop(self, n: int) -> None:
        self.discarded += n
        del self._held[:n]

    def _is_sound(self, at: int, size: int) -> bool:
        return crc16(self._held[at : at + size]) == 0

    def _size(self, at: int) -> int:
        """Of the sound frame that begins here, NEED_MORE, or IMPOSSIBLE."""
        have = len(self._held) - at
        if have < 2:
            return NEED_MORE
        sizes = [self._request_size(at)]
        if self._held[at] not in self._units:
            sizes.append(self._answer_size(at))
        for size in sizes:
            if NEED_MORE < size <= have and self._is_sound(at, size):
                # A zero leaves the checksum as it is: an answer that ends in one is sound without it, too.
                is_short = sizes[-1] == size + 1 and not any(self._held[at + size : at + size + 1])
                return size if not is_short else size + 1 if size < have else NEED_MORE
        is_open = any(size == NEED_MORE or size > have for size in sizes)
        return NEED_MORE if is_open else IMPOSSIBLE

    def _request_size(self, at: int) -> int:
        have = len(self._held) - at
        function = self._held[at + 1]
        if function not in _COUNTED_REQUESTS:
            return _REQUESTS.get(function, IMPOSSIBLE)
        place = _COUNTED_REQUESTS[function]
        return self._counted(at, place, have)

    def _answer_size(self, at: int) -> int:
        function = self._held[at + 1]
        if function & EXCEPTION_BIT:
            return _EXCEPTION_BYTES
        if function in _COUNTED_ANSWERS:
            return self._counted(at, 2, len(self._held) - at)
        return _ANSWERS.get(function, IMPOSSIBLE)

    def _counted(self, at: int, place: int, have: int) -> int:
        """The size of a frame whose byte count stands at a place."""
        if have <= place:
            return NEED_MORE
        size = place + 1 + self._held[at + place] + 2
        return size if size <= RTU_BYTES_MAX else IMPOSSIBLE
