"""Forms of a record: which encoding, and whether it is compressed; made at sending, undone by a receiver.

    encoding   media type                               begins with
    json       application/json                         {
    msgpack    application/vnd.msgpack                  a map: 0x80 to 0x8f, 0xde or 0xdf
    protobuf   application/protobuf                     0x0a, the field `gateway`
    arrow      application/vnd.apache.arrow.stream      0xffffffff, the mark of a message
    + zstd     content coding zstd (RFC 8878)           0xfd2fb528, little-endian

HTTP, NATS and MQTT 5 carry media type and content coding beside the record. MQTT 3.1.1 carries nothing, and the
first bytes tell the forms apart.

Rules of evolution. `format` says the version of the meaning, in every record of every encoding. Within a version,
members and columns may be added, and none is taken away, renamed or given another meaning; a reader passes over what
it does not know, and takes what is missing as not told. Anything else is another version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

import msgspec
import zstandard

from gateway.core.limits import RECORD_BYTES_MAX
from gateway.core.segments import FORMAT
from gateway.protocol.records import arrow, protobuf

Content: TypeAlias = dict[str, Any]
"""A whole record, as its JSON is read: identity and body."""

ZSTD_LEVEL: Final = 3
ZSTD_MARK: Final = b"\x28\xb5\x2f\xfd"


class Unreadable(Exception):
    """A payload that is no record in the encoding that it was said, or seemed, to have."""


class Unwritable(Exception):
    """A record that this encoding cannot hold; the text says why."""


class Encoding(StrEnum):
    JSON = "json"
    MSGPACK = "msgpack"
    PROTOBUF = "protobuf"
    ARROW = "arrow"

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES[self]


class Compression(StrEnum):
    NONE = "none"
    ZSTD = "zstd"


_MEDIA_TYPES: Final = {
    Encoding.JSON: "application/json",
    Encoding.MSGPACK: "application/vnd.msgpack",
    Encoding.PROTOBUF: "application/protobuf",
    Encoding.ARROW: "application/vnd.apache.arrow.stream",
}
_BY_MEDIA_TYPE: Final = {
    **{media_type: encoding for encoding, media_type in _MEDIA_TYPES.items()},
    "application/msgpack": Encoding.MSGPACK,
    "application/x-msgpack": Encoding.MSGPACK,
    "application/x-protobuf": Encoding.PROTOBUF,
    "application/vnd.google.protobuf": Encoding.PROTOBUF,
}


@dataclass(frozen=True, slots=True)
class Form:
    """How an uplink has its records."""

    encoding: Encoding = Encoding.JSON
    compression: Compression = Compression.NONE

    @property
    def is_canonical(self) -> bool:
        """Whether it is the form that the spool keeps: nothing is to be done."""
        return self == CANONICAL

    @property
    def content_type(self) -> str:
        return self.encoding.media_type

    @property
    def content_coding(self) -> str:
        """Of Content-Encoding; empty without one."""
        return "" if self.compression is Compression.NONE else self.compression.value

    @property
    def headers(self) -> dict[str, str]:
        """As HTTP names them."""
        return {"Content-Type": self.content_type} | (
            {"Content-Encoding": self.content_coding} if self.content_coding else {}
        )


CANONICAL: Final = Form()


def written(payload: bytes, form: Form) -> bytes:
    """The record whose JSON is `payload`, in this form. Raises Unwritable; ImportError where a library is missing."""
    try:
        encoded = payload if form.encoding is Encoding.JSON else _WRITE[form.encoding](content_of(payload))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Unwritable(f"it cannot be written as {form.encoding.value}: {type(error).__name__} {error}") from error
    if form.compression is Compression.NONE:
        return encoded
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(encoded)


def prepare(form: Form) -> None:
    """Load what this form needs; raises ImportError where it is missing. May take a second."""
    if form.encoding is Encoding.ARROW:
        arrow.prepare()


def content_of(payload: bytes) -> Content:
    """A record's JSON, read. The version stands in each record, also in those that older gateways stored without."""
    content = msgspec.json.decode(payload, type=dict[str, Any])
    return content if "format" in content else content | {"format": FORMAT}


def read(payload: bytes, content_type: str = "", content_coding: str = "") -> Content:
    """A record in any form. What is not told is seen by the first bytes. Raises Unreadable, and ImportError."""
    coding = content_coding.strip().lower() or ("zstd" if payload.startswith(ZSTD_MARK) else "")
    if coding not in ("", "identity", "zstd"):
        raise Unreadable(f"content coding {content_coding!r} is not known here")
    plain = _decompressed(payload) if coding == "zstd" else payload
    media_type = content_type.partition(";")[0].strip().lower()
    encoding = _BY_MEDIA_TYPE.get(media_type) if media_type else _seen(plain)
    if encoding is None:
        raise Unreadable(f"media type {content_type!r} is not known here" if media_type else "no encoding known here")
    try:
        content = _READ[encoding](plain)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise Unreadable(f"no record of {encoding.value}: {error}") from error
    return content


def _seen(payload: bytes) -> Encoding | None:
    first = payload[:1]
    if first == b"{":
        return Encoding.JSON
    if first == b"\x0a":
        return Encoding.PROTOBUF
    if payload[:4] == b"\xff\xff\xff\xff":
        return Encoding.ARROW
    return Encoding.MSGPACK if first and (first[0] & 0xF0 == 0x80 or first in (b"\xde", b"\xdf")) else None


def _decompressed(payload: bytes) -> bytes:
    """At most RECORD_BYTES_MAX: what claims more, or goes on for longer, is no record."""
    try:
        if zstandard.get_frame_parameters(payload).content_size not in range(1, RECORD_BYTES_MAX + 1):
            raise Unreadable(f"a compressed record without a size, or one above {RECORD_BYTES_MAX} bytes")
        return zstandard.ZstdDecompressor().decompress(payload, max_output_size=RECORD_BYTES_MAX)
    except zstandard.ZstdError as error:
        raise Unreadable(f"not zstd: {error}") from error


def _read_json(payload: bytes) -> Content:
    return msgspec.json.decode(payload, type=dict[str, Any])


def _read_msgpack(payload: bytes) -> Content:
    return msgspec.msgpack.decode(payload, type=dict[str, Any])


_WRITE: Final[dict[Encoding, Callable[[Content], bytes]]] = {
    Encoding.MSGPACK: msgspec.msgpack.encode,
    Encoding.PROTOBUF: protobuf.encode,
    Encoding.ARROW: arrow.encode,
}
_READ: Final[dict[Encoding, Callable[[bytes], Content]]] = {
    Encoding.JSON: _read_json,
    Encoding.MSGPACK: _read_msgpack,
    Encoding.PROTOBUF: protobuf.decode,
    Encoding.ARROW: arrow.decode,
}
