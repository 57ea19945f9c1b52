"""What came from a broker and is not taken in yet: one buffer of fixed size, written behind and read in front."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.core.limits import READ_BYTES_MAX

BEYOND_BYTES: Final = 2 * READ_BYTES_MAX
"""Beside a packet that is not whole: a read, and one more that a transport may still deliver after it was paused."""


class Received:
    """Bytes [start, end) of `buffer` wait. Packets are of at most `frame_bytes_max` bytes."""

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self.hold(np.zeros(frame_bytes_max + BEYOND_BYTES, np.uint8), 0)

    def hold(self, buffer: npt.NDArray[np.uint8], size: int) -> None:
        """This memory, of which the first bytes wait."""
        self.buffer = buffer
        self.view = buffer.data
        self.start, self.end = 0, size

    def clear(self) -> None:
        self.start = self.end = 0

    def free_space(self) -> memoryview:
        """Where the next read goes; at most READ_BYTES_MAX."""
        return self.view[self.end : self.end + READ_BYTES_MAX]

    def go_on_after(self, before: Received) -> None:
        """What waits there waits here."""
        self.clear()
        self.end = before.end - before.start
        self.buffer[: self.end] = before.buffer[before.start : before.end]

    def taken_up_to(self, after: int) -> None:
        """Move what is not taken in yet to the front, when the room behind it is needed."""
        self.start = after
        if self.start == self.end:
            self.clear()
        elif self.end > self._frame_bytes_max:
            left = self.end - self.start
            self.buffer[:left] = self.buffer[self.start : self.end].copy()
            self.start, self.end = 0, left
