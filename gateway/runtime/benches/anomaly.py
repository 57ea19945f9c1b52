"""How good and how dear the anomaly scores are: NAB figures, false alarms a day, injected faults, time and memory.

All 58 series of the Numenta Anomaly Benchmark come along (`hil.recordings`). What is put into series that have no
fault, and where, follows from a seed (`faults`, `waves`, `disagreement`). River's online detectors stand beside ours on
some of the series, with `full` on all (`river_peers`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np

from gateway.core.blank import records
from gateway.core.kernels.score import score_rows
from gateway.core.state import HOURS, NOVELTY, SCALE_NS_DEFAULT
from gateway.core.types import NS_PER_S
from gateway.runtime.benches import river_peers
from gateway.runtime.benches.askedfor import multivariate_figures, shape_figures
from gateway.runtime.benches.detectors import DETECTORS, STAYS_ON, event_score, windowed_gaussian
from gateway.runtime.benches.disagreement import disagreement_figures
from gateway.runtime.benches.environment import environment
from gateway.runtime.benches.faults import fault_figures, made, quiet_parts, recorded
from gateway.runtime.benches.nab import PROFILES, Labelled, nab_score
from gateway.runtime.benches.scorefigures import alarm_figures, causal, nab_figures, rarity_figures, rounded
from gateway.runtime.benches.vus import vus_pr
from gateway.runtime.scoring import BYTES_PER_TAG
from hil.recordings import corpus as recorded_corpus

MADE_SERIES = 4
FAULT_SEEDS, FAULT_SEEDS_FULL = 6, 24
PUMP_SEEDS, PUMP_SEEDS_FULL = 2, 12
SPEED_ROUNDS = 40
WARM_ROUNDS = 10

Progress = Callable[[str], None]


def load_nab() -> tuple[Labelled, ...]:
    """The whole benchmark."""
    return tuple(
        Labelled(
            one.name,
            one.value,
            one.time_s * NS_PER_S,
            tuple((int(first), int(last)) for first, last in one.anomalies),
        )
        for one in recorded_corpus()
    )


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


def detector_figures(corpus: Sequence[Labelled], progress: Progress) -> dict[str, dict[str, object]]:
    """Of each detector over the benchmark."""
    found: dict[str, dict[str, object]] = {}
    for name, (detector, flag_at) in DETECTORS.items():
        progress(f"{name}: {len(corpus)} series")
        detector(corpus[0])
        scores, took_ns = river_peers.run_timed(detector, corpus)
        figures: dict[str, object] = dict(alarm_figures(corpus, scores, flag_at))
        figures["vus_pr"] = rounded(vus_pr(corpus, scores))
        figures["ns_per_sample_one_series"] = round(took_ns, 1)
        if name not in STAYS_ON:
            figures["nab"] = nab_figures(corpus, scores)
        found[name] = figures
    return found


def beside_river(corpus: Sequence[Labelled], *, full: bool, progress: Progress) -> dict[str, object]:
    """Ours and river's on the same series: VUS-PR, NAB at the best threshold, time."""
    chosen = river_peers.some_of(corpus, full)
    try:
        peers = river_peers.detectors()
    except ImportError:
        return {"left_out": "river is not installed: pip install river"}
    rows: dict[str, object] = {}
    for name, detector in {"event": event_score, "windowed_gaussian": windowed_gaussian, **peers}.items():
        progress(f"beside river: {name} on {len(chosen)} series")
        scores, ns = river_peers.run_timed(detector, chosen)
        rows[name] = {
            "vus_pr": rounded(vus_pr(chosen, scores)),
            "nab_standard_refitted": rounded(nab_score(chosen, scores, PROFILES["standard"])[0]),
            "ns_per_sample_one_series": round(ns, 1),
        }
    return {"series": [one.name for one in chosen], "detectors": rows}


def injected(corpus: Sequence[Labelled], seeds: Sequence[int]) -> list[dict[str, object]]:
    """Faults in series like a plant's, recorded and made, and in the benchmark's real ones."""
    machines = [*quiet_parts(recorded()), *(made(seed) for seed in range(MADE_SERIES))]
    real = quiet_parts([one for one in corpus if one.name.startswith("real")])
    return [
        {"series": name} | row
        for name, series in (("machines", machines), ("nab", real))
        for row in fault_figures(series, seeds)
    ]


def run(*, series: int, full: bool, progress: Progress) -> dict[str, object]:
    """All figures."""
    corpus = load_nab()
    detectors = detector_figures(corpus, progress)
    peers = beside_river(corpus, full=full, progress=progress)
    progress("injected faults")
    faults = injected(corpus, range(FAULT_SEEDS_FULL if full else FAULT_SEEDS))
    progress("a pump whose tags disagree")
    disagreement = disagreement_figures(range(PUMP_SEEDS_FULL if full else PUMP_SEEDS))
    progress("shapes, and the cost of what is asked for")
    shape, multivariate = shape_figures(range(8)), multivariate_figures()
    progress(f"speed: {series} series; every series cut off at random places")
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
        "shape": shape,
        "multivariate": multivariate,
    }
