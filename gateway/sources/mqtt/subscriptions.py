"""Which subscriptions a session asks for, how they are spread over packets, and what the broker's word means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from gateway.protocol.mqtt.codec import Connack, Filter
from gateway.protocol.mqtt.codes import FAILURE_MIN, reason_text
from gateway.protocol.mqtt.table import Topic
from gateway.settings.schema import MqttSession, Retained

SUBSCRIBE_TOPICS_MAX: Final = 64
"""Topics of one SUBSCRIBE."""
HEAD_BYTES: Final = 8
"""Of a SUBSCRIBE at most: first byte, length, packet identifier, empty properties."""
RETAIN_HANDLING: Final = {Retained.EACH: 0, Retained.NEW: 1, Retained.NEVER: 2}
NO_WILDCARDS: Final = 0xA2
NO_SHARED: Final = 0x9E
TOO_LARGE: Final = 0x95
SHARE: Final = "$share/"


def filter_of(topic: Topic, session: MqttSession) -> Filter:
    """The subscription of a topic."""
    group = session.shared_group
    return Filter(
        f"{SHARE}{group}/{topic.name}" if group else topic.name,
        topic.qos,
        no_local=session.no_local,
        retain_as_published=session.retain_as_published,
        retain_handling=RETAIN_HANDLING[session.retained],
    )


def names_of(topic: bytes, session: MqttSession) -> list[bytes]:
    """The filters under which a topic may have been subscribed to."""
    group = session.shared_group
    return [topic, f"{SHARE}{group}/".encode() + topic] if group else [topic]


def refused_beforehand(wanted: Filter, connack: Connack) -> int | None:
    """The reason code for what this broker said it does not offer: it must not even be asked for (MQTT 5, 3.2.2.3)."""
    if not connack.has_shared and wanted.topic.startswith(SHARE):
        return NO_SHARED
    if not connack.has_wildcards and ("+" in wanted.topic or "#" in wanted.topic):
        return NO_WILDCARDS
    if HEAD_BYTES + _size(wanted) > connack.packet_bytes_max:
        return TOO_LARGE
    return None


def in_packets(filters: Sequence[Filter], packet_bytes_max: int) -> Iterator[list[Filter]]:
    """Filters of one SUBSCRIBE each, none longer than the broker takes."""
    packet: list[Filter] = []
    size = HEAD_BYTES
    for wanted in filters:
        if packet and (len(packet) == SUBSCRIBE_TOPICS_MAX or size + _size(wanted) > packet_bytes_max):
            yield packet
            packet, size = [], HEAD_BYTES
        packet.append(wanted)
        size += _size(wanted)
    if packet:
        yield packet


def judge(wanted: Filter, code: int) -> tuple[bool, str]:
    """(whether messages will come, what is wrong or "") of a SUBACK's code."""
    if code >= FAILURE_MIN:
        return False, f"{reason_text(code)}; check the broker's access rules for this client"
    if code < wanted.qos:
        return True, f"it gives QoS {code} instead of {wanted.qos}; lower qos, or allow more in the broker"
    return True, ""


def _size(wanted: Filter) -> int:
    return 3 + len(wanted.topic.encode())
