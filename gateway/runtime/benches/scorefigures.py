"""Figures of scores over labelled series: the benchmark's, flags at the default threshold, rarity, causality.

Files sorted by name within a folder: even ones tune a threshold, odd ones are held out. The event score's constants
were fitted on the even ones alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from gateway.core.kernels.novelty import SCALE_INTERVALS
from gateway.core.kernels.tail import BLOCK_SCALES, TAIL_SHARE
from gateway.core.types import NS_PER_S, Float64s
from gateway.runtime.benches.detectors import scored
from gateway.runtime.benches.nab import PROFILES, Labelled, nab_score

DAY_NS = 86_400 * NS_PER_S
RARITY_DAYS = (1, 3, 7)
CUTS = 3


def halves(series: Sequence[Labelled]) -> tuple[list[Labelled], list[Labelled]]:
    """Even and odd places within each folder."""
    places: dict[str, int] = {}
    parts: tuple[list[Labelled], list[Labelled]] = ([], [])
    for one in series:
        folder = one.name.partition("/")[0]
        place = places.get(folder, 0)
        places[folder] = place + 1
        parts[place % 2].append(one)
    return parts


def nab_figures(series: Sequence[Labelled], scores: dict[str, Float64s]) -> dict[str, dict[str, float]]:
    """By profile: the score at the best threshold, and on the held-out half at the best threshold of the other."""
    tune, hold = halves(series)
    out: dict[str, dict[str, float]] = {}
    for name, profile in PROFILES.items():
        refitted, threshold = nab_score(series, scores, profile)
        fitted = nab_score(tune, scores, profile)[1]
        transferred = nab_score(hold, scores, profile, fitted)[0]
        out[name] = {"refitted": refitted, "threshold": threshold, "transferred": transferred, "tuned": fitted}
    return {name: {key: round(value, 3) for key, value in row.items()} for name, row in out.items()}


def alarm_figures(series: Sequence[Labelled], scores: dict[str, Float64s], flag_at: float) -> dict[str, float]:
    """At the default threshold: windows hit, and flags raised a day outside of them."""
    rates, hit, windows = [], 0, 0
    for one in series:
        on = np.nan_to_num(scores[one.name]) >= flag_at
        raised = on & ~np.concatenate([[False], on[:-1]])
        free = ~one.is_labelled()
        days = free.sum() * float(np.median(np.diff(one.times_ns))) / DAY_NS
        rates.append(float((raised & free).sum()) / days)
        hit += sum(bool(on[first : last + 1].any()) for first, last in one.windows)
        windows += len(one.windows)
    below = sum(1 for rate in rates if rate < 1.0) / len(rates)
    return {
        "windows": windows,
        "windows_hit": hit,
        "false_alarms_per_day_median": round(float(statistics.median(rates)), 3),
        "false_alarms_per_day_p90": round(float(np.quantile(rates, 0.9)), 3),
        "false_alarms_per_day_max": round(float(max(rates)), 3),
        "series_below_one_a_day": round(below, 3),
    }


def rarity_figures(series: Sequence[Labelled]) -> list[dict[str, object]]:
    """Whether "once in N hours" is true: how often it was told outside of the labels, and how often it should be."""
    rows: list[dict[str, object]] = []
    with_scores = [(one, scored(one)) for one in series]
    for name in ("event", "persistent"):
        for days in RARITY_DAYS:
            told, expected = 0, 0.0
            for one, records_of_one in with_scores:
                interval_ns = float(np.median(np.diff(one.times_ns)))
                once_ns = records_of_one[f"{name}_once_ns"]
                if days * DAY_NS < SCALE_INTERVALS * interval_ns * BLOCK_SCALES / TAIL_SHARE:
                    continue  # shorter than what the tail speaks of
                on = np.nan_to_num(once_ns) >= days * DAY_NS
                free = ~one.is_labelled() & ~np.isnan(once_ns)
                told += int((on & ~np.concatenate([[False], on[:-1]]) & free).sum())
                expected += free.sum() * interval_ns / (days * DAY_NS)
            ratio = round(told / expected, 2) if expected else None
            rows.append(
                {"score": name, "once_in_days": days, "told": told, "expected": round(expected, 1), "ratio": ratio}
            )
    return rows


def causal(series: Sequence[Labelled], seed: int = 1) -> int:
    """How many series have, cut off at random places, byte for byte the scores they have whole, shape and all."""
    rng = np.random.default_rng(seed)
    found = 0
    for one in series:
        whole = scored(one, shape=True)
        cuts = rng.integers(1, len(one.values), CUTS).tolist()
        parts = [Labelled(one.name, one.values[:cut], one.times_ns[:cut], ()) for cut in cuts]
        found += all(scored(part, shape=True).tobytes() == whole[: len(part.values)].tobytes() for part in parts)
    return found


def rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 3)
