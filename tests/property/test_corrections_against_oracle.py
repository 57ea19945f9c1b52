"""What holds after all corrections is what NumPy says of all samples, in whatever order these came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice, pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.calculations import SESSIONS_KEPT, CalculationDefinition, Function, Output, Span
from gateway.core.engine import Engine
from gateway.core.limits import GRID_NS
from gateway.core.record import Stream
from gateway.core.snapshot import COMMON, Shares
from gateway.core.types import NS_PER_MS, NS_PER_S, Quality, Samples
from tests.reference.calculations import of_values
from tests.support.engine import T0, batch, engine, tag

HOLD_NS = 2 * NS_PER_S
START = T0 - T0 % (60 * NS_PER_S)
FUNCTIONS = {
    "count": Function.COUNT, "sum": Function.SUM, "mean": Function.MEAN, "sd": Function.SD, "min": Function.MIN,
    "max": Function.MAX, "first": Function.FIRST, "last": Function.LAST, "rate": Function.RATE, "rms": Function.RMS,
    "slope": Function.SLOPE,
}  # fmt: skip
OUTPUTS = (*(Output(name, one) for name, one in FUNCTIONS.items()), Output("p50", Function.QUANTILE, 0.5))

# Time until a sample comes, how late it is then, its value. No two samples have one source time.
STEPS = st.sampled_from([0, 40, 250, 900, 1500, 4000, 9000])
LATENESS = st.sampled_from([0, 0, 0, 20, 300, 1700, 3500, 8000, 14_000, 40_000])
VALUES = st.sampled_from([0.0, 1.0, -2.0, 3.5, 7.25, 100.0])
STORY = st.lists(st.tuples(STEPS, LATENESS, VALUES), min_size=1, max_size=40)
Story = Sequence[tuple[int, int, float]]
Sample = tuple[int, int, float]
"""Arrival, source, value."""
Interval = tuple[int, int]


def story_samples(story: Story) -> list[Sample]:
    now_ns = START + 60 * NS_PER_S
    samples, seen = [], set()
    for step_ms, late_ms, value in story:
        now_ns += step_ms * NS_PER_MS
        source_ns = now_ns - late_ms * NS_PER_MS
        while source_ns in seen:
            source_ns -= 1
        seen.add(source_ns)
        samples.append((now_ns, source_ns, value))
    return samples


def plant(definition: CalculationDefinition) -> Engine:
    return engine(tag(stale_after_ns=HOLD_NS, calculations=(definition,)), streams=[Stream.CALCULATIONS])


def hopping(length_s: int = 6, hop_s: int = 4, late_ms: int = 0) -> CalculationDefinition:
    span = Span.HOPPING if hop_s < length_s else Span.TUMBLING
    return CalculationDefinition(
        "h", span, OUTPUTS, length_ns=length_s * NS_PER_S, hop_ns=hop_s * NS_PER_S if hop_s < length_s else 0,
        late_ns=late_ms * NS_PER_MS, corrects=True, ring_samples=100,
    )  # fmt: skip


def session(gap_s: int = 2, late_ms: int = 0) -> CalculationDefinition:
    return CalculationDefinition(
        "s", Span.SESSION, OUTPUTS, gap_ns=gap_s * NS_PER_S, late_ns=late_ms * NS_PER_MS, corrects=True,
        ring_samples=100,
    )  # fmt: skip


def refused(gate: Engine) -> int:
    return int(gate.state.tables.calculations.states[0]["late"])


def step(gate: Engine, now_ns: int, samples: Samples) -> list[Samples]:
    drafts = gate.step(now_ns, samples).drafts
    return [rows for draft in drafts if isinstance(rows := draft.rows, np.ndarray)]


def feed(gate: Engine, samples: Iterable[Sample]) -> tuple[list[Sample], list[Samples]]:
    """One at a time, then silence until all is over. The samples that were taken, and what was told."""
    taken, told = [], []
    now_ns = START
    for sample in samples:
        now_ns, source_ns, value = sample
        before = refused(gate)
        told += step(gate, now_ns, batch((0, Quality.GOOD, source_ns, now_ns, value)))
        if refused(gate) == before:
            taken.append(sample)
    for seconds in range(1, 60):
        told += step(gate, now_ns + seconds * NS_PER_S, batch())
    return taken, told


def what_holds(told: Iterable[Samples]) -> dict[Interval, Samples]:
    """As a receiver finds out: of each interval the highest revision, without those that were taken back."""
    holds: dict[Interval, Samples] = {}
    for rows in told:
        results = rows.reshape(-1, len(OUTPUTS))
        names = [(int(row[0]["start_ns"]), int(row[0]["end_ns"])) for row in results]
        assert len(set(names)) == len(names), "one result of an interval at a time"
        for name, row in zip(names, results, strict=True):
            assert len(set(row["revision"])) == 1
            assert name not in holds or row[0]["revision"] > holds[name][0]["revision"]
            holds[name] = row
    assert all(row[0]["quality"] == Quality.BAD for row in holds.values() if is_taken_back(row))
    return {name: row for name, row in holds.items() if not is_taken_back(row)}


def is_taken_back(row: Samples) -> bool:
    return int(row[0]["count"]) == 0 and float(row[0]["coverage"]) == 0.0


def expect(row: Samples, samples: Iterable[Sample]) -> None:
    inside = sorted((source_ns, value) for _, source_ns, value in samples)
    wanted = of_values(np.array([value for _, value in inside]), np.array([time for time, _ in inside], float))
    wanted["count"] = float(len(inside))
    # Of samples some nanoseconds apart a slope is as exact as what moved in that time.
    steepest = wanted["range"] / max(1e-9, (inside[-1][0] - inside[0][0]) * 1e-9)
    for output, result in zip(OUTPUTS, row, strict=True):
        room = 1e-9 * max(1.0, steepest) if output.name == "slope" else 1e-9
        assert result["value"] == pytest.approx(wanted[output.name], rel=1e-9, abs=room, nan_ok=True), output.name
        assert (result["count"], result["quality"]) == (len(inside), Quality.GOOD)


@settings(max_examples=60, deadline=None)
@given(story=STORY, form=st.sampled_from([(6, 4), (6, 1), (12, 4), (5, 5)]), late_ms=st.sampled_from([0, 700, 5000]))
@example(story=[(0, 0, 1.0), (9000, 0, 2.0), (40, 8000, 3.0), (0, 8000, 4.0)], form=(6, 4), late_ms=0)
def test_what_holds_of_intervals_is_what_numpy_says_of_all_samples(
    story: Story, form: tuple[int, int], late_ms: int
) -> None:
    definition = hopping(*form, late_ms)
    samples = story_samples(story)
    taken, told = feed(plant(definition), samples)
    holds = what_holds(told)
    length, hop = definition.length_ns, definition.hop_ns or definition.length_ns
    wanted = {
        (end - length, end)
        for _, source_ns, _ in taken
        for end in range(source_ns - source_ns % hop + hop, source_ns + length + 1, hop)
    }
    assert {name for name, row in holds.items() if row[0]["count"]} == wanted
    for start, end in wanted:
        expect(holds[start, end], [sample for sample in taken if start <= sample[1] < end])
    begun = samples[0][1]
    for now_ns, source_ns, value in set(samples) - set(taken):
        kept = length if definition.span is Span.TUMBLING else length + definition.late_ns
        assert source_ns < begun or now_ns - source_ns > kept, f"{value} was to be taken"


@settings(max_examples=60, deadline=None)
@given(story=STORY, gap_s=st.sampled_from([1, 3]), late_ms=st.sampled_from([0, 700, 5000]))
@example(story=[(0, 0, 1.0), (4000, 0, 2.0), (4000, 0, 3.0), (0, 6000, 4.0), (0, 2000, 5.0)], gap_s=3, late_ms=0)
@example(story=[(0, 0, 1.0), (9000, 0, 2.0), (9000, 0, 3.0), (0, 14_000, 4.0)], gap_s=1, late_ms=0)
def test_what_holds_of_sessions_is_what_cutting_all_samples_at_gaps_gives(
    story: Story, gap_s: int, late_ms: int
) -> None:
    samples = story_samples(story)
    taken, told = feed(plant(session(gap_s, late_ms)), samples)
    holds = what_holds(told)
    sessions = list(cut_at_gaps(taken, gap_s * NS_PER_S))
    assert sorted(holds) == [(part[0][1], part[-1][1] + 1) for part in sessions]
    for part in sessions:
        expect(holds[part[0][1], part[-1][1] + 1], part)
    if len(list(cut_at_gaps(samples, gap_s * NS_PER_S))) < SESSIONS_KEPT:
        assert len(taken) == len(samples), "there is room for all of them"


def cut_at_gaps(samples: Sequence[Sample], gap_ns: int) -> Iterator[list[Sample]]:
    in_order = sorted(samples, key=lambda sample: sample[1])
    cuts = [place for place, (a, b) in enumerate(pairwise(in_order), start=1) if b[1] - a[1] > gap_ns]
    for first, last in pairwise([0, *cuts, len(in_order)]):
        yield in_order[first:last]


@settings(max_examples=15, deadline=None)
@given(story=STORY, sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_neither_the_cut_of_a_batch_nor_a_checkpoint_between_matters(story: Story, sizes: list[int]) -> None:
    samples = story_samples(story)
    for definition in (hopping(), hopping(5, 5, 700), session(1)):
        whole, told = plant(definition), []
        parts, told_by_parts = plant(definition), []
        of_size = cycle(sizes)
        for now_ns in range(samples[0][0], samples[-1][0] + 20 * NS_PER_S, GRID_NS):
            due = [(0, 192, s, a, value) for a, s, value in samples if now_ns - GRID_NS < a <= now_ns]
            told += step(whole, now_ns, batch(*due))
            coming = iter(due)
            while records := list(islice(coming, next(of_size))):
                told_by_parts += step(parts, now_ns, batch(*records))
            told_by_parts += step(parts, now_ns, batch())
            if due:
                parts = again(parts, definition)
        assert [rows.tobytes() for rows in told] == [rows.tobytes() for rows in told_by_parts]
        tables = (gate.state.tables.calculations[:-3] for gate in (whole, parts))
        for mine, theirs in zip(*tables, strict=True):
            assert mine.tobytes() == theirs.tobytes()


def again(gate: Engine, definition: CalculationDefinition) -> Engine:
    """An engine that began from a checkpoint of this one."""
    fresh = plant(definition)
    shares, into = Shares(gate), Shares(fresh)
    for share in (*range(shares.count), COMMON):
        into.install(shares.capture(share))
    fresh.restore(gate.capture())
    return fresh
