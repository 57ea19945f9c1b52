"""A month of misfortunes in ten minutes, and its day of 25 hours in seconds. `MONTH_SEED=N` plays one again."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from gateway.core.record import Stream
from tests.simulation.life import Caps
from tests.simulation.month import MONTH_HOURS, Figures, Played, month, seed_of_run

MB = 1_000_000
RSS_GROWTH_MAX = 16 * MB
"""From the fifth day to the last: the first ones fill what allocators and SQLite's caches do not give back."""


def a_day(folder: Path, seed: int, hours: int, *, crashes: bool) -> Played:
    """From ten in the evening, with a far end that is away long enough to fill the spool."""
    folder.mkdir()
    played = Played(
        folder, seed, datetime(2026, 10, 24, 22), cycle_s=10,
        caps=Caps(spool=400_000, parking=1 << 30, history=400_000, history_every_s=120),
        outage=range(6, 10), crashes=crashes,
    )  # fmt: skip
    played.play(hours)
    return played


def test_a_day_of_25_hours_with_faults_is_whole_and_the_same_as_one_without_a_crash(tmp_path: Path) -> None:
    seed = seed_of_run()
    print(f"seed {seed}")
    played = a_day(tmp_path / "crashing", seed, 28, crashes=True)
    assert played.crashes, f"seed {seed}"
    assert played.reloads, f"seed {seed}"
    assert played.figures[-1].counts["ledgered"], f"seed {seed}: the spool was never full"
    assert len(played.figures) == 2
    again = a_day(tmp_path / "steady", seed, 8, crashes=False)
    assert again.digests == played.digests[:8], f"seed {seed}: the outputs differ"
    assert len(set(again.digests)) == 8


def check_flat(early: Figures, late: Figures, seed: int) -> None:
    """What the process takes does not grow with the days."""
    assert late.rss_bytes - early.rss_bytes <= RSS_GROWTH_MAX, f"seed {seed}: {early} and {late}"
    assert late.engine_bytes <= 1.1 * early.engine_bytes, f"seed {seed}: {early} and {late}"
    assert abs(late.descriptors - early.descriptors) <= 2, f"seed {seed}: {early} and {late}"
    assert late.threads == early.threads, f"seed {seed}: {early} and {late}"


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_a_month_of_faults_is_whole_and_what_it_takes_stays_flat(tmp_path: Path) -> None:
    seed = seed_of_run()
    print(f"seed {seed}")
    played = month(tmp_path, seed)
    assert len(played.digests) == MONTH_HOURS
    assert len(played.figures) == 32, "one of September's"
    assert played.crashes >= 30
    assert played.reloads >= 8
    assert played.figures[-1].counts["ledgered"] > len(played.cloud.refused) > 0, (
        "the spool was full, and records were refused"
    )
    assert {key.stream for key in played.cloud.refused} == {Stream.AGGREGATES}
    assert not {"gateway.failed", "journal.damaged", "checkpoint.damaged", "spool.lost"} & played.findings.keys()
    check_flat(played.figures[4], played.figures[-1], seed)
