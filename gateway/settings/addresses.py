"""Addresses: endpoints, broker URLs, Modbus registers, MQTT topics and paths into JSON."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.protocol.modbus.points import WORDS, WireType
from gateway.settings.forms import matching, says
from gateway.settings.schema import RegisterType, Table
from gateway.settings.units import WrongValueError, show, text

MODBUS_PORT = 502
MODBUS_TLS_PORT = 802
MQTT_PORT = 1883
MQTTS_PORT = 8883
NATS_PORT = 4222
REGISTERS = 65_536
"""Addresses of each Modbus table."""
TOPIC_BYTES_MAX = 65_535
SUBJECT_BYTES_MAX = 200
FIELD_DEPTH_MAX = 16
PLACE_MAX = 65_535
"""Of an element of an array in JSON."""
BITS_MAX = 64
PATTERNS_MAX = 4
"""Values of one tag that mean "not available"."""

WIDTHS = {wire: WORDS.get(WireType[wire.name], 1) for wire in RegisterType}
"""Addresses that a value takes; of a text, at least."""

_HOST = r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])"
_ENDPOINT = re.compile(_HOST + r"(?::(?P<port>[0-9]{1,5}))?")
_REGISTER = re.compile(r"(coil|discrete|input|holding) +([0-9]{1,6}|0[xX][0-9A-Fa-f]{1,5})")
_STEP = re.compile(r"([^\[\]]*)((?:\[[0-9]{1,5}\])*)")
_BITS = re.compile(r"([0-9]{1,2})(?:\.\.([0-9]{1,2}))?")
_PATTERN = re.compile(r"-?[1-9][0-9]{0,19}|0|0[xX][0-9A-Fa-f]{1,16}")
_MODICON = re.compile(r"([0134])([0-9]{4,5})")
_MODICON_TABLES = {"0": Table.COIL, "1": Table.DISCRETE, "3": Table.INPUT, "4": Table.HOLDING}


class Endpoint(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Broker(NamedTuple):
    endpoint: Endpoint
    tls: bool


class Register(NamedTuple):
    table: Table
    address: int


def modbus_endpoint(value: object) -> Endpoint:
    """`"10.0.0.5:502"`; the port may be left out."""
    return endpoint_of(text(value), MODBUS_PORT, '"10.0.0.5:502"')


def listen_endpoint(value: object) -> Endpoint:
    """Where a server listens: the port must be said."""
    word = text(value)
    match = _ENDPOINT.fullmatch(word)
    if match is None or match["port"] is None:
        raise WrongValueError(f'{show(word)} is not host:port; write it like "127.0.0.1:1502"')
    return endpoint_of(word, 0, '"127.0.0.1:1502"')


def endpoint_of(word: str, port: int, example: str) -> Endpoint:
    match = _ENDPOINT.fullmatch(word)
    if match is None:
        raise WrongValueError(f"{show(word)} is not host:port; write it like {example}")
    if match["port"] is not None:
        port = int(match["port"])
    if not 1 <= port <= 65_535:
        raise WrongValueError(f"port {port} does not exist; write one from 1 to 65535, like {example}")
    return Endpoint(match["host"].strip("[]"), port)


def broker(value: object) -> Broker:
    """`"mqtt://host:1883"` or `"mqtts://host:8883"`; the port may be left out."""
    example = '"mqtt://broker.example:1883" or "mqtts://broker.example:8883"'
    return _server(text(value), ("mqtt", MQTT_PORT), ("mqtts", MQTTS_PORT), "a broker's address", example)


def nats_server(value: object) -> Broker:
    """`"nats://host:4222"`, or `"tls://host:4222"`; the port may be left out."""
    example = '"nats://nats.example:4222" or "tls://nats.example:4222"'
    return _server(text(value), ("nats", NATS_PORT), ("tls", NATS_PORT), "a NATS server's address", example)


def _server(word: str, plain: tuple[str, int], secure: tuple[str, int], what: str, example: str) -> Broker:
    """A URL of one of two schemes; each is given with its port."""
    try:
        scheme, authority, path, query, fragment = urlsplit(word)
    except ValueError:
        raise WrongValueError(f"{show(word)} is not {what}; write {example}") from None
    if scheme not in (plain[0], secure[0]):
        if scheme in ("ws", "wss", "tcp", "ssl", "tls"):
            raise WrongValueError(f"{scheme}:// is not supported; write {example}")
        raise WrongValueError(f"{show(word)} is not {what}; write {example}")
    if "@" in authority:
        raise WrongValueError("has a user in its address; write username = and password_file = beside it")
    if path.strip("/") or query or fragment:
        raise WrongValueError(f"{show(word)} goes on after the port; write {example}")
    tls = scheme == secure[0]
    return Broker(endpoint_of(authority, secure[1] if tls else plain[1], example), tls)


def shared_group(value: object) -> str:
    """Name of a group of subscribers that share the messages (MQTT 5, 4.8.2; many 3.1.1 brokers know them too)."""
    word = text(value)
    if any(c in word for c in "/+#\0"):
        raise WrongValueError(f'{show(word)} has one of / + # in it; write a plain name, like "gateways"')
    return word


says(shared_group, "a name without / + #", matching("[^/+#]+"))


def network(value: object) -> str:
    """`"10.0.0.0/24"`, or one address."""
    word = text(value)
    try:
        return str(ip_network(word))
    except ValueError as error:
        example = '"10.0.0.0/24" or "10.0.0.7"'
        raise WrongValueError(f"{show(word)} is not a network ({error}); write it like {example}") from None


def is_local(host: str) -> bool:
    """Whether nobody outside this machine is on the way."""
    return host in ("localhost", "::1") or host.startswith("127.")


def register(value: object) -> Register:
    """`"holding 100"` (the protocol's address, from 0) or Modicon's `"40101"` (counted from 1)."""
    word = show(value) if isinstance(value, int) and not isinstance(value, bool) else value
    remedy = 'write a table and the protocol address, like "holding 100", or Modicon notation, like "40101"'
    if not isinstance(word, str):
        raise WrongValueError(f"{show(value)} is not a register; {remedy}")
    match = _REGISTER.fullmatch(word)
    if match is not None:
        address = int(match[2], 16 if match[2][:2] in ("0x", "0X") else 10)
        if address >= REGISTERS:
            raise WrongValueError(f"address {address} does not exist; write one from 0 to {REGISTERS - 1}")
        return Register(Table(match[1]), address)
    modicon = _MODICON.fullmatch(word)
    if modicon is None:
        raise WrongValueError(f"{show(value)} is not a register; {remedy}")
    number = int(modicon[2])
    if not 1 <= number <= REGISTERS:
        raise WrongValueError(
            f"{show(value)} does not exist in Modicon notation, which counts from 1 to {REGISTERS}; {remedy}"
        )
    return Register(_MODICON_TABLES[modicon[1]], number - 1)


class Bits(NamedTuple):
    """A bit field: its lowest bit, counted from 0, and its width; width 0: the whole value."""

    first: int
    width: int


def bits(value: object) -> Bits:
    """`3`, or `"4..7"`: bits of a register or of a longer value, the lowest being 0."""
    match = _BITS.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if match is None:
        raise WrongValueError(f'{show(value)} is no bit field; write one bit, like 3, or a range, like "4..7"')
    first, last = int(match[1]), int(match[2] or match[1])
    if not first <= last < BITS_MAX:
        raise WrongValueError(f'{show(value)} is no bit field; count up, from 0 to at most {BITS_MAX - 1}, like "4..7"')
    return Bits(first, last - first + 1)


def patterns(value: object) -> tuple[int, ...]:
    """`0x8000`, `"0x8000"`, or an array of such."""
    listed = value if isinstance(value, list) else [value]
    if not 1 <= len(listed) <= PATTERNS_MAX:
        raise WrongValueError(f"has {len(listed)} elements; write 1 to {PATTERNS_MAX} of them, like [0x7FFF, 0x8000]")
    return tuple(_pattern(element) for element in listed)


def _pattern(value: object) -> int:
    if isinstance(value, str) and _PATTERN.fullmatch(value):
        value = int(value, 0)
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongValueError(f"{show(value)} is not a register's content; write it like 0x8000 or -1")
    return value


def topic(value: object) -> str:
    """A topic that is published to: no wildcards."""
    word = text(value)
    if "+" in word or "#" in word:
        raise WrongValueError(
            f"{show(word)} has a wildcard; write the whole topic of one tag, or {{device}} and {{tag}} in it"
        )
    if len(word.encode()) > TOPIC_BYTES_MAX:
        raise WrongValueError(f"{show(word)} is too long; write at most {TOPIC_BYTES_MAX} bytes")
    return word


def subject(value: object) -> str:
    """A NATS subject that is published below: tokens without wildcards and spaces, joined by dots."""
    word = text(value)
    if not re.fullmatch(r"[^\s.*>]+(\.[^\s.*>]+)*", word) or len(word.encode()) > SUBJECT_BYTES_MAX:
        raise WrongValueError(f'{show(word)} is not a subject; write it like "fieldgate.{{gateway}}.{{stream}}"')
    return word


def field_path(value: object) -> tuple[str | int, ...]:
    """`"a.b[0].c"`, or `["a.b", 0, "c"]` where a name has dots: the way to a value in a JSON document."""
    parts = value if isinstance(value, list) else _split_path(text(value))
    if not 1 <= len(parts) <= FIELD_DEPTH_MAX or not all(_is_step(part) for part in parts):
        raise WrongValueError(f'{show(value)} is not a path into JSON; write "value", "motor.current" or "phases[0].u"')
    return tuple(parts)


def _split_path(word: str) -> list[str | int]:
    parts: list[str | int] = []
    for name in word.split("."):
        match = _STEP.fullmatch(name)
        if match is None or (not match[1] and (parts or not match[2])):
            return []
        parts += [match[1]] if match[1] else []
        parts += [int(place) for place in re.findall(r"[0-9]+", match[2])]
    return parts


def _is_step(part: object) -> bool:
    return bool(part) if isinstance(part, str) else type(part) is int and 0 <= part <= PLACE_MAX


_HOST_SCHEMA = r"[^:/ ]+|\[[0-9A-Fa-f:.]+\]"
says(modbus_endpoint, 'a host and a port, like "10.0.0.5:502"', matching(f"({_HOST_SCHEMA})(:[0-9]+)?"))
says(
    listen_endpoint,
    'an address of this machine and a port, like "127.0.0.1:1502"',
    matching(f"({_HOST_SCHEMA}):[0-9]+"),
)
says(broker, 'like "mqtt://127.0.0.1:1883", or mqtts:// for TLS', matching("mqtts?://[^@/]+/?"))
says(
    register,
    f'a table (coil, discrete, input, holding) and an address from 0 to {REGISTERS - 1}, like "holding 100"; '
    'or Modicon notation, like "40101"',
    {"type": ["string", "integer"]},
)
says(nats_server, 'like "nats://127.0.0.1:4222", or tls:// for TLS', matching("(nats|tls)://[^@/]+/?"))
says(
    subject,
    'a subject without wildcards, like "plant.{stream}"',
    {"type": "string", "pattern": r"^[^\s.*>]+(\.[^\s.*>]+)*$"},
)
says(network, 'a network or an address, like "10.0.0.0/24"', matching("[0-9A-Fa-f.:]+(/[0-9]+)?"))
says(
    bits,
    'one bit, like 3, or a range, like "4..7"',
    {"anyOf": [{"type": "integer", "minimum": 0, "maximum": BITS_MAX - 1}, matching(_BITS.pattern)]},
)
says(
    patterns,
    f"one to {PATTERNS_MAX} contents of the value, like 0x8000 or [0x7FFF, 0x8000]",
    {"type": ["integer", "string", "array"], "maxItems": PATTERNS_MAX},
)
says(topic, 'a topic without wildcards, like "plant/hall/{tag}"', {"type": "string", "pattern": "^[^+#]+$"})
says(
    field_path,
    'the way into JSON, like "motor.current" or "phases[0].u", or an array of names and places',
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": ["string", "integer"]}, "maxItems": 16}]},
)
