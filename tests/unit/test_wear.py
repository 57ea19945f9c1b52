"""What is written to the disk in a day, and how long a flash lasts by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core.types import NS_PER_S
from gateway.core.wear import DAY_NS, LOOKS_MAX, Wear
from gateway.runtime.wearing import Wearing, written_bytes

HOUR_NS = 3_600 * NS_PER_S


def test_nothing_is_told_of_a_day_in_the_first_minute() -> None:
    wear = Wear(10**12)
    wear.look(0, 500)
    wear.look(59 * NS_PER_S, 10**9)
    assert (wear.bytes_per_day, wear.life_years) == (None, None)
    assert wear.written_bytes == 10**9


def test_the_rate_is_that_of_the_time_since_the_start_and_the_life_follows_from_it() -> None:
    wear = Wear(365 * 10**10)
    wear.look(0, 7)
    wear.look(12 * HOUR_NS, 7 + 5 * 10**9)
    assert wear.bytes_per_day == pytest.approx(10**10)
    assert wear.life_years == pytest.approx(365 / 365.25)


def test_what_the_start_itself_wrote_is_no_habit() -> None:
    wear = Wear(0)
    wear.look(0, 0)
    wear.begin()
    wear.look(80 * NS_PER_S, 10**9)
    wear.look(80 * NS_PER_S + 12 * HOUR_NS, 10**9 + 5_000)
    assert wear.bytes_per_day == pytest.approx(10_000)


def test_after_more_than_a_day_the_rate_is_that_of_the_last_day() -> None:
    wear = Wear(0)
    written = 0
    for minute in range(3 * 24 * 60):
        written += 10_000_000 if minute < 24 * 60 else 1_000
        wear.look(minute * 60 * NS_PER_S, written)
    assert wear.bytes_per_day == pytest.approx(1_000 * 24 * 60, rel=0.01)
    assert wear.life_years is None, "nobody said what the flash takes"
    assert len(wear._looks) <= LOOKS_MAX + 1
    assert wear._now_ns - wear._looks[0][0] <= DAY_NS + HOUR_NS


def test_a_gateway_that_writes_nothing_has_no_end_to_tell_of() -> None:
    wear = Wear(10**12)
    wear.look(0, 5)
    wear.look(HOUR_NS, 5)
    assert wear.bytes_per_day == 0
    assert wear.life_years is None


def test_what_is_synced_to_a_disk_is_counted_by_the_kernel(tmp_path: Path) -> None:
    io = tmp_path / "io"
    io.write_text("rchar: 1\nwchar: 2\nwrite_bytes: 4096\ncancelled_write_bytes: 9\n")
    assert written_bytes(io) == 4_096
    assert written_bytes(tmp_path / "nowhere") == 0
    assert written_bytes() == Wearing(0, lambda: 1).wear.written_bytes >= 0
