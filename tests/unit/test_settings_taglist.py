"""Tag lists in CSV: what they may look like, and that their problems are named with their own file, line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core.types import NS_PER_S
from gateway.settings.schema import ModbusPoint, Report, Table, Tag
from tests.support.settings import HEAD, examine_text, problems_of

DEVICE = '[devices.x]\nlink = "plc"\ntag_list = "list.csv"\n'


def write(directory: Path, content: str, encoding: str = "utf-8") -> None:
    (directory / "list.csv").write_bytes(content.encode(encoding))


def tags_of(directory: Path, device: str = DEVICE) -> list[Tag]:
    return [tag for tag in examine_text(directory, HEAD + device).settings.tags if tag.device == "x"]


def test_a_csv_says_what_a_table_would(tmp_path: Path) -> None:
    write(
        tmp_path,
        "# a comment\n\n"
        "name,register,type,scale,unit,every,windows,write,scada,alarm.high,valid.low,valid.high\n"
        'a, holding 3 ,int16,0.1,"m, ""net""",500ms,10s 1min,yes,no,40,-1,50\n'
        "b,10002,,,,,,,,,,\n"
        "c,40001\n",
    )
    a, b, c = tags_of(tmp_path)
    assert isinstance(a.point, ModbusPoint)
    assert (a.point.address, a.point.scale, a.point.writable, a.point.every_ns) == (3, 0.1, True, 500_000_000)
    assert (a.unit, a.windows_ns, a.scada) == ('m, "net"', (10 * 10**9, 60 * 10**9), False)
    assert ({one.word: one.limit for one in a.alarms}, a.valid_low, a.valid_high) == ({"high": 40}, -1, 50)
    assert isinstance(b.point, ModbusPoint)
    assert (b.point.table, b.point.address, b.scada) == (Table.DISCRETE, 1, True)
    assert c.name == "x.c"


def test_a_csv_from_a_spreadsheet_has_semicolons_a_mark_and_other_line_ends(tmp_path: Path) -> None:
    write(tmp_path, "name;register;unit\r\na;holding 0;°C\r\n", "utf-8-sig")
    (a,) = tags_of(tmp_path)
    assert a.unit == "°C"


def test_a_csv_says_which_bits_which_patterns_and_what_is_news(tmp_path: Path) -> None:
    write(
        tmp_path,
        "name,register,type,bits,not_available,clamp.low,report.change,report.heartbeat\n"
        "a,holding 0,int16,4..7,0xF 7,,,\nb,holding 1,bcd32,,,0,0.5,1s\n",
    )
    a, b = (tag.point for tag in tags_of(tmp_path))
    assert isinstance(a, ModbusPoint)
    assert isinstance(b, ModbusPoint)
    assert (a.first_bit, a.bits, a.not_available, a.report) == (4, 4, (15, 7), None)
    assert (b.type, b.clamp_low, b.report) == ("bcd32", 0.0, Report(change=0.5, heartbeat_ns=NS_PER_S))


def test_a_list_is_filled_in_for_each_device(tmp_path: Path) -> None:
    write(tmp_path, "name,register,unit\na,holding {n}0,{device}/{tag}\n")
    device = '[devices."x-{n}"]\neach = { n = "1..3" }\nlink = "plc"\ntag_list = "list.csv"\n'
    tags = examine_text(tmp_path, HEAD + device).settings.tags[-3:]
    assert [tag.unit for tag in tags] == ["x-1/a", "x-2/a", "x-3/a"]
    assert [tag.point.address for tag in tags if isinstance(tag.point, ModbusPoint)] == [10, 20, 30]


@pytest.mark.parametrize(
    ("content", "report"),
    [
        ("", "1:1: header: is missing; write name,register,type,scale"),
        ("name,registr\n", '1:6: header.registr: is not a column; did you mean "register"?'),
        ("register\ncoil 0\n", '1:1: header.name: is missing; write a column "name"'),
        ("name,name\n", "1:6: header.name: stands there twice; write each column once"),
        ("name,register\na,holding 0\na,holding 1\n", "3:1: a: stands there twice; give each tag its own name"),
        ("name,register\na b,holding 0\n", '2:1: a b.name: "a b" is not a name; write at most 64 letters'),
        ("name,register\n,holding 0\n", '2:1: line 2.name: "" is empty, too long or has control characters; write'),
        ("name,register\na,holding 0,1\n", "2:1: a: has 3 cells under 2 columns; quote cells with commas"),
        ("name,register\na\n", '2:1: a.register: is missing; write register = "holding 100"'),
        ("name,register\n#\na,holding x\n", '3:3: a.register: "holding x" is not a register; write a table and'),
        ("name,register,scale\na,coil 0,0;1\n", None),
        ("name,register,scale\na,holding 0,abc\n", '2:13: a.scale: "abc" is not a number; write one like 0.1'),
        ("name,register,write\na,holding 0,maybe\n", '2:13: a.write: "maybe" is neither true nor false; write true or'),
        ("name,register,windows\na,holding 0,10\n", '2:13: a.windows: "10" has no unit; write "10s"'),
        (
            "name,register,alarm.low,alarm.high\na,holding 0,9,8\n",
            "2:13: a.alarm.low: 9 is not below high = 8; write the smaller number as low",
        ),
        ("name,register,topic\na,holding 0,t\n", "2:13: a.topic: belongs to tags of mqtt links"),
    ],
)
def test_problems_of_a_list_have_its_own_place(tmp_path: Path, content: str, report: str | None) -> None:
    write(tmp_path, content)
    found = [str(problem) for problem in problems_of(tmp_path, HEAD + DEVICE)]
    assert len(found) == 1
    expected = f"{tmp_path / 'list.csv'}:{report}" if report is not None else ""
    assert found[0][: len(expected)] == expected


def test_a_list_that_many_devices_use_is_complained_of_once(tmp_path: Path) -> None:
    write(tmp_path, "name,register\na,nowhere\n")
    device = '[devices."x-{n}"]\neach = { n = "1..50" }\nlink = "plc"\ntag_list = "list.csv"\n'
    assert len(problems_of(tmp_path, HEAD + device)) == 1


def test_a_list_that_is_no_text_is_refused_with_a_place(tmp_path: Path) -> None:
    write(tmp_path, "name,register,unit\na,holding 0,°C\n", "latin-1")
    (found,) = problems_of(tmp_path, HEAD + DEVICE)
    assert str(found).startswith(f"{tmp_path / 'list.csv'}:2:13: file: is not UTF-8 text")
