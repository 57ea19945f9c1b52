"""An engine that is stopped or killed and goes on: its outputs are those of one that was never interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core.engine import Engine
from gateway.core.spec import EngineSpec
from tests.support.lives import Life, is_whole, many_lives, memory, stored, uninterrupted
from tests.support.plants import plant

SEED = 20_261_125


def expect_same(folder: Path, spec: EngineSpec, last: int, engine: Engine) -> None:
    never_stopped = spec.build()
    expected = uninterrupted(spec, SEED, last, engine=never_stopped)
    assert memory(engine) == memory(never_stopped)
    found = stored(folder)
    for stream, bodies in expected.items():
        assert [sequence for _, sequence, _ in found[stream]] == list(range(1, len(bodies) + 1)), stream
        assert len({segment for segment, _, _ in found[stream]}) <= 1, f"{stream}: another segment was begun"
        assert [body for _, _, body in found[stream]] == bodies, stream


def test_stops_and_starts_leave_no_trace_in_what_is_put_out(tmp_path: Path) -> None:
    for last in (3, 130, 131, 700, 1400):
        life = Life(tmp_path, plant())
        assert life.reading("fieldgate_recovery_exact") == 1, life.events
        life.feed(SEED, last)
        life.end()
    expect_same(tmp_path, plant(), 1400, life.engine)


@pytest.mark.slow
def test_what_is_put_out_through_kills_is_that_of_a_run_without(tmp_path: Path) -> None:
    result = many_lives(tmp_path, 25, SEED)
    assert is_whole(result), result
