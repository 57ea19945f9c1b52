"""Which tags have usable values, by their messages.

It is state, kept for each entry (tag): an unusable value makes one bad sample and, for the first such entry of a
device, one event; the first usable one takes it back.
"""

from __future__ import annotations

from collections import Counter

from gateway.core.events import Event, Severity
from gateway.protocol.mqtt.payloads import Unusable, excerpt
from gateway.protocol.mqtt.table import Feed, Topic


class Usability:
    """By entry of the table."""

    def __init__(self, entries: int) -> None:
        self._is_unusable = bytearray(entries)
        self._is_told = bytearray(entries)
        self._unusable_of_device: Counter[str] = Counter()

    def begin_connection(self) -> None:
        """Samples of unusable entries will be told again."""
        self._is_told[:] = bytes(len(self._is_told))

    def forget(self) -> None:
        """As at the start."""
        self.begin_connection()
        self._is_unusable[:] = bytes(len(self._is_unusable))
        self._unusable_of_device.clear()

    def leave(self, topic: Topic) -> None:
        """The entries of this topic will be others'."""
        for entry, feed in enumerate(topic.feeds, topic.first):
            self._is_told[entry] = 0
            if self._is_unusable[entry]:
                self._is_unusable[entry] = 0
                self._count_off(feed.device)

    def is_usable(self, entry: int) -> bool:
        return not self._is_unusable[entry]

    def is_told(self, entry: int) -> bool:
        """Whether a bad sample has been made of it."""
        return bool(self._is_told[entry])

    def is_any_unusable(self, topic: Topic) -> bool:
        return any(self._is_unusable[topic.first : topic.first + len(topic.feeds)])

    def found_usable(self, entry: int, feed: Feed, now_ns: int) -> list[Event]:
        """The event that this makes, if it makes one."""
        self._is_told[entry] = 0
        if not self._is_unusable[entry]:
            return []
        self._is_unusable[entry] = 0
        if self._count_off(feed.device):
            return []
        message = f"topic {feed.topic!r} and all others of this device carry usable values again"
        return [Event(now_ns, Severity.NOTICE, "payload.usable", feed.device, message)]

    def found_unusable(self, entry: int, feed: Feed, why: Unusable, payload: bytes, now_ns: int) -> list[Event]:
        """The event that this makes, if it makes one."""
        self._is_told[entry] = 1
        if self._is_unusable[entry]:
            return []
        self._is_unusable[entry] = 1
        self._unusable_of_device[feed.device] += 1
        if self._unusable_of_device[feed.device] > 1:
            return []
        message = f"topic {feed.topic!r}: {why.reason}; the payload begins {excerpt(payload)}"
        return [Event(now_ns, Severity.WARNING, "payload.unusable", feed.device, message)]

    def _count_off(self, device: str) -> int:
        """How many entries of the device are still unusable."""
        self._unusable_of_device[device] -= 1
        left = self._unusable_of_device[device]
        if left == 0:
            del self._unusable_of_device[device]
        return left
