"""Faults put into series that have none: what, where and how large follow from a seed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from gateway.core.types import NS_PER_S, Float64s
from gateway.runtime.benches.detectors import DETECTORS
from gateway.runtime.benches.nab import Labelled
from hil.recordings import load

FAULT_SAMPLES = 300
SIZE_SDS = 3.0
KINDS = ("none", "step", "drift", "stuck", "variance")
NOISE_TIMES = 4.0
SAMPLES_MIN = 3_000
COMPARED = ("event", "persistent", "either", "windowed_gaussian")


def made(seed: int, samples: int = 6_000) -> Labelled:
    """Five-minute samples of a daily cycle with noise that remembers (AR(1), 0.8)."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0.0, 1.0, samples)
    for i in range(1, samples):
        noise[i] += 0.8 * noise[i - 1]
    at_s = 300 * np.arange(samples)
    values = 50.0 + 3.0 * np.sin(2 * np.pi * at_s / 86_400) + noise
    return Labelled(f"made-{seed}", values, at_s * NS_PER_S, ())


def recorded() -> tuple[Labelled, ...]:
    """The shipped recordings, with what failed in them as windows."""
    out = []
    for name in ("machine_temperature", "ambient_temperature"):
        one = load(name)
        windows = tuple((int(first), int(last)) for first, last in one.anomalies)
        out.append(Labelled(name, one.value.astype(np.float64), one.time_s * NS_PER_S, windows))
    return tuple(out)


def quiet_part(one: Labelled) -> Labelled:
    """The longest stretch without a label."""
    edges = [-1, *(edge for window in one.windows for edge in window), len(one.values)]
    length, first = max((edges[i + 1] - edges[i] - 1, edges[i] + 1) for i in range(0, len(edges), 2))
    part = slice(first, first + length)
    return Labelled(one.name, one.values[part], one.times_ns[part], ())


def with_fault(one: Labelled, kind: str, seed: int) -> tuple[Float64s, int]:
    """The values with a fault of FAULT_SAMPLES, and where it begins: in the last third."""
    rng = np.random.default_rng(seed)
    values = one.values.copy()
    first = int(rng.integers(2 * len(values) // 3, len(values) - FAULT_SAMPLES))
    inside = slice(first, first + FAULT_SAMPLES)
    sign = 1.0 if rng.random() < 0.5 else -1.0
    size = sign * SIZE_SDS * float(np.std(values[:first]))
    if kind == "step":
        values[inside] += size
    elif kind == "drift":
        values[inside] += size * np.linspace(0.0, 1.0, FAULT_SAMPLES)
    elif kind == "stuck":
        values[inside] = values[first - 1]
    elif kind == "variance":
        values[inside] += rng.normal(0.0, NOISE_TIMES * float(np.std(np.diff(values[:first]))), FAULT_SAMPLES)
    return values, first


def quiet_parts(series: Sequence[Labelled]) -> list[Labelled]:
    """Of those where it is long enough to learn from and moves at all."""
    parts = [quiet_part(one) for one in series]
    return [part for part in parts if len(part.values) >= SAMPLES_MIN and np.ptp(part.values) > 0.0]


def fault_figures(series: Sequence[Labelled], seeds: Sequence[int]) -> list[dict[str, object]]:
    """For each kind of fault and detector: the share that raised a flag within it, and after how many samples."""
    rows: list[dict[str, object]] = []
    for kind in KINDS:
        delays: dict[str, list[int]] = {name: [] for name in COMPARED}
        tried = 0
        for number, one in enumerate(series):
            for seed in seeds:
                values, first = with_fault(one, kind, 1000 * number + seed)
                faulty = Labelled(one.name, values[: first + FAULT_SAMPLES], one.times_ns[: first + FAULT_SAMPLES], ())
                tried += 1
                for name in COMPARED:
                    detector, flag_at = DETECTORS[name]
                    on = np.nan_to_num(detector(faulty)[first - 1 :]) >= flag_at
                    raised = np.flatnonzero(on[1:] & ~on[:-1])
                    if len(raised):
                        delays[name].append(int(raised[0]) + 1)
        for name, found in delays.items():
            median = statistics.median(found) if found else None
            row = {"fault": kind, "detector": name, "tried": tried, "recall": round(len(found) / tried, 3)}
            rows.append(row | {"delay_samples_median": median})
    return rows
