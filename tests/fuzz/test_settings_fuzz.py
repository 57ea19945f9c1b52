"""Whatever a file says, `load` returns Settings or raises ConfigurationError, with a place for each problem."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.settings.load import load
from gateway.settings.problems import ConfigurationError
from gateway.settings.schema import Settings
from tests.support.settings import EXAMPLE

REGISTERS = EXAMPLE.parent / "registers"
PUMP = (REGISTERS / "pump.csv").read_text(encoding="utf-8")
WORDS = [
    *(
        '"',
        "'",
        '"""',
        "[",
        "]",
        "[[",
        "{",
        "}",
        "=",
        ",",
        ".",
        "#",
        "\n",
        "\\",
        "{n}",
        "{tag}",
        "\x00",
        "\x1b",
        "é",
        "☃",
    ),
    *(
        "0",
        "-1",
        "1e999",
        "nan",
        "99999999999999999999",
        "true",
        "1979-05-27",
        '"10s"',
        '"1..3"',
        '"*"',
        '""',
        "[]",
        "{}",
    ),
    *(
        "each = 1\n",
        "tags = 3\n",
        "[scada]\n",
        "link = {}\n",
        'unit = "{n}"\n',
        "[devices]\n",
        "[[devices]]\n",
        "pid = []\n",
    ),
    *("[control.x]\n", "[tag_lists]\n", "tag_list = [1]\n", '"holding 65535"', '"float64"', "write = true\n"),
]


def without_the_pumps(text: str) -> str:
    """Fewer devices, so that an example takes milliseconds."""
    return text.replace('"1..40"', '"1..3"').replace("registers/", f"{REGISTERS}/")


TEXT = without_the_pumps(EXAMPLE.read_text(encoding="utf-8"))
LINES = TEXT.splitlines(keepends=True)

places = st.floats(0, 1, exclude_max=True)
edits = st.one_of(
    st.tuples(st.just("insert"), places, st.sampled_from(WORDS) | st.text(max_size=5)),
    st.tuples(st.just("delete"), places, st.integers(1, 12)),
    st.tuples(st.just("value"), places, st.sampled_from(WORDS)),
    st.tuples(st.just("drop line"), places, st.none()),
    st.tuples(st.just("repeat line"), places, places),
)


def edited(text: str, kind: str, place: float, what: object) -> str:
    lines = text.splitlines(keepends=True) or [""]
    line = int(place * len(lines))
    at = int(place * len(text))
    if kind == "insert":
        return text[:at] + str(what) + text[at:]
    if kind == "delete":
        assert isinstance(what, int)
        return text[:at] + text[at + what :]
    if kind == "value":
        key, equals, _ = lines[line].partition("=")
        lines[line] = f"{key}{equals}{what}\n"
    elif kind == "drop line":
        del lines[line]
    else:
        assert isinstance(what, float)
        lines.insert(line, LINES[int(what * len(LINES))])
    return "".join(lines)


def check(text: str, csv: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "gateway.toml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        (Path(directory) / "pump.csv").write_bytes(csv.encode("utf-8", "surrogatepass"))
        try:
            assert isinstance(load(path), Settings)
        except ConfigurationError as error:
            assert error.problems
            for problem in error.problems:
                lines = problem.file.read_bytes().decode("utf-8", errors="replace").split("\n")
                assert 1 <= problem.line <= len(lines)
                assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
                assert str(problem).isprintable()


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(edits, min_size=1, max_size=6))
def test_a_damaged_configuration_is_settings_or_problems_never_anything_else(
    changes: list[tuple[str, float, object]],
) -> None:
    text = TEXT
    for kind, place, what in changes:
        text = edited(text, kind, place, what)
    check(text, PUMP)


VALUES = [
    *(
        "0",
        "-1",
        "1e308",
        "nan",
        "99999999999999999999",
        "true",
        "1979-05-27",
        "07:32:00",
        "[]",
        "{}",
        "[[]]",
        "{ x = 1 }",
    ),
    *(
        '""',
        '"\\u0000"',
        '"10s"',
        '"1..3"',
        '"*"',
        '"[!"',
        '"{n}"',
        '"{x}"',
        '"{tag}"',
        '"boiler.valve"',
        '"plc"',
        '"floor"',
    ),
    *(
        '"holding 65535"',
        '"coil 0"',
        '"float64"',
        '"uint64"',
        '"5"',
        '["a", 1]',
        '["*"]',
        '{ n = "1..2" }',
        '"pressures"',
    ),
]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.just("value"), places, st.sampled_from(VALUES)), min_size=1, max_size=5))
def test_any_value_under_any_key_is_settings_or_problems_never_anything_else(
    changes: list[tuple[str, float, object]],
) -> None:
    lines = [line for line in LINES if "=" in line and not line.startswith("#")]
    text = TEXT
    for _, place, what in changes:
        line = lines[int(place * len(lines))]
        text = text.replace(line, f"{line.partition('=')[0]}= {what}\n", 1)
    check(text, PUMP)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(edits, min_size=1, max_size=4))
def test_a_damaged_tag_list_is_settings_or_problems_never_anything_else(
    changes: list[tuple[str, float, object]],
) -> None:
    csv = PUMP
    for kind, place, what in changes:
        csv = edited(csv, kind, place, what)
    check(TEXT.replace(f"{REGISTERS}/pump.csv", "pump.csv"), csv)
