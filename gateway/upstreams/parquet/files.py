"""Finished files: their names, and what their footers say of who is inside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.core.types import NS_PER_S
from gateway.protocol.records.held import Held, Span
from gateway.protocol.records.parquet import IDENTITIES_KEY
from gateway.upstreams.parquet.folder import LOGS

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

_NUMBERED: Final = re.compile(r"-(\d{6,})\.parquet$")
FOOTERS_MAX: Final = 2_000
"""The newest so many are read where the log is gone; what the spool may send again is in the last few."""


def file_path(folder: Path, table: str, number: int, began_ns: int) -> Path:
    began = datetime.fromtimestamp(began_ns // NS_PER_S, UTC)
    return folder / table / f"{began:%Y%m%dT%H%M%SZ}-{number:06}.parquet"


def number_of(path: Path) -> int | None:
    """The number of the log that a file was made of; None: we did not name it."""
    match = _NUMBERED.search(path.name)
    return int(match[1]) if match else None


def finished(folder: Path) -> list[tuple[int, Path]]:
    """Number and path, oldest first."""
    found = ((number_of(path), path) for path in folder.glob("*/*.parquet") if path.parent.name != LOGS)
    return sorted((number, path) for number, path in found if number is not None)


def numbers_of_files(folder: Path) -> list[int]:
    return [number for number, _ in finished(folder)]


def held_by_files(folder: Path) -> Held:
    """Raises OSError where one cannot be read; ImportError without pyarrow."""
    held = Held()
    for _, path in finished(folder)[-FOOTERS_MAX:]:
        for span in spans_of(path):
            held.add_span(span)
    return held


def spans_of(path: Path) -> Iterator[Span]:
    """Of the records inside. Raises OSError; ImportError without pyarrow."""
    import pyarrow
    from pyarrow import parquet

    try:
        yield from told_spans(parquet.read_metadata(path)) or ()
    except (pyarrow.ArrowInvalid, msgspec.MsgspecError) as error:
        raise OSError(0, f"{path.name} is no Parquet file that can be read: {error}") from error


def told_spans(footer: FileMetaData) -> list[Span] | None:
    """Of the records inside; None where the footer does not say. Raises msgspec.MsgspecError."""
    told = (footer.metadata or {}).get(IDENTITIES_KEY.encode())
    return None if told is None else msgspec.json.decode(told, type=list[Span])
