"""The audit trail's chain: what anybody changes in it is seen."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.app import app
from gateway.core.events import Event
from gateway.writing import audit
from gateway.writing.audit import FILE, Line, Trail
from gateway.writing.chain import Head, head_of, verify

LINE = Line(id="1", way="local", who="eve", what="d.word", new="1", result="sent")
HOUR_NS = 3_600 * 10**9


class Writing:
    """A trail in a folder; each call of `note` is a run of its own, as after a restart."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.events: list[Event] = []
        self.now_ns = 1
        self._walls = iter(range(10**18, 10**19, 10**9))

    def note(self, *values: object) -> None:
        trail = Trail(
            self.path.parent,
            wall_ns=lambda: next(self._walls),
            now_ns=lambda: self.now_ns,
            emit=self.events.append,
        )

        async def body() -> None:
            task = asyncio.create_task(trail.run())
            for value in values:
                await trail.note(Line(id="1", way="local", who="eve", what="d.word", new=str(value), result="sent"))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(body())


@pytest.fixture
def writing(tmp_path: Path) -> Writing:
    return Writing(tmp_path)


def test_a_trail_goes_on_over_restarts_and_files_that_were_put_aside(
    writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "AUDIT_FILE_BYTES_MAX", 900)
    writing.note(*range(7))
    writing.note(*range(5))
    found = verify(writing.path)
    assert found.problems == ()
    assert found.files > 1
    assert (found.lines, found.first, found.head) == (12, 1, head_of(writing.path))
    assert found.head.number == 12


def change(lines: list[bytes], rng: random.Random) -> None:
    place = rng.randrange(len(lines))
    at = rng.randrange(len(lines[place]))
    lines[place] = lines[place][:at] + bytes([lines[place][at] ^ 1]) + lines[place][at + 1 :]


def remove(lines: list[bytes], rng: random.Random) -> None:
    del lines[rng.randrange(1, len(lines) - 1)]


def add(lines: list[bytes], rng: random.Random) -> None:
    lines.insert(rng.randrange(1, len(lines)), lines[rng.randrange(len(lines))])


def swap(lines: list[bytes], rng: random.Random) -> None:
    place = rng.randrange(len(lines) - 1)
    lines[place], lines[place + 1] = lines[place + 1], lines[place]


@pytest.mark.parametrize("tamper", [change, remove, add, swap], ids=lambda each: each.__name__)
def test_whatever_is_done_to_a_line_is_seen(writing: Writing, tamper: Callable[..., None]) -> None:
    writing.note(*range(12))
    sound = writing.path.read_bytes().splitlines()
    head = head_of(writing.path)
    for seed in range(60):
        lines = list(sound)
        tamper(lines, random.Random(seed))
        writing.path.write_bytes(b"".join(line + b"\n" for line in lines))
        assert verify(writing.path, head).problems, f"seed {seed}"


def test_a_trail_that_was_cut_off_or_made_anew_is_seen_by_a_head_of_earlier(writing: Writing) -> None:
    writing.note(*range(5))
    head = head_of(writing.path)
    sound = writing.path.read_bytes().splitlines(keepends=True)
    writing.path.write_bytes(b"".join(sound[:3]))
    assert verify(writing.path).problems == ()
    assert verify(writing.path, head).problems == (f"{writing.path}: line 5, which was expected, is cut off",)
    writing.path.unlink()
    writing.note(*"other")
    assert verify(writing.path).problems == ()
    assert verify(writing.path, head).problems == (f"{writing.path}:5: is not the line 5 that was expected",)


def test_a_torn_end_is_cut_off_and_told_and_the_chain_goes_on(writing: Writing) -> None:
    writing.note(1, 2)
    with writing.path.open("ab") as file:
        file.write(b'{"time":"20')
    writing.note(3)
    assert [event.kind for event in writing.events] == ["audit.head", "audit.torn", "audit.head"]
    assert verify(writing.path)[:4] == (1, 3, 0, 1)
    assert verify(writing.path).problems == ()


def test_lines_from_before_there_was_a_chain_are_held_on_to(writing: Writing) -> None:
    old = b'{"time":"2025","id":"1"}\n{"time":"2026","id":"2"}\n'
    writing.path.write_bytes(old)
    writing.note(1, 2)
    assert verify(writing.path).problems == ()
    assert (verify(writing.path).unchained, verify(writing.path).head.number) == (2, 2)
    writing.path.write_bytes(writing.path.read_bytes().replace(b"2026", b"2027"))
    assert len(verify(writing.path).problems) == 1


def test_the_head_is_told_every_hour_while_lines_come(writing: Writing) -> None:
    trail = Trail(writing.path.parent, wall_ns=lambda: 1, now_ns=lambda: writing.now_ns, emit=writing.events.append)

    async def body() -> None:
        task = asyncio.create_task(trail.run())
        for later_ns in (0, 1, HOUR_NS, 1):
            writing.now_ns += later_ns
            await trail.note(LINE)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(body())
    assert [event.message.split(":")[0] for event in writing.events] == ["1", "3"]
    number, _, digest = writing.events[-1].message.partition(":")
    assert verify(writing.path, Head(int(number), digest)).problems == ()


def test_the_command_says_whether_it_is_whole_and_lists_it(writing: Writing, tmp_path: Path) -> None:
    config = tmp_path / "plant.toml"
    config.write_text('gateway = { id = "g", state_dir = "." }\n')

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["audit", arguments[0], str(config), *arguments[1:]])
        return result.exit_code, result.output

    assert run("verify") == (
        1,
        f"{writing.path}: there is no audit trail yet; the first write, log-in or reload begins it\n",
    )
    writing.note(1, 2, 3)
    head = str(head_of(writing.path))
    assert run("verify", "--expect", head) == (
        0,
        f"3 lines in 1 files; numbers 1 to 3; head {head}\nthe trail is whole\n",
    )
    assert run("verify", "--expect", "3")[0] == 2
    code, listed = run("list", "--limit", "2")
    assert [line.split(" ", 1)[1] for line in listed.splitlines()] == [
        "eve by local: d.word 2 sent",
        "eve by local: d.word 3 sent",
    ]
    assert code == 0
    lines = writing.path.read_text().splitlines(keepends=True)
    writing.path.write_text(lines[0] + lines[2])
    code, said = run("verify", "--json")
    assert code == 1
    assert json.loads(said)["ok"] is False
    assert f"{writing.path}:2: does not follow on the line before it" in said


def test_a_line_that_cannot_be_read_is_named_and_the_others_are_listed(writing: Writing) -> None:
    writing.path.write_bytes(b"no line\n")
    writing.note(1, 2)
    (writing.path.parent / "plant.toml").write_text(f'[gateway]\nid = "a"\nstate_dir = "{writing.path.parent}"\n')
    [problem] = verify(writing.path).problems
    assert problem == f"{writing.path}:1: is no line of the trail"
    listed = CliRunner().invoke(app, ["audit", "list", str(writing.path.parent / "plant.toml")])
    assert listed.exit_code == 1
    assert "eve by local: d.word 2 sent" in listed.stdout
    assert "1 of these lines cannot be read; `fieldgate audit verify" in listed.stderr
