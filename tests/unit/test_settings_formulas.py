"""Formulas as they are written: where they may stand, in which order they come, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core import limits
from gateway.core.formula import Input, Statistic
from gateway.core.types import NS_PER_S, Kind
from gateway.runtime.model import build_model
from gateway.settings.schema import FormulaPoint, Settings, Tag
from tests.support.settings import HEAD, HEAD_LINES, examine_text, problems_of


def text(*tags: str) -> str:
    return f"{HEAD}[devices.v]\n" + "".join(f"tags.{tag}\n" for tag in tags)


def read(tmp_path: Path, *tags: str) -> Settings:
    return examine_text(tmp_path, text(*tags)).settings


def of(settings: Settings, name: str) -> Tag:
    return next(tag for tag in settings.tags if tag.name == name)


def test_virtual_tags_stand_last_each_behind_what_it_looks_at(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        'last = { formula = "first + d.pv", unit = "kW" }',
        'middle = { formula = "max(d.pv, 10)" }',
        'first = { formula = "mean(d.pv, 1min) * middle", every = "1s", windows = ["10s"] }',
    )
    assert [tag.name for tag in settings.tags][-3:] == ["v.middle", "v.first", "v.last"]
    first = of(settings, "v.first")
    assert isinstance(first.point, FormulaPoint)
    assert first.point.formula.inputs == (Input("d.pv", Statistic.MEAN, 60 * NS_PER_S), Input("v.middle"))
    assert (first.point.formula.every_ns, first.windows_ns, first.kind) == (NS_PER_S, (10 * NS_PER_S,), Kind.F64)
    assert first.stale_after_ns == of(settings, "d.pv").stale_after_ns == 3 * NS_PER_S
    model = build_model(settings)
    assert [model.tags[row].name for row in model.virtual_rows] == ["v.middle", "v.first", "v.last"]


def test_a_formula_stands_in_a_template_and_beside_other_tags(tmp_path: Path) -> None:
    settings = examine_text(
        tmp_path,
        HEAD
        + """[devices."pump-{n}"]
each = { n = "1..2" }
link = "plc"
unit = 2
tags.flow = { register = "holding 0" }
tags.head = { register = "holding 1" }
tags.power = { formula = "flow * head / if('{device}.head' > 3, 2, 1)" }
[devices.all]
tags.power = { formula = "sum('pump-*.power')" }
tags.running = { formula = "count('pump-?.flow')" }
""",
    ).settings
    power = of(settings, "pump-2.power").point
    assert isinstance(power, FormulaPoint)
    assert [one.tag for one in power.formula.inputs] == ["pump-2.flow", "pump-2.head"]
    total = of(settings, "all.power").point
    assert isinstance(total, FormulaPoint)
    assert [one.tag for one in total.formula.inputs] == ["pump-1.power", "pump-2.power"]


@pytest.mark.parametrize(
    ("tag", "says"),
    [
        ('t = { formula = "d.pv +" }', 'column 7 of "d.pv +": ends where a value is missing'),
        ('t = { formula = "d.pw" }', '"d.pw" is not a tag; did you mean d.pv?'),
        ('t = { formula = "pv" }', '"v.pv" is not a tag'),
        ('t = { formula = "t + d.pv" }', "looks at itself, v.t"),
        ("t = { formula = \"sum('x-*.y')\" }", '"x-*.y" matches no tag'),
        ('t = { formula = "mean(d.pv, 5min)" }', "d.pv has no window of 5min; it has 1min"),
        ('t = { formula = "1 < d.pv < 3" }', "write a < b and b < c"),
        ('t = { formula = "d.pv ** 2 ^ 2" }', "write ** for a power"),
        ('t = { formula = "foo(d.pv)" }', '"foo" is not a function; write one of abs'),
        ('t = { formula = "__import__(d.pv)" }', "is not a function"),
        ('t = { formula = "3 + 4" }', "names no tag, so it would never change"),
        ('t = { formula = "5bar + d.pv" }', "constants have no unit"),
        (f't = {{ formula = "{"(" * 40}d.pv{")" * 40}" }}', "is nested deeper than 32"),
        (f't = {{ formula = "{"-" * 600}d.pv" }}', "is nested deeper than 32"),
        (f't = {{ formula = "d.pv{" + d.pv" * 300}" }}', "has more than 512 steps"),
        ('t = { formula = "d.pv", register = "holding 3" }', "take it or `formula` out"),
        ('t = { formula = "d.pv", write = true }', "has no meaning for what is computed"),
        ("t = { formula = 3 }", "3 is not text"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, tag: str, says: str) -> None:
    (problem,) = problems_of(tmp_path, text(tag))
    assert says in problem.message
    assert problem.line == HEAD_LINES + 2
    assert problem.key.startswith("devices.v.tags.t")


def test_a_circle_is_refused_with_its_path(tmp_path: Path) -> None:
    written = text(
        'x = { formula = "d.pv" }', 'a = { formula = "b + x" }', 'b = { formula = "c" }', 'c = { formula = "a" }'
    )
    (problem,) = problems_of(tmp_path, written)
    assert "goes in a circle: v.a looks at v.b looks at v.c looks at v.a" in problem.message
    assert problem.line == HEAD_LINES + 3


def test_a_text_and_a_chain_too_long_are_refused(tmp_path: Path) -> None:
    texts = 'tags.s = { register = "holding 50", type = "string", registers = 4 }\n'
    (problem,) = problems_of(tmp_path, text('t = { formula = "e.s" }') + f'[devices.e]\nlink = "plc"\n{texts}')
    assert "e.s is a text; formulas are of numbers" in problem.message
    chain = [f't{n} = {{ formula = "{f"t{n - 1}" if n else "d.pv"}" }}' for n in range(limits.VIRTUAL_LEVELS_MAX + 1)]
    (problem,) = problems_of(tmp_path, text(*chain))
    assert "a chain of more than 16 formulas" in problem.message


def test_a_virtual_tag_is_written_and_driven_by_nobody(tmp_path: Path) -> None:
    loop = """[control.c]
pid = { input = "d.pv", output = "v.t", setpoint = 50, kp = 2 }
limits = { min = 0, max = 100 }
failsafe = { output = 0 }
"""
    problems = problems_of(tmp_path, text('t = { formula = "d.pv", valid = { low = 0, high = 1 } }') + loop)
    assert any("v.t is computed; write a tag of a Modbus link" in problem.message for problem in problems)
