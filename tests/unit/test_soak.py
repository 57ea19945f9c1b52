"""What a soak concludes from its looks, and the script that it plays."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from hil.soak.picture import PANELS, draw
from hil.soak.script import Fault, Kind, script
from hil.soak.verdict import BOUNDS, Books, broken, growth, trends
from hil.soak.watch import parse, percentile_ms

HOUR_S = np.arange(0.0, 3_600.0, 5.0)
BOOKS = Books(
    readings_sent=100, readings_received=100, samples_dropped=0, records_produced=9, records_received=9,
    records_ledgered=0, records_waiting=0, records_lost=0, records_duplicated=0, exit_code=0,
)  # fmt: skip
WELL_MS = {"aggregate_p99_ms": 12.0, "score_p99_ms": 12.0, "control_p99_ms": 0.1}


def an_hour(**changed: np.ndarray) -> dict[str, list[float]]:
    """Flat and noisy, with a bump while a fault lasts."""
    noise = np.random.default_rng(7)
    flat = {
        "resident_bytes": 500e6 + noise.normal(0, 2e6, len(HOUR_S)),
        "descriptors": np.full(len(HOUR_S), 40.0),
        "threads": np.full(len(HOUR_S), 20.0),
        "disk_bytes": 200e6 + noise.normal(0, 8e6, len(HOUR_S)),
        "aggregate_p99_ms": noise.exponential(12, len(HOUR_S)),
        "score_p99_ms": noise.exponential(12, len(HOUR_S)),
        "control_p99_ms": noise.exponential(0.1, len(HOUR_S)),
        "cpu_cores": noise.normal(0.4, 0.05, len(HOUR_S)),
    }
    for name in ("disk_bytes", "resident_bytes", "descriptors"):
        flat[name][600:612] *= 1.5
    return {name: list(changed.get(name, values)) for name, values in flat.items()}


def test_what_is_flat_but_for_noise_and_a_bump_is_within_all_bounds() -> None:
    found = trends(list(HOUR_S), an_hour())
    assert [one.name for one in found] == [*BOUNDS]
    assert all(one.is_judged and not one.is_broken for one in found), found
    assert broken(found, WELL_MS, BOOKS) == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("resident_bytes", 500e6 + 8_000 * HOUR_S),  # 20 MB in the 40 minutes behind the warm-up
        ("resident_bytes", 500e6 + 7e6 * (HOUR_S // 400)),  # some megabytes with each reload
        ("descriptors", 40 + HOUR_S // 600),
        ("threads", 20 + HOUR_S // 900),
        ("disk_bytes", 200e6 + 20_000 * HOUR_S),
        ("aggregate_p99_ms", 5 + HOUR_S / 300),
        ("control_p99_ms", 0.1 + HOUR_S / 1_800),
    ],
)
def test_what_grows_is_found_and_named(name: str, values: np.ndarray) -> None:
    found = trends(list(HOUR_S), an_hour(**{name: values}))
    (said,) = broken(found, WELL_MS, BOOKS)
    assert said.startswith(f"{name} grew by")


def test_growth_is_the_trend_over_the_stretch_whatever_a_fault_does_and_without_looks_that_failed() -> None:
    rising = 3.0 + 0.5 * HOUR_S
    rising[100:150] += 10_000.0
    rising[200] = math.nan
    assert growth(list(HOUR_S), list(rising)) == pytest.approx(0.5 * HOUR_S[-1], rel=0.01)
    assert growth([], []) == growth([1.0], [5.0]) == 0.0


def test_a_soak_of_minutes_judges_no_trend_and_still_keeps_its_books() -> None:
    short = trends(list(HOUR_S[:60]), {name: values[:60] for name, values in an_hour(threads=20 + HOUR_S).items()})
    assert not any(one.is_judged for one in short)
    assert broken(short, WELL_MS, BOOKS) == []
    for changed, word in (
        ({"records_lost": 1}, "lost"),
        ({"records_duplicated": 2}, "twice"),
        ({"readings_received": 99}, "99 are in records"),
        ({"samples_dropped": 3}, "dropped"),
        ({"exit_code": 1}, "ended with 1"),
    ):
        (said,) = broken(short, WELL_MS, replace(BOOKS, **changed))
        assert word in said
    assert "the budget is 10" in broken(short, WELL_MS | {"control_p99_ms": 11.0}, BOOKS)[0]
    assert "budget" in broken(short, WELL_MS | {"score_p99_ms": math.nan}, BOOKS)[0]


@pytest.mark.parametrize("seconds", [60.0, 3_600.0, 86_400.0])
def test_the_script_is_the_seeds_and_has_every_kind_one_after_the_other(seconds: float) -> None:
    faults = script(seconds, 3)
    assert faults == script(seconds, 3) != script(seconds, 4)
    assert {fault.kind for fault in faults} == set(Kind)
    assert all(a.end_s < b.at_s for a, b in pairwise(faults))
    assert faults[0].at_s >= 0.05 * seconds
    assert faults[-1].end_s <= 0.95 * seconds


def test_percentiles_are_of_what_came_between_two_looks() -> None:
    def scraped(*counts: int) -> dict[float, float]:
        buckets = "".join(
            f'latency_seconds_bucket{{le="{bound}",link="a"}} {count}\n'
            for bound, count in zip(("0.01", "0.02", "+Inf"), counts, strict=True)
        )
        return parse(f"# TYPE latency_seconds histogram\n{buckets}latency_seconds_count 9\n").histograms[
            "latency_seconds"
        ]

    first, second = scraped(100, 100, 100), scraped(100, 200, 200)
    assert percentile_ms(first, second, 0.5) == pytest.approx(15.0)
    assert percentile_ms(second, scraped(10, 10, 10), 0.5) == pytest.approx(5.0), "it began anew"
    assert percentile_ms({}, scraped(0, 0, 5), 0.99) == pytest.approx(20.0), "beyond the last bound"
    assert math.isnan(percentile_ms(second, second, 0.5))


def test_the_picture_is_sound_and_has_every_fault_and_holes_where_nothing_was_seen() -> None:
    shown = {name: [math.nan] * len(HOUR_S) for panel in PANELS for name in panel.lines}
    figures = shown | an_hour() | {"samples_per_s": [2e5] * len(HOUR_S)}
    faults = [Fault(60.0 * place, 30.0, kind) for place, kind in enumerate(Kind)]
    root = ElementTree.fromstring(draw("an hour & more", list(HOUR_S), figures, faults))
    titles = [one.text for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == [f"{fault.kind}, {fault.at_s:g} s" for fault in faults]
    assert "nan" not in ElementTree.tostring(root, encoding="unicode")
