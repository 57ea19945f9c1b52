"""Virtual tags in the engine: when they are computed, what quality they have, and that a tag is a tag."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np
import pytest

from gateway.core.adoption import adopt
from gateway.core.calculations import CalculationDefinition, Function, Output, Span
from gateway.core.engine import Engine
from gateway.core.formula import Formula
from gateway.core.formulaparser import parse_formula
from gateway.core.limits import GRID_NS
from gateway.core.model import TagDefinition
from gateway.core.record import Stream
from gateway.core.types import NS_PER_MS, NS_PER_S, Quality
from tests.support.engine import T0, alarms, batch, engine, one, tag

NAMES = ("d.a", "d.b", "d.sum", "d.twice")


def formula(text: str, every_ns: int = 0) -> Formula:
    def resolve(name: str, is_pattern: bool) -> Sequence[str]:
        return [known for known in NAMES[:2] if fnmatchcase(known, name)] if is_pattern else (name,)

    return parse_formula(text, resolve, every_ns)


def plant(*virtual: TagDefinition, streams: Sequence[Stream] = ()) -> Engine:
    return engine(tag("d.a"), tag("d.b"), *virtual, streams=streams)


def live(gate: Engine, row: int = 2) -> tuple[float, int]:
    record = gate.view.live(np.array([row], np.int32))[0]
    return float(record["value"]), int(record["quality"])


def test_inputs_that_come_together_give_one_result_and_a_tag_of_tags_follows() -> None:
    gate = plant(tag("d.sum", formula=formula("d.a + d.b")), tag("d.twice", formula=formula("2 * d.sum")))
    gate.step(T0, batch((0, 192, T0, T0, 1.0), (1, 192, T0 + 5, T0 + 7, 2.0)))
    assert live(gate)[1] == Quality.BAD_NOT_INITIALISED
    assert gate.is_due(T0 + 1)
    gate.step(T0 + 1, batch())
    assert not gate.is_due(T0 + 2)
    assert (live(gate), live(gate, 3)) == ((3.0, 192), (6.0, 192))
    record = gate.view.live(np.array([2], np.int32))[0]
    assert (record["source_ns"], record["arrival_ns"]) == (T0 + 5, T0 + 7)
    assert gate.view.aggregates(np.array([2], np.int32))[0]["count"] == 1


def test_windows_alarms_and_calculations_are_those_of_any_tag() -> None:
    total = CalculationDefinition("all", Span.TOTAL, (Output("max", Function.MAX),))
    gate = plant(
        tag("d.sum", formula=formula("d.a * 10"), alarms=alarms(high=50.0), calculations=(total,)),
        streams=[Stream.SAMPLES],
    )
    told, recorded = [], 0
    for k in range(12):
        now = T0 + k * GRID_NS
        result = gate.step(now, one(now, float(k)))
        told += [event.kind for event in result.events]
        recorded += sum(int((draft.rows["row"] == 2).sum()) for draft in result.drafts)  # type: ignore[index,call-overload]
    assert "alarm.high.raised" in told
    window = gate.view.aggregates(np.array([2], np.int32))[0]
    assert (window["count"], window["max"]) == (11, 100.0)
    assert float(gate.calculations.view(2, now)["value"][0]) == 100.0
    assert recorded >= 9


def test_a_stale_input_makes_its_tag_stale_and_no_window_takes_it_again() -> None:
    gate = plant(tag("d.sum", formula=formula("d.a + d.b"), stale_after_ns=NS_PER_S * 3600))
    gate.step(T0, batch((0, 192, T0, T0, 1.0), (1, 192, T0, T0, 2.0)))
    for k in range(1, 70):
        now = T0 + k * GRID_NS
        gate.step(now, one(now, 1.0))
    assert live(gate)[1] == Quality.UNCERTAIN_STALE
    before = gate.view.aggregates(np.array([2], np.int32))[0]["count"]
    gate.step(now + GRID_NS, batch())
    gate.step(now + 2 * GRID_NS, batch())
    assert gate.view.aggregates(np.array([2], np.int32))[0]["count"] - before == 1  # of the last sample of a
    gate.step(now + 3 * GRID_NS, one(now + 3 * GRID_NS, 2.0, row=1))
    gate.step(now + 3 * GRID_NS + 1, batch())
    assert live(gate) == (3.0, 192)


def test_a_formula_without_result_is_bad_says_why_once_and_when_it_is_over() -> None:
    gate = plant(tag("d.sum", formula=formula("d.a / d.b")))
    told = []
    for k in range(100):
        now = T0 + k * GRID_NS
        zero = k < 20 and k % 2 == 0
        result = gate.step(now, batch((0, 192, now, now, 1.0), (1, 192, now, now, 0.0 if zero else 2.0)))
        told += [event for event in result.events if event.kind.startswith("virtual")]
        if k == 3:
            assert live(gate)[1] == Quality.BAD
    assert [event.kind for event in told] == ["virtual.fault", "virtual.result"]
    assert told[0].message == "d.sum: no result, division by zero in d.a / d.b"
    assert live(gate) == (0.5, 192)
    readings = {reading.name: reading.value for reading in gate.virtual.readings()}
    assert readings["fieldgate_virtual_faults_total"] == 10
    assert readings["fieldgate_virtual_without_result"] == 0


def test_a_roll_up_leaves_out_what_is_bad_and_a_sum_does_not() -> None:
    gate = plant(tag("d.sum", formula=formula("mean('d.*')")), tag("d.twice", formula=formula("sum('d.*')")))
    gate.step(T0, batch((0, 192, T0, T0, 4.0), (1, 24, T0, T0, 0.0)))
    gate.step(T0 + 1, batch())
    assert live(gate) == (4.0, Quality.UNCERTAIN_SUBNORMAL)
    assert live(gate, 3)[1] == Quality.BAD_COMM_FAILURE


def test_a_statistic_is_that_of_the_window_as_of_its_last_sample() -> None:
    gate = plant(tag("d.sum", formula=formula("max(d.a, 1min) - mean(d.a, 1min)")))
    for k, value in enumerate([1.0, 5.0, 3.0]):
        now = T0 + k * NS_PER_S
        gate.step(now, one(now, value))
    gate.step(now + 1, batch())
    assert live(gate) == (2.0, 192)


@pytest.mark.parametrize(("every_ns", "computed"), [(0, 100), (NS_PER_S, 10), (250 * NS_PER_MS, 34)])
def test_a_period_is_on_the_grid_and_only_counts_when_something_came(every_ns: int, computed: int) -> None:
    gate = plant(tag("d.sum", formula=formula("d.a", every_ns)))
    start = T0 - T0 % (3 * NS_PER_S)
    for k in range(1, 101):
        now = start + k * GRID_NS
        gate.step(now, one(now, 1.0))
    gate.step(start + 101 * GRID_NS, batch())
    for k in range(60):
        gate.step(start + (102 + k) * GRID_NS, batch())
    count = gate.view.aggregates(np.array([2], np.int32))[0]["count"]
    assert abs(int(count) - computed) <= 1


def test_a_reload_keeps_what_a_formula_remembers_while_it_says_the_same() -> None:
    old = plant(tag("d.sum", formula=formula("d.a + d.b")), tag("d.twice", formula=formula("d.a * 2")))
    for k in range(5):
        now = T0 + k * GRID_NS
        old.step(now, batch((0, 192, now, now, 1.0), (1, 192, now, now, 2.0)))
    old.finish(now)
    new = engine(
        *(tag("d.b"), tag("d.c"), tag("d.a")),
        tag("d.twice", formula=formula("d.a * 3")),
        tag("d.sum", formula=formula("d.a + d.b")),
    )
    assert adopt(new, old) == 3
    new.step(now + GRID_NS, batch())
    assert [int(record["count"]) for record in new.view.aggregates(np.array([4, 3], np.int32))] == [5, 1]
    assert live(new, 3) == (3.0, 192)
