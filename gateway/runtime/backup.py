"""Backup and restore: what a gateway knows, in one archive, while it runs, and into a state directory again.

A backup has of the configuration this gateway's own files (the file, what it includes, the register map's lock file,
the users) and of the state every database, copied by SQLite as of one moment each, the audit trail, what operators
taught, reference tables as they were read last. It has no secret files, no journal, no durable intake and
nothing disposable: the journal's bytes belong to the moment of a crash, and a backup is always older.

Identities are why a restore is more than unpacking. What the gateway gave out after the backup, nobody here knows; a
receiver would discard the same identities as duplicates. So each restored spool goes on in a higher epoch, and
its open segments are closed. Records that wait in the backup and were delivered since are duplicates, and discarded.
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from gateway import __version__
from gateway.core.segments import EPOCHS_MAX, SEGMENTS_PER_EPOCH, first_segment
from gateway.runtime.intakes import INTAKE_FOLDER
from gateway.runtime.spoolfiles import spools
from gateway.runtime.statedir import JOURNAL_FOLDER, PARKING_FILE
from gateway.settings.including import read_whole
from gateway.settings.schema import Settings

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
LEFT_OUT_FOLDERS: Final = (JOURNAL_FOLDER, INTAKE_FOLDER)
LEFT_OUT: Final = ("in-use", PARKING_FILE)
LEFT_OUT_ENDS: Final = ("-wal", "-shm", "-journal")
EPOCHS_SKIPPED_MAX: Final = 1_000
MEMBERS_MAX: Final = 10_000
MANIFEST_BYTES_MAX: Final = 8_000_000


class BackupUnfit(Exception):
    """The archive is no backup, or damaged, or of another kind; the message says which."""


def back_up(settings: Settings, path: Path) -> list[str]:
    """Write the archive; the names of what is in it. Raises OSError and sqlite3.Error."""
    hashes: dict[str, str] = {}
    with path.open("xb") as file:
        path.chmod(0o600)
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=3) as archive:
            for name, member in _members(settings, path):
                hashes[name] = _add(archive, name, member)
            manifest = {
                "format": FORMAT,
                "gateway": settings.gateway_id,
                "version": __version__,
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "configuration": settings.path.name,
                "files": hashes,
            }
            text = json.dumps(manifest, indent=1, ensure_ascii=False).encode()
            entry = tarfile.TarInfo(MANIFEST)
            entry.size, entry.mode = len(text), 0o600
            archive.addfile(entry, io.BytesIO(text))
    return list(hashes)


def _members(settings: Settings, archive: Path) -> Iterator[tuple[str, Path]]:
    """Names in the archive, and what file each is."""
    folder = settings.path.parent
    document = read_whole(settings.path)
    own = [each.source.file for each in (document, *document.parts)]
    own += [settings.scada.lock_file] if settings.scada is not None else []
    own += [settings.http.users_file] if settings.http is not None and settings.http.users_file is not None else []
    for file in own:
        if file.is_file() and file.resolve().is_relative_to(folder.resolve()):
            yield f"configuration/{file.resolve().relative_to(folder.resolve())}", file
    for file in sorted(settings.state_dir.rglob("*")):
        place = file.relative_to(settings.state_dir)
        if file.is_file() and not _is_left_out(place) and file.resolve() != archive.resolve():
            yield f"state/{place}", file


def _is_left_out(place: Path) -> bool:
    is_beside = place.name.endswith(LEFT_OUT_ENDS) or ".damaged-" in place.name
    return place.parts[0] in (*LEFT_OUT_FOLDERS, *LEFT_OUT) or is_beside


def _add(archive: tarfile.TarFile, name: str, file: Path) -> str:
    """A database as of one moment, anything else as it is; its hash."""
    if file.suffix == ".db":
        copy = file.with_name(f"{file.name}.backup-shm")  # an end that is left out
        try:
            with (
                closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as old,
                closing(sqlite3.connect(copy)) as new,
            ):
                old.backup(new)
            return _add_file(archive, name, copy)
        finally:
            copy.unlink(missing_ok=True)
    return _add_file(archive, name, file)


def _add_file(archive: tarfile.TarFile, name: str, file: Path) -> str:
    """What is there now, though it may grow meanwhile."""
    digest = hashlib.sha256()
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = file.stat().st_size, 0o600
    with file.open("rb") as content:
        archive.addfile(entry, _Hashing(content, digest))
    return digest.hexdigest()


class _Hashing:
    """Reads on, and hashes what is read."""

    def __init__(self, file: IO[bytes], digest: Any) -> None:
        self._file = file
        self._digest = digest

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._digest.update(content)
        return content


def unpack(path: Path, folder: Path) -> dict[str, Any]:
    """Put the archive's files below `folder` and check each against the manifest, which is returned.

    Raises BackupUnfit and OSError.
    """
    hashes: dict[str, str] = {}
    manifest: dict[str, Any] = {}
    try:
        with tarfile.open(path, mode="r:gz") as archive:
            for entry in archive:
                name = PurePosixPath(entry.name)
                if not entry.isfile() or name.is_absolute() or ".." in name.parts or len(hashes) >= MEMBERS_MAX:
                    raise BackupUnfit(f"{path}: {entry.name} cannot be in a backup")
                content = archive.extractfile(entry)
                assert content is not None
                if entry.name == MANIFEST:
                    manifest = json.loads(content.read(MANIFEST_BYTES_MAX))
                    continue
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    digest = hashlib.sha256()
                    while piece := content.read(1 << 20):
                        digest.update(piece)
                        file.write(piece)
                target.chmod(0o640)
                hashes[entry.name] = digest.hexdigest()
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BackupUnfit(f"{path}: is not a whole backup ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BackupUnfit(
            f"{path}: has no manifest of this format; was it made by `fieldgate backup`, and is it whole?"
        )
    if manifest.get("files") != hashes:
        differing = sorted(set(manifest["files"].items()) ^ set(hashes.items()))
        raise BackupUnfit(f"{path}: {differing[0][0]} is not as it was put in")
    return manifest


def renew(state_dir: Path) -> int:
    """Have every spool go on in a higher epoch, its open segments closed. Returns how many there are."""
    files = spools(state_dir)
    for file in files:
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            for stream, following in connection.execute("SELECT stream, next_segment FROM streams").fetchall():
                epoch = following // SEGMENTS_PER_EPOCH + 1 + secrets.randbelow(EPOCHS_SKIPPED_MAX)
                begin = max(first_segment(min(epoch, EPOCHS_MAX)), following + 1)
                connection.execute("UPDATE streams SET next_segment = ? WHERE stream = ?", (begin, stream))
            connection.execute("UPDATE segments SET state = 'closed' WHERE state = 'open'")
            connection.execute("COMMIT")
    return len(files)
