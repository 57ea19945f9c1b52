"""Properties of MQTT 5 (section 2.2.2): what each is called, how wide it is, how it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

SESSION_EXPIRY: Final = 0x11
SERVER_KEEP_ALIVE: Final = 0x13
AUTHENTICATION_METHOD: Final = 0x15
SERVER_REFERENCE: Final = 0x1C
REASON_STRING: Final = 0x1F
RECEIVE_MAXIMUM: Final = 0x21
TOPIC_ALIAS_MAXIMUM: Final = 0x22
PACKET_BYTES_MAX: Final = 0x27
HAS_WILDCARDS: Final = 0x28
HAS_SHARED: Final = 0x2A

PROPERTY_BYTES: Final[dict[int, int]] = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), 1),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), 2),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), 4),
}
"""Width of the numeric properties."""
PROPERTY_VARINT: Final = 0x0B
PROPERTY_BINARY: Final = (0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F)
PROPERTY_PAIR: Final = 0x26

PropertyValue: TypeAlias = int | bytes
Properties: TypeAlias = dict[int, PropertyValue]


def number_of(properties: Mapping[int, PropertyValue], code: int) -> int | None:
    """The value of a numeric property; None when it was not sent."""
    value = properties.get(code)
    assert not isinstance(value, bytes)
    return value


def text_of(properties: Mapping[int, PropertyValue], code: int, characters_max: int = 200) -> str:
    """The beginning of a text, empty when it was not sent."""
    raw = properties.get(code, b"")
    assert isinstance(raw, bytes)
    return raw.decode("utf-8", "replace")[:characters_max]


def encode_numbers(properties: Mapping[int, int]) -> bytes:
    """Numeric properties, without their length."""
    return b"".join(bytes((code,)) + value.to_bytes(PROPERTY_BYTES[code], "big") for code, value in properties.items())
