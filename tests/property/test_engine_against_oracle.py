"""The jitted fold and readers give what plain Python gives, whatever comes in."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.engine import Engine
from gateway.core.record import Stream
from gateway.core.state import Counter
from gateway.core.types import HISTORICAL, NS_PER_S, Samples
from gateway.core.view import REASONS
from tests.reference.engine import TagOracle
from tests.support.engine import T0, batch, engine, tag

TAGS = (
    tag("a.slow", windows_ns=(10 * NS_PER_S, 2 * NS_PER_S, 61 * NS_PER_S)),
    tag("a.ranged", windows_ns=(3 * NS_PER_S,), valid_low=-50.0, valid_high=60.0),
    tag("b.plain", windows_ns=(NS_PER_S, 7 * NS_PER_S)),
)
PANES = 5

STEP = st.tuples(
    st.integers(0, len(TAGS) - 1),
    st.sampled_from([192, 192, 192, 192, 64, 24, HISTORICAL | 192, HISTORICAL | 192, HISTORICAL | 24]),
    st.one_of(st.integers(0, 3_000_000_000), st.sampled_from([0, 1, 40_000_000_000])),
    st.one_of(st.integers(-1_500_000_000, 9_000_000_000), st.sampled_from([0, 0, 2**62, -(2**63)])),
    st.one_of(st.floats(-100, 100), st.sampled_from([0.0, math.nan, math.inf, 101325.0])),
)
"""Row, quality, time since the sample before, how much older its source time is, value."""

SILENCE_NS = st.one_of(st.just(0), st.just(0), st.integers(0, 3_000_000_000), st.integers(0, 80_000_000_000))
"""Often none: then the closed totals are read as the fold left them, otherwise they are merged anew by the reader."""


def samples_of(steps: list[tuple[int, int, int, int, float]]) -> list[tuple[int, int, int, int, float]]:
    out = []
    now_ns = T0
    for row, quality, gap_ns, age_ns, value in steps:
        now_ns += gap_ns
        source_ns = now_ns - age_ns if abs(age_ns) < 2**61 else age_ns
        out.append((row, quality, source_ns, now_ns, value))
    return out


def close(got: float, want: float, scale: float) -> bool:
    return (math.isnan(got) and math.isnan(want)) or math.isclose(got, want, rel_tol=1e-9, abs_tol=1e-9 * scale)


def near(got: float, want: float) -> bool:
    """A score is float32, and the hours of the day that it rests on are."""
    return (math.isnan(got) and math.isnan(want)) or abs(got - want) < 1e-3


def often(got: float, want: float, score: float) -> bool:
    """Close to 1 the odds of a float32 score are its rounding."""
    return score > 0.999 or (math.isnan(got) and math.isnan(want)) or math.isclose(got, want, rel_tol=0.02)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=60), SILENCE_NS)
def test_cells_windows_and_scores_equal_the_oracles(
    steps: list[tuple[int, int, int, int, float]], silence_ns: int
) -> None:
    samples = samples_of(steps)
    oracles = [TagOracle(one, row, PANES) for row, one in enumerate(TAGS)]
    for row, quality, source_ns, arrival_ns, value in samples:
        oracles[row].add(quality, source_ns, arrival_ns, value)
    gate = engine(*TAGS, panes=PANES)
    now_ns = samples[-1][3] + silence_ns
    gate.step(now_ns, batch(*samples))

    rows = np.arange(len(TAGS), dtype=np.int32)
    live = gate.view.live(rows)
    for row, oracle in enumerate(oracles):
        assert live[row]["quality"] == oracle.quality
        assert live[row]["source_ns"] == oracle.source_ns
        assert live[row]["arrival_ns"] == oracle.arrival_ns
        assert close(live[row]["value"], oracle.value, 0.0)
        anomaly = oracle.anomaly
        assert near(live[row]["score"], anomaly.score), (row, live[row]["score"], anomaly.score)
        assert near(live[row]["persistent"], anomaly.persistent), (row, live[row]["persistent"], anomaly.persistent)
    aggregates = iter(gate.view.aggregates(rows))
    for row, oracle in enumerate(oracles):
        for place, window in enumerate(oracle.windows):
            got = next(aggregates)
            assert (got["row"], got["window_ns"]) == (row, window.window_ns)
            for name, want in oracle.read(place, now_ns).items():
                assert close(float(got[name]), want, 1e5), (row, place, name, got, want)
    counters = gate.state.tables.counters
    assert counters[Counter.SAMPLES] == len(samples) - sum(oracle.rejected for oracle in oracles)
    assert counters[Counter.REJECTED] == sum(oracle.rejected for oracle in oracles)
    assert counters[Counter.HISTORICAL] == sum(oracle.historical for oracle in oracles)
    assert counters[Counter.LATE] == sum(w.late for oracle in oracles for w in oracle.windows)
    assert counters[Counter.TIME_REPLACED] == sum(oracle.replaced for oracle in oracles)
    assert counters[Counter.BAD] == sum(oracle.bad for oracle in oracles)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_windows_equal_the_oracles_after_every_sample_through_many_rotations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean_gap_ns = float(rng.choice([0.05, 0.3, 2.0])) * NS_PER_S
    oracle = TagOracle(TAGS[0], 0, PANES)
    gate = engine(*TAGS, panes=PANES)
    now_ns = T0
    for _ in range(150):
        now_ns += int(rng.exponential(mean_gap_ns))
        source_ns = now_ns - (int(rng.exponential(2 * mean_gap_ns)) if rng.random() < 0.2 else 0)
        value = float(rng.normal())
        oracle.add(192, source_ns, now_ns, value)
        gate.step(now_ns, batch((0, 192, source_ns, now_ns, value)))
        for place, got in enumerate(gate.view.aggregates(np.zeros(1, np.int32))):
            for name, want in oracle.read(place, now_ns).items():
                assert close(float(got[name]), want, 1.0), (seed, place, name, got, want)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
@example(362)
@example(268435457)
def test_scores_equal_the_oracles_through_spikes_shifts_standstill_and_noise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    oracle = TagOracle(TAGS[2], 2, PANES)
    gate = engine(*TAGS, panes=PANES)
    now_ns = T0
    every_ns = int(rng.choice([20, 300, 60_000])) * 1_000_000
    level, noise, reasons = 50.0, 1.0, set()
    for i in range(1200):
        now_ns += int(every_ns * rng.uniform(0.8, 1.2)) * (50 if rng.random() < 0.01 else 1)
        if i > 700 and rng.random() < 0.01:
            level, noise = level + float(rng.choice([0.0, 10.0])), float(rng.choice([0.0, 0.1, 1.0, 5.0]))
        value = level + noise * float(rng.normal()) + (40.0 if rng.random() < 0.005 else 0.0)
        oracle.add(192, now_ns, now_ns, value)
        gate.step(now_ns, batch((2, 192, now_ns, now_ns, value)))
        # Else the roundings of a float32 add up, until a block ends one sample earlier here than there.
        left = float(gate.state.tables.novelty["block_left"][2])
        assert math.isclose(left, oracle.anomaly.block_left, abs_tol=1e-6), (seed, i, left, oracle.anomaly.block_left)
        oracle.anomaly.block_left = left
        live = gate.view.live(np.full(1, 2, np.int32))[0]
        assert near(live["score"], oracle.anomaly.score), (seed, i, live["score"], oracle.anomaly.score)
        assert near(live["persistent"], oracle.anomaly.persistent), (seed, i, live["persistent"])
        score_once_h, persistent_once_h = oracle.anomaly.once_h()
        assert often(live["score_once_h"], score_once_h, live["score"]), (seed, i, score_once_h)
        assert often(live["persistent_once_h"], persistent_once_h, live["persistent"]), (seed, i, persistent_once_h)
        reasons |= {word for bit, word in REASONS.items() if live["reasons"] & bit}
    assert reasons <= set(REASONS.values())


def run(gate: Engine, cycles: list[tuple[int, Samples]]) -> tuple[list[bytes], list[str]]:
    """All outputs, in order, and the state's bytes last."""
    drafts: list[bytes] = []
    events: list[str] = []
    for now_ns, samples in cycles:
        result = gate.step(now_ns, samples)
        for draft in result.drafts:
            rows = repr(draft.rows).encode() if isinstance(draft.rows, tuple) else draft.rows.tobytes()
            drafts.append(f"{draft.stream} {draft.first_ns} {draft.last_ns} ".encode() + rows)
        events += [event.message for event in result.events]
    return drafts + [array.tobytes() for array in gate.state.arrays()], events


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 400_000_000), st.lists(STEP, max_size=20), st.lists(st.integers(0, 20), max_size=4)),
        min_size=1,
        max_size=8,
    )
)
def test_a_batch_in_pieces_gives_what_it_gives_whole(
    cycles: list[tuple[int, list[tuple[int, int, int, int, float]], list[int]]],
) -> None:
    whole: list[tuple[int, Samples]] = []
    pieces: list[tuple[int, Samples]] = []
    now_ns = T0
    for gap_ns, steps, cuts in cycles:
        samples = batch(*samples_of(steps))
        now_ns = max(now_ns + gap_ns, int(samples["arrival_ns"].max(initial=0)))
        whole.append((now_ns, samples))
        edges = [0, *sorted(min(cut, len(samples)) for cut in cuts), len(samples)]
        pieces += [(now_ns, samples[a:b]) for a, b in itertools.pairwise(edges)]
    first = run(engine(*TAGS, panes=PANES, streams=Stream), whole)
    second = run(engine(*TAGS, panes=PANES, streams=Stream), pieces)
    assert first == second
