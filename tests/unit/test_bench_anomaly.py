"""The benchmark of the scores runs, small, and its arithmetic is the published one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from gateway.cli.bench import command
from gateway.core.types import NS_PER_S
from gateway.runtime.benches.faults import COMPARED, FAULT_SAMPLES, KINDS, made, quiet_part, recorded, with_fault
from gateway.runtime.benches.nab import PROFILES, Labelled, nab_score
from gateway.runtime.benches.vus import BUFFER_MAX, softened, vus_pr

SERIES = Labelled("a/one", np.zeros(1_000), np.arange(1_000) * NS_PER_S, ((400, 499), (700, 799)))


def told(*samples: int) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    score = np.zeros(1_000)
    score[list(samples)] = 1.0
    return {SERIES.name: score}


@pytest.mark.parametrize(
    ("samples", "want"),
    [
        ((400, 700), 100.0),
        ((400, 401, 480, 700), 100.0),
        ((400,), 50.0),
        ((100,), 0.0),
        ((400, 700, 200), 100.0 - 100.0 * 0.11 / 4.0),
    ],
)
def test_nab_rewards_the_first_hit_of_a_window_and_charges_for_what_is_outside(
    samples: tuple[int, ...], want: float
) -> None:
    # From a silent detector's -2 to a perfect one's +2; samples before 150 are not scored.
    assert nab_score([SERIES], told(*samples), PROFILES["standard"], 0.5)[0] == pytest.approx(want, abs=1e-9)


def test_a_late_hit_earns_less_and_a_false_alarm_soon_after_a_window_costs_less() -> None:
    def score(*samples: int) -> float:
        return nab_score([SERIES], told(*samples), PROFILES["standard"], 0.5)[0]

    assert score(400, 700) > score(450, 700) > score(499, 700) > score(700) > score(510, 700) > score(690, 700)


def test_the_best_threshold_is_found() -> None:
    scores = told(400, 700)
    scores[SERIES.name][600] = 0.4
    best, threshold = nab_score([SERIES], scores, PROFILES["standard"])
    assert (best, threshold) == (pytest.approx(100.0), 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_changes_the_series_where_it_says_and_nowhere_else(kind: str) -> None:
    one = made(7)
    values, first = with_fault(one, kind, 3)
    changed = np.flatnonzero(values != one.values)
    assert (len(changed) > 0) == (kind != "none")
    assert np.isin(changed, np.arange(first, first + FAULT_SAMPLES)).all()
    assert (with_fault(one, kind, 3)[0] == values).all()


def test_the_quiet_part_has_no_label() -> None:
    for one in recorded():
        part = quiet_part(one)
        first = int(np.searchsorted(one.times_ns, part.times_ns[0]))
        assert not one.is_labelled()[first : first + len(part.values)].any()


def test_vus_pr_is_one_for_the_labels_themselves_and_low_for_noise() -> None:
    noise = np.random.default_rng(1).random(1_000)
    perfect = vus_pr([SERIES], {SERIES.name: softened(SERIES, BUFFER_MAX)})
    assert perfect > 0.9
    assert vus_pr([SERIES], {SERIES.name: noise}) < 0.4
    late = np.roll(softened(SERIES, BUFFER_MAX), 30)
    assert vus_pr([SERIES], {SERIES.name: noise}) < vus_pr([SERIES], {SERIES.name: late}) < perfect
    assert np.isnan(vus_pr([made(1)], {made(1).name: np.zeros(6_000)}))


@pytest.mark.slow
def test_the_bench_of_the_scores_keeps_what_is_promised_of_them() -> None:
    result = CliRunner().invoke(command, ["anomaly", "--series", "500"])
    assert result.exit_code == 0, result.output
    read = json.loads(result.stdout.splitlines()[-1])
    event, persistent, peer = (read["detectors"][name] for name in ("event", "persistent", "windowed_gaussian"))
    assert read["figures"]["state_bytes_per_tag"] <= 400
    assert read["figures"]["series_causal"] == read["figures"]["series_scored"] == 58
    standard = event["nab"]["standard"]
    assert (standard["refitted"] >= 70, standard["transferred"] >= 67) == (True, True)
    assert event["nab"]["low_fp"]["refitted"] >= 63
    assert event["windows"] == 116
    assert min(event["series_below_one_a_day"], persistent["series_below_one_a_day"]) >= 0.9
    assert standard["refitted"] > peer["nab"]["standard"]["refitted"] + 25
    assert set(read["beside_river"]["detectors"]) >= {"event", "windowed_gaussian", "river_half_space_trees"}
    assert [row["false_alarms"] <= 1 for row in read["disagreement"]] == [True, True, True]
    assert [row.get("recall") for row in read["disagreement"]] == [None, 1.0, 1.0]
    recall = {(row["fault"], row["detector"]): row["recall"] for row in read["faults"] if row["series"] == "machines"}
    for fault, detector in (
        ("step", "event"),
        ("variance", "persistent"),
        ("stuck", "persistent"),
        ("drift", "either"),
    ):
        assert recall[fault, detector] > 0.7, (fault, detector)
    assert recall["none", "persistent"] < 0.2
    assert [row["shape_recall"] for row in read["shape"]["waves"]] == [1.0] * 4
    assert any(line.split() == ["fault", *COMPARED] for line in result.stdout.splitlines())
