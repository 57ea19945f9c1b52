"""How good and how dear the anomaly scores are: NAB figures, false alarms a day, injected faults, time and memory.

The event score is the one told of each sample, not as it fades in the live cell. The NAB figures need a folder with
`nab.npz` (arrays `NAME|v` and `NAME|t`) and `nab_labels.json` (`window_rows` by NAME); without it the two shipped
recordings stand in, too few for a score. Files sorted by name within a folder: even ones tune a threshold, odd ones
are held out. The event score's constants were fitted on the even ones alone.

The peer is a windowed Gaussian: distance from the mean of the last 6,400 samples in their standard deviations, with the
tail probability as its score (written here by NumPy over whole series; the event score runs sample by sample). River's
online detectors stand beside both on some of the series (`river_peers`).
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from gateway.core.blank import records
from gateway.core.kernels.novelty import SCALE_INTERVALS
from gateway.core.kernels.score import score_rows
from gateway.core.kernels.tail import BLOCK_SCALES, TAIL_SHARE
from gateway.core.state import HOURS, NOVELTY, SCALE_NS_DEFAULT
from gateway.core.types import NS_PER_S, Float64s
from gateway.runtime.benches import river_peers
from gateway.runtime.benches.disagreement import ALARM_AT, FAULT_AT_S, FAULTS, TAGS, history, play, pump_engine
from gateway.runtime.benches.environment import environment
from gateway.runtime.benches.faults import FAULT_SAMPLES, KINDS, made, quiet_part, recorded, with_fault
from gateway.runtime.benches.nab import PROFILES, Labelled, nab_score
from gateway.runtime.benches.vus import vus_pr
from gateway.runtime.scoring import BYTES_PER_TAG, score

FLAG_AT = 0.5
PEER_SAMPLES = 6_400
PEER_FLAG_AT = 0.9999
DAY_NS = 86_400 * NS_PER_S
RARITY_DAYS = (1, 3, 7)
SEEDS = range(8)
MADE_SERIES = 4
PUMP_SEEDS, PUMP_SEEDS_FULL = 2, 6
SPEED_ROUNDS = 40
WARM_ROUNDS = 10

Progress = Callable[[str], None]
Detector = Callable[[Labelled], Float64s]


def event_score(one: Labelled) -> Float64s:
    return np.asarray(score(one.values, one.times_ns)["told"], np.float64)


def persistent_score(one: Labelled) -> Float64s:
    return np.asarray(score(one.values, one.times_ns)["persistent"], np.float64)


def windowed_gaussian(one: Labelled) -> Float64s:
    """1 minus an upper bound of the normal tail at z, exp(-z²/2), of the samples before."""
    values = one.values - one.values[0]
    sums, squares = (np.concatenate([[0.0], np.cumsum(part)]) for part in (values, values * values))
    end = np.arange(len(values))
    start = np.maximum(end - PEER_SAMPLES, 0)
    count = np.maximum(end - start, 1)
    mean = (sums[end] - sums[start]) / count
    var = np.maximum((squares[end] - squares[start]) / count - mean * mean, 1e-12)
    out: Float64s = 1.0 - np.exp(-0.5 * (values - mean) ** 2 / var)
    return out


DETECTORS: dict[str, tuple[Detector, float]] = {
    "event": (event_score, FLAG_AT),
    "persistent": (persistent_score, FLAG_AT),
    "windowed_gaussian": (windowed_gaussian, PEER_FLAG_AT),
}


def load_nab(folder: Path) -> tuple[Labelled, ...]:
    """Raises OSError or KeyError when the folder is not as promised."""
    labels = json.loads((folder / "nab_labels.json").read_text())
    with np.load(folder / "nab.npz", allow_pickle=False) as archive:
        return tuple(
            Labelled(
                name,
                archive[f"{name}|v"].astype(np.float64),
                np.round(archive[f"{name}|t"] * NS_PER_S).astype(np.int64),
                tuple((int(first), int(last)) for first, last in labels[name]["window_rows"]),
            )
            for name in sorted(labels)
        )


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
    below = sum(rate < 1.0 for rate in rates) / len(rates)
    return {
        "windows": windows,
        "windows_hit": hit,
        "false_alarms_per_day_median": round(statistics.median(rates), 3),
        "false_alarms_per_day_p90": round(float(np.quantile(rates, 0.9)), 3),
        "series_below_one_a_day": round(below, 3),
    }


def rarity_figures(series: Sequence[Labelled]) -> list[dict[str, object]]:
    """Whether "once in N hours" is true: how often it was told outside of the labels, and how often it should be."""
    rows: list[dict[str, object]] = []
    scored = [(one, score(one.values, one.times_ns)) for one in series]
    for name in ("event", "persistent"):
        for days in RARITY_DAYS:
            told, expected = 0, 0.0
            for one, records_of_one in scored:
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


def fault_figures(series: Sequence[Labelled]) -> list[dict[str, object]]:
    """For each kind of fault and detector: the share that raised a flag within it, and after how many samples."""
    rows: list[dict[str, object]] = []
    for kind in KINDS:
        delays: dict[str, list[int]] = {name: [] for name in DETECTORS}
        tried = 0
        for number, one in enumerate(series):
            for seed in SEEDS:
                values, first = with_fault(one, kind, 1000 * number + seed)
                faulty = Labelled(one.name, values[: first + FAULT_SAMPLES], one.times_ns[: first + FAULT_SAMPLES], ())
                tried += 1
                for name, (detector, flag_at) in DETECTORS.items():
                    on = np.nan_to_num(detector(faulty)[first - 1 :]) >= flag_at
                    raised = np.flatnonzero(on[1:] & ~on[:-1])
                    if len(raised):
                        delays[name].append(int(raised[0]) + 1)
        for name, found in delays.items():
            median = statistics.median(found) if found else None
            row = {"fault": kind, "detector": name, "tried": tried, "recall": round(len(found) / tried, 3)}
            rows.append(row | {"delay_samples_median": median})
    return rows


def speed(series: int) -> float:
    """Nanoseconds a sample for both scores together: one value of each series a call, the fastest half's median."""
    rng = np.random.default_rng(1)
    novelty, hours = records(series, NOVELTY), np.full(series * HOURS, np.nan, np.float32)
    values, scores = rng.normal(50.0, 1.0, (4, series)), np.full(series, np.nan)
    took = []
    for turn in range(WARM_ROUNDS + SPEED_ROUNDS):
        start = time.perf_counter_ns()
        score_rows(novelty, hours, values[turn % 4], (turn + 1) * 60 * NS_PER_S, float(SCALE_NS_DEFAULT), scores)
        took.append((time.perf_counter_ns() - start) / series)
    return statistics.median(sorted(took[WARM_ROUNDS:])[: SPEED_ROUNDS // 2])


def causal(series: Sequence[Labelled]) -> int:
    """How many series have, cut off in the middle, the scores they have whole."""
    found = 0
    for one in series:
        half = len(one.values) // 2
        whole = score(one.values, one.times_ns)[:half]
        found += score(one.values[:half], one.times_ns[:half]).tobytes() == whole.tobytes()
    return found


def disagreement_figures(seeds: Sequence[int]) -> list[dict[str, object]]:
    """The simulated pump: alarms while nothing is wrong; how soon a fault that no tag shows is told, and of whom."""
    rows: list[dict[str, object]] = []
    for fault in (None, *FAULTS):
        played = [play(history(seed, fault), pump_engine()) for seed in seeds]
        on = [np.nan_to_num(one.score) >= ALARM_AT for one in played]
        before = [part[:FAULT_AT_S] if fault else part for part in on]
        hours = (
            sum(int((~np.isnan(one.score[: len(part)])).sum()) for one, part in zip(played, before, strict=True))
            / 3_600
        )
        row: dict[str, object] = {
            "fault": fault or "none",
            "seeds": len(seeds),
            "hours_without_fault": round(hours, 1),
            "false_alarms": sum(int((part[1:] & ~part[:-1]).sum()) for part in before),
        }
        if fault is not None:
            right = TAGS.index(FAULTS[fault][1])
            after = [part[FAULT_AT_S:] for part in on]
            named = [one.first[FAULT_AT_S:][part] for one, part in zip(played, after, strict=True)]
            delays = [int(np.argmax(part)) for part in after if part.any()]
            row |= {
                "recall": sum(bool(part.any()) for part in after) / len(seeds),
                "delay_s_median": statistics.median(delays) if delays else None,
                "right_tag_first_at_the_alarm": sum(len(one) > 0 and one[0] == right for one in named) / len(seeds),
                "right_tag_first_share_of_time": round(float(np.mean(np.concatenate(named) == right)), 3),
            }
        rows.append(row)
    return rows


def beside_river(corpus: Sequence[Labelled], *, full: bool, progress: Progress) -> dict[str, object]:
    """Ours and river's on the same series: VUS-PR, NAB at the best threshold, time."""
    chosen = river_peers.some_of(corpus, full)
    try:
        peers = river_peers.detectors()
    except ImportError:
        return {"left_out": "river is not installed: pip install river"}
    rows: dict[str, object] = {}
    for name, detector in {"event": event_score, "windowed_gaussian": windowed_gaussian, **peers}.items():
        progress(f"{name} on {len(chosen)} series")
        scores, ns = river_peers.run_timed(detector, chosen)
        rows[name] = {
            "vus_pr": rounded(vus_pr(chosen, scores)),
            "nab_standard_refitted": rounded(nab_score(chosen, scores, PROFILES["standard"])[0]),
            "ns_per_sample_one_series": round(ns, 1),
        }
    return {"series": [one.name for one in chosen], "detectors": rows}


def rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 3)


def run(*, nab: Path | None, series: int, full: bool, progress: Progress) -> dict[str, object]:
    """All figures. Raises OSError or KeyError when the NAB folder is not as promised."""
    corpus = recorded() if nab is None else load_nab(nab)
    detectors: dict[str, dict[str, object]] = {}
    for name, (detector, flag_at) in DETECTORS.items():
        progress(f"{name}: {len(corpus)} series")
        detector(corpus[0])
        scores, took_ns = river_peers.run_timed(detector, corpus)
        figures: dict[str, object] = dict(alarm_figures(corpus, scores, flag_at))
        figures["vus_pr"] = rounded(vus_pr(corpus, scores))
        figures["ns_per_sample_one_series"] = round(took_ns, 1)
        if nab is not None and name != "persistent":  # which stays on: every sample would count as a false alarm
            figures["nab"] = nab_figures(corpus, scores)
        detectors[name] = figures
    peers = beside_river(corpus, full=full, progress=progress)
    progress("injected faults")
    bases = [*(quiet_part(one) for one in recorded()), *(made(seed) for seed in range(MADE_SERIES))]
    faults = fault_figures(bases)
    progress("a pump whose tags disagree")
    disagreement = disagreement_figures(range(PUMP_SEEDS_FULL if full else PUMP_SEEDS))
    progress(f"speed: {series} series")
    return {
        "bench": "anomaly",
        "environment": environment(),
        "figures": {
            "series": series,
            "ns_per_sample_both_scores": round(speed(series), 1),
            "state_bytes_per_tag": BYTES_PER_TAG,
            "series_causal": causal(corpus),
            "series_scored": len(corpus),
        },
        "detectors": detectors,
        "beside_river": peers,
        "rarity": rarity_figures(corpus),
        "faults": faults,
        "disagreement": disagreement,
    }
