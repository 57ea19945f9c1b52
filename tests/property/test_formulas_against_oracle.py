"""Formulas of any shape over values of any quality, against a tree walked in plain Python."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.formula import FUNCTIONS, ROLL_UPS
from gateway.core.formulaparser import parse_formula
from gateway.core.types import NS_PER_MS
from tests.reference.formulas import FUNCTIONS as PLAIN
from tests.reference.formulas import SIGNS, text_of, worth
from tests.support.engine import T0, batch, engine, tag

TAGS = ("d.a", "d.b", "d.c")
NUMBERS = st.sampled_from([0.0, 1.0, 2.0, -3.0, 0.5, 7.25, 1e6, 1e-9, 1e120])
QUALITIES = st.sampled_from([192, 192, 192, 68, 84, 0, 24])
ONE = ("not", "neg", "abs", "sqrt", "exp", "log", "log10", "floor", "ceil", "round", "sign", "good", "bad")
LEAVES = st.one_of(NUMBERS, st.sampled_from(TAGS), st.sampled_from([(f"all {word}", "*.?") for word in ROLL_UPS]))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(ONE), inner),
        st.tuples(st.sampled_from([*SIGNS, "min", "max", "default"]), inner, inner),
        st.tuples(st.sampled_from(["if", "clamp"]), inner, inner, inner),
    ),
    max_leaves=12,
)
ZERO = (0.0, 192)
VALUES = st.tuples(*(st.tuples(NUMBERS, QUALITIES) for _ in TAGS))


def resolve(name: str, is_pattern: bool) -> Sequence[str]:
    return [tag for tag in TAGS if fnmatch.fnmatchcase(tag, name)] if is_pattern else (name,)


@settings(max_examples=300, deadline=None)
@given(tree=TREES, first=VALUES, then=VALUES)
@example(tree=("**", -3.0, ("neg", "d.a")), first=(ZERO, ZERO, ZERO), then=((1e120, 192), ZERO, ZERO))
def test_a_formula_is_worth_what_its_tree_is(
    tree: object, first: Sequence[tuple[float, int]], then: Sequence[tuple[float, int]]
) -> None:
    text = f"{text_of(tree)} + 0 * bad('d.a')"  # names a tag, whatever the tree names
    formula = parse_formula(text, resolve)
    gate = engine(*(tag(name) for name in TAGS), tag("d.v", formula=formula, windows_ns=()))
    now = T0
    for values in (first, then):
        now += NS_PER_MS
        gate.step(now, batch(*((row, quality, now, now, value) for row, (value, quality) in enumerate(values))))
        gate.step(now + 1, batch())
        known = {
            name: (None if quality < 64 else value, quality)
            for name, (value, quality) in zip(TAGS, values, strict=True)
        }
        value, quality = worth(tree, known)
        live = gate.view.live(np.array([3], np.int32))[0]
        assert int(live["quality"]) == (quality if value is not None else min(quality, 63)), text
        if value is not None:
            assert float(live["value"]) == pytest.approx(value, rel=1e-12, abs=0.0), text


def test_the_oracle_knows_every_function() -> None:
    assert {*FUNCTIONS} - {"good", "bad", "default", "if"} <= {*PLAIN}
