"""The store under SIGKILL: what was committed is there, nothing has two identities, no identity is given twice."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

from gateway.core.record import Stream
from gateway.spool.records import Key
from gateway.spool.store import Store
from tests.support.spool import encoded

ROUNDS = 15
SEED = 20_260_101


def store_until_killed(path: Path, acknowledged: Connection, seed: int) -> None:
    chance = random.Random(seed)
    store = Store(path, bytes_max=1 << 30)
    number = 0
    while True:
        group = []
        for _ in range(chance.randint(1, 8)):
            number += 1
            group.append(encoded(number, stream=chance.choice(list(Stream)), size=chance.randint(0, 20_000)))
        keys = store.append(group, number)
        if chance.random() < 0.05:
            store.close_waiting_segments()
        acknowledged.send(keys)


def received(committed: Connection) -> list[Key]:
    keys: list[Key] = []
    try:
        while committed.poll():
            keys += committed.recv()
    except EOFError:
        pass
    return keys


def test_what_was_committed_survives_sigkill_under_one_identity_each(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    path = tmp_path / "spool.db"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.test_spool_kill"])
    committed: list[Key] = []
    for round_number in range(ROUNDS):
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=store_until_killed, args=(path, theirs, SEED + round_number))
        child.start()
        theirs.close()
        assert ours.poll(20), "the child never committed"
        child.join(chance.uniform(0.0, 0.1))
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        keys = received(ours)
        assert keys
        committed += keys
        ours.close()
    assert len(set(committed)) == len(committed), f"an identity was given twice (seed {SEED})"
    Store(path, bytes_max=1 << 30).close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        held = [Key(*row) for row in connection.execute("SELECT stream, segment, sequence FROM records")]
        lengths = {
            (stream, segment): length
            for stream, segment, length in connection.execute("SELECT stream, segment, length FROM segments")
        }
    assert set(committed) <= set(held), f"a committed record is gone (seed {SEED})"
    sequences: dict[tuple[str, int], list[int]] = {}
    for key in held:
        sequences.setdefault((key.stream, key.segment), []).append(key.sequence)
    assert {place: list(range(1, length + 1)) for place, length in lengths.items()} == {
        place: sorted(numbers) for place, numbers in sequences.items()
    }
