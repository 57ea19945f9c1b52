"""Every function block does what its plain twin does, bit for bit, whatever comes in."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.control import blocks
from tests.reference.control_blocks import Block

compiled = settings(deadline=None, max_examples=20)  # the first example may compile
value = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0, math.nan, 0.5]))
positive = st.floats(1e-3, 1e3)


@st.composite
def courses(draw: st.DrawFn) -> list[float]:
    """Points with rising x, first how many."""
    xs = sorted(draw(st.sets(st.floats(-1e3, 1e3), min_size=2, max_size=blocks.POINTS_MAX)))
    return [float(len(xs)), *(number for x in xs for number in (x, draw(st.floats(-1e3, 1e3))))]


PARAMETERS = {
    "scale": st.lists(st.floats(-100, 100), min_size=2, max_size=2),
    "sum": st.lists(st.floats(-100, 100), min_size=9, max_size=9),
    "lead_lag": st.tuples(st.floats(0, 100), positive),
    "deadband": st.tuples(positive),
    "rate_limit": st.tuples(positive, positive),
    "profile": courses(),
    "curve": courses(),
    "on_off": st.tuples(st.floats(-10, 10), st.floats(-10, 10), st.floats(0, 5), st.floats(0, 5)),
    "compare": st.tuples(st.floats(-10, 10), st.floats(0, 5), st.sampled_from([1.0, -1.0])),
    "timer": st.tuples(st.floats(0, 5), st.floats(0, 5)),
    "sequence": st.lists(positive, min_size=8, max_size=8),
    "counter": st.tuples(st.floats(0.01, 3.0), st.integers(1, 5).map(float)),
    "interlock": st.lists(st.floats(-100, 100), min_size=9, max_size=9),
}
INPUTS = {"latch": 2, "profile": 2, "product": 4, "sum": 4}
ONE_INPUT = ("scale", "lead_lag", "deadband", "rate_limit", "curve", "on_off", "compare", "timer", "counter")


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


@pytest.mark.parametrize("kind", blocks.KINDS)
@compiled
@given(data=st.data())
def test_a_block_does_what_its_plain_twin_does(kind: str, data: st.DataObject) -> None:
    parameters = list(data.draw(PARAMETERS.get(kind, st.just([]))))
    if kind == "on_off" and parameters[0] == parameters[1]:
        parameters[1] += 1.0
    count = 1 if kind in ONE_INPUT else INPUTS.get(kind) or data.draw(st.integers(2, blocks.INPUTS_MAX))
    p = np.zeros(blocks.PARAMETERS_MAX)
    p[: len(parameters)] = parameters
    state, twin = np.zeros(blocks.STATE_WORDS), Block(kind, parameters)
    x = np.zeros(blocks.INPUTS_MAX)
    for turn in range(data.draw(st.integers(1, 12))):
        inputs = data.draw(st.lists(value, min_size=count, max_size=count))
        if kind == "choose":
            inputs[0] = data.draw(st.one_of(st.integers(-1, count).map(float), st.just(math.nan)))
        x[:count] = inputs
        dt_s = 0.0 if turn == 0 else data.draw(st.sampled_from([0.0, 0.01, 0.1, 1.0, 7.5]))
        assert same(blocks.step(blocks.KINDS.index(kind), p, state, x, count, dt_s), twin.step(inputs, dt_s))


def stepped(kind: str, parameters: list[float], course: list[tuple[float, float]]) -> list[float]:
    """Outputs for (input, dt) pairs."""
    p, state, x = np.zeros(blocks.PARAMETERS_MAX), np.zeros(blocks.STATE_WORDS), np.zeros(blocks.INPUTS_MAX)
    p[: len(parameters)] = parameters
    found = []
    for value_in, dt_s in course:
        x[0] = value_in
        found.append(float(blocks.step(blocks.KINDS.index(kind), p, state, x, 1, dt_s)))
    return found


def test_a_lead_lag_answers_a_step_with_lead_over_lag_and_ends_at_the_step() -> None:
    answer = stepped("lead_lag", [2.0, 1.0], [(0.0, 0.0), *[(1.0, 0.001)] * 10_000])
    assert answer[1] == pytest.approx(2.0, rel=2e-3)
    assert answer[1000] == pytest.approx(1.0 + math.exp(-1.0), rel=2e-3)
    assert answer[-1] == pytest.approx(1.0, rel=1e-3)


def test_a_burner_stays_on_and_off_for_its_minimum_times() -> None:
    """On below 18, off above 22, at least 60 s on and 30 s off; the room heats and cools too fast for it."""
    answer = stepped("on_off", [18.0, 22.0, 60.0, 30.0], [(17.0, 0.0), *[(23.0, 10.0)] * 7, *[(17.0, 10.0)] * 4])
    assert answer == [*[1.0] * 6, *[0.0] * 3, *[1.0] * 3]


def test_a_sequence_that_waits_too_long_says_at_which_step() -> None:
    p, state, x = np.zeros(blocks.PARAMETERS_MAX), np.zeros(blocks.STATE_WORDS), np.zeros(blocks.INPUTS_MAX)
    p[:2] = 5.0, 3.0
    x[0] = 1.0
    sequence = blocks.KINDS.index("sequence")
    assert blocks.step(sequence, p, state, x, 3, 0.0) == 1.0
    x[1] = 1.0
    assert blocks.step(sequence, p, state, x, 3, 1.0) == 2.0
    assert [float(blocks.step(sequence, p, state, x, 3, 1.0)) for _ in range(4)] == [2.0, 2.0, -2.0, -2.0]
    x[0] = 0.0
    assert blocks.step(sequence, p, state, x, 3, 1.0) == 0.0
