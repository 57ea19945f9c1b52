"""The spool on disks that fail: errors of every kind, hanging syncs, power cuts. Nothing acknowledged is lost."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.core.record import Stream
from gateway.runtime.uplink import open_store
from gateway.spool.records import Key, StoreUnavailable
from gateway.spool.store import Store
from gateway.spool.view import State, view
from tests.support.faulty_disk import FaultyDisk
from tests.support.spool import encoded

SEED = 20_261_125
FAULTS = {
    "the log does not take writes": (f"write spool.db-wal {errno.EIO}",),
    "the log is not synced": (f"sync spool.db-wal {errno.EIO}",),
    "the disk is full": (f"write spool.db {errno.ENOSPC}",),
    "the disk became read-only": (f"write spool.db {errno.EROFS}", f"sync spool.db {errno.EROFS}"),
    "writes are cut short and then fail": ("write spool.db-wal short", f"sync spool.db-wal {errno.EIO}"),
}


def faults(*quick: str) -> list[Any]:
    """All of them; all but these are for the slow run, as each starts processes."""
    return [
        pytest.param(rules, id=name, marks=() if name in quick else pytest.mark.slow) for name, rules in FAULTS.items()
    ]


class Spool:
    """tests/support/faulty_spool.py, running."""

    def __init__(self, path: Path, disk: FaultyDisk, first: int = 0, noise_bytes: int = 0) -> None:
        command = [sys.executable, "-m", "tests.support.faulty_spool", str(path), str(first), str(noise_bytes)]
        self.process = subprocess.Popen(
            command, env=disk.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.events: list[str] = []
        self.answer("ready")

    def answer(self, *keys: str) -> dict[str, Any]:
        """The next line that has one of these keys; events on the way are noted."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said: dict[str, Any] = json.loads(line)
            if "event" in said:
                self.events.append(said["event"])
            if any(said.get(key) is not None or said.get("event") == key for key in keys):
                return said
        raise AssertionError(f"the spool ended without saying {keys}")

    def ask(self, line: str, *keys: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer(*keys)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def running(path: Path, disk: FaultyDisk, first: int = 0, noise_bytes: int = 0) -> Iterator[Spool]:
    spool = Spool(path, disk, first, noise_bytes)
    try:
        yield spool
    finally:
        spool.kill()


def numbers(path: Path) -> list[int]:
    """Of the drafts that are stored, in the order of storing."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = connection.execute("SELECT first_ns FROM records WHERE stream = 'samples' AND samples > 0 ORDER BY id")
        return [number for (number,) in rows]


@pytest.mark.parametrize("rules", faults("the log is not synced", "the disk is full"))
def test_a_disk_that_fails_and_recovers_costs_nothing_and_is_said_once(tmp_path: Path, rules: tuple[str, ...]) -> None:
    path, disk = tmp_path / "spool.db", FaultyDisk(tmp_path)
    with running(path, disk) as spool:
        assert spool.ask("put 30", "flushed")["flushed"] == 30
        disk.fail(*rules)
        assert "spool.db: " in spool.ask("put 5", "failed")["failed"]
        assert spool.ask("put 5", "failed")
        disk.heal()
        if "spool.available" not in spool.events:
            spool.answer("spool.available")
        assert spool.ask("put 5", "flushed")["flushed"] == 45
        assert spool.ask("stop", "stopped")["stopped"]
    kinds = [kind for kind in spool.events if kind.startswith("spool.")]
    assert kinds == ["spool.unavailable", "spool.available"]
    assert numbers(path) == list(range(45))


@pytest.mark.parametrize("rules", faults("the disk became read-only"))
def test_what_was_flushed_before_the_disk_failed_is_there_after_a_kill(tmp_path: Path, rules: tuple[str, ...]) -> None:
    path, disk = tmp_path / "spool.db", FaultyDisk(tmp_path)
    with running(path, disk) as spool:
        spool.ask("put 30", "flushed")
        disk.fail(*rules)
        spool.ask("put 5", "failed")
    disk.heal()
    store = open_store(path, None)
    assert not store.salvaged
    store.close()
    found = numbers(path)
    assert found[:30] == list(range(30))
    assert len(set(found)) == len(found) <= 35
    with running(path, disk, first=35) as spool:
        assert spool.ask("put 1", "flushed")["flushed"] == 36
        assert spool.ask("stop", "stopped")["stopped"]
    assert numbers(path) == [*found, 35]


def test_who_makes_drafts_waits_for_no_sync(tmp_path: Path) -> None:
    """The engine's thread: the log hangs in its sync, and all that is put goes into the queue at once."""
    path, disk = tmp_path / "spool.db", FaultyDisk(tmp_path)
    with running(path, disk) as spool:
        disk.fail("sync spool.db-wal hang")
        for round_number in range(1, 6):
            assert spool.ask("lay 100", "laid")["laid"] == 100 * round_number
        disk.heal()
        assert spool.ask("put 1", "flushed")["flushed"] == 501
        assert spool.ask("stop", "stopped")["stopped"]
    assert numbers(path) == list(range(501))


def test_commits_go_on_while_the_file_itself_hangs_in_its_sync(tmp_path: Path) -> None:
    path, disk = tmp_path / "spool.db", FaultyDisk(tmp_path)
    with running(path, disk, noise_bytes=200_000) as spool:
        disk.fail("sync spool.db$ hang")
        for round_number in range(1, 40):
            # Half of these go on behind the first 4 MB, which are to go into the file.
            assert spool.ask("put 1", "flushed")["flushed"] == round_number
        disk.heal()
        assert spool.ask("stop", "stopped")["stopped"]
    assert spool.events == []
    assert numbers(path) == list(range(39))


@pytest.mark.slow
def test_a_file_that_cannot_be_synced_leaves_commits_alone_and_is_told_once(tmp_path: Path) -> None:
    path, disk = tmp_path / "spool.db", FaultyDisk(tmp_path)
    with running(path, disk, noise_bytes=200_000) as spool:
        disk.fail(f"sync spool.db$ {errno.EIO}")
        while "spool.backfill" not in spool.events:
            spool.ask("put 20", "flushed")
        for _ in range(3):
            spool.ask("put 20", "flushed")
        disk.heal()
        assert spool.ask("stop", "stopped")["stopped"]
    assert [kind for kind in spool.events if kind.startswith("spool.")] == ["spool.backfill"]
    found = numbers(path)
    assert found == list(range(len(found)))


def test_a_read_only_disk_at_the_start_is_refused_with_what_to_do(small_disk: Path) -> None:
    path = small_disk / "spool.db"
    Store(path, bytes_max=1 << 20).close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    try:
        with pytest.raises(StoreUnavailable, match=r"cannot be opened.*not mounted read-only"):
            open_store(path, None)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    open_store(path, None).close()


def copied(path: Path, to: Path, log_bytes: int) -> Path:
    """The files as a power cut leaves them: of the log only so many bytes reached the disk."""
    to.mkdir()
    for beside in ("", "-wal"):
        if path.with_name(path.name + beside).exists():
            shutil.copy(path.with_name(path.name + beside), to)
    os.truncate(to / f"{path.name}-wal", log_bytes)
    return to / path.name


def test_whatever_of_the_log_a_power_cut_leaves_behind_the_last_sync_all_that_was_committed_is_there(
    tmp_path: Path,
) -> None:
    """A commit is synced before `append` returns: a cut keeps all of the log up to there, and any part of the rest."""
    chance = random.Random(SEED)
    path = tmp_path / "spool.db"
    store = Store(path, bytes_max=1 << 30)
    log = path.with_name("spool.db-wal")
    committed: list[Key] = []
    for round_number in range(25):
        synced_bytes = log.stat().st_size if log.exists() else 0
        before = list(committed)
        for _ in range(chance.randint(1, 4)):
            synced_bytes, before = log.stat().st_size if log.exists() else 0, list(committed)
            committed += store.append([encoded(len(committed), size=chance.randint(0, 9_000))], len(committed))
        left = chance.randint(synced_bytes, log.stat().st_size)
        cut = copied(path, tmp_path / f"cut-{round_number}", left)
        if chance.random() < 0.5 and left > synced_bytes:
            # Blocks of the rest may have been written in any order: what is in them then is anything.
            with cut.with_name("spool.db-wal").open("r+b") as damaged:
                damaged.seek(chance.randint(synced_bytes, left - 1))
                damaged.write(chance.randbytes(chance.randint(1, 4_096)))
                damaged.truncate(left)
        again = open_store(cut, None)
        assert not again.salvaged, f"round {round_number}, seed {SEED}: {again.salvaged}"
        with view(cut) as seen:
            held = {(row.stream, row.segment, row.sequence) for row in seen.rows(State.WAITING, list(Stream))}
        assert set(before) <= held, f"round {round_number}, seed {SEED}"
        (fresh,) = again.append([encoded(1)], 1)
        assert fresh not in held
        again.close()
        shutil.rmtree(cut.parent)
        if chance.random() < 0.2:
            store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    store.close()


@pytest.mark.parametrize("where", ["head", "middle", "end"])
def test_a_log_that_is_damaged_costs_only_what_lies_behind_the_damage_and_the_file_is_sound(
    tmp_path: Path, where: str
) -> None:
    path = tmp_path / "spool.db"
    store = Store(path, bytes_max=1 << 30)
    for number in range(40):
        store.append([encoded(number, size=2_000)], number)
    store.finish_backfill()
    settled = 40
    for number in range(40, 60):
        store.append([encoded(number, size=2_000)], number)
    cut = copied(path, tmp_path / "cut", path.with_name("spool.db-wal").stat().st_size)
    store.close()
    log = cut.with_name("spool.db-wal")
    size = log.stat().st_size
    with log.open("r+b") as damaged:
        damaged.seek({"head": 0, "middle": size // 2, "end": size - 3_000}[where])
        damaged.write(random.Random(SEED).randbytes(2_000))
    again = open_store(cut, None)
    (fresh,) = again.append([encoded(1)], 1)
    again.close()
    found = numbers(cut)
    assert found[:settled] == list(range(settled))
    assert fresh.stream == Stream.SAMPLES
