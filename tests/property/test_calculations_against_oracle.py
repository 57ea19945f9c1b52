"""Every function over every span against NumPy over all samples; and that cutting a batch changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.calculations import FUNCTIONS, RESULT, CalculationDefinition, Function, Output, Span
from gateway.core.engine import Engine
from gateway.core.limits import GRID_NS
from gateway.core.record import Stream
from gateway.core.types import NS_PER_S, Samples
from tests.reference.calculations import Held, outputs_of
from tests.support.engine import T0, batch, engine, tag

OUTPUTS = (
    *(Output(name, function) for name, function in FUNCTIONS.items()),
    Output("p50", Function.QUANTILE, 0.5),
    Output("p90", Function.QUANTILE, 0.9),
)
HOLD_NS = 2 * NS_PER_S
START = T0 - T0 % (10 * NS_PER_S)

# Steps of 0 (two samples at one time), short ones, and gaps longer than a value is believed.
STEPS = st.sampled_from([0, 1, 250, 500, 1000, 1500, 3000, 7000])
VALUES = st.sampled_from([0.0, 1.0, -2.0, 3.5, 3.5, 7.25, 100.0])
STORY = st.lists(st.tuples(STEPS, VALUES), min_size=1, max_size=40)


def story_samples(story: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    now_ns = START
    samples = []
    for step_ms, value in story:
        now_ns += step_ms * 1_000_000
        samples.append((now_ns, value))
    return samples


def plant(definition: CalculationDefinition, panes: int = 4) -> Engine:
    return engine(tag(stale_after_ns=HOLD_NS, calculations=(definition,)), panes=panes, streams=[Stream.CALCULATIONS])


def run(
    gate: Engine, samples: Sequence[tuple[int, float]], until_ns: int, cuts: Iterator[int] | None = None
) -> Samples:
    """Feed the samples in time's order, with all grid points; returns what ended. `cuts` are sizes of batches."""
    ended = [np.zeros(0, RESULT)]

    def step(now_ns: int, records: Samples) -> None:
        for draft in gate.step(now_ns, records).drafts:
            assert isinstance(draft.rows, np.ndarray)
            ended.append(draft.rows)

    place = 0
    now_ns = START
    while now_ns <= until_ns:
        due = [sample for sample in samples[place:] if sample[0] <= now_ns]
        place += len(due)
        records = batch(*((0, 192, time, time, value) for time, value in due))
        if cuts is None:
            step(now_ns, records)
        else:
            start = 0
            while start < len(records):
                size = next(cuts)
                step(now_ns, records[start : start + size])
                start += size
            step(now_ns, batch())
        now_ns += GRID_NS
    ended.append(gate.calculations.take(now_ns))
    return np.concatenate(ended)


def of_one(results: Samples) -> dict[str, float]:
    return {output.name: float(value) for output, value in zip(OUTPUTS, results["value"], strict=True)}


def expect(found: dict[str, float], wanted: dict[str, float]) -> None:
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), name


@settings(max_examples=80, deadline=None)
@given(story=STORY, rollover=st.sampled_from([None, 128.0]), state=st.sampled_from([None, 3.5]))
def test_intervals_of_time_hold_what_numpy_says(
    story: list[tuple[int, float]], rollover: float | None, state: float | None
) -> None:
    samples = story_samples(story)
    length = 5 * NS_PER_S
    definition = CalculationDefinition(
        "t", Span.TUMBLING, OUTPUTS, length_ns=length, ring_samples=100, rollover=rollover, state=state
    )
    until = samples[-1][0] + 2 * length
    ended = run(plant(definition), samples, until).reshape(-1, len(OUTPUTS))
    rules = Held(HOLD_NS, state, rollover)
    wanted = {}
    for start in range(START - START % length, until, length):
        end = start + length
        inside = [start <= time < end for time, _ in samples]
        outputs = outputs_of(samples, inside, start, end, rules, end)
        if end <= until - GRID_NS and (any(inside) or outputs["coverage"] > 0):
            wanted[start] = outputs
    assert [int(row[0]["start_ns"]) for row in ended if int(row[0]["end_ns"]) <= until - GRID_NS] == list(wanted)
    for row in ended:
        if int(row[0]["start_ns"]) in wanted:
            expect(of_one(row), wanted[int(row[0]["start_ns"])])


@settings(max_examples=60, deadline=None)
@given(story=STORY)
def test_hops_overlap_and_hold_what_numpy_says(story: list[tuple[int, float]]) -> None:
    samples = story_samples(story)
    length, hop = 6 * NS_PER_S, 4 * NS_PER_S
    definition = CalculationDefinition("h", Span.HOPPING, OUTPUTS, length_ns=length, hop_ns=hop, ring_samples=100)
    until = samples[-1][0] + 3 * length
    ended = run(plant(definition), samples, until).reshape(-1, len(OUTPUTS))
    assert len(ended)
    for row in ended:
        start, end = int(row[0]["start_ns"]), int(row[0]["end_ns"])
        assert (end - start, end % hop) == (length, 0)
        inside = [start <= time < end for time, _ in samples]
        expect(of_one(row), outputs_of(samples, inside, start, end, Held(HOLD_NS), end))


@settings(max_examples=60, deadline=None)
@given(story=STORY)
def test_sessions_are_cut_at_gaps_and_hold_what_numpy_says(story: list[tuple[int, float]]) -> None:
    samples = story_samples(story)
    gap = 2 * NS_PER_S
    definition = CalculationDefinition("s", Span.SESSION, OUTPUTS, gap_ns=gap, ring_samples=100)
    ended = run(plant(definition), samples, samples[-1][0] + 5 * NS_PER_S).reshape(-1, len(OUTPUTS))
    sessions: list[list[tuple[int, float]]] = []
    for sample in samples:
        if not sessions or sample[0] - sessions[-1][-1][0] > gap:
            sessions.append([])
        sessions[-1].append(sample)
    assert len(ended) == len(sessions)
    for row, session in zip(ended, sessions, strict=True):
        start, end = session[0][0], session[-1][0] + 1
        wanted = outputs_of(session, [True] * len(session), start, end, Held(HOLD_NS), end - 1)
        for name in ("coverage", "edges"):  # of the last nanosecond, and of how the session before ended
            del wanted[name]
        expect(of_one(row), wanted)


@settings(max_examples=60, deadline=None)
@given(story=STORY, wait_ms=st.sampled_from([0, 700, 4000]))
def test_the_last_so_many_samples_and_the_total_hold_what_numpy_says(
    story: list[tuple[int, float]], wait_ms: int
) -> None:
    samples = story_samples(story)
    now = samples[-1][0] + wait_ms * 1_000_000
    values = ("count", "sum", "mean", "sd", "min", "max", "first", "last", "rate", "rms", "slope", "p90")
    for definition, counted in (
        (CalculationDefinition("c", Span.COUNT, OUTPUTS, samples=4, ring_samples=100), 4),
        (CalculationDefinition("a", Span.TOTAL, OUTPUTS, ring_samples=100), len(samples)),
    ):
        gate = plant(definition, panes=8)
        for time, value in samples:
            gate.step(time, batch((0, 192, time, time, value)))
        found = of_one(gate.calculations.view(0, now))
        last = samples[-counted:]
        inside = [False] * (len(samples) - len(last)) + [True] * len(last)
        wanted = outputs_of(samples, inside, last[0][0], now + 1, Held(HOLD_NS), now)
        names = values if definition.span is Span.COUNT else (*values, "integral", "on_time", "increase", "edges")
        expect(found, {name: wanted[name] for name in names})


@settings(max_examples=40, deadline=None)
@given(story=STORY)
def test_a_rolling_span_holds_what_numpy_says_of_its_panes(story: list[tuple[int, float]]) -> None:
    samples = story_samples(story)
    panes, length = 4, 8 * NS_PER_S
    pane = length // panes
    gate = plant(CalculationDefinition("r", Span.ROLLING, OUTPUTS, length_ns=length, ring_samples=100), panes)
    for time, value in samples:
        gate.step(time, batch((0, 192, time, time, value)))
    for now in (samples[-1][0], samples[-1][0] + 3 * NS_PER_S):
        start = (now // pane - panes + 1) * pane
        inside = [time >= start for time, _ in samples]
        wanted = outputs_of(samples, inside, start, now + 1, Held(HOLD_NS), now)
        expect(of_one(gate.calculations.view(0, now)), wanted)


@settings(max_examples=30, deadline=None)
@given(story=STORY, sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_how_a_batch_was_cut_does_not_matter(story: list[tuple[int, float]], sizes: list[int]) -> None:
    def for_ever() -> Iterator[int]:
        while True:
            yield from sizes

    samples = story_samples(story)
    until = samples[-1][0] + 10 * NS_PER_S
    makes: list[Callable[[], CalculationDefinition]] = [
        lambda: CalculationDefinition("t", Span.TUMBLING, OUTPUTS, length_ns=NS_PER_S, ring_samples=9),
        lambda: CalculationDefinition("s", Span.SESSION, OUTPUTS, gap_ns=NS_PER_S, ring_samples=9),
        lambda: CalculationDefinition("r", Span.ROLLING, OUTPUTS, length_ns=4 * NS_PER_S, ring_samples=9),
    ]
    for make in makes:
        whole, parts = plant(make()), plant(make())
        assert run(whole, samples, until).tobytes() == run(parts, samples, until, for_ever()).tobytes()
        for a, b in zip(whole.state.arrays(), parts.state.arrays(), strict=True):
            assert a.tobytes() == b.tobytes()


def test_a_glitch_is_forgotten_when_its_interval_is_over() -> None:
    outputs = (Output("mean", Function.MEAN), Output("sd", Function.SD), Output("slope", Function.SLOPE))
    gate = plant(CalculationDefinition("r", Span.ROLLING, outputs, length_ns=4 * NS_PER_S), 4)
    for k in range(200):
        time = START + k * NS_PER_S // 10
        gate.step(time, batch((0, 192, time, time, 1e12 if k == 50 else 101_325.0 + 0.01 * (k % 2))))
    mean, sd, slope = gate.calculations.view(0, time)["value"]
    assert mean == pytest.approx(101_325.005, abs=1e-6)
    assert sd == pytest.approx(0.005, rel=0.05)
    assert math.isfinite(slope)
    assert abs(slope) < 1e-3
