"""Rows that pass from one tag to another, over stops and kills: nobody is left with a stranger's values."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gateway.core.cycle import run_cycle
from tests.support.appearing import World
from tests.support.lives import Life, memory
from tests.support.lodgers import Lodgers, house

SEED = 20_261_125


def expect_no_trace(folder: Path, seed: int, stops: range) -> None:
    """Stop behind each of these cycles and go on: the engine is always bit for bit one that was never stopped."""
    spec = house()
    lodgers = Lodgers(seed, spec.build())
    lodgers.run(stops[-1])
    never_stopped, done = spec.build(), 0
    for stop in stops:
        life = Life(folder, spec)
        assert life.reading("fieldgate_recovery_exact") == 1, life.events
        if life.number:
            assert memory(life.engine) == memory(never_stopped), f"seed {seed}: recovered behind cycle {life.number}"
        for cycle in lodgers.cycles[done:stop]:
            life.take(cycle)
            run_cycle(never_stopped, cycle)
        done = stop
        life.end()
    assert memory(life.engine) == memory(never_stopped), f"seed {seed}"
    readings = {reading.name: reading.value for reading in life.engine.readings()}
    assert readings["fieldgate_engine_rejected_samples_total"] == 0


def test_rows_change_hands_over_stops_as_they_would_have_without(tmp_path: Path) -> None:
    # Among these are two checkpoints, and a time in which all leave and nobody comes.
    expect_no_trace(tmp_path, SEED, range(60, 800, 93))


@pytest.mark.slow
def test_a_stop_behind_any_cycle_between_two_checkpoints_leaves_no_trace_of_itself(tmp_path: Path) -> None:
    expect_no_trace(tmp_path, SEED, range(95, 330))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [SEED, SEED + 1, SEED + 2, SEED + 3])
def test_kills_at_any_step_leave_nobody_with_a_strangers_values_and_lose_nothing_written(
    tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    world = World(tmp_path, seed)
    for _ in range(25):
        lag = draw.choice([0, 0, 3]) if seed % 2 else 0
        world.live(draw.randrange(1, 200), draw.randrange(6), lag)
    world.live(1, 0, 0)
    assert sum(world.kept.values()) > 1_000
