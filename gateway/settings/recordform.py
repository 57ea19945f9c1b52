"""In which form an uplink has its records: encoding and compression, where the upstream leaves the choice."""

from __future__ import annotations

from typing import Final

from gateway.protocol.records.form import CANONICAL, Compression, Encoding, Form
from gateway.settings.schema_uplink import (
    FileAddress,
    HttpAddress,
    HttpFormat,
    ParquetAddress,
    SparkplugAddress,
    UpstreamAddress,
)
from gateway.settings.section import Section
from gateway.settings.units import choice

ENCODING: Final = choice(Encoding)
COMPRESSION: Final = choice(Compression)


def read_form(section: Section, address: UpstreamAddress) -> Form:
    form = Form(
        section.get("encoding", ENCODING, Encoding.JSON), section.get("compress", COMPRESSION, Compression.NONE)
    )
    if whose := _own_form(address):
        for key in ("encoding", "compress"):
            if section.has(key):
                section.wrong(key, f"has no use here: {whose}; take it out")
        return CANONICAL
    if isinstance(address, HttpAddress) and address.gzip and form.compression is not Compression.NONE:
        section.wrong("compress", "and gzip = true would compress a record twice; take one of them out")
    return form


def _own_form(address: UpstreamAddress) -> str:
    """What the upstream takes, where that leaves no choice."""
    if isinstance(address, FileAddress):
        return "a file has JSON lines"
    if isinstance(address, ParquetAddress):
        return "Parquet is an encoding, and compressed"
    if isinstance(address, SparkplugAddress):
        return "Sparkplug B has its own"
    if isinstance(address, HttpAddress) and address.format is HttpFormat.INFLUX:
        return "line protocol is text, compressed by gzip ="
    return ""
