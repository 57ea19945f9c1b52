"""MQTT packets of a client that subscribes: encoding what it sends, parsing what is not a message.

PUBLISH, PUBREL and PINGRESP, of which there may be hundreds of thousands a second, never come here: the jitted
scanner (`gateway.protocol.mqtt.scan`) splits the stream and handles them; it hands the body of every other packet to
`parse`, which returns a packet or raises ProtocolError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gateway.protocol.mqtt.codes import REMAINING_LENGTH_MAX, STRING_BYTES_MAX, V5, PacketType, ProtocolError

PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"

SERVER_KEEP_ALIVE = 0x13
SESSION_EXPIRY = 0x11
REASON_STRING = 0x1F
RECEIVE_MAXIMUM = 0x21

PROPERTY_BYTES: dict[int, int] = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), 1),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), 2),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), 4),
}
"""Width of the numeric properties."""
PROPERTY_VARINT = 0x0B
PROPERTY_BINARY = (0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F)
PROPERTY_PAIR = 0x26

PropertyValue: TypeAlias = int | bytes
Properties: TypeAlias = dict[int, PropertyValue]


@dataclass(frozen=True, slots=True)
class Connack:
    code: int
    session_present: bool
    server_keep_alive_s: int | None
    reason: str
    """The broker's own words; empty when it gave none."""


@dataclass(frozen=True, slots=True)
class Suback:
    packet_id: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsuback:
    packet_id: int


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Only MQTT 5 brokers say goodbye."""

    code: int
    reason: str


Packet: TypeAlias = Connack | Suback | Unsuback | Disconnect


def encode_varint(value: int) -> bytes:
    if not 0 <= value <= REMAINING_LENGTH_MAX:
        raise ValueError(f"{value} is outside what four bytes of MQTT length can say")
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | 0x80 if value else low)
        if not value:
            return bytes(out)


def frame(first: int, body: bytes) -> bytes:
    return bytes((first,)) + encode_varint(len(body)) + body


def encode_string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    if len(raw) > STRING_BYTES_MAX:
        raise ValueError(f"{len(raw)} bytes are too long for an MQTT string; {STRING_BYTES_MAX} is the most")
    return len(raw).to_bytes(2, "big") + raw


def encode_connect(
    *,
    version: int,
    client_id: str,
    clean_start: bool,
    keep_alive_s: int,
    username: str | None = None,
    password: bytes | None = None,
    session_expiry_s: int = 0,
    receive_maximum: int = 65_535,
) -> bytes:
    """CONNECT without a will. `session_expiry_s` and `receive_maximum` are of MQTT 5 and ignored in 3.1.1."""
    flags = (clean_start << 1) | ((password is not None) << 6) | ((username is not None) << 7)
    body = encode_string("MQTT") + bytes((version, flags)) + keep_alive_s.to_bytes(2, "big")
    if version == V5:
        properties = bytes((SESSION_EXPIRY,)) + session_expiry_s.to_bytes(4, "big")
        properties += bytes((RECEIVE_MAXIMUM,)) + receive_maximum.to_bytes(2, "big")
        body += encode_varint(len(properties)) + properties
    body += encode_string(client_id)
    if username is not None:
        body += encode_string(username)
    if password is not None:
        body += encode_string(password)
    return frame(PacketType.CONNECT << 4, body)


def encode_subscribe(packet_id: int, topics: Sequence[tuple[str, int]], version: int) -> bytes:
    """SUBSCRIBE to pairs of topic and QoS."""
    assert topics
    properties = b"\x00" if version == V5 else b""
    filters = b"".join(encode_string(topic) + bytes((qos,)) for topic, qos in topics)
    return frame(PacketType.SUBSCRIBE << 4 | 2, packet_id.to_bytes(2, "big") + properties + filters)


def encode_unsubscribe(packet_id: int, topics: Iterable[str | bytes], version: int) -> bytes:
    properties = b"\x00" if version == V5 else b""
    filters = b"".join(encode_string(topic) for topic in topics)
    return frame(PacketType.UNSUBSCRIBE << 4 | 2, packet_id.to_bytes(2, "big") + properties + filters)


def encode_acknowledgement(packet_type: PacketType, packet_id: int) -> bytes:
    """PUBACK, PUBREC, PUBREL or PUBCOMP with success, which is four bytes in both versions."""
    assert packet_type in (PacketType.PUBACK, PacketType.PUBREC, PacketType.PUBREL, PacketType.PUBCOMP)
    flags = 2 if packet_type is PacketType.PUBREL else 0
    return bytes((packet_type << 4 | flags, 2)) + packet_id.to_bytes(2, "big")


class _Reader:
    """Takes fields off the front of a packet's body; what is not there is a ProtocolError."""

    def __init__(self, body: bytes, what: str) -> None:
        self._body = body
        self._at = 0
        self._what = what

    @property
    def left(self) -> int:
        return len(self._body) - self._at

    def take(self, n: int) -> bytes:
        if n > self.left:
            raise ProtocolError(f"{self._what} ends too early")
        self._at += n
        return self._body[self._at - n : self._at]

    def number(self, n: int) -> int:
        return int.from_bytes(self.take(n), "big")

    def packet_id(self) -> int:
        packet_id = self.number(2)
        if packet_id == 0:
            raise ProtocolError(f"{self._what} with packet identifier 0")
        return packet_id

    def varint(self) -> int:
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ProtocolError(f"{self._what} with a length of more than four bytes")

    def binary(self) -> bytes:
        return self.take(self.number(2))

    def properties(self) -> Properties:
        """The properties of MQTT 5; of those that may come again (user properties) the last one."""
        inner = _Reader(self.take(self.varint()), f"the properties of {self._what}")
        found: Properties = {}
        while inner.left:
            code = inner.number(1)
            if code in PROPERTY_BYTES:
                found[code] = inner.number(PROPERTY_BYTES[code])
            elif code in PROPERTY_BINARY:
                found[code] = inner.binary()
            elif code == PROPERTY_VARINT:
                found[code] = inner.varint()
            elif code == PROPERTY_PAIR:
                inner.binary()
                found[code] = inner.binary()
            else:
                raise ProtocolError(f"{self._what} with property 0x{code:02x}, which MQTT does not define")
        return found

    def end(self) -> None:
        if self.left:
            raise ProtocolError(f"{self._what} with {self.left} bytes too many")


def _reason(properties: Properties) -> str:
    raw = properties.get(REASON_STRING, b"")
    assert isinstance(raw, bytes)
    return raw[:200].decode("utf-8", "replace")


def _parse_connack(reader: _Reader, version: int) -> Connack:
    flags, code = reader.number(1), reader.number(1)
    if flags > 1:
        raise ProtocolError("CONNACK with reserved flags set")
    # A broker of version 3.1.1 refuses a CONNECT of version 5 with a CONNACK that has no properties.
    properties = reader.properties() if version == V5 and reader.left else {}
    reader.end()
    keep_alive = properties.get(SERVER_KEEP_ALIVE)
    assert not isinstance(keep_alive, bytes)
    return Connack(code, flags == 1, keep_alive, _reason(properties))


def _parse_suback(reader: _Reader, version: int) -> Suback:
    packet_id = reader.packet_id()
    if version == V5:
        reader.properties()
    codes = tuple(reader.take(reader.left))
    if not codes:
        raise ProtocolError("SUBACK without a reason code")
    if any(2 < code < 0x80 for code in codes):
        raise ProtocolError("SUBACK with a reason code that MQTT does not define")
    return Suback(packet_id, codes)


def _parse_unsuback(reader: _Reader, version: int) -> Unsuback:
    packet_id = reader.packet_id()
    if version == V5:
        reader.properties()
        reader.take(reader.left)
    reader.end()
    return Unsuback(packet_id)


def _parse_disconnect(reader: _Reader, version: int) -> Disconnect:
    if version != V5:
        raise ProtocolError("DISCONNECT from the broker, which MQTT 3.1.1 does not allow")
    code = reader.number(1) if reader.left else 0
    properties = reader.properties() if reader.left else {}
    reader.end()
    return Disconnect(code, _reason(properties))


_PARSERS: dict[int, tuple[str, Callable[[_Reader, int], Packet]]] = {
    PacketType.CONNACK << 4: ("CONNACK", _parse_connack),
    PacketType.SUBACK << 4: ("SUBACK", _parse_suback),
    PacketType.UNSUBACK << 4: ("UNSUBACK", _parse_unsuback),
    PacketType.DISCONNECT << 4: ("DISCONNECT", _parse_disconnect),
}


def parse(first: int, body: bytes, version: int) -> Packet:
    """The packet with this first byte and body. Raises ProtocolError for anything a broker must not send."""
    known = _PARSERS.get(first)
    if known is None:
        raise ProtocolError(f"a packet that starts with 0x{first:02x}, which no broker may send to this client")
    name, parser = known
    return parser(_Reader(body, name), version)
