"""Edge nodes and devices as a host knows them, and the messages between the two."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.types import Kind
from gateway.protocol.sparkplug import wire
from gateway.protocol.sparkplug.table import Known
from gateway.protocol.sparkplug.topics import Address


@dataclass(frozen=True, slots=True)
class Want:
    """A tag: the metric of that name of that node or device."""

    address: Address
    metric: str
    row: int
    tag: str
    kind: Kind
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Command:
    """A message to publish; a rebirth request gets its payload, which tells the time, when it is taken."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(slots=True)
class Meaning:
    """What a birth said of a metric."""

    name: str
    datatype: int
    want: Want | None


@dataclass(slots=True)
class Member:
    """A node's own metrics, or one device of it. `topic` is its data topic's number in the scanner's table."""

    address: Address
    topic: int = -1
    wants: dict[str, Want] = field(default_factory=dict)
    is_born: bool = False
    by_alias: dict[int, Meaning] = field(default_factory=dict)
    by_name: dict[str, Meaning] = field(default_factory=dict)
    known: list[Known] = field(default_factory=list)


@dataclass(slots=True)
class Message:
    verb: str
    address: Address
    payload: wire.Payload
    arrival_ns: int
    wall_offset_ns: int


@dataclass(slots=True)
class Node:
    address: Address
    index: int
    members: dict[str, Member]
    is_alive: bool = False
    bd_seq: int | None = None
    waiting: dict[int, Message] = field(default_factory=dict)
    gap_until_ns: int | None = None
    asked_ns: int | None = None
    """When its births were asked for last; None when they are not wanted."""
    devices_until_ns: int | None = None
    """By when devices must have come back after an NBIRTH."""
