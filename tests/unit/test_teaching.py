"""What operators teach the scores: maintenance, feedback, baselines, and that it may be told again."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from gateway.core.alarms import AlarmDefinition, AlarmKind
from gateway.core.cycle import Cycle, Taught, run_cycle
from gateway.core.engine import Engine
from gateway.core.teaching import Excuse, Hold, Learn, Maintain, Reference, reference_of
from gateway.core.types import NS_PER_S, Float64s
from gateway.core.view import ALARM_SCORE, REASON_DRIFT, REASON_FROZEN, REASON_LEVEL
from gateway.runtime import lessons
from gateway.runtime.schooling import factor_of
from tests.support.engine import T0, batch, engine, tag

ROW = np.zeros(1, np.int32)
MINUTE_NS = 60 * NS_PER_S


def feed(gate: Engine, values: Float64s, since_ns: int = T0) -> int:
    for i, value in enumerate(values.tolist()):
        now_ns = since_ns + i * MINUTE_NS
        gate.step(now_ns, batch((0, 192, now_ns, now_ns, value)))
    return since_ns + len(values) * MINUTE_NS


def noise(count: int, seed: int = 1) -> Float64s:
    return np.random.default_rng(seed).normal(50, 1, count)


def memory_of(gate: Engine) -> Reference:
    return reference_of(*gate.view.memory(0))


def test_maintenance_ends_the_alarms_of_scores_and_says_so_once() -> None:
    alarm = AlarmDefinition(AlarmKind.SCORE, 0.5, deadband=0.1)
    gate = engine(tag(alarms=(alarm,)))
    now_ns = feed(gate, np.append(noise(1_000), 90.0))
    gate.step(now_ns, batch((0, 192, now_ns, now_ns, 50.0)))
    assert gate.view.live(ROW)[0]["alarms"] & ALARM_SCORE
    (event,) = gate.teach([Maintain("device0", True, "anna")], now_ns, afresh=False)
    assert (event.kind, event.subject) == ("maintenance.begun", "device0")
    assert gate.teach([Maintain("device0", True, "anna")], now_ns, afresh=False) == ()
    now_ns = feed(gate, np.array([50.0, 95.0, 50.0]), now_ns + MINUTE_NS)
    assert not gate.view.live(ROW)[0]["alarms"] & ALARM_SCORE
    assert gate.view.live(ROW)[0]["score"] > 0.5
    assert gate.view.devices()[0]["flags"] == 1
    assert gate.teach([], now_ns, afresh=True)[0:] == ()
    assert gate.view.devices()[0]["flags"] == 0


def test_what_was_called_normal_scores_below_the_threshold_when_it_comes_again() -> None:
    scores = []
    for told in (False, True):
        gate = engine(tag())
        now_ns = feed(gate, np.append(noise(2_000), 62.0))
        seen = float(gate.view.live(ROW)[0]["score"])
        if told:
            gate.teach([Excuse("pump.flow", factor_of(seen) - 1, 0.0, "anna")], now_ns, afresh=False)
        now_ns = feed(gate, noise(400, 2), now_ns)
        feed(gate, np.array([64.5]), now_ns)
        scores.append(float(gate.view.live(ROW)[0]["score"]))
    assert scores[0] > 0.5 > scores[1]


@pytest.mark.parametrize("score", [0.5, 0.7, 0.9, 0.97])
def test_a_factor_brings_a_score_to_four_tenths(score: float) -> None:
    odds = score / (1 - score) / factor_of(score)
    assert odds / (1 + odds) <= 0.4 + 1e-9


def test_a_baseline_that_is_held_never_learns_and_sees_the_slow_drift_that_the_running_reference_does_not() -> None:
    drift = np.linspace(0.0, 6.0, 30_000)
    persistent, reasons = [], []
    for held in (False, True):
        gate = engine(tag(windows_ns=(MINUTE_NS,)))
        now_ns = feed(gate, noise(8_000))
        before = memory_of(gate)
        if held:
            gate.teach([Hold("pump.flow", before, "anna")], now_ns, afresh=False)
        feed(gate, noise(30_000, 2) + drift, now_ns)
        live = gate.view.live(ROW)[0]
        persistent.append(float(live["persistent"]))
        reasons.append(int(live["reasons"]))
        assert (memory_of(gate).base == before.base) == held
    assert persistent[0] < 0.5 < persistent[1]
    assert reasons[1] & (REASON_LEVEL | REASON_DRIFT)


def test_a_baseline_is_learned_with_the_same_weight_for_every_sample() -> None:
    gate = engine(tag())
    now_ns = feed(gate, noise(3_000))
    gate.teach([Learn("pump.flow", True, "anna")], now_ns, afresh=False)
    now_ns = feed(gate, np.concatenate([np.full(10, 50.0), 50 + 0.5 * (noise(6_000, 3) - 50)]), now_ns)
    gate.teach([Learn("pump.flow", False, "anna")], now_ns, afresh=False)
    learned = memory_of(gate)
    # Half the noise: mean |error| of a normal variable is 0.8 of its deviation.
    assert learned.noise_base == pytest.approx(0.5 * 0.8, rel=0.1)
    assert sum(hour is not None for hour in learned.hours) == 24


def test_a_baseline_holds_from_the_first_value_after_a_start() -> None:
    gate = engine(tag())
    feed(gate, noise(6_000))
    reference = memory_of(gate)
    fresh = engine(tag())
    fresh.teach([Hold("pump.flow", reference, "anna")], T0, afresh=True)
    now_ns = feed(fresh, noise(120, 4))
    assert fresh.view.live(ROW)[0]["persistent"] < 0.5
    now_ns = feed(fresh, noise(120, 5) + 8.0, now_ns)
    assert fresh.view.live(ROW)[0]["reasons"] & REASON_LEVEL
    fresh = engine(tag())
    fresh.teach([Hold("pump.flow", reference, "anna")], T0, afresh=True)
    feed(fresh, np.concatenate([noise(5, 6), np.full(200, 50.0)]))
    assert fresh.view.live(ROW)[0]["reasons"] & REASON_FROZEN


def test_lessons_travel_as_influences_and_told_again_change_nothing() -> None:
    gate = engine(tag())
    feed(gate, noise(500))
    reference = memory_of(gate)
    taught = Taught(
        (Maintain("device0", True, "a"), Excuse("pump.flow", 1.5, 0.5, "a"), Hold("pump.flow", reference, "a"))
    )
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(taught), type=Taught)
    assert again == taught
    first = run_cycle(gate, Cycle(1, T0 + 600 * MINUTE_NS, influences=(taught,)))
    assert [event.kind for event in first.events] == ["maintenance.begun", "score.eased", "baseline.applied"]
    state = [array.tobytes() for array in gate.state.arrays()]
    afresh = Taught(taught.lessons, afresh=True)
    second = run_cycle(gate, Cycle(2, T0 + 600 * MINUTE_NS, influences=(afresh,)))
    assert second.events == ()
    words = [array.tobytes() for array in gate.state.arrays()]
    # Sequence words count the writes; all else is as it was.
    assert sum(a != b for a, b in zip(state, words, strict=True)) <= 2
    nothing = run_cycle(gate, Cycle(3, T0 + 600 * MINUTE_NS, influences=(Taught((), afresh=True),)))
    assert nothing.events == ()
    assert gate.state.tables.novelty[0]["flags"] == 0
    assert gate.state.tables.novelty[0]["event_slack"] == 0


def test_the_file_reads_back_and_a_damaged_one_is_put_aside(tmp_path: Path) -> None:
    kept = lessons.Lessons()
    kept.maintenance["pump"] = lessons.Maintenance(since_ms=1, who="anna")
    kept.feedback += [
        lessons.Feedback(number=n, tag="pump.flow", time_ms=1, who="anna", event_factor=1.5, persistent_factor=2.0)
        for n in (1, 2)
    ]
    reference = memory_of(engine(tag()))
    kept.baselines["pump.flow"] = lessons.Baseline(who="anna", from_ms=1, to_ms=2, reference=reference, is_applied=True)
    lessons.save(tmp_path, kept)
    assert lessons.load(tmp_path) == kept
    told = list(kept.all())
    assert told[0] == Maintain("pump", True, "anna")
    assert isinstance(told[1], Excuse)
    assert (told[1].event_slack, told[1].persistent_slack) == (1.25, 3.0)
    assert told[2] == Hold("pump.flow", reference, "anna")
    (tmp_path / lessons.FILE_NAME).write_text("{")
    with pytest.raises(lessons.LessonsUnreadable, match=r"scores\.json: cannot be read"):
        lessons.load(tmp_path)
    lessons.put_aside(tmp_path)
    assert lessons.load(tmp_path) == lessons.Lessons()
    assert math.isfinite((tmp_path / "scores.json.damaged").stat().st_size)
