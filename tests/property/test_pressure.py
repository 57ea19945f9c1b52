"""The pressure ladder, thinning and the ledger's counts: what holds whatever comes."""

from __future__ import annotations

import random

import numpy as np
import pytest

from gateway.core.kernels.thin import thin
from gateway.core.limits import LOSS_TAGS_MAX
from gateway.core.losses import OTHERS, Counted, Devices, Losses, added, bounded, device_of, merged
from gateway.core.pressure import DOWN_NS, FROM, HYSTERESIS, UP_NS, Ladder, Step, disk_pressure
from gateway.core.record import PRIORITIES, Stream
from gateway.core.segments import Loss
from gateway.core.types import NS_PER_S, RAW_SAMPLE, SAMPLE
from tests.reference.thin import Thinner

SEEDS = range(20)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_ladder_moves_one_step_at_a_time_and_only_for_a_reason(seed: int) -> None:
    rng = random.Random(seed)
    ladder = Ladder()
    now_ns, moved_ns, pressure = 0, None, 0.0
    for _ in range(3_000):
        now_ns += rng.choice((1_000_000, UP_NS // 3, UP_NS, DOWN_NS))
        pressure = min(1.0, max(0.0, rng.choice((pressure, pressure, rng.random(), pressure + rng.gauss(0, 0.1)))))
        before = ladder.step
        moved = ladder.look(pressure, now_ns)
        assert moved == (ladder.step != before), f"seed {seed}"
        if ladder.step > before:
            assert ladder.step == before + 1 and pressure >= FROM[ladder.step], f"seed {seed}"
            assert moved_ns is None or now_ns - moved_ns >= UP_NS, f"seed {seed}"
        elif ladder.step < before:
            assert ladder.step == before - 1 and pressure < FROM[before] - HYSTERESIS, f"seed {seed}"
            assert moved_ns is None or now_ns - moved_ns >= DOWN_NS, f"seed {seed}"
        if moved:
            moved_ns = now_ns


@pytest.mark.parametrize("step", list(Step)[1:])
def test_pressure_that_swings_within_the_hysteresis_moves_nothing(step: Step) -> None:
    ladder = Ladder()
    now_ns = 0
    while ladder.step < step:
        now_ns += UP_NS
        assert ladder.look(FROM[step], now_ns)
    for _ in range(100):
        now_ns += DOWN_NS
        assert not ladder.look(FROM[step] - HYSTERESIS, now_ns)
        assert not ladder.look(FROM[step], now_ns)
    assert ladder.climbed[step] == 1


def test_whatever_the_pressure_was_the_ladder_is_calm_in_time_once_it_is_gone() -> None:
    ladder = Ladder()
    for look in range(10):
        ladder.look(1.0, look * UP_NS)
    assert ladder.step is Step.HOLD
    for look in range(len(Step)):
        ladder.look(0.0, 100 * NS_PER_S + look * DOWN_NS)
    assert ladder.step is Step.CALM


def test_the_disk_presses_from_twice_its_floor_on() -> None:
    assert disk_pressure(10**9, 0) == 0.0
    assert disk_pressure(200, 100) == FROM[Step.COALESCE]
    assert disk_pressure(100, 100) == disk_pressure(5, 100) == disk_pressure(0, 100) == 1.0


@pytest.mark.parametrize("seed", SEEDS)
def test_thinning_is_what_the_oracle_says_however_samples_are_cut(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, rows = 600, 7
    samples = np.zeros(count, SAMPLE)
    samples["row"] = rng.integers(0, rows + 2, count)
    samples["quality"] = rng.choice([192, 192, 192, 24], count)
    samples["source_ns"] = np.cumsum(rng.integers(-20, 60, count)) * 1_000_000
    samples["bits"] = rng.integers(-(2**62), 2**62, count)
    expected_kept, expected_left = Thinner(NS_PER_S, rows).keep(
        [(int(s["row"]), int(s["quality"]), int(s["source_ns"])) for s in samples]
    )
    last_ns, last_quality = np.zeros(rows, np.int64), np.full(rows, -1, np.int32)
    kept_parts, left_parts = [], []
    begin = 0
    while begin < count:
        part = samples[begin : begin + int(rng.integers(1, 200))]
        kept, left = np.zeros(len(part), SAMPLE), np.zeros(len(part), np.int32)
        used = thin(part, NS_PER_S, last_ns, last_quality, kept, left)
        kept_parts.append(kept[:used].tobytes())
        left_parts.append(left[: len(part) - used])
        begin += len(part)
    assert b"".join(kept_parts) == samples.view(RAW_SAMPLE)[expected_kept].tobytes(), f"seed {seed}"
    assert np.concatenate(left_parts).tolist() == expected_left, f"seed {seed}"


@pytest.mark.parametrize(("devices", "tags"), [(3, 5), (10, 200), (2 * LOSS_TAGS_MAX, 2)])
def test_counts_add_up_however_coarse_their_names_become(devices: int, tags: int) -> None:
    rng = np.random.default_rng(devices)
    names = (*(f"d{device}.t{tag}" for device in range(devices) for tag in range(tags)), "", "solo")
    counted, made = Counted(names), np.zeros(len(names) + 2, np.int64)
    for _ in range(5):
        rows = rng.integers(-1, len(names) + 1, 5_000).astype(np.int32)
        counted.add(rows)
        made += np.bincount(np.where((rows < 0) | (rows >= len(names)), len(names), rows), minlength=len(made))
    found = counted.by_name(Devices())
    assert sum(found.values()) == 25_000
    assert len(found) <= LOSS_TAGS_MAX
    exact = added({name or OTHERS: int(n)} for name, n in zip((*names, ""), made, strict=False) if n)
    assert found == bounded(exact)
    if devices == 3:
        assert found["d0.t0"] == made[0]
    elif devices == 10:
        assert found["d0.*"] == made[:tags].sum()
    else:
        assert found == {OTHERS: 25_000}


@pytest.mark.parametrize("seed", SEEDS)
def test_lines_that_are_drawn_together_lose_nothing(seed: int) -> None:
    rng = random.Random(seed)
    losses = Losses()
    records = samples = 0
    total: dict[str, int] = {}
    for number in range(60):
        tags = {f"d{rng.randrange(40)}.t{rng.randrange(40)}": rng.randrange(1, 9) for _ in range(rng.randrange(40))}
        count = sum(tags.values())
        records, samples, total = records + 1, samples + count, added((total, tags))
        losses.note(line(number, count, tags))
    (told,) = losses.take()
    assert (told.records, told.samples, sum(told.tags.values())) == (records, samples, samples), f"seed {seed}"
    assert (told.first_ns, told.last_ns) == (0, 159), f"seed {seed}"
    assert len(told.tags) <= LOSS_TAGS_MAX
    by_device = added({device_of(name): count} for name, count in total.items())
    assert added({name if name in by_device else device_of(name): n} for name, n in told.tags.items()) == by_device
    assert losses.take() == []


def line(number: int, samples: int, tags: dict[str, int]) -> Loss:
    return Loss(
        stream="samples",
        reason="r",
        records=1,
        samples=samples,
        first_ns=number,
        last_ns=number + 100,
        dropped_ns=number,
        tags=tags,
    )


def test_a_merged_line_keeps_the_place_of_the_first() -> None:
    first = line(5, 2, {"a.b": 2})
    assert merged(first, line(1, 3, {"a.b": 1, "c.d": 2})) == Loss(
        stream="samples", reason="r", records=2, samples=5, first_ns=1, last_ns=105, dropped_ns=5,
        tags={"a.b": 3, "c.d": 2},
    )  # fmt: skip


def test_every_stream_but_events_has_its_step() -> None:
    from gateway.core.pressure import SHED_FROM

    assert set(Stream) - set(SHED_FROM) == {Stream.EVENTS}
    lowest = max(PRIORITIES.values())
    assert [stream for stream in Stream if PRIORITIES[stream] == lowest] == [Stream.SAMPLES]
    assert SHED_FROM[Stream.SAMPLES] < min(step for stream, step in SHED_FROM.items() if stream is not Stream.SAMPLES)
