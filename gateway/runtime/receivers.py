"""Far ends that can be read from a disk: the file of `gateway.receiver`, files of JSON lines, folders of Parquet files.

What is read is what any reader finds there, so files may have been moved, and collected in folders of any shape; of a
folder that a gateway writes Parquet into also the log is read, which has what is no file yet. Each file is read once,
however often it is named.

The files may be written to meanwhile, renamed and converted: when the names after reading are not those before, all is
read again.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from gateway.core.record import Identity, Stream
from gateway.core.segments import KIND_LEDGER
from gateway.protocol.records.log import Frame
from gateway.runtime.received import LEDGER_MARK, Received, ReceiverUnfit, settled
from gateway.upstreams.file import ROTATED
from gateway.upstreams.parquet import folder as places
from gateway.upstreams.parquet.files import number_of, told_spans

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

SQLITE: Final = b"SQLite format 3\0"
LINES: Final = ".jsonl"
PARQUET: Final = ".parquet"
WHO: Final = ("gateway", "segment", "sequence")
TRIES: Final = 20
"""Looks at files whose names change while they are read."""
_heads: Final = msgspec.json.Decoder(Identity)


class _Moved(Exception):
    """Names changed while files were read."""


class _Found(NamedTuple):
    """The files under what was named, by how they are read."""

    databases: list[Path]
    lines: list[Path]
    parquet: list[Path]
    folders: list[Path]
    """Those with a log."""


def read_files(paths: Sequence[Path], gateway: str) -> Received:
    """Everything of a gateway that lies there, settled. A file that is not there has nothing. Raises ReceiverUnfit."""
    for _ in range(TRIES):
        try:
            return _read(paths, gateway)
        except (_Moved, FileNotFoundError):
            continue
        except OSError as error:
            raise ReceiverUnfit(f"{error.filename or paths[0]}: {error.strerror or error}") from error
        except ImportError as error:
            raise ReceiverUnfit(f"Parquet files cannot be read: {error}; pip install 'fieldgate[parquet]'") from error
    raise ReceiverUnfit(f"{paths[0]}: files come and go faster than they are read; try when less is written there")


def _read(paths: Sequence[Path], gateway: str) -> Received:
    received = Received()
    before = _find(paths)
    logs = _logs(before)
    for path in before.databases:
        _read_database(path, gateway, received)
    for path in before.lines:
        _read_lines(path, gateway, received)
    for folder in before.folders:
        _read_logs(folder, gateway, received)
    for path in before.parquet:
        # What a log that is not done away with holds may have its name already.
        folder, number = path.parent.parent, number_of(path)
        if number is None or number not in places.done(folder):
            _read_parquet(path, gateway, received)
    after = _find(paths)
    if after != before or _logs(after) != logs:
        raise _Moved
    received.settle()
    return received


def _logs(found: _Found) -> list[tuple[list[int], list[int]]]:
    return [(places.logs(folder), places.done(folder)) for folder in found.folders]


# -- which files


def _find(paths: Sequence[Path]) -> _Found:
    found = _Found([], [], [], [])
    for path in paths:
        if path.is_dir():
            before = sum(map(len, found))
            _find_below(path, found)
            if sum(map(len, found)) == before:
                raise ReceiverUnfit(f"{path}: there are neither JSON lines ({LINES}) nor Parquet files in it")
        elif path.suffix == PARQUET:
            found.parquet.append(path)
        elif _begins_with(path, SQLITE):
            found.databases.append(path)
        else:
            found.lines.extend([*_rotated(path), *([path] if path.exists() else [])])
    return _Found(*([*{path.resolve(): None for path in each}] for each in found))


def _find_below(top: Path, found: _Found) -> None:
    for place, folders, names in os.walk(top):
        folder = Path(place)
        if places.LOGS in folders:
            found.folders.append(folder)
        # As readers of data sets do, we pass over names that begin with an underscore.
        folders[:] = sorted(name for name in folders if not name.startswith("_"))
        lines = sorted((name for name in names if name.endswith(LINES)), key=_by_age)
        found.lines.extend(folder / name for name in lines)
        found.parquet.extend(folder / name for name in sorted(names) if name.endswith(PARQUET))


def _rotated(path: Path) -> list[Path]:
    """The earlier files of one that is written to."""
    beside = (each for each in path.parent.glob(f"{path.stem}-*{path.suffix}") if ROTATED.search(each.stem))
    return sorted(beside, key=lambda each: _by_age(each.name))


def _by_age(name: str) -> tuple[bool, int, str]:
    """The one that is written to comes last: what is renamed meanwhile is not passed over, the names tell."""
    match = ROTATED.search(Path(name).stem)
    return (match is None, int(match[1]) if match else 0, name)


def _begins_with(path: Path, mark: bytes) -> bool:
    if not path.exists():
        return False
    with path.open("rb") as file:
        return file.read(len(mark)) == mark


# -- the receiver's SQLite file


def _read_database(path: Path, gateway: str, received: Received) -> None:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)) as connection:
            connection.execute("BEGIN")
            _read_tables(connection, gateway, received)
            has_bodies_off = not received.held and _has_bodies_off(connection)
    except sqlite3.DatabaseError as error:
        raise ReceiverUnfit(f"{path}: {error}; name the file that gateway.receiver writes") from error
    if has_bodies_off:
        raise ReceiverUnfit(f"{path}: keeps no records; make the receiver with keep_bodies=True to reconcile")


def _read_tables(connection: sqlite3.Connection, gateway: str, received: Received) -> None:
    for place in connection.execute(
        "SELECT stream, segment, sequence, sequence FROM records WHERE gateway = ? ORDER BY stream, segment, sequence",
        (gateway,),
    ):
        received.add(*place)
    for (payload,) in connection.execute(
        "SELECT payload FROM records WHERE gateway = ? AND stream = 'events' AND instr(payload, ?)",
        (gateway, LEDGER_MARK),
    ):
        received.note_report(payload)


def _has_bodies_off(connection: sqlite3.Connection) -> bool:
    """Whether the receiver counts records that it does not hold."""
    row = connection.execute("SELECT json FROM state").fetchone()
    (held,) = connection.execute("SELECT count(*) FROM records").fetchone()
    return row is not None and bool(msgspec.json.decode(row[0])["received"]) and not held


# -- JSON lines


def _read_lines(path: Path, gateway: str, received: Received) -> None:
    """A last line without its end was never accepted. A line that is no record is named; what it was is missing."""
    at = records = 0
    faults: list[str] = []
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                break
            try:
                head = _heads.decode(line)
            except msgspec.MsgspecError:
                faults.append(f"{path}: byte {at} begins a line that is no record")
            else:
                records += 1
                if head.gateway == gateway:
                    _note(head, line, received)
            at += len(line)
    if faults and not records:
        raise ReceiverUnfit(f"{path}: neither a receiver's SQLite file nor JSON lines of records")
    received.unreadable += faults


def _note(head: Identity, payload: bytes, received: Received) -> None:
    received.add(head.stream, head.segment, head.sequence, head.sequence)
    if head.stream == Stream.EVENTS and LEDGER_MARK in payload:
        received.note_report(payload)


# -- Parquet


def _read_logs(folder: Path, gateway: str, received: Received) -> None:
    """What is no file yet, or may be one: the frames of all logs, in the oldest also what those before it held."""
    done = [places.log_path(folder, number).with_suffix(".done") for number in places.done(folder)]
    for at, path in enumerate([*done, *(places.log_path(folder, number) for number in places.logs(folder))]):
        with path.open("rb") as log:
            for frame in places.frames(log):
                if frame is None:
                    received.unreadable.append(f"{path}: a damaged frame before byte {log.tell()}")
                elif frame.body:
                    _note_frame(frame, gateway, received)
                elif at == 0:
                    for whose, stream, segment, *span in frame.head.spans:
                        if whose == gateway:
                            received.taken_away.setdefault((stream, segment), []).append((span[0], span[1]))


def _note_frame(frame: Frame, gateway: str, received: Received) -> None:
    for whose, stream, segment, first, last in frame.head.spans:
        if whose == gateway:
            received.add(stream, segment, first, last)
    if any(span[:2] == (gateway, Stream.EVENTS) for span in frame.head.spans):
        for payload in frame.payloads():
            if LEDGER_MARK in payload and _heads.decode(payload).gateway == gateway:
                received.note_report(payload)


def _read_parquet(path: Path, gateway: str, received: Received) -> None:
    """By its footer, which is written last; by its rows where another program made the file of ours."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            spans = told_spans(file.metadata)
            if not set(WHO) <= set(file.schema_arrow.names):
                raise pyarrow.ArrowInvalid("it has no columns " + ", ".join(WHO))
            if spans is None:
                _read_rows(file, path.parent.name, gateway, received)
            for whose, stream, segment, first, last in spans or ():
                if whose == gateway:
                    received.add(stream, segment, first, last)
            if {"record", "content"} <= set(file.schema_arrow.names):
                _read_reports(file, gateway, received)
    except (pyarrow.ArrowException, msgspec.MsgspecError) as error:
        received.unreadable.append(f"{path}: {str(error).splitlines()[0]}")


def _read_rows(file: ParquetFile, table: str, gateway: str, received: Received) -> None:
    """One record may have rows in several places of the file; it counts once. Raises ArrowException."""
    here = Received()
    streams = ["stream"] if "stream" in file.schema_arrow.names else []
    for batch in file.iter_batches(columns=[*streams, *WHO]):
        stream_of = _words(batch.column("stream")) if streams else _Words(None, [table])
        gateway_of = _words(batch.column("gateway"))
        segments, sequences = (batch.column(name).to_numpy(zero_copy_only=False) for name in ("segment", "sequence"))
        for row in _changes(segments, sequences, gateway_of.indices, stream_of.indices):
            if gateway_of(row) == gateway:
                here.add(stream_of(row), int(segments[row]), int(sequences[row]), int(sequences[row]))
    for (stream, segment), ranges in here.held.items():
        for first, last in settled(ranges)[0]:
            received.add(stream, segment, first, last)


class _Words(NamedTuple):
    """A column of few words; without `indices` the first is that of all rows."""

    indices: Any
    words: list[str]

    def __call__(self, row: int) -> str:
        return self.words[0 if self.indices is None else int(self.indices[row])]


def _words(column: Any) -> _Words:
    import pyarrow

    coded = column if pyarrow.types.is_dictionary(column.type) else column.dictionary_encode()
    return _Words(coded.indices.to_numpy(zero_copy_only=False), [str(word) for word in coded.dictionary.to_pylist()])


def _changes(*columns: Any) -> Iterator[int]:
    """The rows that are not as the row before."""
    import numpy as np

    differs = np.zeros(len(columns[0]), bool)
    differs[:1] = True
    for column in columns:
        if column is not None:
            differs[1:] |= column[1:] != column[:-1]
    yield from map(int, np.flatnonzero(differs))


def _read_reports(file: ParquetFile, gateway: str, received: Received) -> None:
    for batch in file.iter_batches(columns=["gateway", "record", "content"]):
        for row in batch.to_pylist():
            if (row["gateway"], row["record"]) == (gateway, KIND_LEDGER):
                received.note_report(row["content"].encode())
