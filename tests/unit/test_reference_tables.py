"""Reference tables: what is joined to which tag, which rows are left out, and what stays when a table is gone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest

from gateway.core.encode import context_of
from gateway.core.types import SAMPLE, Kind, Quality
from gateway.runtime.model import build_model
from gateway.runtime.referencing import ReferenceWatch, keep
from gateway.settings.referencetables import joined
from gateway.settings.schema import MqttPoint, Priority, Settings
from tests.support.engine import T0, engine, one, tag
from tests.support.settings import HEAD, examine_text, problems_of

REFERENCE = '[reference.assets]\nfile = "assets.csv"\n'


def read(tmp_path: Path, table: str, reference: str = REFERENCE) -> Settings:
    (tmp_path / "assets.csv").write_text(table, encoding="utf-8")
    return examine_text(tmp_path, HEAD + reference).settings


def of(settings: Settings, name: str) -> dict[str, str]:
    return dict(next(tag for tag in settings.tags if tag.name == name).context)


def test_rows_of_tags_and_of_devices_are_joined_and_the_tag_wins(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        "device,tag,asset,path,criticality,maker\n"
        "d,,P-1,plant/hall/line 1,low,Acme\n"
        "d,pv,T-7,,high,\n"
        ",m.t,M-1,plant,critical,\n"
        "z,,somebody else's,,,\n",
    )
    assert settings.reference_findings == ()
    assert of(settings, "d.out") == {"asset": "P-1", "path": "plant/hall/line 1", "criticality": "low", "maker": "Acme"}
    assert of(settings, "d.pv") == {
        "asset": "T-7",
        "path": "plant/hall/line 1",
        "criticality": "high",
        "maker": "Acme",
    }
    point = next(tag.point for tag in settings.tags if tag.name == "m.t")
    assert isinstance(point, MqttPoint) and point.priority is Priority.HIGH
    context = context_of(build_model(settings).tags)
    assert len(context.of_row) == 4 and len(context.version) == 8


def test_limits_and_a_curve_are_the_tags_where_it_says_nothing_itself(tmp_path: Path) -> None:
    settings = read(tmp_path, "tag;low;high;curve\nd.bit;;;\nd.pv;-5;50;\nm.t;1;9;0:0 10:20\n")
    tags = {tag.name: tag for tag in settings.tags}
    assert (tags["d.pv"].valid_low, tags["d.pv"].valid_high) == (0, 100), "as it is written"
    assert (tags["m.t"].valid_low, tags["m.t"].valid_high) == (1, 9)
    assert (tags["m.t"].curve, tags["m.t"].kind) == (((0, 0), (10, 20)), Kind.F64)


def test_a_sqlite_table_is_joined_as_well(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "plant.db")) as connection:
        connection.execute("CREATE TABLE assets (Tag TEXT, asset TEXT, low REAL)")
        connection.executemany("INSERT INTO assets VALUES (?, ?, ?)", [("m.t", "M-1", 2.5), ("m.t", None, "x")])
        connection.commit()
    reference = '[reference.assets]\nfile = "plant.db"\ntable = "assets"\n'
    settings = examine_text(tmp_path, HEAD + reference).settings
    assert of(settings, "m.t") == {"asset": "M-1"}
    (finding,) = settings.reference_findings
    assert (
        finding
        == f'{tmp_path / "plant.db"}:2: low: "x" is not a number; write one like 0.1, without unit; the row is left out'
    )


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (",,x,,,,", "names neither tag nor device"),
        ("d,,,important,,,", 'criticality "important": write low, normal, high, critical'),
        ("d,,,,1,2,", "low is of one tag, and the row names a whole device"),
        (",m.t,,,5,2,", "low 5 is not below high 2"),
        (",m.t,,,,,0:1", "has 1 points; write 2 to 64"),
        (",m.t,,,,,0:1 x", 'curve: "x" is no point; write shown:true'),
        (",m.t,,,,,2:1 1:2", "what is shown must rise"),
        (",d.out,,,,,0:1 1:2", "d.out is written as well"),
        (",m.t," + "x" * 300 + ",,,,", "asset has more than 256 characters"),
        ("d,,,,,,,,,", "10 cells, and the header has 7"),
    ],
)
def test_a_bad_row_is_named_with_its_line_and_the_rest_stands(tmp_path: Path, row: str, says: str) -> None:
    settings = read(tmp_path, f"device,tag,asset,criticality,low,high,curve\n# a remark\n{row}\n,d.pv,T-7,,,,\n")
    (finding,) = settings.reference_findings
    assert says in finding
    assert finding.startswith(f"{tmp_path / 'assets.csv'}:3: ") and finding.endswith("; the row is left out")
    assert of(settings, "d.pv") == {"asset": "T-7"}


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ('[reference.a]\nfile = "none.csv"\n', "does not exist; write the path of the table"),
        ('[reference.a]\nfile = "none.db"\n', 'write the table of the SQLite file, table = "assets"'),
        ('[reference.a]\nfile = "none.csv"\ntable = "x"\n', "belongs to SQLite files"),
        ("[reference.a]\n", 'is missing; write file = "assets.csv"'),
        ('[reference.a]\nfile = "gateway.toml"\ntabel = "x"\n', 'did you mean "table"?'),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, reference: str, says: str) -> None:
    (problem,) = problems_of(tmp_path, HEAD + reference)
    assert says in problem.message
    assert problem.line > HEAD.count("\n")


@pytest.mark.parametrize("after", ["gone", "no columns", "not text"])
def test_what_was_read_last_stays_when_a_table_is_gone_or_none_any_more(tmp_path: Path, after: str) -> None:
    settings = read(tmp_path, "tag,asset\nm.t,M-1\n")
    told: list[str] = []
    watch = ReferenceWatch(settings, now_ns=lambda: 0, emit=lambda event: told.append(event.message))
    settings.state_dir.mkdir()
    watch.note(settings)
    file = tmp_path / "assets.csv"
    if after == "gone":
        file.unlink()
    else:
        file.write_bytes(b"a,b\n1,2\n" if after == "no columns" else b"\xff\xfe\x00")
    for again in (watch.read_again(settings, lambda: settings), examine_text(tmp_path, HEAD + REFERENCE).settings):
        assert of(again, "m.t") == {"asset": "M-1"}
        watch.note(again)
    (message,) = told
    assert "what was read of it last (1 rows) stays in force" in message


def test_joining_again_begins_with_the_tags_as_they_are_written(tmp_path: Path) -> None:
    settings = read(tmp_path, "tag,asset,low\nm.t,M-1,3\n")
    (tmp_path / "assets.csv").write_text("tag,asset\nd.pv,T-7\n")
    again = joined(settings)
    tags = {tag.name: tag for tag in again.tags}
    assert (tags["m.t"].context, tags["m.t"].valid_low) == ((), None)
    assert of(again, "d.pv") == {"asset": "T-7"}
    assert msgspec.structs.replace(again, tags=()) != settings


def test_what_cannot_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "reference").write_text("a file in the way")
    with pytest.raises(OSError, match="reference"):
        keep(tmp_path, "assets", ())


@pytest.mark.parametrize("x", [-1.0, 0.0, 3.0, 10.0, 15.0, 50.0, 60.0])
def test_a_value_is_calibrated_before_anything_sees_it_and_the_batch_stays_as_it_came(x: float) -> None:
    curve = ((0.0, 1.0), (10.0, 11.0), (50.0, 91.0))
    gate = engine(tag("d.plain"), tag("d.curved", curve=curve))
    batch = one(T0, x, row=1)
    before = batch.tobytes()
    gate.step(T0, batch)
    assert batch.tobytes() == before
    live = gate.view.live(np.array([1], np.int32))[0]
    slope = 1.0 if x < 10 else 2.0
    expected = np.interp(x, [0, 10, 50], [1, 11, 91]) + slope * (min(x, 0.0) + max(x - 50, 0.0))
    assert float(live["value"]) == pytest.approx(expected)
    assert live["quality"] == (Quality.GOOD if 0 <= x <= 50 else Quality.UNCERTAIN_NOT_ACCURATE)
    assert gate.view.aggregates(np.array([1], np.int32))[0]["mean"] == pytest.approx(expected)
    gate.step(T0 + 1, np.zeros(0, SAMPLE))
