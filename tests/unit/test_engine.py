"""What the engine promises, one sentence a test."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from gateway.core.alarms import AlarmDefinition, AlarmKind
from gateway.core.engine import Engine
from gateway.core.events import Event, Severity
from gateway.core.limits import EVENTS_PER_GRID_MAX, GRID_NS, RECORD_SAMPLES_MAX
from gateway.core.record import Stream
from gateway.core.state import Counter
from gateway.core.types import HISTORICAL, NS_PER_S, SAMPLE, Float64s, Kind, Quality, Samples
from gateway.core.view import (
    ALARM_HIGH,
    ALARM_PERSISTENT,
    ALARM_SCORE,
    ALARM_UNACKNOWLEDGED,
    REASON_DRIFT,
    REASON_FROZEN,
    REASON_LEVEL,
    REASON_NOISE,
    REASON_OUT_OF_RANGE,
    REASON_SPIKE,
)
from tests.support.engine import MINUTE_NS, T0, alarms, batch, engine, model, one, tag

ROW = np.zeros(1, np.int32)
NOTHING: Samples = np.zeros(0, SAMPLE)


def window_of(gate: Engine) -> Samples:
    return gate.view.aggregates(ROW)[0]


def feed(gate: Engine, values: np.ndarray[tuple[int], np.dtype[np.float64]], start_ns: int, every_ns: int) -> int:
    """Values at a steady rate, in one batch; returns the time after the last."""
    samples = np.zeros(len(values), SAMPLE)
    samples["quality"] = Quality.GOOD
    samples["value"] = values
    samples["source_ns"] = samples["arrival_ns"] = start_ns + every_ns * np.arange(len(values))
    gate.step(int(samples["arrival_ns"][-1]), samples)
    return start_ns + every_ns * len(values)


def test_variance_near_101325_survives_a_glitch_and_is_never_negative() -> None:
    rng = np.random.default_rng(7)
    gate = engine(tag(windows_ns=(10 * NS_PER_S, MINUTE_NS)))
    now_ns = T0
    smallest = math.inf
    for part in range(40):
        values = 101_325 + rng.uniform(-0.01, 0.01, 50)
        if part == 5:
            values[25] = 1e12
        now_ns = feed(gate, values, now_ns, NS_PER_S // 10)
        totals = gate.state.tables.totals
        smallest = min(smallest, float(totals["m2"].min()), float(gate.state.tables.ring["m2"].min()))
    short, long = gate.view.aggregates(ROW)
    assert smallest >= 0.0
    for window in (short, long):
        assert math.isclose(window["sd"], 0.02 / math.sqrt(12), rel_tol=0.15), "the glitch left the window for good"
        assert abs(window["mean"] - 101_325) < 0.01
        assert window["max"] < 101_326


def test_a_bad_sample_changes_the_quality_only() -> None:
    gate = engine(tag())
    gate.step(T0, one(T0, 5.0))
    gate.step(T0 + NS_PER_S, one(T0 + NS_PER_S, 99.0, quality=Quality.BAD_COMM_FAILURE))
    live = gate.view.live(ROW)[0]
    assert live["quality"] == Quality.BAD_COMM_FAILURE
    assert (live["value"], live["source_ns"], live["arrival_ns"]) == (5.0, T0, T0)
    assert window_of(gate)["count"] == 1


def test_what_is_no_number_is_a_sensor_fault() -> None:
    for value in (math.nan, math.inf, -math.inf, 1e300):
        gate = engine(tag())
        gate.step(T0, one(T0, value))
        assert gate.view.live(ROW)[0]["quality"] == Quality.BAD_SENSOR_FAILURE
        assert math.isnan(gate.view.live(ROW)[0]["value"])


def test_a_value_out_of_its_range_is_shown_uncertain_and_kept_out_of_the_window() -> None:
    gate = engine(tag(valid_high=10.0))
    gate.step(T0, batch((0, 192, T0, T0, 9.0), (0, 192, T0 + 1, T0 + 1, 11.0)))
    live = gate.view.live(ROW)[0]
    assert (live["quality"], live["value"]) == (Quality.UNCERTAIN_OUT_OF_RANGE, 11.0)
    assert (window_of(gate)["count"], window_of(gate)["max"]) == (1, 9.0)


def test_a_sample_of_the_past_enters_windows_by_its_time_and_moves_nothing_that_is_live() -> None:
    limits = alarms(high=50.0)
    gate = engine(tag(alarms=limits, windows_ns=(MINUTE_NS,)), streams=(Stream.SAMPLES,))
    gate.step(T0, batch((0, 192, T0, T0, 10.0)))
    live = gate.view.live(ROW).copy()
    told = (0, HISTORICAL | 192, T0 - 20 * NS_PER_S, T0, 90.0)
    gone = (0, HISTORICAL | 192, T0 - 2 * MINUTE_NS, T0, 1e6)
    bad = (0, HISTORICAL | 24, T0 - 10 * NS_PER_S, T0, 0.0)
    gate.step(T0 + 1, batch(told, gone, bad))
    assert gate.view.live(ROW).tobytes() == live.tobytes()
    window = window_of(gate)
    assert (window["count"], window["mean"], window["max"]) == (2, 50.0, 90.0)
    result = gate.step(T0 + GRID_NS, batch())
    assert [event.kind for event in result.events] == ["device.good"]
    rows = np.concatenate([draft.rows for draft in result.drafts if draft.stream is Stream.SAMPLES])
    assert rows["source_ns"].tolist() == [T0, T0 - 20 * NS_PER_S, T0 - 2 * MINUTE_NS, T0 - 10 * NS_PER_S]
    assert rows["quality"].tolist() == [192, 192, 192, 24]
    counters = gate.state.tables.counters
    assert (counters[Counter.HISTORICAL], counters[Counter.LATE], counters[Counter.BAD]) == (3, 1, 1)


def test_a_row_outside_the_table_is_counted_and_skipped() -> None:
    gate = engine(tag())
    gate.step(T0, batch((-1, 192, T0, T0, 1.0), (1, 192, T0, T0, 1.0), (0, 192, T0, T0, 1.0)))
    readings = {reading.name: reading.value for reading in gate.readings()}
    assert readings["fieldgate_engine_rejected_samples_total"] == 2
    assert readings["fieldgate_engine_samples_total"] == 1


def test_integers_past_two_to_the_53_keep_their_bits() -> None:
    gate = engine(tag(kind=Kind.U64))
    samples = one(T0, 0.0)
    samples["bits"] = np.array([2**64 - 1], np.uint64).view(np.int64)
    gate.step(T0, samples)
    assert gate.view.live(ROW)[0]["bits"] == -1
    assert window_of(gate)["mean"] == 2.0**64


def test_a_text_is_kept_as_its_number_and_is_no_quantity() -> None:
    gate = engine(tag(kind=Kind.SYMBOL, windows_ns=()))
    for step in range(200):
        samples = one(T0 + step * NS_PER_S, 0.0)
        samples["bits"] = 1 + step % 2
        gate.step(T0 + step * NS_PER_S, samples)
    live = gate.view.live(ROW)[0]
    assert (live["bits"], live["quality"]) == (2, Quality.GOOD)
    assert math.isnan(live["score"])
    assert math.isnan(live["persistent"])


def test_a_silent_tag_becomes_stale_at_the_grid_and_keeps_its_times() -> None:
    gate = engine(tag(stale_after_ns=NS_PER_S))
    gate.step(T0, one(T0, 5.0))
    gate.step(T0 + NS_PER_S, NOTHING)
    assert gate.view.live(ROW)[0]["quality"] == Quality.GOOD
    gate.step(T0 + NS_PER_S + GRID_NS, NOTHING)
    live = gate.view.live(ROW)[0]
    assert (live["quality"], live["value"], live["arrival_ns"]) == (Quality.UNCERTAIN_STALE, 5.0, T0)
    gate.step(T0 + 2 * NS_PER_S, one(T0 + 2 * NS_PER_S, 6.0))
    assert gate.view.live(ROW)[0]["quality"] == Quality.GOOD


def test_a_silent_window_shrinks_and_ends_as_no_number() -> None:
    gate = engine(tag())
    feed(gate, np.arange(600.0), T0, NS_PER_S // 10)
    full = window_of(gate)["count"]
    gate.step(T0 + MINUTE_NS + 30 * NS_PER_S, NOTHING)
    half = window_of(gate)
    assert 0 < half["count"] < full
    assert half["min"] >= 280
    gate.step(T0 + 2 * MINUTE_NS + 2 * NS_PER_S, NOTHING)
    empty = window_of(gate)
    assert empty["count"] == 0
    assert all(math.isnan(empty[name]) for name in ("mean", "sd", "min", "max", "rate", "ewma"))


def test_a_device_whose_clock_is_behind_keeps_its_window() -> None:
    gate = engine(tag())
    for second in range(20):
        arrival_ns = T0 + second * NS_PER_S
        gate.step(arrival_ns, batch((0, 192, arrival_ns - 10 * MINUTE_NS, arrival_ns, 1.0)))
    assert window_of(gate)["count"] == 20


def test_a_rate_of_change_is_units_a_second() -> None:
    gate = engine(tag())
    feed(gate, 3.0 * np.arange(50), T0, NS_PER_S // 2)
    assert math.isclose(window_of(gate)["rate"], 6.0)


def test_an_alarm_does_not_flap_within_its_deadband() -> None:
    gate = engine(tag(alarms=(AlarmDefinition(AlarmKind.HIGH, 100.0, deadband=1.0),)))
    now_ns = T0
    kinds = []
    for value in np.repeat([90.0, 100.5, 99.5, 100.5, 99.5, 100.5, 98.0, 99.5], 3).tolist():
        now_ns += GRID_NS
        kinds += [event.kind for event in gate.step(now_ns, one(now_ns, value)).events]
    kinds += [event.kind for event in gate.step(now_ns + 3 * GRID_NS, NOTHING).events]
    assert [kind for kind in kinds if kind.startswith("alarm")] == ["alarm.high.raised", "alarm.high.cleared"]


def test_an_alarm_between_two_grid_points_is_told() -> None:
    gate = engine(tag(alarms=alarms(high=100.0)))
    gate.step(T0, batch(*((0, 192, T0 + i, T0 + i, value) for i, value in enumerate((1.0, 500.0, 1.0)))))
    assert gate.view.live(ROW)[0]["alarms"] == 0
    raised = gate.step(T0 + GRID_NS, NOTHING).events
    cleared = gate.step(T0 + 2 * GRID_NS, NOTHING).events
    assert [e.kind for e in raised if "alarm" in e.kind] == ["alarm.high.raised"]
    assert [e.kind for e in cleared] == ["alarm.high.cleared"]


def test_a_device_is_announced_once_when_bad_and_once_when_it_stayed_good() -> None:
    gate = engine(tag("pump.a"), tag("pump.b"), tag("fan.a", device=1))
    messages: list[str] = []
    for tick in range(200):
        now_ns = T0 + tick * GRID_NS
        flaps = Quality.BAD_COMM_FAILURE if 80 <= tick < 100 and tick % 4 == 0 else Quality.GOOD
        samples = np.concatenate([one(now_ns, 1.0, 0), one(now_ns, 1.0, 1, flaps), one(now_ns, 1.0, 2)])
        messages += [event.message for event in gate.step(now_ns, samples).events]
    assert messages == [
        "device0: all 2 tags are good",
        "device1: all 1 tags are good",
        "device0: 1 of 2 tags bad, first pump.b: communication failure",
        "device0: all 2 tags are good",
    ]


def test_a_device_sums_up_its_tags() -> None:
    gate = engine(tag("pump.a", alarms=alarms(high=1.0)), tag("pump.b"), tag("fan.a", device=1))
    gate.step(T0, np.concatenate([one(T0, 2.0, 0), one(T0, 2.0, 0), one(T0, 1.0, 1, Quality.UNCERTAIN)]))
    gate.step(T0 + GRID_NS, NOTHING)
    pump, fan = gate.view.devices()
    assert (pump["quality"], pump["tags_good"], pump["tags"], pump["samples"]) == (Quality.UNCERTAIN, 1, 2, 3)
    assert (pump["alarms"], pump["score"], pump["score_row"]) == (ALARM_HIGH | ALARM_UNACKNOWLEDGED, 0.0, -1)
    assert (fan["quality"], fan["tags"]) == (Quality.BAD_NOT_INITIALISED, 1)


def test_a_step_in_a_quiet_signal_scores_high_and_a_tag_that_warms_up_scores_nothing() -> None:
    rng = np.random.default_rng(3)
    gate = engine(tag(windows_ns=(10 * NS_PER_S,), alarms=alarms(score=0.8)))
    now_ns = feed(gate, rng.normal(50, 1, 400), T0, NS_PER_S // 10)
    live = gate.view.live(ROW)[0]
    assert math.isnan(live["score"])
    assert math.isnan(live["persistent"])
    now_ns = feed(gate, rng.normal(50, 1, 3000), now_ns, NS_PER_S // 10)
    assert gate.view.live(ROW)[0]["score"] < 0.5
    gate.step(now_ns + GRID_NS, one(now_ns, 90.0))
    gate.step(now_ns + 2 * GRID_NS, NOTHING)
    live = gate.view.live(ROW)[0]
    assert live["score"] > 0.9
    assert live["alarms"] & ALARM_SCORE
    assert live["reasons"] == REASON_SPIKE


@pytest.mark.parametrize(
    ("reason", "length", "fault"),
    [
        (REASON_LEVEL, 300, lambda x, i: x + 4.0),
        (REASON_FROZEN, 300, lambda x, i: np.full_like(x, 50.0)),
        (REASON_NOISE, 300, lambda x, i: 50.0 + 4.0 * (x - 50.0)),
        (REASON_NOISE, 300, lambda x, i: 50.0 + 0.1 * (x - 50.0)),
        (REASON_DRIFT, 4000, lambda x, i: x + 2.0 * i / 4000),
    ],
)
def test_a_fault_that_persists_raises_the_persistent_alarm_and_says_why(
    reason: int, length: int, fault: Callable[[Float64s, Float64s], Float64s]
) -> None:
    rng = np.random.default_rng(5)
    gate = engine(tag(windows_ns=(10 * NS_PER_S,), alarms=alarms(persistent=0.5)), streams=[Stream.AGGREGATES])
    now_ns = feed(gate, rng.normal(50, 1, 12_000), T0, NS_PER_S // 10)
    before = gate.view.live(ROW)[0]
    assert before["persistent"] < 0.5
    assert before["alarms"] == 0
    now_ns = feed(gate, fault(rng.normal(50, 1, length), np.arange(float(length))), now_ns, NS_PER_S // 10)
    gate.step(now_ns + GRID_NS, NOTHING)
    live = gate.view.live(ROW)[0]
    assert live["persistent"] > 0.5
    assert live["reasons"] & reason
    assert live["alarms"] & ALARM_PERSISTENT
    assert window_of(gate)["persistent"] == live["persistent"]
    assert window_of(gate)["reasons"] == live["reasons"]


def test_a_value_outside_its_valid_range_is_a_reason_until_the_next_one_inside() -> None:
    gate = engine(tag(valid_high=10.0))
    gate.step(T0, one(T0, 5.0))
    gate.step(T0 + NS_PER_S, one(T0 + NS_PER_S, 11.0))
    assert gate.view.live(ROW)[0]["reasons"] == REASON_OUT_OF_RANGE
    gate.step(T0 + 2 * NS_PER_S, one(T0 + 2 * NS_PER_S, 6.0))
    assert gate.view.live(ROW)[0]["reasons"] == 0


@pytest.mark.parametrize("value", [0.0, 1e140, -1e140, 1e-320])
def test_constants_and_extremes_never_give_a_score_that_is_no_number(value: float) -> None:
    gate = engine(tag(windows_ns=(NS_PER_S,)))
    rng = np.random.default_rng(1)
    now_ns = feed(gate, np.full(3000, value), T0, NS_PER_S // 10)
    live = gate.view.live(ROW)[0]
    assert (live["score"], live["persistent"]) == (0.0, 0.0)
    for values in (-rng.choice([0.0, value, 1.0, 1e140], 500), np.full(500, value), np.zeros(1)):
        now_ns = feed(gate, values, now_ns, NS_PER_S // 10)
        live = gate.view.live(ROW)[0]
        assert 0.0 <= live["score"] <= 1.0
        assert 0.0 <= live["persistent"] <= 1.0


def test_every_sample_is_in_exactly_one_record_and_none_is_too_long() -> None:
    gate = engine(tag(), streams=[Stream.SAMPLES])
    total = 2 * RECORD_SAMPLES_MAX + 10
    samples = np.repeat(one(T0, 1.0), total)
    samples["source_ns"] = T0 + np.arange(total)
    drafts = [*gate.step(T0, samples).drafts, *gate.step(T0 + GRID_NS, NOTHING).drafts]
    assert [len(draft) for draft in drafts] == [RECORD_SAMPLES_MAX, RECORD_SAMPLES_MAX, 10]
    times = np.concatenate([np.asarray(draft.rows)["source_ns"] for draft in drafts])
    assert (times == T0 + np.arange(total)).all()
    assert (drafts[2].first_ns, drafts[2].last_ns) == (int(times[-10]), int(times[-1]))
    assert gate.step(T0 + 2 * GRID_NS, NOTHING).drafts == ()


def test_aggregates_are_recorded_for_rows_that_moved() -> None:
    gate = engine(tag("a.a", windows_ns=(NS_PER_S, MINUTE_NS)), tag("a.b"), streams=[Stream.AGGREGATES])
    gate.step(T0, one(T0, 1.0))
    assert gate.step(T0 + GRID_NS, NOTHING).drafts == ()
    (draft,) = gate.step(T0 + NS_PER_S, NOTHING).drafts
    rows = np.asarray(draft.rows)
    assert rows["row"].tolist() == [0, 0]
    assert rows["window_ns"].tolist() == [NS_PER_S, MINUTE_NS]
    assert (draft.first_ns, draft.last_ns) == (T0 + NS_PER_S, T0 + NS_PER_S)
    assert gate.step(T0 + 2 * NS_PER_S, NOTHING).drafts == ()


def test_aggregates_of_a_large_plant_are_spread_over_their_period() -> None:
    tags = [tag(f"a.t{i}") for i in range(2 * RECORD_SAMPLES_MAX + 5)]
    gate = engine(*tags, streams=[Stream.AGGREGATES])
    samples = np.repeat(one(T0, 1.0), len(tags))
    samples["row"] = np.arange(len(tags))
    gate.step(T0, samples)
    drafts = [draft for point in range(1, 11) for draft in gate.step(T0 + point * GRID_NS, NOTHING).drafts]
    assert max(len(draft) for draft in drafts) == RECORD_SAMPLES_MAX
    assert len({draft.first_ns for draft in drafts}) == 3, "shares must not all fall on one grid point"
    rows = np.concatenate([np.asarray(draft.rows)["row"] for draft in drafts])
    assert sorted(rows.tolist()) == list(range(len(tags)))


def test_what_is_left_at_the_end_is_recorded() -> None:
    gate = engine(tag(), streams=list(Stream))
    gate.step(T0, one(T0, 1.0))
    gate.note(Event(T0, Severity.INFO, "gateway.stopping", "gateway", "stopping"))
    left = gate.finish(T0 + 1).drafts
    assert sorted((draft.stream.value, len(draft)) for draft in left) == [
        ("aggregates", 1),
        ("events", 1),
        ("samples", 1),
    ]
    assert gate.finish(T0 + 2).drafts == ()


def test_events_from_outside_are_recorded_up_to_the_limit_and_the_rest_counted() -> None:
    gate = engine(tag(), streams=[Stream.EVENTS])
    gate.step(T0, NOTHING)
    event = Event(T0 + 1, Severity.WARNING, "link.down", "plc", "plc: refused")
    for _ in range(EVENTS_PER_GRID_MAX + 3):
        gate.note(event)
    result = gate.step(T0 + GRID_NS, NOTHING)
    assert [len(draft) for draft in result.drafts] == [EVENTS_PER_GRID_MAX]
    assert result.events == ()
    readings = {reading.name: reading.value for reading in gate.readings()}
    assert readings["fieldgate_engine_dropped_events_total"] == 3


def test_grid_points_passed_over_are_counted() -> None:
    gate = engine(tag())
    gate.step(T0, NOTHING)
    gate.step(T0 + 5 * GRID_NS, NOTHING)
    assert {r.name: r.value for r in gate.readings()}["fieldgate_engine_skipped_grid_points_total"] == 4


def test_rows_that_do_not_exist_are_refused_by_the_view() -> None:
    gate = engine(tag())
    for rows in ([1], [-1]):
        try:
            gate.view.live(np.array(rows, np.int32))
        except IndexError as error:
            assert "the table has 0 to 0" in str(error)
        else:
            raise AssertionError(rows)


def test_a_tag_takes_the_memory_that_is_promised() -> None:
    tags = [tag(f"a.t{i}") for i in range(1000)]
    assert (
        Engine(model(*tags), aggregates_every_ns=1, samples_every_ns=1, streams=frozenset()).state.memory_bytes() / 1000
        < 2_700
    )


@pytest.mark.slow
def test_ten_million_samples_near_101325_never_have_a_negative_variance() -> None:
    rng = np.random.default_rng(11)
    gate = engine(tag(windows_ns=(10 * NS_PER_S, MINUTE_NS)))
    now_ns = T0
    for _ in range(1_000):
        now_ns = feed(gate, 101_325 + rng.uniform(-0.01, 0.01, 10_000), now_ns, NS_PER_S // 1_000)
        assert float(gate.state.tables.totals["m2"].min()) >= 0.0
        assert float(gate.state.tables.ring["m2"].min()) >= 0.0
        for window in gate.view.aggregates(ROW):
            assert math.isclose(window["sd"], 0.02 / math.sqrt(12), rel_tol=0.05)
            assert abs(window["mean"] - 101_325) < 0.001
