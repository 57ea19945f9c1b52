"""From closed logs to Parquet files, in a process of its own: `python -m gateway.upstreams.parquet.convert FOLDER`.

Inherits the folder's lock, so that no other gateway writes here while it lives, and ends itself when whoever started it
is gone. It may be killed at any moment (`gateway.upstreams.parquet` says why). One line of JSON tells what went wrong.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from gateway.core.record import Identity
from gateway.disk import sync_folder
from gateway.protocol.records.columns import STREAMS
from gateway.protocol.records.log import Frame
from gateway.protocol.records.parquet import REPORTS, ROW_GROUP_ROWS, NoTable, Table
from gateway.upstreams.parquet import folder as places
from gateway.upstreams.parquet.files import file_path

if TYPE_CHECKING:
    import pyarrow.parquet

NICENESS: Final = 10
EXIT_FAILED: Final = 1
ORPHANED: Final = 2


class _File:
    """One Parquet file as it grows, beside the log."""

    def __init__(self, path: Path, table: str) -> None:
        from pyarrow import parquet

        self._table = Table(table)
        self._file: BinaryIO = path.open("wb")
        self._writer: pyarrow.parquet.ParquetWriter = parquet.ParquetWriter(
            self._file, self._table.schema, compression="zstd", compression_level=3
        )

    def add(self, identity: Identity, content: dict[str, object], payload: bytes) -> None:
        """Raises NoTable."""
        self._table.add(identity, content, payload)
        if self._table.rows >= ROW_GROUP_ROWS:
            self._writer.write_table(self._table.take())

    def finish(self) -> None:
        if self._table.rows:
            self._writer.write_table(self._table.take())
        self._writer.add_key_value_metadata(self._table.metadata())
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


class _Files:
    """The files of one log."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._files: dict[str, _File] = {}
        self.is_damaged = False

    def write(self) -> None:
        parent = os.getppid()
        with self._log.open("rb") as log:
            for frame in places.frames(log):
                if os.getppid() != parent:
                    sys.exit(ORPHANED)
                if frame is None:
                    self.is_damaged = True
                else:
                    self._add(frame)
            # A log is closed at the end of a frame.
            self.is_damaged |= log.tell() < os.fstat(log.fileno()).st_size
        for each in self._files.values():
            each.finish()

    def _add(self, frame: Frame) -> None:
        for payload in frame.payloads():
            content = msgspec.json.decode(payload, type=dict[str, object])
            record = msgspec.convert(content, Identity)
            table = record.stream if record.stream in STREAMS and "record" not in content else REPORTS
            try:
                self._file(table).add(record, content, payload)
            except NoTable:
                self._file(REPORTS).add(record, content, payload)

    def _file(self, table: str) -> _File:
        if table not in self._files:
            self._files[table] = _File(self._log.with_suffix(f".{table}.tmp"), table)
        return self._files[table]


def convert(folder: Path) -> list[str]:
    """All closed logs of a folder; returns what is to be told of them. Raises OSError."""
    told: list[str] = []
    for number in places.done(folder):
        _publish(folder, number)
    for left in (folder / places.LOGS).glob("*.tmp"):
        left.unlink()
    for number in places.logs(folder)[:-1]:
        path = places.log_path(folder, number)
        files = _Files(path)
        files.write()
        sync_folder(path.parent)
        if files.is_damaged:
            aside = path.with_suffix(".damaged")
            aside.unlink(missing_ok=True)
            aside.hardlink_to(path)
            told.append(f"{path.name} was damaged: its whole frames are in the files, it is kept as {aside.name}")
        path.replace(path.with_suffix(".done"))
        sync_folder(path.parent)
        _publish(folder, number)
    return told


def _publish(folder: Path, number: int) -> None:
    """Give the files of a log that is done their names; those that have theirs may be gone already."""
    done = places.log_path(folder, number).with_suffix(".done")
    with done.open("rb") as log:
        began_ns = next((each.head.wall_ns for each in places.frames(log) if each and each.body), 0)
    for path in sorted(done.parent.glob(f"{number:06}.*.tmp")):
        table = path.name.split(".")[1]
        target = file_path(folder, table, number, began_ns)
        if not target.parent.exists():
            target.parent.mkdir()
            sync_folder(folder)
        path.replace(target)
        sync_folder(target.parent)
    sync_folder(done.parent)
    done.unlink()


def main(folder: Path) -> int:
    os.nice(NICENESS)
    try:
        answer = {"told": convert(folder)}
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        answer = {"failed": [f"{place}{error.strerror or error}"]}
    sys.stdout.write(json.dumps(answer))
    return EXIT_FAILED if "failed" in answer else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
