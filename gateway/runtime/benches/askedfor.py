"""What the scores cost that a tag or a device asks for, in the engine itself, and what they find.

The cost is the difference between two engines that are given the same batches, one with the score and one without, in
turn; of each the fastest block of steps.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np

from gateway.core.engine import Engine
from gateway.core.model import DeviceDefinition, Model, TagDefinition
from gateway.core.types import NS_PER_S, SAMPLE, Kind, Samples
from gateway.runtime.benches.detectors import FLAG_AT, either_score, event_score_with_shape
from gateway.runtime.benches.waves import KINDS, NOISE_SD, PERIOD_SAMPLES, WRONG, waving

SHAPE_TAGS = 1_000
MULTIVARIATE_DEVICES = 50
TAGS_TOGETHER = (2, 5, 8)
WARM_STEPS = 1_300
"""A shape score warms up for 1,000 samples, of a multivariate one the inverse is made after 20 scales."""

BLOCKS, BLOCK_STEPS = 4, 60
"""A block is one scale: in each, every device makes the inverse of its correlation once."""


def engine_of(devices: int, tags: int, *, shape: bool = False, together: bool = False) -> Engine:
    """So many devices of so many tags, one sample a second each."""
    definitions = tuple(
        TagDefinition(f"d{d}.t{t}", d, Kind.F64, "", 5 * NS_PER_S, (60 * NS_PER_S,), has_shape=shape)
        for d in range(devices)
        for t in range(tags)
    )
    rows = [tuple(range(d * tags, (d + 1) * tags)) if together else () for d in range(devices)]
    of_devices = tuple(DeviceDefinition(f"d{d}", "", rows[d]) for d in range(devices))
    return Engine(Model(of_devices, definitions), aggregates_every_ns=0, samples_every_ns=0, streams=frozenset())


def extra_ns(plain: Engine, rich: Engine, rows: int) -> float:
    """Nanoseconds that a step of the rich one takes longer than one of the plain one; noisy waves of each row."""
    rng = np.random.default_rng(1)
    phase = rng.uniform(0.0, 2 * np.pi, rows)
    batch: Samples = np.zeros(rows, SAMPLE)
    batch["row"], batch["quality"] = np.arange(rows), 192
    took: dict[str, list[int]] = {"plain": [], "rich": []}
    for step in range(WARM_STEPS + BLOCKS * BLOCK_STEPS):
        now_ns = (1_000 + step) * NS_PER_S
        batch["source_ns"] = batch["arrival_ns"] = now_ns
        wave = 10 * np.sin(phase + 2 * np.pi * step / PERIOD_SAMPLES)
        batch["value"] = 50 + wave + rng.normal(0.0, NOISE_SD, rows)
        for name, engine in (("plain", plain), ("rich", rich)):
            start_ns = time.perf_counter_ns()
            engine.step(now_ns, batch)
            took[name].append(time.perf_counter_ns() - start_ns)
    blocks = {name: np.array(one[WARM_STEPS:]).reshape(BLOCKS, BLOCK_STEPS).mean(axis=1) for name, one in took.items()}
    return float(blocks["rich"].min() - blocks["plain"].min())


def shape_figures(seeds: Sequence[int]) -> dict[str, object]:
    """Cost and memory of a tag; waveforms that are wrong within their range, with and without the score."""
    rich = engine_of(1, SHAPE_TAGS, shape=True)
    tables = rich.state.tables
    memory = sum(table.nbytes for table in (tables.shapes, tables.lags, tables.prototypes, tables.used))
    rows: list[dict[str, object]] = []
    for kind in KINDS:
        row: dict[str, object] = {"wrong": kind, "tried": len(seeds)}
        series = [waving(seed, kind) for seed in seeds]
        for name, detector in (("shape", event_score_with_shape), ("without", either_score)):
            on = [np.nan_to_num(detector(one)) >= FLAG_AT for one in series]
            found = [int(np.argmax(part[WRONG])) + 1 for part in on if part[WRONG].any()]
            row[f"{name}_recall"] = round(len(found) / len(seeds), 3)
            row[f"{name}_delay_samples_median"] = statistics.median(found) if found else None
            row[f"{name}_false_alarms"] = sum(
                int((part[1 : WRONG.start] & ~part[: WRONG.start - 1]).sum()) for part in on
            )
        rows.append(row)
    return {
        "tags": SHAPE_TAGS,
        "ns_per_sample": round(extra_ns(engine_of(1, SHAPE_TAGS), rich, SHAPE_TAGS) / SHAPE_TAGS, 1),
        "bytes_per_tag": memory // SHAPE_TAGS,
        "waves": rows,
    }


def multivariate_figures() -> list[dict[str, object]]:
    """Cost and memory of a device, by how many of its tags are seen together."""
    rows: list[dict[str, object]] = []
    for tags in TAGS_TOGETHER:
        plain, rich = (engine_of(MULTIVARIATE_DEVICES, tags, together=together) for together in (False, True))
        ns = extra_ns(plain, rich, MULTIVARIATE_DEVICES * tags) / MULTIVARIATE_DEVICES
        memory = sum(table.nbytes for table in rich.state.multivariate) // MULTIVARIATE_DEVICES
        rows.append({"tags": tags, "us_per_step": round(ns / 1_000, 2), "bytes_per_device": memory})
    return rows
