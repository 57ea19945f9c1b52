"""What the scanner counts in the state of its stream, by name."""

from __future__ import annotations

from gateway.core.types import Int64s
from gateway.protocol.mqtt import state as s


class Counts:
    """`state` is the stream's (`gateway.protocol.mqtt.state`)."""

    def __init__(self, state: Int64s) -> None:
        self._state = state

    @property
    def messages(self) -> int:
        return int(self._state[s.MESSAGES])

    @property
    def fast_messages(self) -> int:
        return int(self._state[s.FAST])

    @property
    def unknown_topic_messages(self) -> int:
        return int(self._state[s.UNKNOWN_TOPIC])

    @property
    def duplicate_messages(self) -> int:
        return int(self._state[s.DUPLICATES])

    @property
    def times_refused(self) -> int:
        return int(self._state[s.TIMES_REFUSED])

    @property
    def repeated_messages(self) -> int:
        return int(self._state[s.REPEATED])

    @property
    def unidentified_messages(self) -> int:
        return int(self._state[s.UNIDENTIFIED])

    @property
    def unknown_readings(self) -> int:
        return int(self._state[s.UNKNOWN_READINGS])

    @property
    def sums_ignored(self) -> int:
        return int(self._state[s.SUMS])

    @property
    def shed_messages(self) -> int:
        return int(self._state[s.SHED])

    @property
    def shed_of(self) -> list[int]:
        """The same by priority."""
        return [int(count) for count in self._state[list(s.SHED_OF)]]
