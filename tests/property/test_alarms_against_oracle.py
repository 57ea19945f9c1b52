"""Every alarm of a plant, sample by sample and point by point, against the drawing of ISA-18.2 in plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.alarms import AlarmAction, AlarmCommand, AlarmDefinition, AlarmKind, AlarmState
from gateway.core.limits import GRID_NS
from tests.reference.alarms import AlarmOracle, above, apart, below, equal
from tests.support.engine import T0, batch, engine, tag

ROWS = 3
LEVELS = st.sampled_from([-9.0, -5.0, -2.0, 0.0, 1.0, 1.5, 2.0, 2.5, 4.0, 9.0])
DELAYS = st.sampled_from([0, GRID_NS // 2, GRID_NS, 3 * GRID_NS])


@st.composite
def definitions(draw: st.DrawFn) -> AlarmDefinition:
    kind = draw(
        st.sampled_from(
            [
                AlarmKind.LOW,
                AlarmKind.HIGH,
                AlarmKind.HIGH_HIGH,
                AlarmKind.DEVIATION,
                AlarmKind.STATE,
                AlarmKind.LOW_LOW,
            ]
        )
    )
    return AlarmDefinition(
        kind=kind,
        limit=draw(st.sampled_from([1.0, 2.0])),
        deadband=0.0 if kind is AlarmKind.STATE else draw(st.sampled_from([0.0, 0.5])),
        on_delay_ns=draw(DELAYS),
        off_delay_ns=draw(DELAYS),
        latches=draw(st.booleans()),
        reference=1.0 if kind is AlarmKind.DEVIATION else 0.0,
    )


def oracle_of(one: AlarmDefinition) -> AlarmOracle:
    if one.kind in (AlarmKind.LOW, AlarmKind.LOW_LOW):
        condition = below(one.limit, one.deadband)
    elif one.kind in (AlarmKind.HIGH, AlarmKind.HIGH_HIGH):
        condition = above(one.limit, one.deadband)
    elif one.kind is AlarmKind.DEVIATION:
        condition = apart(one.limit, one.deadband, 1.0)
    else:
        condition = equal(one.limit)
    return AlarmOracle(*condition, one.on_delay_ns, one.off_delay_ns, one.latches)


SAMPLES = st.tuples(st.just("sample"), st.integers(0, ROWS - 1), LEVELS)
POINTS = st.tuples(st.just("grid"), st.integers(1, 3), st.just(0.0))
ACKNOWLEDGED = st.tuples(st.just("acknowledge"), st.integers(0, 99), st.just(0.0))
SHELVED = st.tuples(st.just("shelve"), st.integers(0, 99), st.sampled_from([1.0, 4.0]))


@settings(max_examples=120, deadline=None)
@given(
    rows=st.lists(st.lists(definitions(), max_size=4, unique_by=lambda one: one.kind), min_size=ROWS, max_size=ROWS),
    story=st.lists(st.one_of(SAMPLES, SAMPLES, POINTS, POINTS, ACKNOWLEDGED, SHELVED), max_size=60),
)
def test_alarms_move_as_the_oracle_says(rows: list[list[AlarmDefinition]], story: list[tuple[str, int, Any]]) -> None:
    gate = engine(*(tag(f"pump.t{n}", alarms=tuple(alarms)) for n, alarms in enumerate(rows)))
    oracles = [oracle_of(one) for alarms in rows for one in alarms]
    of_row = [[n for n, (row, _) in enumerate(gate.model.alarms) if row == place] for place in range(ROWS)]
    names = list(gate.model.alarm_of)
    shown = ["normal"] * len(oracles)
    now_ns = T0
    gate.step(now_ns, batch())
    for what, number, value in story:
        if what == "sample":
            gate.step(now_ns, batch((number, 192, now_ns, now_ns, value)))
            for n in of_row[number]:
                oracles[n].sample(value)
        elif what == "grid":
            for _ in range(number):
                now_ns += GRID_NS
                gate.step(now_ns, batch())
                shown = [oracle.grid(now_ns) for oracle in oracles]
        elif names and what == "acknowledge":
            n = number % len(names)
            gate.command(AlarmCommand(AlarmAction.ACKNOWLEDGE, names[n], "me"), now_ns)
            oracles[n].acknowledge()
            shown[n] = oracles[n].state if shown[n] != "normal" else "normal"
        elif names:
            n = number % len(names)
            until_ns = now_ns + int(value * GRID_NS)
            gate.command(AlarmCommand(AlarmAction.SHELVE, names[n], "me", until_ns), now_ns)
            oracles[n].shelved_until = until_ns
            shown[n] = "normal"
        alarms = gate.alarms.view()
        assert [AlarmState(int(state)).name.lower() for state in alarms["state"]] == [o.state for o in oracles]
        assert [AlarmState(int(state)).name.lower() for state in alarms["announced"]] == shown


@given(values=st.lists(LEVELS, min_size=1, max_size=30), cuts=st.lists(st.integers(1, 5), min_size=30, max_size=30))
@settings(max_examples=30, deadline=None)
def test_how_a_batch_was_cut_does_not_matter(values: list[float], cuts: list[int]) -> None:
    definition = AlarmDefinition(AlarmKind.HIGH, 2.0, 0.5, latches=True)
    whole = engine(tag(alarms=(definition,)))
    parts = engine(tag(alarms=(definition,)))
    samples = batch(*((0, 192, T0, T0, value) for value in values))
    whole.step(T0, samples)
    start = 0
    for cut in cuts:
        parts.step(T0, samples[start : start + cut])
        start += cut
    for gate in (whole, parts):
        gate.step(T0 + GRID_NS, batch())
    assert np.array_equal(whole.alarms.view(), parts.alarms.view())
