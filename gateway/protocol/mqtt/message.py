"""What one message brings, in jitted code: samples, or its hand-over to the slow path or to the host of Sparkplug."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from gateway.core.types import Int64s, Quality, Samples
from gateway.protocol.mqtt import fastreadings
from gateway.protocol.mqtt.fastjson import BRACE, decode, put_samples, skip_space
from gateway.protocol.mqtt.fastnested import WAY_LAST, decode_nested
from gateway.protocol.mqtt.fastreadings import REFUSED_TIMES, UNKNOWN_NAMES, decode_readings
from gateway.protocol.mqtt.faststruct import decode_struct
from gateway.protocol.mqtt.form import Layout
from gateway.protocol.mqtt.places import is_refused
from gateway.protocol.mqtt.recent import Recent, holds, is_recent, key_of, remember
from gateway.protocol.mqtt.state import (
    AWAITED,
    CUT_OFF,
    DURABLE,
    FAST,
    HANDED_COUNT,
    NAME_SIZES,
    NAMESPACE,
    NEWCOMER,
    OVERSIZED,
    PATTERNS,
    PAYLOAD,
    REPEATED,
    SAMPLES,
    SHED,
    SHED_LEVEL,
    SHED_OF,
    STRANGER,
    STRANGERS,
    STRANGERS_MAX,
    SUMS,
    TIMES_REFUSED,
    UNIDENTIFIED,
    UNKNOWN_READINGS,
    UNKNOWN_TOPIC,
)
from gateway.protocol.mqtt.table import SPARE_NAME_BYTES, Table
from gateway.protocol.octets import Bytes, same_bytes
from gateway.protocol.sparkplug.fast import decode_data
from gateway.protocol.sparkplug.table import LIVE
from gateway.protocol.sparkplug.topics import PREFIX
from gateway.protocol.times import believed_ns

QOS_1_NOT_RETAINED: Final = 2
"""Low bits of the first byte, without DUP: a retained message is sent anew with each subscription."""
GOOD: Final = int(Quality.GOOD)
STALE: Final = int(Quality.UNCERTAIN_STALE)
PLAIN: Final = int(Layout.PLAIN)
STRUCT: Final = int(Layout.STRUCT)
SPARKPLUG: Final = int(Layout.SPARKPLUG)
SUMS_IN_MESSAGE: Final = fastreadings.SUMS
SHED_FIRST: Final = SHED_OF[0]
SPARKPLUG_PREFIX: Final = np.frombuffer(PREFIX, np.uint8)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def hand_back(state: Int64s, handed: Samples, what: int, at: int, size: int, topic: int, flags: int) -> None:
    n = state[HANDED_COUNT]
    handed[n]["what"] = what
    handed[n]["at"] = at
    handed[n]["size"] = size
    handed[n]["topic"] = topic
    handed[n]["flags"] = flags
    handed[n]["place"] = state[SAMPLES]
    state[HANDED_COUNT] = n + 1


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def take_data(
    state: Int64s, table: Table, t: int, flags: int, buffer: Bytes, at: int, stop: int, arrival_ns: int,
    arrival_wall_ns: int, samples: Samples, handed: Samples,
) -> None:  # fmt: skip
    """Samples of a data message of Sparkplug, or its hand-over, after which its node's messages go that way, too."""
    topic = table.topics[t]
    n, refused = decode_data(
        table.births, topic["node"], t, topic["first"], topic["count"], buffer, at, stop, arrival_ns, arrival_wall_ns,
        samples, state[SAMPLES], len(table.found),
    )  # fmt: skip
    if n < 0:
        table.births.nodes[topic["node"], LIVE] = 0
        hand_back(state, handed, PAYLOAD, at, stop - at, t, flags)
        return
    state[SAMPLES] = n
    state[TIMES_REFUSED] += refused
    state[FAST] += 1


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def take_counts(state: Int64s, table: Table, n: int) -> None:
    """What a message of readings came to: n samples by now."""
    state[SAMPLES] = n
    state[FAST] += 1
    state[UNKNOWN_READINGS] += table.reading[UNKNOWN_NAMES]
    state[SUMS] += table.reading[SUMS_IN_MESSAGE]
    state[TIMES_REFUSED] += table.reading[REFUSED_TIMES] > 0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def take_payload(
    state: Int64s, table: Table, t: int, flags: int, buffer: Bytes, at: int, stop: int, arrival_ns: int,
    arrival_wall_ns: int, samples: Samples, handed: Samples,
) -> None:  # fmt: skip
    """Samples of a whole message of a known topic, or its hand-over."""
    topic = table.topics[t]
    if topic["layout"] == SPARKPLUG:
        take_data(state, table, t, flags, buffer, at, stop, arrival_ns, arrival_wall_ns, samples, handed)
        return
    if topic["slow"] or topic["held"]:
        hand_back(state, handed, PAYLOAD, at, stop - at, t, flags)
        return
    wall_ns = -1
    quality = GOOD
    if topic["layout"] == PLAIN:
        at_value = skip_space(buffer, at, stop) if topic["nested"] else stop
        if at_value < stop and buffer[at_value] == BRACE:
            status = decode_nested(table, t, buffer, at_value, stop)
            wall_ns = table.reading[WAY_LAST]
            quality = table.reading[WAY_LAST + 1]
        else:
            status, wall_ns = decode(table, t, buffer, at, stop)
    elif topic["layout"] == STRUCT:
        status = decode_struct(table, t, buffer, at, stop)
    else:
        # A retained message is as old as it likes, and where nothing in it says how old, it is stale.
        status = decode_readings(
            table, t, buffer, at, stop, arrival_ns, arrival_wall_ns, STALE if flags & 1 else GOOD, samples,
            state[SAMPLES],
        )  # fmt: skip
        if status >= 0:
            take_counts(state, table, status)
            return
    if status < 0:
        topic["held"] = 1
        hand_back(state, handed, PAYLOAD, at, stop - at, t, flags)
        return
    source_ns = -1
    if wall_ns >= 0:
        source_ns = believed_ns(wall_ns, arrival_ns, arrival_wall_ns)
        state[TIMES_REFUSED] += source_ns < 0
    if source_ns < 0:
        source_ns = arrival_ns
        if flags & 1 and quality == GOOD:
            quality = STALE
    state[SAMPLES] = put_samples(table, t, samples, state[SAMPLES], source_ns, arrival_ns, quality)
    state[FAST] += 1


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def is_namespace(buffer: Bytes, topic_at: int, size: int) -> bool:
    return size > len(SPARKPLUG_PREFIX) and same_bytes(SPARKPLUG_PREFIX, 0, buffer, topic_at, len(SPARKPLUG_PREFIX))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def is_newcomer(state: Int64s, table: Table, buffer: Bytes, topic_at: int, size: int) -> bool:
    """Whether a topic that is not in the table may get a place there."""
    if not state[PATTERNS] or size == 0 or size > SPARE_NAME_BYTES:
        return False
    return not is_refused(table, buffer, topic_at, size)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def is_repetition(state: Int64s, table: Table, recent: Recent, t: int, buffer: Bytes, at: int, stop: int) -> bool:
    """Whether the window has this message of topic t already; it has it from now on, unless nothing identifies it."""
    topic = table.topics[t]
    size = topic["identity_bytes"]
    if size == 0 or not holds(buffer, at, stop, table.text, topic["identity_at"], size):
        state[UNIDENTIFIED] += 1
        return False
    key = key_of(table.text, topic["name_at"], topic["name_bytes"], buffer, at, stop)
    if is_recent(recent, key):
        return True
    remember(recent, key)
    return False


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def take_message(
    state: Int64s, table: Table, recent: Recent, t: int, first: int, buffer: Bytes, topic_at: int, size: int, at: int,
    stop: int, end: int, arrival_ns: int, arrival_wall_ns: int, samples: Samples, handed: Samples,
) -> None:  # fmt: skip
    """What a message brings: `buffer[at:stop]` of topic t, whose name is the `size` bytes at `topic_at` or an alias."""
    is_cut = stop > end
    if t < 0 and len(table.births.nodes) > 0 and is_namespace(buffer, topic_at, size):
        flags = first | CUT_OFF if is_cut else first
        hand_back(
            state, handed, NAMESPACE, topic_at, min(stop, end) - topic_at, (at - topic_at) * NAME_SIZES + size, flags
        )  # fmt: skip
        state[AWAITED] = 1
    elif t < 0 and is_newcomer(state, table, buffer, topic_at, size) and not is_cut:
        hand_back(
            state, handed, NEWCOMER, topic_at, stop - topic_at, (at - topic_at) * NAME_SIZES + size, first
        )  # fmt: skip
    elif t < 0:
        state[UNKNOWN_TOPIC] += 1
        if state[STRANGERS] < STRANGERS_MAX and size > 0 and not state[PATTERNS]:
            state[STRANGERS] += 1
            hand_back(state, handed, STRANGER, topic_at, size, t, first)
    elif (first & 6) == 0 and table.topics[t]["priority"] < state[SHED_LEVEL]:
        state[SHED] += 1
        state[SHED_FIRST + table.topics[t]["priority"]] += 1
    elif (
        state[DURABLE]
        and (first & 7) == QOS_1_NOT_RETAINED
        and is_repetition(state, table, recent, t, buffer, at, min(stop, end))
    ):
        state[REPEATED] += 1
    elif is_cut:
        if table.topics[t]["layout"] == SPARKPLUG:
            table.births.nodes[table.topics[t]["node"], LIVE] = 0
        table.topics[t]["held"] = 1
        hand_back(state, handed, OVERSIZED, at, end - at, t, first)
    else:
        take_payload(
            state, table, t, first, buffer, at, stop, arrival_ns, arrival_wall_ns, samples, handed
        )  # fmt: skip
