"""The namespace of Sparkplug B (3.0.0, chapter 4), and the messages by which a host tells of itself.

spBv1.0/GROUP/NBIRTH|NDATA|NDEATH|NCMD/EDGE
spBv1.0/GROUP/DBIRTH|DDATA|DDEATH|DCMD/EDGE/DEVICE
spBv1.0/STATE/HOST
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

NAMESPACE: Final = "spBv1.0"
PREFIX: Final = b"spBv1.0/"
OF_NODES: Final = frozenset({"NBIRTH", "NDATA", "NDEATH", "NCMD"})
OF_DEVICES: Final = frozenset({"DBIRTH", "DDATA", "DDEATH", "DCMD"})


@dataclass(frozen=True, slots=True)
class Address:
    """`device` is empty for the edge node itself."""

    group: str
    edge: str
    device: str = ""

    def topic(self, verb: str) -> str:
        """`verb` without its first letter, which the address knows: BIRTH, DATA, DEATH, CMD."""
        tail = f"/{self.device}" if self.device else ""
        return f"{NAMESPACE}/{self.group}/{'D' if self.device else 'N'}{verb}/{self.edge}{tail}"

    def __str__(self) -> str:
        return "/".join(filter(None, (self.group, self.edge, self.device)))


@dataclass(frozen=True, slots=True)
class Heading:
    """What a topic says. For STATE, `address.group` is the host's id."""

    verb: str
    address: Address


def read_topic(topic: bytes) -> Heading | None:
    """None when it is none of the namespace."""
    try:
        parts = topic.decode().split("/")
    except UnicodeDecodeError:
        return None
    match parts:
        case [namespace, "STATE", host] if namespace == NAMESPACE:
            return Heading("STATE", Address(host, ""))
        case [namespace, group, verb, edge] if namespace == NAMESPACE and verb in OF_NODES:
            return Heading(verb, Address(group, edge))
        case [namespace, group, verb, edge, device] if namespace == NAMESPACE and verb in OF_DEVICES and device:
            return Heading(verb, Address(group, edge, device))
    return None


def filters_of(group: str, edge: str) -> tuple[str, ...]:
    """What a host subscribes to for one edge node: all devices, for they share one sequence."""
    names = [Address(group, edge).topic(verb) for verb in ("BIRTH", "DATA", "DEATH")]
    return (*names, *(Address(group, edge, "+").topic(verb) for verb in ("BIRTH", "DATA", "DEATH")))


def state_topic(host: str) -> str:
    return f"{NAMESPACE}/STATE/{host}"


def encode_state(is_online: bool, timestamp_ms: int) -> bytes:
    return msgspec.json.encode({"online": is_online, "timestamp": timestamp_ms})


def says_offline(payload: bytes) -> bool:
    """Whether a STATE message says that its host is away; anything that is no such message says nothing."""
    try:
        found = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("online") is False
