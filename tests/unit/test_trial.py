"""A configuration on trial: what counts as worse, and when it is judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gateway.core.histogram import SIZE
from gateway.core.kernels.histogram import observe
from gateway.core.trial import Trial, Vitals, told, worse
from gateway.core.types import NS_PER_MS, NS_PER_S

PUMP, FAN = frozenset({"pump.a", "pump.b"}), frozenset({"fan.a"})
NOTHING: frozenset[str] = frozenset()
MANY = frozenset(f"line.t{number}" for number in range(200))


def vitals(**changed: Any) -> Vitals:
    known = {"pump": PUMP, "fan": FAN, "line": MANY}
    return Vitals(**{"known": known, "good": dict(known), "upstream": {"cloud": True}, **changed})


FINE = vitals()


def good(**changed: frozenset[str]) -> dict[str, frozenset[str]]:
    return {**FINE.good, **changed}


def counted(milliseconds: float, count: int) -> Any:
    counts = np.zeros(SIZE, np.int64)
    for _ in range(count):
        observe(counts, int(milliseconds * NS_PER_MS))
    return counts


@pytest.mark.parametrize(
    ("now", "reasons"),
    [
        (FINE, {}),
        (vitals(good=good(pump=NOTHING)), {"device pump": "pump was good and is not any more"}),
        (vitals(good=good(pump=frozenset({"pump.a"}))), {}),
        (vitals(known={"fan": FAN, "line": MANY}, good={"fan": FAN, "line": MANY}), {}),
        (vitals(known={**FINE.known, "pump": frozenset({"pump.c"})}, good=good(pump=NOTHING)), {}),
        (vitals(known={**FINE.known, "new": frozenset({"new.a"})}), {}),
        (
            vitals(good=good(line=frozenset(sorted(MANY)[:170]))),
            {"tags": "30 of 203 tags that were good are not any more"},
        ),
        (vitals(good=good(line=frozenset(sorted(MANY)[:185]))), {}),
        (vitals(upstream={"cloud": False}), {"uplink cloud": "uplink cloud was connected and is not any more"}),
        (vitals(upstream={"other": False}), {}),
    ],
    ids=[
        *("the same", "a device is lost", "a sensor is lost", "a device was taken out", "its tags are others now"),
        *("a new one never came", "many tags are lost", "few tags are lost", "upstream is lost", "another upstream"),
    ],
)
def test_what_was_good_and_is_still_there_must_be_good(now: Vitals, reasons: dict[str, str]) -> None:
    assert worse(FINE, FINE, now) == reasons


def test_what_was_bad_before_is_not_held_against_it() -> None:
    before = vitals(good=good(pump=NOTHING), upstream={"cloud": False}, loops={"level": True})
    assert worse(before, before, before) == {}


def test_a_loop_that_went_to_its_fail_safe_is_worse_and_one_that_was_there_is_not() -> None:
    before = vitals(loops={"level": False, "flow": True})
    now = vitals(loops={"level": True, "flow": True, "new": True})
    assert worse(before, before, now) == {"loop level": "loop level went to its fail-safe"}


def test_misses_count_from_when_it_had_settled() -> None:
    before = vitals(cycles=10_000, misses=100)
    settled = vitals(cycles=500, misses=400)
    assert worse(before, settled, vitals(cycles=1_500, misses=420)) == {}
    found = worse(before, settled, vitals(cycles=1_500, misses=500))
    assert found == {"misses": "10.0% of the control cycles miss their deadline, 1.0% did before"}
    assert worse(before, settled, vitals(cycles=510, misses=410)) == {}, "ten cycles say nothing"


def test_a_percentile_over_its_budget_is_worse_when_it_was_within() -> None:
    stage, budget = "sample → aggregate", {"sample → aggregate": 50 * NS_PER_MS}

    def of(counts: Any) -> Vitals:
        return vitals(latencies={stage: counts}, budgets_ns=budget)

    settled = counted(400, 300)  # while it was being put in place
    slow, fast = settled + counted(80, 200), settled + counted(20, 200)
    [(key, why)] = worse(of(counted(10, 500)), of(settled), of(slow)).items()
    assert key == f"latency {stage}"
    assert "is over its budget of 50 ms, it was 1" in why
    assert worse(of(counted(10, 500)), of(settled), of(fast)) == {}
    assert worse(of(counted(80, 500)), of(settled), of(slow)) == {}, "it was over before"
    assert worse(of(counted(10, 500)), of(settled), of(settled + counted(80, 50))) == {}, "too few"
    assert worse(FINE, of(settled), of(slow)) == {}, "nothing was measured before"


def test_what_a_reload_did_not_touch_is_no_verdict_on_it() -> None:
    before = vitals(loops={"level": False})
    now = vitals(good=good(pump=NOTHING), upstream={"cloud": False}, loops={"level": True})

    def judged(*, plant: bool, uplinks: bool) -> list[str]:
        return list(worse(before.of(plant=plant, uplinks=uplinks), before, now))

    assert judged(plant=True, uplinks=True) == ["device pump", "uplink cloud", "loop level"]
    assert judged(plant=True, uplinks=False) == ["device pump", "loop level"]
    assert judged(plant=False, uplinks=True) == ["uplink cloud"]
    assert judged(plant=False, uplinks=False) == []


def run(looks: dict[float, Vitals], length_s: float = 30) -> Trial:
    trial = Trial(FINE, 100 * NS_PER_S, int(length_s * NS_PER_S))
    for second, now in looks.items():
        assert not trial.is_over
        trial.look(now, int((100 + second) * NS_PER_S))
    return trial


LOST = vitals(good=good(pump=NOTHING))


def test_what_is_worse_in_each_look_of_the_last_third_is_worse() -> None:
    trial = run({second: LOST if second >= 20 else FINE for second in range(1, 31)})
    assert trial.is_over
    assert list(trial.reasons) == ["device pump"]


def test_the_plant_is_looked_at_only_when_that_says_something() -> None:
    trial = Trial(FINE, 0, 30 * NS_PER_S)
    wanted = []
    for second in range(1, 33):
        if trial.wants_look(second * NS_PER_S):
            wanted.append(second)
            trial.look(FINE, second * NS_PER_S)
    assert wanted == [10, *range(20, 31)]


def test_what_recovers_or_comes_and_goes_is_not() -> None:
    assert run({second: LOST if second < 20 else FINE for second in range(1, 31)}).reasons == {}
    assert run({second: LOST if second != 25 else FINE for second in range(1, 31)}).reasons == {}
    assert run({second: LOST if second == 30 else FINE for second in range(1, 31)}).reasons == {}


def test_a_trial_ends_however_seldom_it_is_looked_at() -> None:
    trial = run({50: LOST, 51: LOST})
    assert trial.is_over
    assert list(trial.reasons) == ["device pump"]


def test_many_reasons_are_told_in_one_line() -> None:
    assert told({str(number): f"r{number}" for number in range(7)}) == "r0, r1, r2, r3, r4, and 2 more"
    assert told({"a": "this"}) == "this"
