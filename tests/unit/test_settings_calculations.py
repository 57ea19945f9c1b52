"""Calculations as they are written: which keys mean which span, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core.calculations import CalculationDefinition, Function, Span
from gateway.core.types import NS_PER_S
from tests.support.settings import HEAD, HEAD_LINES, examine_text, problems_of


def text(calculation: str) -> str:
    return (
        f'{HEAD}[devices.x]\nlink = "plc"\n[devices.x.tags.t]\nregister = "holding 40"\ncalculate.c = {calculation}\n'
    )


def one(tmp_path: Path, calculation: str) -> CalculationDefinition:
    settings = examine_text(tmp_path, text(calculation)).settings
    (tag,) = (tag for tag in settings.tags if tag.name == "x.t")
    (found,) = tag.calculations
    return found


@pytest.mark.parametrize(
    ("written", "span"),
    [
        ('last = "10min"', Span.ROLLING),
        ('every = "1h"', Span.TUMBLING),
        ('last = "10min", every = "1min"', Span.HOPPING),
        ("samples = 100", Span.COUNT),
        ('gap = "30s"', Span.SESSION),
        ('calendar = "day"', Span.CALENDAR),
        ("", Span.TOTAL),
    ],
)
def test_the_keys_say_the_span(tmp_path: Path, written: str, span: Span) -> None:
    assert one(tmp_path, f'{{ of = ["mean"]{", " if written else ""}{written} }}').span is span


def test_what_is_written_is_what_is_computed(tmp_path: Path) -> None:
    found = one(
        tmp_path,
        '{ every = "1h", of = ["mean", "median", "p95"], late = "5s", corrections = true, state = 3, rollover = 100 }',
    )
    assert [(output.name, output.function, output.quantile) for output in found.outputs] == [
        ("mean", Function.MEAN, 0.0),
        ("median", Function.QUANTILE, 0.5),
        ("p95", Function.QUANTILE, 0.95),
    ]
    assert (found.length_ns, found.late_ns, found.corrects) == (3_600 * NS_PER_S, 5 * NS_PER_S, True)
    assert (found.state, found.rollover, found.ring_samples) == (3.0, 100.0, 1_000)


@pytest.mark.parametrize("written", ['every = "1h"', 'last = "1h", every = "5min"', 'gap = "30s"'])
def test_what_ends_by_itself_can_be_corrected(tmp_path: Path, written: str) -> None:
    assert one(tmp_path, f'{{ of = ["mean"], corrections = true, {written} }}').corrects


def test_shifts_are_kept_as_the_calendar_takes_them(tmp_path: Path) -> None:
    found = one(tmp_path, '{ of = ["mean"], calendar = ["06:00", "14:00", "22:00"] }')
    assert found.calendar == "06:00:00 14:00:00 22:00:00"


@pytest.mark.parametrize(
    ("calculation", "says"),
    [
        ('{ every = "1h" }', "is missing; write what is computed"),
        ('{ of = ["avg"] }', '"avg" is not a function; write count, sum'),
        ('{ of = ["p100"] }', "is not a function"),
        ('{ of = ["mean"], samples = 3, gap = "1s" }', "says another span than gap"),
        ('{ of = ["mean"], samples = 3, every = "1s" }', "says another span than last or every"),
        ('{ of = ["mean"], last = "1min", every = "2min" }', "is not shorter than last"),
        ('{ of = ["mean"], last = "1h", every = "7s" }', "cuts last into 3600 parts, more than 240"),
        ('{ of = ["mean"], last = "1h", late = "7s" }', "has no meaning for what never ends"),
        ('{ of = ["mean"], calendar = "day", corrections = true }', "are given of intervals (`every`) and sessions"),
        ('{ of = ["mean"], last = "1h", corrections = true }', "are given of intervals (`every`) and"),
        ('{ of = ["mean"], calendar = ["14:00", "06:00"] }', "is no calendar"),
        ('{ of = ["mean"], calendar = "week" }', "is no calendar"),
        ('{ of = ["mean"], evry = "1h" }', 'did you mean "every"?'),
        ('{ of = ["mean", "mean"] }', "stands there twice"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, calculation: str, says: str) -> None:
    (problem,) = problems_of(tmp_path, text(calculation))
    assert says in problem.message
    assert problem.line == HEAD_LINES + 5
    assert problem.key.startswith("devices.x.tags.t.calculate.c")


def test_samples_kept_for_quantiles_have_a_limit(tmp_path: Path) -> None:
    tags = "".join(
        f'[devices.x.tags.t{n}]\nregister = "holding {n}"\ncalculate.c = {{ of = ["p50"], keep_samples = 100000 }}\n'
        for n in range(102)
    )
    (problem,) = problems_of(tmp_path, f'{HEAD}[devices.x]\nlink = "plc"\n{tags}')
    assert problem.key == "devices.x.tags.t100.calculate"
    assert "to more than 10000000; write a lower keep_samples" in problem.message


def test_a_time_zone_that_there_is_not_is_refused(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, HEAD.replace('id = "g"', 'id = "g"\ntime_zone = "Europe/Atlantis"'))
    assert 'is not a time zone; write one like "Europe/Berlin"' in problem.message
