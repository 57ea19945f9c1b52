"""The head of a PUBLISH of MQTT 5: its properties, and topic aliases (3.3.2.3.4).

An alias is kept as the name that it stands for, not as a place in the table, which may change under it. Names longer
than `ALIAS_NAME_BYTES_MAX` are not kept: messages under such an alias count as of an unknown topic.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import njit

from gateway.core.types import Int64s
from gateway.protocol.mqtt.table import UNKNOWN, Table, find_topic
from gateway.protocol.octets import Bytes, octet

ALIAS_NAME_BYTES_MAX: Final = 512
NO_ALIAS: Final = -1

MORE: Final = -1
"""Returned instead of a position: the packet is not whole yet. What is below is an error."""
BAD_LENGTH, BAD_PUBLISH, NO_TOPIC, BAD_IDENTIFIER = -2, -3, -4, -5
BAD_PUBREL, BAD_PING, TOO_LONG, NOT_GREETED, BAD_ALIAS, BAD_PROPERTIES = -6, -7, -8, -9, -10, -11


class Aliases(NamedTuple):
    """Topic aliases of one connection: `sizes[alias]` bytes of `names[alias]`; -1: none yet, 0: too long to keep."""

    sizes: Int64s
    names: Bytes


def no_aliases(maximum: int) -> Aliases:
    """Room for aliases 1 to `maximum`."""
    return Aliases(np.full(maximum + 1, -1, np.int64), np.zeros((maximum + 1, ALIAS_NAME_BYTES_MAX), np.uint8))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_length(buffer: Bytes, at: int, end: int) -> tuple[int, int]:
    """(position after it, MORE or BAD_LENGTH; value) of a variable byte integer."""
    value = 0
    shift = 0
    while shift < 28:
        if at >= end:
            return MORE, 0
        byte = octet(buffer, at)
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return at, value
        shift += 7
    return BAD_LENGTH, 0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def find_alias(buffer: Bytes, at: int, stop: int) -> int:
    """The topic alias among the properties of a PUBLISH (MQTT 5, 3.3.2.3); -1 without one, else an error below that."""
    alias = NO_ALIAS
    while at < stop:
        code = octet(buffer, at)
        at += 1
        if code == 0x01:
            at += 1
        elif code == 0x02:
            at += 4
        elif code == 0x23:
            if at + 2 > stop or alias >= 0:
                return BAD_PROPERTIES
            alias = octet(buffer, at) << 8 | octet(buffer, at + 1)
            at += 2
        elif code == 0x03 or code == 0x08 or code == 0x09 or code == 0x26:
            for _ in range(2 if code == 0x26 else 1):
                if at + 2 > stop:
                    return BAD_PROPERTIES
                at += 2 + (octet(buffer, at) << 8 | octet(buffer, at + 1))
        elif code == 0x0B:
            at, _identifier = read_length(buffer, at, stop)
            if at < 0:
                return BAD_PROPERTIES
        else:
            return BAD_PROPERTIES
    return alias if at == stop else BAD_PROPERTIES


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_head(buffer: Bytes, at: int, stop: int, end: int) -> tuple[int, int]:
    """(position of the payload, MORE or an error; topic alias or NO_ALIAS) from the properties at `at` on.

    The packet goes up to `stop`, of which what lies behind `end` has not arrived.
    """
    at, size = read_length(buffer, at, end)
    if at == MORE and stop > end:
        return MORE, NO_ALIAS
    if at < 0 or at + size > stop:
        return BAD_PUBLISH, NO_ALIAS
    if size == 0:
        return at, NO_ALIAS
    if at + size > end:
        return MORE, NO_ALIAS
    alias = find_alias(buffer, at, at + size)
    return (int(alias), NO_ALIAS) if alias < NO_ALIAS else (at + size, int(alias))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def use_alias(aliases: Aliases, table: Table, buffer: Bytes, topic_at: int, size: int, alias: int) -> int:
    """The topic of a message with an alias: learned when the message names a topic, else looked up; or an error."""
    if alias < 1 or alias >= len(aliases.sizes):
        return BAD_ALIAS
    name = aliases.names[alias]
    if size > 0:
        kept = size if size <= len(name) else 0
        aliases.sizes[alias] = kept
        for i in range(kept):
            name[i] = buffer[topic_at + i]
        return find_topic(table, buffer, topic_at, size)
    kept = aliases.sizes[alias]
    if kept < 0:
        return BAD_ALIAS
    return find_topic(table, name, 0, kept) if kept > 0 else UNKNOWN
