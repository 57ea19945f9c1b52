"""The hot path: one jitted call for each received buffer.

It splits the stream into packets, decodes the messages of known topics into SAMPLE records, writes the
acknowledgements that the broker is owed, and hands back, with their place among the samples, the packets that need
more thought. What it has taken in, it has taken in: packets are never seen twice, and a packet for whose result there
is no room is not begun.

The stream's state (an int64 array, fields below) outlives a call: QoS 2 identifiers not yet released, bytes of an
oversized message still to be skipped, counters.

    packet                          what happens
    PUBLISH, topic known, simple    samples
    PUBLISH, topic known, else      handed back (PAYLOAD; OVERSIZED: cut off), the topic is held
    PUBLISH, topic unknown          counted; handed back while `STRANGERS_MAX` is not reached
    the same where patterns are     handed back (NEWCOMER), unless it was refused lately
    PUBLISH below spBv1.0/          when there are edge nodes: handed back (NAMESPACE), and the call ends there
    PUBLISH QoS 1                   PUBACK
    PUBLISH QoS 2                   PUBREC; a second one before its PUBREL changes nothing else
    PUBREL                          PUBCOMP
    PINGRESP                        nothing: that something arrived is known by the caller
    anything else                   handed back (CONTROL)

Whoever is given the table here is compiled into its caller (`forceinline`): a call would copy the head of every array
of it, 130 words, and with one for each layer that was two thirds of what a message cost.

What a message brings is decided in `message.py`. The properties of MQTT 5 and topic aliases are read in `aliases.py`.
"""

from __future__ import annotations

from typing import Final

from numba import njit

from gateway.core.types import Int64s, Samples
from gateway.protocol.mqtt.aliases import (
    BAD_IDENTIFIER,
    BAD_PING,
    BAD_PUBLISH,
    BAD_PUBREL,
    MORE,
    NO_ALIAS,
    NO_TOPIC,
    NOT_GREETED,
    TOO_LONG,
    Aliases,
    read_head,
    read_length,
    use_alias,
)
from gateway.protocol.mqtt.codes import V5, PacketType
from gateway.protocol.mqtt.message import hand_back, take_message
from gateway.protocol.mqtt.recent import Recent
from gateway.protocol.mqtt.state import (
    ACK_BYTES,
    AWAITED,
    CONTROL,
    DUPLICATES,
    ERROR,
    FRAME_BYTES,
    GREETED,
    HANDED_COUNT,
    IS_FULL,
    MESSAGES,
    OVERSIZED,
    PAYLOAD,
    SAMPLES,
    SHED_ALL,
    SHED_LEVEL,
    SKIP,
    VERSION,
)
from gateway.protocol.mqtt.table import PRIORITIES, UNKNOWN, Table, find_topic
from gateway.protocol.octets import Bytes, octet

PUBLISH: Final = int(PacketType.PUBLISH)
PUBREL_FIRST: Final = int(PacketType.PUBREL) << 4 | 2
PUBREL: Final = int(PacketType.PUBREL)
PINGRESP: Final = int(PacketType.PINGRESP)
CONNACK: Final = int(PacketType.CONNACK)
AUTH: Final = int(PacketType.AUTH)
QOS_0: Final = 0x30
"""First byte of such a PUBLISH, without DUP and RETAIN."""


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def acknowledge(state: Int64s, acks: Bytes, first: int, packet_id: int) -> None:
    n = state[ACK_BYTES]
    acks[n] = first
    acks[n + 1] = 2
    acks[n + 2] = packet_id >> 8
    acks[n + 3] = packet_id & 0xFF
    state[ACK_BYTES] = n + 4


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def take_publish(
    state: Int64s, table: Table, aliases: Aliases, recent: Recent, seen: Bytes, buffer: Bytes, first: int, body: int,
    stop: int, end: int, arrival_ns: int, arrival_wall_ns: int, samples: Samples, handed: Samples, acks: Bytes,
) -> int:  # fmt: skip
    """One PUBLISH whose body is `buffer[body:stop]`, of which what lies behind `end` has not arrived (oversized)."""
    qos = (first >> 1) & 3
    if qos == 3 or body + 2 > stop:
        return BAD_PUBLISH
    if body + 2 > end:
        return MORE
    size = octet(buffer, body) << 8 | octet(buffer, body + 1)
    topic_at = body + 2
    at = topic_at + size
    head_end = at + 2 if qos else at
    if head_end > stop:
        return BAD_PUBLISH
    if head_end > end:
        return MORE
    packet_id = 0
    if qos:
        packet_id = octet(buffer, at) << 8 | octet(buffer, at + 1)
        at += 2
        if packet_id == 0:
            return BAD_IDENTIFIER
    oversized = stop > end
    alias = NO_ALIAS
    if state[VERSION] == V5:
        at, alias = read_head(buffer, at, stop, end)
        if at == MORE and end - body >= state[FRAME_BYTES]:
            return TOO_LONG
        if at < 0:
            return at
    if size == 0 and alias < 0:
        return NO_TOPIC

    t = UNKNOWN
    duplicate = qos == 2 and seen[packet_id] != 0
    if alias >= 0:
        t = use_alias(aliases, table, buffer, topic_at, size, alias)
        if t < UNKNOWN:
            return t
    elif not duplicate:
        t = find_topic(table, buffer, topic_at, size)
    if not duplicate:
        take_message(
            state, table, recent, t, first, buffer, topic_at, size, at, stop, end, arrival_ns, arrival_wall_ns, samples,
            handed,
        )  # fmt: skip
    state[MESSAGES] += 1
    state[DUPLICATES] += duplicate
    if qos == 1:
        acknowledge(state, acks, 0x40, packet_id)
    elif qos == 2:
        seen[packet_id] = 1
        acknowledge(state, acks, 0x50, packet_id)
    if oversized:
        state[SKIP] = stop - end
        return end
    return stop


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def take_pubrel(state: Int64s, seen: Bytes, buffer: Bytes, first: int, body: int, stop: int, acks: Bytes) -> int:
    if first != PUBREL_FIRST or stop - body < 2 or (state[VERSION] != V5 and stop - body != 2):
        return BAD_PUBREL
    packet_id = octet(buffer, body) << 8 | octet(buffer, body + 1)
    if packet_id == 0:
        return BAD_IDENTIFIER
    seen[packet_id] = 0
    acknowledge(state, acks, 0x70, packet_id)
    return stop


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def take_packet(
    state: Int64s, table: Table, aliases: Aliases, recent: Recent, seen: Bytes, buffer: Bytes, at: int, end: int,
    arrival_ns: int, arrival_wall_ns: int, samples: Samples, handed: Samples, acks: Bytes,
) -> int:  # fmt: skip
    """The packet at `at`; returns the position after it, MORE or an error."""
    first = octet(buffer, at)
    kind = first >> 4
    body, length = read_length(buffer, at + 1, end)
    if body < 0:
        return int(body)
    if (kind == CONNACK) == (state[GREETED] != 0) and kind != AUTH:
        return NOT_GREETED
    stop = body + length
    frame_bytes = state[FRAME_BYTES]
    if stop - at > frame_bytes and kind != PUBLISH:
        return TOO_LONG
    if stop > end and stop - at <= frame_bytes:
        return MORE
    if kind == PUBLISH:
        after = take_publish(
            state, table, aliases, recent, seen, buffer, first, body, stop, end, arrival_ns, arrival_wall_ns, samples,
            handed, acks,
        )  # fmt: skip
    elif kind == PUBREL:
        after = take_pubrel(state, seen, buffer, first, body, stop, acks)
    elif kind == PINGRESP:
        after = stop if length == 0 and first == 0xD0 else BAD_PING
    else:
        if kind == CONNACK:
            state[GREETED] = 1
        hand_back(state, handed, CONTROL, body, length, -1, first)
        after = stop
    return int(after)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def scan(
    state: Int64s, table: Table, aliases: Aliases, recent: Recent, seen: Bytes, buffer: Bytes, at: int, end: int,
    room: int, arrival_ns: int, arrival_wall_ns: int, samples: Samples, handed: Samples, acks: Bytes,
) -> int:  # fmt: skip
    """Take in packets from `buffer[at:end]`; returns the position of the first one that was not.

    `state[IS_FULL]` tells whether it stopped for want of room: `room` samples (those of handed-back messages, at most
    one for each entry of their topic, counted), `handed` or `acks`. `state[ERROR]` is 0 or a key of ERRORS.
    """
    state[SAMPLES] = 0
    state[HANDED_COUNT] = 0
    state[ACK_BYTES] = 0
    state[IS_FULL] = 0
    state[ERROR] = 0
    state[AWAITED] = 0
    run_max = len(table.found)
    owed = 0
    while at < end and not state[AWAITED]:
        if state[SKIP] > 0:
            skipped = min(state[SKIP], end - at)
            state[SKIP] -= skipped
            at += skipped
            continue
        before = state[HANDED_COUNT]
        lacks_room = state[SAMPLES] + owed + run_max > room
        if lacks_room and state[SHED_ALL] and octet(buffer, at) & 0xF6 == QOS_0:
            state[SHED_LEVEL] = PRIORITIES
            lacks_room = False
        if lacks_room or before == len(handed) or state[ACK_BYTES] + 4 > len(acks):
            state[IS_FULL] = 1
            break
        after = take_packet(
            state, table, aliases, recent, seen, buffer, at, end, arrival_ns, arrival_wall_ns, samples, handed, acks
        )  # fmt: skip
        if after < 0:
            state[ERROR] = 0 if after == MORE else after
            break
        if state[HANDED_COUNT] > before and handed[before]["what"] in (PAYLOAD, OVERSIZED):
            owed += table.topics[handed[before]["topic"]]["count"]
        at = after
    return at
