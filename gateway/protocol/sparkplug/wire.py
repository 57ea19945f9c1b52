"""Payloads of Sparkplug B, decoded in plain Python: births, and whatever the jitted path leaves over.

The encoding is Protocol Buffers (proto2). Fields come in any order; of one that comes twice the last counts, messages
within are merged, which is the same as joining their bytes. Unknown fields are skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gateway.protocol.protobuf import BYTES, FIXED32, FIXED64, VARINT, Malformed, encode_varint, fields
from gateway.protocol.sparkplug.datatypes import (
    BYTES_VALUE,
    DOUBLE_VALUE,
    EXTENSION_VALUE,
    FLOAT_VALUE,
    INT_VALUE,
    QUALITY,
    STRING_VALUE,
    TEMPLATE_VALUE,
)

NAME_BYTES_MAX: Final = 4_096
TEMPLATE_DEPTH_MAX: Final = 8
METRICS_PER_MESSAGE_MAX: Final = 65_536
_WIRE_OF_VALUE: Final = {FLOAT_VALUE: FIXED32, DOUBLE_VALUE: FIXED64}


@dataclass(slots=True)
class Metric:
    """`which` is the number of the value's field, 0 without one; `raw` its varint or bits, or its bytes."""

    name: str | None = None
    alias: int | None = None
    timestamp_ms: int | None = None
    datatype: int = 0
    is_historical: bool = False
    is_null: bool = False
    quality: int | None = None
    which: int = 0
    raw: int | bytes = 0


@dataclass(slots=True)
class Payload:
    timestamp_ms: int | None = None
    seq: int | None = None
    metrics: list[Metric] = field(default_factory=list)


@dataclass(slots=True)
class Template:
    is_definition: bool = False
    metrics: list[Metric] = field(default_factory=list)


def _text(value: int | bytes) -> str:
    assert isinstance(value, bytes)
    if len(value) > NAME_BYTES_MAX:
        raise Malformed(f"a name is longer than {NAME_BYTES_MAX} bytes")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Malformed("a name is not UTF-8") from None


def _number(value: int | bytes) -> int:
    assert isinstance(value, int)
    return value


def parse(raw: bytes) -> Payload:
    """Raises Malformed."""
    found = Payload()
    for number, wire, value in fields(raw):
        match number, wire:
            case 1, 0:
                found.timestamp_ms = _number(value)
            case 2, 2:
                if len(found.metrics) == METRICS_PER_MESSAGE_MAX:
                    raise Malformed(f"it has more than {METRICS_PER_MESSAGE_MAX} metrics")
                assert isinstance(value, bytes)
                found.metrics.append(_metric(value))
            case 3, 0:
                found.seq = _number(value)
            case _:
                pass
    return found


def _metric(raw: bytes) -> Metric:
    found = Metric()
    properties = b""
    for number, wire, value in fields(raw):
        match number, wire:
            case 1, 2:
                found.name = _text(value)
            case 2, 0:
                found.alias = _number(value)
            case 3, 0:
                found.timestamp_ms = _number(value)
            case 4, 0:
                found.datatype = _number(value) & 0xFFFFFFFF
            case 5, 0:
                found.is_historical = bool(value)
            case 7, 0:
                found.is_null = bool(value)
            case 9, 2:
                assert isinstance(value, bytes)
                properties += value
            case _:
                if INT_VALUE <= number <= EXTENSION_VALUE:
                    _take_value(found, number, wire, value)
    if properties:
        found.quality = _quality(properties)
    return found


def _take_value(found: Metric, number: int, wire: int, value: int | bytes) -> None:
    """The value of a metric; of a wrong wire type, the field is an unknown one."""
    if wire != _WIRE_OF_VALUE.get(number, BYTES if number >= STRING_VALUE else VARINT):
        return
    if number >= BYTES_VALUE and number == found.which and number not in (BYTES_VALUE, STRING_VALUE):
        assert isinstance(value, bytes)
        assert isinstance(found.raw, bytes)
        value = found.raw + value
    found.which = number
    found.raw = _number(value) & 0xFFFFFFFF if number == INT_VALUE else value


def _quality(raw: bytes) -> int | None:
    """The property Quality: keys and values are two lists of the same order."""
    keys: list[str] = []
    values: list[bytes] = []
    for number, wire, value in fields(raw):
        if wire == BYTES and number == 1:
            keys.append(_text(value))
        elif wire == BYTES and number == 2:
            assert isinstance(value, bytes)
            values.append(value)
    quality = None
    for key, inside in zip(keys, values, strict=False):
        if key == QUALITY:
            for number, wire, value in fields(inside):
                if wire == VARINT and number in (3, 4):
                    quality = _number(value)
    return quality


def parse_template(raw: bytes) -> Template:
    """Raises Malformed."""
    found = Template()
    for number, wire, value in fields(raw):
        if number == 2 and wire == BYTES:
            assert isinstance(value, bytes)
            found.metrics.append(_metric(value))
        elif number == 5 and wire == VARINT:
            found.is_definition = bool(value)
    return found


def flatten(metric: Metric, depth: int = 0) -> Iterator[Metric]:
    """A metric that is no template; or the members of a template, named `template/member`, times and marks handed down.

    A definition of a template has no values and yields nothing. Raises Malformed when templates are nested too deeply.
    """
    if metric.which != TEMPLATE_VALUE:
        yield metric
        return
    if depth == TEMPLATE_DEPTH_MAX:
        raise Malformed(f"templates are nested more than {TEMPLATE_DEPTH_MAX} deep")
    assert isinstance(metric.raw, bytes)
    template = parse_template(metric.raw)
    if template.is_definition:
        return
    for member in template.metrics:
        if member.name is not None and metric.name is not None:
            member.name = f"{metric.name}/{member.name}"
        if member.timestamp_ms is None:
            member.timestamp_ms = metric.timestamp_ms
        member.is_historical |= metric.is_historical
        if member.quality is None:
            member.quality = metric.quality
        yield from flatten(member, depth + 1)


def float_of(bits: int) -> float:
    found: float = struct.unpack("<f", bits.to_bytes(4, "little"))[0]
    return found


def double_of(bits: int) -> float:
    found: float = struct.unpack("<d", bits.to_bytes(8, "little"))[0]
    return found


REBIRTH: Final = "Node Control/Rebirth"


def encode_rebirth(timestamp_ms: int) -> bytes:
    """The payload of the NCMD that asks an edge node for its births (tck-id-operational-behavior-data-commands-ncmd-*).

    A metric of that name, type boolean, value true, and its time; no sequence number.
    """
    time = encode_varint(timestamp_ms)
    name = REBIRTH.encode()
    metric = b"\x0a" + encode_varint(len(name)) + name + b"\x18" + time + b"\x20\x0b" + b"\x70\x01"
    return b"\x08" + time + b"\x12" + encode_varint(len(metric)) + metric
