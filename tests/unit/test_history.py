"""The history's file: steps merged into coarser ones, the cap, restarts, damage, and what `fieldgate history` tells."""

from __future__ import annotations

import json
import math
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.core.types import NS_PER_S
from gateway.runtime.clock import EngineClock
from gateway.runtime.historian import Historian
from gateway.spool.history import RESOLUTIONS_NS, HistoryReader, HistoryStore, decode, encode, sorted_block
from gateway.spool.records import StoreDamaged, StoreUnavailable
from tests.support.engine import T0, batch, engine, tag

FINE, MINUTE, QUARTER, DAY = RESOLUTIONS_NS
START = 1_700_000_000 * NS_PER_S // DAY * DAY
CONFIG = '[gateway]\nid = "g"\nstate_dir = "."\n[history]\n'


def fill(store: HistoryStore, steps: int, first: int = 0, names: tuple[str, ...] = ("d.a", "d.b")) -> None:
    for k in range(first, first + steps):
        values = np.array([[k + place, k - 1.0, k + 1.0, float(k % 2)] for place in range(len(names))]).T
        store.write(START + k * FINE, names, values)


def points(path: Path, name: str, step_ns: int) -> list[tuple[int, float, float, float, float]]:
    with closing(HistoryReader(path)) as reader:
        return [tuple(point) for point in reader.points(name, START, START + 10 * DAY, step_ns)[1]]  # type: ignore[misc]


def test_steps_are_merged_into_coarser_ones_when_these_are_over(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with closing(HistoryStore(path, 10**9)) as store:
        fill(store, 91)
    assert len(points(path, "d.a", FINE)) == 91
    minutes = points(path, "d.b", MINUTE)
    assert len(minutes) == 15
    assert minutes[1] == (START + MINUTE, np.mean(range(7, 13)), 5.0, 12.0, 0.5)
    (quarter,) = points(path, "d.a", QUARTER)
    assert quarter == (START, np.mean(range(90)), -1.0, 90.0, 0.5)
    assert points(path, "d.a", DAY) == []


def test_what_was_under_way_at_a_stop_is_merged_after_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with closing(HistoryStore(path, 10**9)) as store:
        fill(store, 3)
    with closing(HistoryStore(path, 10**9)) as store:
        fill(store, 1, first=40, names=("d.c", "d.a"))
    assert points(path, "d.a", MINUTE) == [(START, 1.0, -1.0, 3.0, pytest.approx(1 / 3))]
    assert [point[1] for point in points(path, "d.a", FINE)] == [0.0, 1.0, 2.0, 41.0]
    assert [point[1] for point in points(path, "d.c", FINE)] == [40.0]


def test_above_its_bytes_the_oldest_of_the_finest_goes_first_and_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    names = tuple(f"d.t{n}" for n in range(300))
    rng = np.random.default_rng(1)
    with closing(HistoryStore(path, 1_000_000)) as store:
        for k in range(220):
            store.write(START + k * FINE, names, rng.normal(50.0, 1.0, (4, len(names))))
        assert store.dropped_blocks > 0
        assert store.bytes_used() <= 1_000_000
    fine, minutes = points(path, "d.t5", FINE), points(path, "d.t5", MINUTE)
    assert fine[0][0] > START
    assert fine[-1][0] == START + 219 * FINE
    assert minutes[0][0] == START, "what is coarser is still there"


def test_a_tag_without_a_value_has_a_gap_and_not_a_zero(tmp_path: Path) -> None:
    nan = math.nan
    path = tmp_path / "history.db"
    with closing(HistoryStore(path, 10**9)) as store:
        store.write(START, ["d.a"], np.array([[nan], [nan], [nan], [0.0]]))
        store.write(START + FINE, ["d.a"], np.array([[4.0], [3.0], [5.0], [1.0]]))
        store.write(START + MINUTE, ["d.a"], np.array([[nan], [nan], [nan], [0.0]]))
        store.write(START + 2 * MINUTE, ["d.a"], np.array([[1.0], [1.0], [1.0], [1.0]]))
    first, second = points(path, "d.a", MINUTE)
    assert first == (START, 4.0, 3.0, 5.0, 0.5)
    assert all(math.isnan(value) for value in second[1:4]) and second[4] == 0.0


def test_a_block_reads_back_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    block = sorted_block(rng.permutation(1_000).tolist(), rng.normal(1e6, 1e3, (4, 1_000)))
    import zstandard

    again = decode(zstandard.compress(encode(block)))
    assert again.tags.tobytes() == block.tags.tobytes() and again.values.tobytes() == block.values.tobytes()
    with pytest.raises(StoreDamaged, match="instead of"):
        decode(zstandard.compress(encode(block)[:-1]))


@pytest.mark.parametrize("damage", ["header", "page"])
def test_a_damaged_file_is_put_aside_and_a_new_one_begun(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "history.db"
    with closing(HistoryStore(path, 10**9)) as store:
        fill(store, 200, names=tuple(f"d.t{n}" for n in range(50)))
    raw = bytearray(path.read_bytes())
    at = 0 if damage == "header" else 4096
    raw[at : at + 3000] = b"\xa5" * 3000
    path.write_bytes(bytes(raw))
    with closing(HistoryStore(path, 10**9)) as store:
        assert store.put_aside == tmp_path / "history.db.damaged-1"
        assert store.put_aside.exists()
        fill(store, 1)
    assert len(points(path, "d.a", FINE)) == 1


def test_a_file_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        HistoryStore(tmp_path / "none" / "history.db", 10**9)


def test_the_resolution_is_the_finest_that_suits(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with closing(HistoryStore(path, 10**9)) as store:
        fill(store, 100)
    with closing(HistoryReader(path)) as reader:
        end = START + 100 * FINE
        assert reader.points("d.a", START, end)[0] == FINE
        assert reader.points("d.a", end - DAY // 2, end)[0] == MINUTE, "more than 2,000 steps of 10 s"
        assert reader.points("d.z", START, end) == (FINE, [])


def test_a_resolution_that_has_no_step_in_the_time_asked_for_does_not_suit(tmp_path: Path) -> None:
    """Of a small history the day before yesterday is left as one step: asked for today, that says nothing."""
    path = tmp_path / "history.db"
    with closing(HistoryStore(path, 10**9)) as store:
        fill(store, 1)
        fill(store, 400, first=DAY // FINE + 3_000)
        # As the cap has it: what is finer goes first.
        store._connection.execute("DELETE FROM blocks WHERE resolution < ? AND start_ns < ?", (DAY, START + DAY))
    with closing(HistoryReader(path)) as reader:
        step_ns, found = reader.points("d.a", START + DAY + 60 * MINUTE, START + 2 * DAY)
    assert step_ns == MINUTE
    assert len(found) > 60


def test_the_historian_keeps_the_first_window_of_every_tag_and_goes_on_after_trouble(tmp_path: Path) -> None:
    gate = engine(tag("d.a"), tag("d.none", windows_ns=()), tag("d.b", windows_ns=(NS_PER_S, MINUTE)))
    gate.step(T0, batch((0, 192, T0, T0, 2.0), (2, 24, T0, T0, 9.0)))
    gate.step(T0 + 1, batch((0, 192, T0, T0, 4.0)))
    told: list[str] = []
    folder = tmp_path / "state"
    one = Historian(
        folder, 10**9, lambda: SimpleNamespace(engine=gate), EngineClock(0), lambda event: told.append(event.kind)
    )  # type: ignore[arg-type]
    one.step(START)
    folder.mkdir()
    one.step(START + FINE)
    one.step(0)  # a clock that was never set
    assert points(folder / "history.db", "d.a", FINE) == [(START + FINE, 3.0, 2.0, 4.0, 1.0)]
    (b,) = points(folder / "history.db", "d.b", FINE)
    assert math.isnan(b[1]) and b[4] == 0.0
    assert points(folder / "history.db", "d.none", FINE) == []
    assert told == ["history.unavailable", "history.available"]
    counted = {reading.name: reading.value for reading in one.readings()}
    assert (counted["fieldgate_history_blocks_total"], counted["fieldgate_history_missed_total"]) == (1, 1)
    assert one.stop(1.0)


def history(tmp_path: Path, *arguments: str) -> Result:
    (tmp_path / "plant.toml").write_text(CONFIG)
    return CliRunner().invoke(app, ["history", *arguments, "--config", str(tmp_path / "plant.toml")])


def test_the_command_draws_a_tag_or_gives_json(tmp_path: Path) -> None:
    with closing(HistoryStore(tmp_path / "history.db", 10**9)) as store:
        fill(store, 100)
    begin, end = (datetime.fromtimestamp(at / NS_PER_S, UTC).isoformat() for at in (START, START + 100 * FINE))
    told = history(tmp_path, "d.a", "--from", begin, "--to", end, "--json")
    assert told.exit_code == 0, told.output
    answer = json.loads(told.stdout)
    assert (answer["resolution_s"], len(answer["points"])) == (10.0, 100)
    assert answer["points"][3] == {
        "start_ms": (START + 3 * FINE) // 10**6,
        "mean": 3.0,
        "low": 2.0,
        "high": 4.0,
        "good": 1.0,
    }
    drawn = history(tmp_path, "d.a", "--from", begin, "--to", end)
    assert drawn.exit_code == 0
    assert "d.a, every 10s: mean, least and greatest; good 50 %" in drawn.output
    assert any("\u2801" <= sign <= "\u28ff" for sign in drawn.output)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("d.x",), 1, "d.x is not in the history; did you mean"),
        (("d.a", "--from", "yesterday"), 2, "no duration like 6h and no time"),
        (("d.a", "--resolution", "7s"), 2, "write 10s, 1min, 15min, 1d"),
        (("d.a", "--from", "1min"), 0, "nothing in this time"),
    ],
)
def test_what_it_cannot_tell_it_says(tmp_path: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    with closing(HistoryStore(tmp_path / "history.db", 10**9)) as store:
        fill(store, 3)
    result = history(tmp_path, *arguments)
    assert (result.exit_code, says in result.output) == (code, True), result.output


def test_without_a_history_it_says_how_to_have_one(tmp_path: Path) -> None:
    result = history(tmp_path, "d.a")
    assert result.exit_code == 1
    assert "with [history] in the configuration it begins" in result.output
