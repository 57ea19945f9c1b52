"""MQTT packets of a client that subscribes: encoding what it sends, parsing what is not a message.

PUBLISH, PUBREL and PINGRESP, of which there may be hundreds of thousands a second, never come here: the jitted
scanner (`gateway.protocol.mqtt.scan`) splits the stream and handles them; it hands the body of every other packet to
`parse`, which returns a packet or raises ProtocolError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.protocol.mqtt import properties as p
from gateway.protocol.mqtt.codes import REMAINING_LENGTH_MAX, STRING_BYTES_MAX, V5, PacketType, ProtocolError
from gateway.protocol.mqtt.properties import Properties

PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"
WILL_RETAINED_QOS_1: Final = 0x2C
"""Flags of CONNECT."""

AUTH: Final = 0xF0
"""First byte of the packet by which a broker of MQTT 5 asks for more than user and password."""


@dataclass(frozen=True, slots=True)
class Connack:
    """The defaults are what a broker of 3.1.1 means that cannot say otherwise."""

    code: int
    session_present: bool
    server_keep_alive_s: int | None = None
    reason: str = ""
    """The broker's own words; empty when it gave none."""
    server_reference: str = ""
    """Where to go instead, with codes 0x9C and 0x9D; may be empty."""
    session_expiry_s: int | None = None
    """What the broker grants in place of what was asked for."""
    packet_bytes_max: int = REMAINING_LENGTH_MAX
    """The longest packet that the broker takes."""
    has_wildcards: bool = True
    has_shared: bool = True


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
    server_reference: str = ""


@dataclass(frozen=True, slots=True)
class Auth:
    """The broker asks for extended authentication, which this client never offers."""

    method: str


@dataclass(frozen=True, slots=True)
class Filter:
    """A subscription. All but topic and QoS are options of MQTT 5 and left out in 3.1.1."""

    topic: str
    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0
    """Retained messages: 0 with each SUBSCRIBE, 1 when the subscription is a new one, 2 never."""

    def options(self, version: int) -> int:
        if version != V5:
            return self.qos
        return self.qos | self.no_local << 2 | self.retain_as_published << 3 | self.retain_handling << 4


@dataclass(frozen=True, slots=True)
class Puback:
    packet_id: int


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes, retained and with QoS 1, when the connection ends without a goodbye."""

    topic: str
    payload: bytes


Packet: TypeAlias = Connack | Suback | Unsuback | Puback | Disconnect | Auth


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
    topic_alias_maximum: int = 0,
    packet_bytes_max: int | None = None,
    will: Will | None = None,
) -> bytes:
    """CONNECT. What stands between the password and the will is of MQTT 5 and ignored in 3.1.1."""
    flags = (clean_start << 1) | ((password is not None) << 6) | ((username is not None) << 7)
    if will is not None:
        flags |= WILL_RETAINED_QOS_1
    body = encode_string("MQTT") + bytes((version, flags)) + keep_alive_s.to_bytes(2, "big")
    if version == V5:
        wanted = {p.SESSION_EXPIRY: session_expiry_s, p.RECEIVE_MAXIMUM: receive_maximum}
        if topic_alias_maximum:
            wanted[p.TOPIC_ALIAS_MAXIMUM] = topic_alias_maximum
        if packet_bytes_max is not None:
            wanted[p.PACKET_BYTES_MAX] = packet_bytes_max
        properties = p.encode_numbers(wanted)
        body += encode_varint(len(properties)) + properties
    body += encode_string(client_id)
    if will is not None:
        body += (b"\x00" if version == V5 else b"") + encode_string(will.topic) + encode_string(will.payload)
    if username is not None:
        body += encode_string(username)
    if password is not None:
        body += encode_string(password)
    return frame(PacketType.CONNECT << 4, body)


def encode_subscribe(packet_id: int, filters: Sequence[Filter], version: int) -> bytes:
    assert filters
    properties = b"\x00" if version == V5 else b""
    body = b"".join(encode_string(each.topic) + bytes((each.options(version),)) for each in filters)
    return frame(PacketType.SUBSCRIBE << 4 | 2, packet_id.to_bytes(2, "big") + properties + body)


def encode_publish(topic: str, payload: bytes, version: int, *, packet_id: int = 0, retain: bool = False) -> bytes:
    """PUBLISH; of QoS 1 with a packet identifier, else of QoS 0."""
    properties = b"\x00" if version == V5 else b""
    identifier = packet_id.to_bytes(2, "big") if packet_id else b""
    first = PacketType.PUBLISH << 4 | (2 if packet_id else 0) | retain
    return frame(first, encode_string(topic) + identifier + properties + payload)


def encode_disconnect(code: int, version: int) -> bytes:
    """DISCONNECT; 3.1.1 has no reason codes."""
    return DISCONNECT if version != V5 or code == 0 else frame(PacketType.DISCONNECT << 4, bytes((code, 0)))


def encode_unsubscribe(packet_id: int, topics: Iterable[str | bytes], version: int) -> bytes:
    properties = b"\x00" if version == V5 else b""
    filters = b"".join(encode_string(topic) for topic in topics)
    return frame(PacketType.UNSUBSCRIBE << 4 | 2, packet_id.to_bytes(2, "big") + properties + filters)


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
            if code in found and code != p.PROPERTY_PAIR:
                raise ProtocolError(f"{self._what} with property 0x{code:02x} twice")
            if code in p.PROPERTY_BYTES:
                found[code] = inner.number(p.PROPERTY_BYTES[code])
            elif code in p.PROPERTY_BINARY:
                found[code] = inner.binary()
            elif code == p.PROPERTY_VARINT:
                found[code] = inner.varint()
            elif code == p.PROPERTY_PAIR:
                inner.binary()
                found[code] = inner.binary()
            else:
                raise ProtocolError(f"{self._what} with property 0x{code:02x}, which MQTT does not define")
        return found

    def end(self) -> None:
        if self.left:
            raise ProtocolError(f"{self._what} with {self.left} bytes too many")


def _parse_connack(reader: _Reader, version: int) -> Connack:
    flags, code = reader.number(1), reader.number(1)
    if flags > 1:
        raise ProtocolError("CONNACK with reserved flags set")
    # A broker of version 3.1.1 refuses a CONNECT of version 5 with a CONNACK that has no properties.
    properties = reader.properties() if version == V5 and reader.left else {}
    reader.end()
    packet_bytes_max = p.number_of(properties, p.PACKET_BYTES_MAX)
    return Connack(
        code,
        flags == 1,
        server_keep_alive_s=p.number_of(properties, p.SERVER_KEEP_ALIVE),
        reason=p.text_of(properties, p.REASON_STRING),
        server_reference=p.text_of(properties, p.SERVER_REFERENCE),
        session_expiry_s=p.number_of(properties, p.SESSION_EXPIRY),
        packet_bytes_max=REMAINING_LENGTH_MAX if packet_bytes_max is None else packet_bytes_max,
        has_wildcards=p.number_of(properties, p.HAS_WILDCARDS) != 0,
        has_shared=p.number_of(properties, p.HAS_SHARED) != 0,
    )


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


def _parse_puback(reader: _Reader, version: int) -> Puback:
    packet_id = reader.packet_id()
    if version == V5 and reader.left:
        reader.number(1)
        if reader.left:
            reader.properties()
    reader.end()
    return Puback(packet_id)


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
    return Disconnect(code, p.text_of(properties, p.REASON_STRING), p.text_of(properties, p.SERVER_REFERENCE))


def _parse_auth(reader: _Reader, version: int) -> Auth:
    if version != V5:
        raise ProtocolError("AUTH from the broker, which MQTT 3.1.1 does not know")
    if reader.left:
        reader.number(1)
    properties = reader.properties() if reader.left else {}
    reader.end()
    return Auth(p.text_of(properties, p.AUTHENTICATION_METHOD, 80))


_PARSERS: dict[int, tuple[str, Callable[[_Reader, int], Packet]]] = {
    PacketType.CONNACK << 4: ("CONNACK", _parse_connack),
    PacketType.SUBACK << 4: ("SUBACK", _parse_suback),
    PacketType.UNSUBACK << 4: ("UNSUBACK", _parse_unsuback),
    PacketType.PUBACK << 4: ("PUBACK", _parse_puback),
    PacketType.DISCONNECT << 4: ("DISCONNECT", _parse_disconnect),
    AUTH: ("AUTH", _parse_auth),
}


def parse(first: int, body: bytes, version: int) -> Packet:
    """The packet with this first byte and body. Raises ProtocolError for anything a broker must not send."""
    known = _PARSERS.get(first)
    if known is None:
        raise ProtocolError(f"a packet that starts with 0x{first:02x}, which no broker may send to this client")
    name, parser = known
    return parser(_Reader(body, name), version)
