"""A session with a broker that goes from one source to the next, when a reload changes tags of its link.

The old source stands still: it reads nothing more, and what the broker sends waits in the system's buffers. The new one
goes on with the same connection, asks for the topics that are new or feed other tags, and gives back those that
nothing names any more. So the tags that did not change miss no message, and the broker sees no new client.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from gateway.protocol.mqtt.codec import Connack
from gateway.protocol.mqtt.table import Topic
from gateway.sources.mqtt.redirect import Redirects
from gateway.sources.mqtt.session import Session


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two lists of topics: names that are to be asked for, and such as are not wanted any more."""

    asked: frozenset[str]
    gone: tuple[str, ...]


def difference(old: Sequence[Topic], new: Sequence[Topic]) -> Difference:
    """A topic that feeds other tags is asked for again, since its last value, where the broker has it, is theirs, too;
    its messages go on meanwhile (MQTT-3.8.4-3)."""
    before, after = ({topic.name: _form(topic) for topic in topics} for topics in (old, new))
    asked = frozenset(name for name, form in after.items() if before.get(name) != form)
    return Difference(asked, tuple(name for name in before if name not in after))


def _form(topic: Topic) -> tuple[object, ...]:
    """All but the rows, which move."""
    return topic.qos, *(msgspec.structs.astuple(msgspec.structs.replace(feed, row=0)) for feed in topic.feeds)


@dataclass(frozen=True, slots=True)
class Handover:
    """`told` is what the broker did not give as asked, `connections` how many there were, `paused_ns` for how long
    reading was held back."""

    session: Session
    connack: Connack
    redirects: Redirects
    told: dict[str, str]
    connections: int
    paused_ns: int
