"""The lock file: which block of registers belongs to whom, for ever.

A line a block, readable and fit for version control. A block whose tag has left the configuration stays as `reserved`:
it is never given to another, and the tag finds it again when it returns. The file is written whole or not at all.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from gateway.disk import sync_folder
from gateway.serving.scada.layout import AREAS, LAYOUT_VERSION, Area

_TITLE: Final = f"# fieldgate register addresses, layout {LAYOUT_VERSION}"
_HEAD: Final = (
    _TITLE,
    "# Keep this file beside the configuration and under version control: without it, addresses may move.",
    "# A reserved block belongs to something that has left the configuration, and waits for its return.",
)
_COLUMNS: Final = ("unit", "address", "area", "state", "key")
_UNIT_MAX: Final = 255


class LockError(Exception):
    """The lock file cannot be read, trusted or written; the text says where and what to do."""


class Entry(NamedTuple):
    """One block. `key` is unique within its unit and area, e.g. `boiler.temperature/1min`."""

    unit: int
    address: int
    area: Area
    reserved: bool
    key: str


def parse(text: str, source: str) -> tuple[Entry, ...]:
    """Read a lock file's text; `source` names it in errors. Raises LockError."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != _TITLE:
        raise LockError(f"{source}:1: the first line must be `{_TITLE}`; restore the file from its last good copy")
    entries = []
    addresses: dict[tuple[int, int], int] = {}
    keys: dict[tuple[int, Area, str], int] = {}
    for number, cells in _rows(lines):
        place = f"{source}:{number}"
        entry = _entry(cells, place)
        for first in (
            addresses.setdefault((entry.unit, entry.address), number),
            keys.setdefault((entry.unit, entry.area, entry.key), number),
        ):
            if first != number:
                raise LockError(f"{place}: address or key stands in line {first} already; remove one of the two")
        entries.append(entry)
    return tuple(sorted(entries))


def render(entries: tuple[Entry, ...]) -> str:
    """The text of a lock file; `parse(render(x)) == x` for sorted entries."""
    out = io.StringIO()
    for line in _HEAD:
        out.write(line + "\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for entry in sorted(entries):
        writer.writerow((entry.unit, entry.address, entry.area, "reserved" if entry.reserved else "live", entry.key))
    return out.getvalue()


def load(path: Path) -> tuple[Entry, ...]:
    """The entries of the file, none when there is no file yet. Raises LockError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise LockError(f"{path}: cannot be read ({error}); make it readable, or restore its last good copy") from error
    return parse(text, str(path))


def save(path: Path, entries: tuple[Entry, ...]) -> None:
    """Replace the file at once: whoever reads it sees the old one or the new one. Raises LockError."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            try:
                file.write(render(entries))
                file.flush()
                os.fsync(file.fileno())
                temporary.chmod(0o644)
                temporary.replace(path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
        sync_folder(path.parent)
    except OSError as error:
        raise LockError(
            f"{path}: cannot be written ({error.strerror}); the addresses must be recorded before they are served: "
            "make the folder writable, or run `fieldgate registers FILE --write-lock` as somebody who may write there"
        ) from error


def _rows(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line that is neither comment, blank nor column titles, with its line number."""
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.startswith("#"):
            cells = next(csv.reader([line]))
            if tuple(cells) != _COLUMNS:
                yield number, cells


def _entry(cells: list[str], place: str) -> Entry:
    if len(cells) != len(_COLUMNS):
        raise LockError(f"{place}: {len(cells)} cells; a line has {len(_COLUMNS)}: {','.join(_COLUMNS)}")
    unit, address, area, state, key = cells
    if not (unit.isdecimal() and int(unit) <= _UNIT_MAX):
        raise LockError(f"{place}: unit `{unit}`; write a number from 0 to {_UNIT_MAX}")
    if area not in tuple(Area) or area == Area.GATEWAY:
        raise LockError(f"{place}: area `{area}`; write loop, device, tag, window or multivariate")
    if state not in ("live", "reserved"):
        raise LockError(f"{place}: state `{state}`; write live or reserved")
    blocks = AREAS[Area(area)]
    if not (address.isdecimal() and blocks.holds(int(address))):
        last = blocks.end - blocks.pitch
        raise LockError(f"{place}: no {area} block begins at `{address}`; they begin at {blocks.start} to {last}")
    return Entry(int(unit), int(address), Area(area), state == "reserved", key)
