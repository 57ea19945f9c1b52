"""What a Kafka cluster holds of an uplink: written in the transaction that brings the records, read at connect.

The position (`gateway.protocol.records.position`) is one small record under the uplink's key in a compacted topic of
its own, partition 0. Whole each time, so the last one is all that is read: backwards from the end of the partition, in
steps that grow, so that it costs nothing how long ago the topic was compacted, or how many gateways share it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from gateway.core.ports import LinkDown
from gateway.core.record import Identity
from gateway.protocol.records import position
from gateway.protocol.records.position import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from confluent_kafka import Consumer

PARTITION: Final = 0
"""Not by the key's hash: partitions added later would hide what was written before."""
PLACES_MAX: Final = 256
"""Segments in a position; what was not written to for longest is left out. What may be sent again is what the spool had
not noted as acknowledged: of the segments written last, several times fewer."""
STEP_FIRST: Final = 64
STEP_FACTOR: Final = 8


class Position:
    """Up to which sequence a cluster holds each segment."""

    def __init__(self, held: dict[Place, int] | None = None) -> None:
        self._held: OrderedDict[Place, int] = OrderedDict(held or {})

    def items(self) -> Iterable[tuple[Place, int]]:
        return self._held.items()

    def get(self, place: Place) -> int:
        return self._held.get(place, 0)

    def with_these(self, identities: list[Identity]) -> Position:
        """This one after a transaction with these; what is sent again on request does not move it."""
        after = Position(dict(self._held))
        held = after._held
        for each in identities:
            place = (each.stream, each.segment)
            held[place] = max(held.get(place, 0), each.sequence)
            held.move_to_end(place)
        while len(held) > PLACES_MAX:
            held.popitem(last=False)
        return after

    def encoded(self) -> bytes:
        return position.encoded(self._held.items())


def decoded(value: bytes | None) -> Position:
    """Raises ValueError."""
    return Position(None if value is None else position.decoded(value))


class Reader:
    """Reads the last position of a key. `poll_s` bounds each wait, after which `check` may raise LinkDown."""

    def __init__(self, consumer: Consumer, topic: str, key: bytes, *, poll_s: float, check: Callable[[], None]) -> None:
        self._consumer = consumer
        self._topic = topic
        self._key = key
        self._poll_s = poll_s
        self._check = check

    def read(self, low: int, high: int) -> Position:
        """Of what lies between these offsets. Raises LinkDown."""
        start, step = high, STEP_FIRST
        while start > low:
            end, start = start, max(low, start - step)
            step *= STEP_FACTOR
            found, value = self._last_between(start, end)
            if found:
                try:
                    return decoded(value)
                except ValueError as error:
                    raise LinkDown(
                        f"topic {self._topic}: the last record under {self._key.decode()} is no position ({error})",
                        "name a topic that nothing else writes to: position_topic",
                    ) from error
        return Position()

    def _last_between(self, start: int, end: int) -> tuple[bool, bytes | None]:
        """Whether there is a committed record of the key, and the last one's value.

        The end of the partition, for a reader of what is committed, is the first transaction that is still open:
        should that be another's, before `end`, what lies behind it comes into sight when it ends.
        """
        from confluent_kafka import KafkaError, KafkaException, TopicPartition

        self._consumer.assign([TopicPartition(self._topic, PARTITION, start)])
        found: tuple[bool, bytes | None] = (False, None)
        while True:
            message: Any = self._consumer.poll(self._poll_s)
            self._check()
            if message is None:
                continue
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                if error.code() in _PASSING:
                    continue
                raise KafkaException(error)
            if message.offset() >= end:
                return found
            if error is None and message.key() == self._key:
                found = (True, message.value())
            if message.offset() == end - 1:
                return found


_PASSING: Final = frozenset({-195, -187, -185, 30})
"""_TRANSPORT, _ALL_BROKERS_DOWN, _TIMED_OUT: told elsewhere. GROUP_AUTHORIZATION_FAILED: no group is needed."""
