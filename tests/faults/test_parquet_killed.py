"""A real process that writes Parquet files is killed at seeded moments: each record is in one file, once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow.parquet import read_table

from gateway.upstreams.parquet import folder as places
from gateway.upstreams.parquet.files import finished
from tests.support.daemon import ROOT

KILLS = 5


def start(*arguments: object) -> subprocess.Popen[bytes]:
    """Its conversions belong to its group."""
    command = [sys.executable, "-m", "tests.support.parquet_writer", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True)


def take_away(folder: Path, rows: Counter[tuple[str, int]]) -> None:
    """As a reader: what is finished, now."""
    for _, path in finished(folder):
        table = read_table(path, columns=["sequence"])
        rows.update((path.parent.name, sequence) for sequence in table["sequence"].to_pylist())
        path.unlink()


def in_log(folder: Path) -> Iterator[tuple[str, int]]:
    """What no file has yet."""
    for number in places.logs(folder):
        with places.log_path(folder, number).open("rb") as log:
            for frame in places.frames(log):
                assert frame is not None
                for said in map(json.loads, frame.payloads()):
                    yield said["stream"], said["sequence"]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_moment_it_is_killed_at_no_record_is_missing_or_doubled(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    folder, noted = tmp_path / "archive", tmp_path / "noted"
    folder.mkdir()
    rows: Counter[tuple[str, int]] = Counter()
    for _ in range(KILLS):
        process = start(folder, noted)
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        time.sleep(chance.uniform(0, 1.5))
        if chance.random() < 0.5:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()  # and the conversion lives on for a while
        process.communicate()
        if chance.random() < 0.5:
            take_away(folder, rows)
    last = int(noted.read_text().split()[-1])
    finishing = start(folder, noted, last + 50)
    finishing.communicate()
    assert finishing.returncode == 0
    take_away(folder, rows)
    rows.update(in_log(folder))
    sent = int(noted.read_text().split()[-1])
    assert sent > last > 100
    missing = {("samples", "events")[n % 2] + f" {n}" for n in range(1, sent + 1)} - {f"{t} {n}" for t, n in rows}
    assert not missing
    assert set(rows.values()) == {1}, f"seed {seed}: {[each for each, times in rows.items() if times > 1]}"
