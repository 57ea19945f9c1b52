"""Oracles of the MQTT scanner, in plain Python and the standard library's json: slow, short, and easy to believe."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from fractions import Fraction

from gateway.core.types import Kind
from gateway.protocol.mqtt.table import Feed


class _Number(str):
    """A JSON number, as it was written."""


def _refuse(text: str) -> None:
    raise ValueError(text)


def values(payload: bytes, feeds: tuple[Feed, ...]) -> list[float | int | None] | None:
    """The flat value of each feed, or None where the payload leaves it out; None when anything in it is not usable."""
    try:
        document = json.loads(
            payload.decode("utf-8"), parse_float=_Number, parse_int=_Number, parse_constant=_refuse
        )  # fmt: skip
        json.dumps(document, ensure_ascii=False).encode()  # half of a surrogate pair is no Unicode
    except (ValueError, RecursionError):
        return None
    found: list[float | int | None] = []
    for feed in feeds:
        if feed.field:
            inside = document if isinstance(document, dict) else {}
            raw = inside.get(feed.field[0]) if feed.field[0] in inside else ...
        else:
            raw = ... if isinstance(document, dict) else document
        if raw is ...:
            found.append(None)
            continue
        if isinstance(raw, bool):
            raw = _Number(int(raw))
        if not isinstance(raw, _Number):
            return None
        value = _value(raw, feed)
        if value is None:
            return None
        found.append(value)
    return found if any(value is not None for value in found) else None


def _value(text: str, feed: Feed) -> float | int | None:
    if feed.kind is not Kind.F64 and feed.scale == 1.0 and feed.offset == 0.0 and text.lstrip("-").isdigit():
        value: float | int = int(text)
    else:
        x = float(text) * feed.scale + feed.offset
        if not math.isfinite(x):
            return None
        value = x if feed.kind is Kind.F64 else round(x)
    limits = {Kind.I64: (-(2**63), 2**63 - 1), Kind.U64: (0, 2**64 - 1)}
    if feed.kind in limits:
        low, high = limits[feed.kind]
        return value if low <= value <= high else None
    return value


def wall_ns(text: str) -> int:
    """Wall time of a number, by magnitude; 0 when it is none."""
    exact = Fraction(text)
    for ceiling, ns in ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3), (10**20, 1)):
        if 1 <= exact < ceiling:
            whole = math.floor(exact * ns)
            return whole if whole <= 9 * 10**18 else 0
    return 0


@dataclass
class Split:
    """What a stream of MQTT 3.1.1 messages says: (topic, payload) in order, and the acknowledgements owed."""

    messages: list[tuple[bytes, bytes]] = field(default_factory=list)
    acks: bytes = b""


def split(stream: bytes, version: int = 4) -> Split:
    """Whole and valid PUBLISH and PUBREL packets only."""
    out = Split()
    unreleased: set[bytes] = set()
    while stream:
        first, size, shift, at = stream[0], 0, 0, 1
        while True:
            byte = stream[at]
            size |= (byte & 127) << shift
            shift, at = shift + 7, at + 1
            if byte < 128:
                break
        body, stream = stream[at : at + size], stream[at + size :]
        if first >> 4 == 6:
            unreleased.discard(body[:2])
            out.acks += b"\x70\x02" + body[:2]
            continue
        name_size = int.from_bytes(body[:2], "big")
        name, rest = body[2 : 2 + name_size], body[2 + name_size :]
        qos = first >> 1 & 3
        if qos:
            packet_id, rest = rest[:2], rest[2:]
            out.acks += bytes((0x30 + 0x10 * qos, 2)) + packet_id
        if version == 5:
            rest = rest[1 + rest[0] :]
        if qos == 2 and packet_id in unreleased:
            continue
        if qos == 2:
            unreleased.add(packet_id)
        out.messages.append((name, rest))
    return out
