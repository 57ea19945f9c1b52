"""Waveforms that are wrong within their usual range."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.core.kernels.shape import shape_series
from gateway.core.shapes import LAGS, PROTOTYPES, SHAPE
from gateway.core.types import NS_PER_S, Float64s
from gateway.core.view import REASON_SHAPE
from gateway.runtime.benches.waves import KINDS, WRONG, wave
from gateway.runtime.scoring import score
from tests.reference.shape import ShapeOracle
from tests.support.engine import T0, batch, engine, tag

ROW = np.zeros(1, np.int32)


def shapes_of(values: Float64s) -> Float64s:
    out = np.full(len(values), np.nan)
    used = np.zeros(PROTOTYPES, np.int64)
    shape_series(np.zeros(1, SHAPE), np.zeros(2 * LAGS), np.zeros(LAGS * PROTOTYPES), used, values, out)
    return out


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("wrong", KINDS)
def test_a_wrong_waveform_is_told_and_a_right_one_is_not(wrong: str, seed: int) -> None:
    on = np.nan_to_num(shapes_of(wave(seed, wrong))) >= 0.5
    print(f"seed {seed}: {wrong} after {int(np.argmax(on[WRONG]))} samples")
    assert on[WRONG].any()
    assert not on[: WRONG.start].any()
    assert not on[WRONG.stop + 100 :].any()


def test_a_flat_top_is_told_by_the_shape_and_by_no_other_score() -> None:
    values = wave(3, "flat top")
    times_ns = T0 + NS_PER_S * np.arange(len(values))
    plain, shaped = (score(values, times_ns, shape=shape) for shape in (False, True))
    assert np.fmax(plain["event"], plain["persistent"])[WRONG].max() < 0.5 <= shaped["event"][WRONG].max()
    gates = [engine(tag("a.x", has_shape=shape)) for shape in (False, True)]
    found = []
    for gate in gates:
        reasons = 0
        for time_ns, value in zip(times_ns[: WRONG.stop].tolist(), values.tolist(), strict=False):
            gate.step(time_ns, batch((0, 192, time_ns, time_ns, value)))
            reasons |= int(gate.view.live(ROW)[0]["reasons"]) if time_ns >= times_ns[WRONG.start] else 0
        found.append(bool(reasons & REASON_SHAPE))
    assert found == [False, True]
    assert len(gates[0].state.tables.shapes) == 0


@pytest.mark.parametrize("seed", [4, 5])
def test_shapes_equal_the_oracles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = wave(seed, "saw")
    values += np.where(rng.random(len(values)) < 0.01, rng.normal(0, 5, len(values)), 0)
    oracle = ShapeOracle()
    want = np.array([oracle.add(value) for value in values.tolist()])
    np.testing.assert_allclose(shapes_of(values), want, atol=1e-6)


@pytest.mark.parametrize("values", [np.full(2_000, 7.0), np.zeros(2_000), np.tile([1e140, -1e140], 1_000)])
def test_constant_and_huge_signals_have_shapes_that_are_numbers(values: Float64s) -> None:
    told = shapes_of(values)[1_100:]
    assert np.isfinite(told).all()
    assert (told < 0.5).all()
