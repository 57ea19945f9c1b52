"""Faults put into series that have none: what, where and how large follow from a seed."""

from __future__ import annotations

import numpy as np

from gateway.core.types import NS_PER_S, Float64s
from gateway.runtime.benches.nab import Labelled
from hil.recordings import load

FAULT_SAMPLES = 300
SIZE_SDS = 3.0
KINDS = ("none", "step", "drift", "stuck", "variance")
NOISE_TIMES = 4.0


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
