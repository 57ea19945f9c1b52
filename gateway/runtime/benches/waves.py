"""Waveforms that are wrong within their usual range: for the shape score, and for what the other two do not see."""

from __future__ import annotations

import numpy as np

from gateway.core.types import NS_PER_S, Float64s
from gateway.runtime.benches.nab import Labelled

WRONG = slice(4_000, 4_120)
KINDS = ("flat top", "double", "saw", "slow")
PERIOD_SAMPLES = 40
NOISE_SD = 0.4


def wave(seed: int, wrong: str, samples: int = 5_000) -> Float64s:
    """A sine of amplitude 10 around 50 with noise, and in WRONG what `wrong` says; "" for nothing."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples)
    turns = t[WRONG] / PERIOD_SAMPLES
    out: Float64s = 50 + 10 * np.sin(2 * np.pi * t / PERIOD_SAMPLES)
    if wrong == "flat top":
        out[WRONG] = np.clip(out[WRONG], 44, 56)
    elif wrong == "double":
        out[WRONG] = 50 + 10 * np.sin(4 * np.pi * turns)
    elif wrong == "saw":
        out[WRONG] = 50 + 20 * (turns % 1 - 0.5)
    elif wrong == "slow":
        out[WRONG] = 50 + 10 * np.sin(np.pi * turns)
    return out + rng.normal(0, NOISE_SD, samples)


def waving(seed: int, wrong: str) -> Labelled:
    """The same as a series of one sample a second, labelled where it is wrong."""
    values = wave(seed, wrong)
    windows = ((WRONG.start, WRONG.stop - 1),) if wrong else ()
    return Labelled(wrong or "right", values, np.arange(len(values)) * NS_PER_S, windows)
