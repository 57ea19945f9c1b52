"""Payloads of Sparkplug B as an edge node makes them (3.0.0, chapter 6): Protocol Buffers, written field by field."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.core.types import Quality
from gateway.protocol.protobuf import encode_varint
from gateway.protocol.sparkplug.datatypes import (
    QUALITY,
    QUALITY_BAD,
    QUALITY_GOOD,
    QUALITY_STALE,
    DataType,
)

Value: TypeAlias = float | int | str | None
_MASK_64: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Told:
    """A metric of a message. `name` and `with_type` in births, the alias alone in data (6.4.6, alias)."""

    datatype: DataType
    value: Value
    time_ms: int
    name: str = ""
    alias: int | None = None
    with_type: bool = False
    is_historical: bool = False
    quality: int = int(Quality.GOOD)


def payload(time_ms: int, metrics: Sequence[Told], seq: int | None) -> bytes:
    """`seq` None: a death certificate of the node, which has none."""
    parts = [b"\x08", encode_varint(time_ms)]
    for metric in metrics:
        body = _metric(metric)
        parts += (b"\x12", encode_varint(len(body)), body)
    if seq is not None:
        parts += (b"\x18", encode_varint(seq))
    return b"".join(parts)


def sparkplug_quality(quality: int) -> int:
    """The three codes that the specification has (6.4.12)."""
    if quality >= Quality.GOOD:
        return QUALITY_GOOD
    return QUALITY_STALE if quality >= Quality.UNCERTAIN else QUALITY_BAD


def _metric(metric: Told) -> bytes:
    parts = [_bytes(0x0A, metric.name.encode())] if metric.name else []
    if metric.alias is not None:
        parts.append(b"\x10" + encode_varint(metric.alias))
    parts.append(b"\x18" + encode_varint(metric.time_ms))
    if metric.with_type:
        parts.append(b"\x20" + encode_varint(metric.datatype))
    if metric.is_historical:
        parts.append(b"\x28\x01")
    if metric.value is None:
        parts.append(b"\x38\x01")
    code = sparkplug_quality(metric.quality)
    if code != QUALITY_GOOD:
        parts.append(_bytes(0x4A, _property(code)))
    if metric.value is not None:
        parts.append(_value(metric.datatype, metric.value))
    return b"".join(parts)


def _property(code: int) -> bytes:
    """A PropertySet of one: its keys, and its values, here of type Int32."""
    value = b"\x08" + encode_varint(DataType.INT32) + b"\x18" + encode_varint(code)
    return _bytes(0x0A, QUALITY.encode()) + _bytes(0x12, value)


def _value(datatype: DataType, value: float | int | str) -> bytes:
    if datatype is DataType.DOUBLE:
        return b"\x69" + struct.pack("<d", value)
    if datatype in (DataType.INT64, DataType.UINT64):
        assert isinstance(value, int)
        return b"\x58" + encode_varint(value & _MASK_64)
    if datatype is DataType.BOOLEAN:
        return b"\x70\x01" if value else b"\x70\x00"
    assert datatype is DataType.STRING
    assert isinstance(value, str)
    return _bytes(0x7A, value.encode())


def _bytes(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + encode_varint(len(content)) + content
