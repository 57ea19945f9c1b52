"""The role in a certificate of Modbus/TCP Security. No I/O.

The extensions are walked as DER says: a search for the extension's number would also find it inside a name that
somebody asked an authority to sign.

Source: MODBUS/TCP Security Protocol Specification v21 (2018), 8.3 (role extension 1.3.6.1.4.1.50316.802.1);
RFC 5280, 4.1 (Certificate, Extensions).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

ROLE_OID: Final = bytes.fromhex("2b0601040183890c862201")
"""1.3.6.1.4.1.50316.802.1, as DER has it behind tag and length."""
_OCTET_STRING, _OID, _UTF8_STRING, _SEQUENCE, _EXTENSIONS = 0x04, 0x06, 0x0C, 0x30, 0xA3


def role_in(der: bytes) -> str | None:
    """The role that a certificate gives; None when it gives none, or is no certificate."""
    try:
        for extension in _extensions(der):
            parts = list(_elements(extension))
            if parts[0] == (_OID, ROLE_OID) and parts[-1][0] == _OCTET_STRING:  # perhaps a critical flag between
                ((tag, text),) = _elements(parts[-1][1])
                return text.decode("utf-8") if tag == _UTF8_STRING else None
    except (ValueError, IndexError):
        return None
    return None


def _extensions(der: bytes) -> Iterator[bytes]:
    ((_, certificate),) = _elements(der)
    _, to_be_signed = next(_elements(certificate))
    for tag, content in _elements(to_be_signed):
        if tag == _EXTENSIONS:
            ((_, extensions),) = _elements(content)
            yield from (body for kind, body in _elements(extensions) if kind == _SEQUENCE)


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element. Raises ValueError and IndexError where it is no DER of single-byte tags."""
    at = 0
    while at < len(data):
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:
            length_bytes = size & 0x7F
            size = int.from_bytes(data[at : at + length_bytes], "big")
            at += length_bytes
        if at + size > len(data):
            raise ValueError("it ends inside of an element")
        yield tag, data[at : at + size]
        at += size
