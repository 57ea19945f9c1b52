"""A device's tags seen together: the pump, its oracle, what is told and what is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway.core.engine import Engine
from gateway.core.kernels.relations import change_features
from gateway.core.limits import MULTIVARIATE_TAGS_MAX
from gateway.core.model import DeviceDefinition, Model
from gateway.core.multivariate import COVARIANCE, FACTOR, FEATURE_MEAN, OFFSET
from gateway.core.record import DISAGREEMENT, Stream
from gateway.core.state import FLAG_MAINTENANCE
from gateway.core.types import NS_PER_S, Float64s
from gateway.runtime.benches.disagreement import ALARM_AT, FAULT_AT_S, FAULTS, NOISE, TAGS, history, play, pump_engine
from gateway.runtime.benches.observer import whose_error
from tests.reference.multivariate import MultivariateOracle
from tests.support.engine import T0, batch, tag


def raised(score: Float64s) -> int:
    on = np.nan_to_num(score) >= ALARM_AT
    return int((on[1:] & ~on[:-1]).sum())


@pytest.mark.parametrize(("fault", "seed"), [("flow_error", 3), ("wear", 2)])
def test_a_fault_that_no_tag_shows_raises_the_devices_alarm_and_names_the_tag(fault: str, seed: int) -> None:
    engine = pump_engine()
    before = play(history(seed, None), pump_engine())
    played = play(history(seed, fault), engine)
    on = played.score[FAULT_AT_S:] >= ALARM_AT
    named = played.first[FAULT_AT_S:][on]
    right = TAGS.index(FAULTS[fault][1])
    print(
        f"seed {seed}: {fault} after {int(np.argmax(on))} s, right tag first {np.mean(named == right):.0%} of the time"
    )
    assert np.argmax(on) < 600
    assert named[0] == right
    assert np.mean(named == right) > 0.6
    assert raised(played.score[:FAULT_AT_S]) == raised(before.score) == 0
    # No tag by itself is any more unusual with the fault than without it.
    flags = [int((one.single[FAULT_AT_S:] >= 0.5).any(axis=1).sum()) for one in (before, played)]
    assert flags[1] <= 1.5 * flags[0] + 60


def test_the_alarm_is_told_with_its_tags_shares_and_rarity() -> None:
    engine = pump_engine()
    events = []
    step = engine.step

    def listening(now_ns: int, samples: object) -> object:
        result = step(now_ns, samples)  # type: ignore[arg-type]
        events.extend(result.events)
        return result

    engine.step = listening  # type: ignore[method-assign,assignment]
    play(history(2, "wear", FAULT_AT_S + 700), engine)
    (alarm,) = [event for event in events if event.kind == "alarm.multivariate.raised"][:1]
    assert alarm.subject == "pump.speed"
    assert "tags disagree, score 0.8 or more" in alarm.message
    assert "; first pump.power " in alarm.message
    assert "so unusual once in " in alarm.message
    assert engine.view.devices()[0]["reasons"] & 128


@pytest.mark.parametrize(("tags", "seed"), [(2, 1), (4, 2), (MULTIVARIATE_TAGS_MAX, 3)])
def test_score_and_shares_equal_the_oracles(tags: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    engine = together(tags)
    oracle = MultivariateOracle(tags, 1 / 60)
    last = np.zeros(tags)
    load = np.zeros(2)
    for i in range(5_000):
        load = 0.98 * load + rng.normal(size=2)
        values = np.array([load[j % 2] * (1 + 0.1 * j) + 0.05 * load[0] ** 2 * (j % 3) for j in range(tags)])
        values += 0.1 * rng.normal(size=tags)
        if i > 4_000:
            values[1] += 4.0 * min(1.0, (i - 4_000) / 200)
        feed(engine, T0 + i * 2 * NS_PER_S, values)
        if i > 1:
            # The engine makes the step of one batch at the grid before the next: it is a batch behind.
            oracle.add(last)
        last = values
        record = engine.state.multivariate.records[0]
        if i > 1 and record["steps"] > 2:
            assert same(float(record["score"]), oracle.score), (seed, i, record["score"], oracle.score)
    if tags == 2:
        return  # which have nothing to do with each other
    assert oracle.score > 0.5
    assert record["row_first"] == int(np.argmax(oracle.explained)) == 1
    assert math.isclose(record["share_first"], oracle.explained[1] / oracle.whole, rel_tol=1e-3)


def same(got: float, want: float) -> bool:
    return (math.isnan(got) and math.isnan(want)) or abs(got - want) < 1e-3


def together(tags: int, streams: frozenset[Stream] = frozenset()) -> Engine:
    # Windows of 120 s and samples every 2 s: a scale is 60 steps, whatever the measured interval swings by.
    definitions = tuple(tag(f"m.t{j}", windows_ns=(120 * NS_PER_S,)) for j in range(tags))
    device = DeviceDefinition("m", "link", tuple(range(tags)))
    return Engine(
        Model((device,), definitions), aggregates_every_ns=10 * NS_PER_S, samples_every_ns=NS_PER_S, streams=streams
    )


def feed(engine: Engine, now_ns: int, values: Float64s, quality: int = 192) -> object:
    rows = [(j, quality if j == 0 else 192, now_ns, now_ns, float(value)) for j, value in enumerate(values)]
    return engine.step(now_ns, batch(*rows))


def test_a_device_without_a_good_value_of_every_tag_waits_and_the_skips_are_counted() -> None:
    engine = together(2)
    for i in range(200):
        feed(engine, T0 + i * 2 * NS_PER_S, np.array([1.0, 2.0]) + i, quality=192 if i < 100 else 24)
    record = engine.state.multivariate.records[0]
    assert record["steps"] >= 95
    assert record["skipped"] >= 95


def test_constant_and_identical_tags_never_give_nan_once_there_is_a_score() -> None:
    rng = np.random.default_rng(5)
    engine = together(4)
    for i in range(5_000):
        x = float(rng.normal())
        feed(engine, T0 + i * 2 * NS_PER_S, np.array([7.0, x, x, 1e-200 * x if i < 4_000 else 1e140]))
    record = engine.state.multivariate.records[0]
    assert 0 <= record["score"] <= 1 or record["restarts"] > 0
    for array in engine.state.multivariate[2:]:
        assert np.isfinite(array).all()


def test_under_maintenance_the_device_learns_and_raises_nothing() -> None:
    engine = pump_engine()
    engine.state.multivariate.records["flags"] = FLAG_MAINTENANCE
    play(history(2, "wear", FAULT_AT_S + 700), engine)
    assert engine.view.live(np.zeros(1, np.int32))[0]["alarms"] == 0


def test_records_carry_the_tags_that_explain_most() -> None:
    engine = together(3, frozenset({Stream.MULTIVARIATE}))
    rng = np.random.default_rng(6)
    drafts = []
    for i in range(2_700):
        x = float(rng.normal())
        result = feed(engine, T0 + i * 2 * NS_PER_S, np.array([x, 2 * x, -x]) + 0.1 * rng.normal(size=3))
        drafts += result.drafts  # type: ignore[attr-defined]
    last = drafts[-1]
    assert last.stream is Stream.MULTIVARIATE
    assert last.rows.dtype == DISAGREEMENT
    assert last.rows["rank"].tolist() == [1, 2, 3]
    assert sorted(last.rows["row"].tolist()) == [0, 1, 2]
    assert (last.rows["share"] <= 1.0).all()
    assert (np.diff(last.rows["share"]) <= 0.0).all()


@pytest.mark.parametrize("fault", FAULTS)
def test_who_knows_the_pumps_equations_blames_the_meter_that_is_wrong(fault: str) -> None:
    values = history(4, fault, FAULT_AT_S + 600)
    assert whose_error(values, NOISE) == FAULTS[fault][1]


def test_what_was_learned_is_the_same_counted_from_elsewhere() -> None:
    seed = 7
    rng = np.random.default_rng(seed)
    z, a, d = rng.normal(size=(300, 5)), rng.uniform(0.3, 3.0, 5), rng.normal(size=5)
    z[:, 1] += 0.5 * z[:, 0] ** 2

    def features(of: Float64s) -> Float64s:
        return np.stack([*of.T, *(of[:, i] * of[:, j] for i in range(5) for j in range(i, 5))], axis=1)

    multi = pump_engine().state.multivariate
    multi.features[0, FEATURE_MEAN, :20] = features(z).mean(axis=0)
    multi.matrices[0, COVARIANCE, :20, :20] = np.tril(np.cov(features(z).T, bias=True))
    multi.tags[0, FACTOR, :5], multi.tags[0, OFFSET, :5] = a, d
    change_features(multi, 0)
    there = features(a * z + d)
    np.testing.assert_allclose(multi.features[0, FEATURE_MEAN, :20], there.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(
        multi.matrices[0, COVARIANCE, :20, :20], np.tril(np.cov(there.T, bias=True)), atol=1e-9, err_msg=f"seed {seed}"
    )
