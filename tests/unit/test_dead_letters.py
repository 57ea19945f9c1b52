"""Dead letters of the way in: kept within bounds, listed, shown, tried again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.app import app
from gateway.core.events import Event
from gateway.core.letters import Letter
from gateway.core.limits import LETTERS_PER_TOPIC
from gateway.spool import letters
from gateway.spool.letters import LETTERS_FILE, DeadLetters, ask_again, listed, payload_of
from tests.support.daemon import until


def count(desk: DeadLetters) -> float:
    return {reading.name: reading.value for reading in desk.readings()}["fieldgate_dead_letters_total"]


WALL_NS = 1_700_000_000_000_000_000


def letter(n: int, topic: str = "plant/force", size: int | None = None) -> Letter:
    payload = b'{"n": %d' % n
    return Letter("floor", topic, payload, len(payload) if size is None else size, "it is no JSON", n)


@contextmanager
def kept(folder: Path, events: list[Event], again: list[Letter]) -> Iterator[DeadLetters]:
    desk = DeadLetters(
        folder / LETTERS_FILE,
        now_ns=lambda: 1,
        wall_offset_ns=lambda: WALL_NS,
        emit=events.append,
        hand_back=again.append,
    )
    desk.start()
    yield desk
    assert desk.stop(10)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "TURN_S", 0.01)


def test_one_babbling_topic_does_not_push_out_the_others(tmp_path: Path) -> None:
    with kept(tmp_path, [], []) as desk:
        desk.put(letter(0, "plant/quiet"))
        for n in range(200):
            desk.put(letter(n))
        until(lambda: count(desk) == 201, "they are on the disk")
    found = listed(tmp_path / LETTERS_FILE)
    assert [each.topic for each in found] == ["plant/quiet"] + ["plant/force"] * LETTERS_PER_TOPIC
    assert payload_of(tmp_path / LETTERS_FILE, found[-1].id) == b'{"n": 199'
    values = {reading.name: reading.value for reading in desk.readings()}
    assert values["fieldgate_dead_letters_total"] == 201
    assert values["fieldgate_dead_letters_deleted_total"] == 200 - LETTERS_PER_TOPIC


def test_a_letter_is_tried_again_once_and_only_when_it_is_whole(tmp_path: Path) -> None:
    again: list[Letter] = []
    path = tmp_path / LETTERS_FILE
    with kept(tmp_path, [], again) as desk:
        desk.put(letter(1))
        desk.put(letter(2, size=100_000))
        until(lambda: count(desk) == 2, "they are on the disk")
        assert ask_again(path, [each.id for each in listed(path)]) == 1
        until(lambda: again, "it is handed back")
    assert again == [letter(1)]
    assert [each.arrival_ns for each in listed(path)] == [2]


def test_a_disk_that_takes_nothing_is_told_and_costs_only_the_letters(tmp_path: Path) -> None:
    events: list[Event] = []
    (tmp_path / LETTERS_FILE).mkdir()
    with kept(tmp_path, events, []) as desk:
        desk.put(letter(1))
        until(lambda: events, "it is told")
        (tmp_path / LETTERS_FILE).rmdir()
        desk.put(letter(2))
        until(lambda: len(events) == 2, "and that it is over")
    assert [event.kind for event in events] == ["dead_letters.unavailable", "dead_letters.available"]
    assert [each.arrival_ns for each in listed(tmp_path / LETTERS_FILE)] == [2]


def test_the_command_lists_shows_and_requeues(tmp_path: Path) -> None:
    config = tmp_path / "plant.toml"
    config.write_text('[gateway]\nid = "g"\n', encoding="utf-8")
    (tmp_path / "state").mkdir()
    path = tmp_path / "state" / LETTERS_FILE

    def call(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["dead-letters", *words])
        return done.exit_code, done.output

    assert call("list", str(config)) == (0, "no dead letters\n")
    with kept(tmp_path / "state", [], []) as desk:
        desk.put(letter(7))
        until(lambda: count(desk), "it is on the disk")
    code, table = call("list", str(config))
    assert code == 0
    assert "plant/force" in table and "2023-11-14T22:13:20Z" in table and "it is no JSON" in table
    [row] = json.loads(call("list", str(config), "--json")[1])
    assert (row["id"], row["way"], row["of"], row["topic"], row["bytes"]) == ("1", "in", "floor", "plant/force", 7)
    assert json.loads(call("show", str(config), "1", "--json")[1])["payload"] == '{"n": 7'
    assert '{"n": 7' in call("show", str(config), "1")[1]
    assert call("show", str(config), "2")[0] == 1
    assert call("show", str(config), "nonsense")[0] == 1
    assert call("requeue", str(config))[0] == 2
    assert call("requeue", str(config), "2")[0] == 1
    code, told = call("requeue", str(config), "1", "--json")
    assert (code, json.loads(told)) == (0, {"asked": 1, "requeued": 1})
    assert [each.requeued for each in listed(path)] == [1]
