"""What a score means: how rare it is by the tag's own past, and how far it can be trusted."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from gateway.core.limits import GRID_NS
from gateway.core.state import FLAG_MAINTENANCE, NOVELTY
from gateway.core.types import NS_PER_S, Float64s, Quality
from gateway.core.view import ALARM_HIGH, ALARM_SCORE, ALARM_UNACKNOWLEDGED
from gateway.runtime.scoring import BYTES_PER_TAG, score
from tests.support.engine import T0, alarms, batch, engine, tag

ROW = np.zeros(1, np.int32)
HOUR_NS = 3600 * NS_PER_S


def minutes(count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return T0 + 60 * NS_PER_S * np.arange(count, dtype=np.int64)


def test_the_scores_of_a_tag_remember_at_most_400_bytes() -> None:
    assert BYTES_PER_TAG <= 400
    assert NOVELTY.itemsize % 8 == 0


@pytest.mark.parametrize("name", ["event_once_ns", "persistent_once_ns"])
def test_what_is_told_as_once_in_a_day_happens_about_once_a_day(name: str) -> None:
    told = expected = 0.0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        noise = rng.standard_t(4, 40_000)
        scored = score(50.0 + np.convolve(noise, [1, 0.8, 0.5], "same"), minutes(len(noise)))
        once_ns = scored[name]
        on = np.nan_to_num(once_ns) >= 24 * HOUR_NS
        told += float((on[1:] & ~on[:-1]).sum())
        expected += float((~np.isnan(once_ns)).sum()) / (24 * 60)
    print(f"seeds 0 to 5: {name} told {told:.0f}, expected {expected:.0f}")
    assert 0.4 < told / expected < 2.5


def test_a_rarity_is_never_told_for_more_than_ten_times_the_past() -> None:
    values = np.random.default_rng(1).normal(50, 1, 3_000)
    values[2_500] = 1e6
    once_h = score(values, minutes(3_000))["event_once_ns"] / HOUR_NS
    assert 24 < once_h[2_500] <= 10 * 2_500 / 60
    assert math.isnan(once_h[300])


def test_the_quality_of_a_score_says_that_it_warms_up_and_goes_with_the_value() -> None:
    gate = engine(tag())
    seen = []
    for i, now_ns in enumerate(minutes(2_000).tolist()):
        gate.step(now_ns, batch((0, 192, now_ns, now_ns, 50.0 + math.sin(7.0 * i * i))))
        seen.append(int(gate.view.live(ROW)[0]["score_quality"]))
    changes = [seen[0], *(b for a, b in itertools.pairwise(seen) if a != b)]
    assert changes == [Quality.BAD_NOT_INITIALISED, Quality.UNCERTAIN, Quality.GOOD]
    gate.step(now_ns, batch((0, 24, now_ns, now_ns, 0.0)))
    assert gate.view.live(ROW)[0]["score_quality"] == Quality.BAD_COMM_FAILURE


def test_under_maintenance_scores_raise_no_alarm_and_declared_limits_do() -> None:
    both = [engine(tag(alarms=alarms(score=0.5, high=80.0))) for _ in range(2)]
    both[1].state.tables.novelty["flags"] = FLAG_MAINTENANCE
    values: Float64s = np.random.default_rng(2).normal(50, 1, 1_000)
    values[-1] = 90.0
    for gate in both:
        for now_ns, value in zip(minutes(1_000).tolist(), values.tolist(), strict=True):
            gate.step(now_ns, batch((0, 192, now_ns, now_ns, value)))
        gate.step(now_ns + GRID_NS, batch())
    plain, quiet = (gate.view.live(ROW)[0] for gate in both)
    assert (plain["alarms"] & ~ALARM_UNACKNOWLEDGED, quiet["alarms"] & ~ALARM_UNACKNOWLEDGED) == (
        ALARM_HIGH | ALARM_SCORE,
        ALARM_HIGH,
    )
    assert quiet["score"] == plain["score"] > 0.9


@pytest.mark.parametrize(
    "values",
    [
        np.full(3_000, 7.0),
        np.full(3_000, 0.0),
        np.full(3_000, 1e140),
        np.tile([1e140, -1e140], 1_500),
        np.tile([0.0, 5e-324], 1_500),
        np.where(np.arange(3_000) % 50 == 0, np.inf, 1.0),
        np.where(np.arange(3_000) % 7 == 0, np.nan, 1.0),
        np.concatenate([np.full(1_500, 1.0), np.full(1_500, 2.0)]),
    ],
    ids=["constant", "zero", "huge", "swinging", "tiny", "infinite", "missing", "step"],
)
def test_constant_and_infinite_signals_have_scores_and_rarities_that_are_numbers(values: Float64s) -> None:
    scored = score(values, minutes(len(values)))
    for name in ("event", "persistent", "event_once_ns", "persistent_once_ns"):
        late = scored[name][2_000:]
        assert np.isfinite(late).all(), name
    assert ((scored["event"][2_000:] >= 0) & (scored["event"][2_000:] <= 1)).all()
    assert ((scored["persistent"][2_000:] >= 0) & (scored["persistent"][2_000:] <= 1)).all()
