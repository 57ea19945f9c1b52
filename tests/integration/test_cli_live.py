"""The terminal commands against a server that answers, one that does not, and things that are no gateway."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from gateway.cli import events, tail
from gateway.cli.app import app
from gateway.cli.client import Api, find
from gateway.core.events import Event, Severity
from gateway.core.types import NS_PER_S
from gateway.serving.http.server import HttpServer
from gateway.serving.http.status import EventStatus
from tests.support.http import START_NS, TABLE, FakeSource

WALL_OFFSET_NS = 1_700_000_000 * NS_PER_S


class Gateway:
    """A server over a plant that does not exist, and the command line asking it."""

    def __init__(self) -> None:
        self.now_ns = START_NS + 100 * NS_PER_S
        self.source = FakeSource(lambda: self.now_ns, wall_offset_ns=WALL_OFFSET_NS)
        self.source.component.draw(np.random.default_rng(5), 400)
        self.server = HttpServer(
            host="127.0.0.1",
            port=0,
            source=self.source,
            tables=[TABLE],
            build={"version": "0.1.0"},
            now_ns=lambda: self.now_ns,
        )
        self.server.start()
        self.url = f"http://127.0.0.1:{self.server.port}"

    def ask(self, *arguments: str) -> Result:
        return run(*arguments, "--url", self.url)

    def json(self, *arguments: str) -> Any:
        done = self.ask(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "140"}).invoke(app, arguments, prog_name="fieldgate")


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    running = Gateway()
    yield running
    assert running.server.stop(5.0)


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port that nothing listens on and nobody else is given."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


# --- status and top


def test_status_shows_health_budgets_links_loops_and_uplink(gateway: Gateway) -> None:
    done = gateway.ask("status")
    assert (done.exit_code, done.stderr) == (0, "")
    for words in (
        "boiler-house  fieldgate 0.1.0  healthy",
        "232 tags of 29 devices",
        "sample → aggregate",
        "links, 4 of 5 up",
        "refused the connection",
        "failsafe",
        "uplink cloud down for 1 min 34 s",
        "1,284 records wait, 311 MB of 2GB",
        "score 0.94 above 0.9",
    ):
        assert words in done.stdout


def test_status_of_a_gateway_that_hangs_says_so_and_exits_1(gateway: Gateway) -> None:
    gateway.source.engine_silent_ns = 30 * NS_PER_S
    done = gateway.ask("status")
    assert done.exit_code == 1
    assert "NOT HEALTHY" in done.stdout
    assert "engine: no cycle for 30.0 s" in done.stdout


def test_status_of_a_gateway_that_still_loads(gateway: Gateway) -> None:
    gateway.source.the_plant = None
    gateway.source.first_cycle_done = False
    done = gateway.ask("status")
    assert done.exit_code == 0
    assert "first cycle not done yet" in done.stdout


def test_status_for_programs_is_what_the_api_says(gateway: Gateway) -> None:
    status = gateway.json("status")
    assert status["gateway_id"] == "boiler-house"
    assert status["links"]["up"] == 4
    assert status["uplink"]["waiting_bytes"] == 311_427_072


def test_nothing_from_the_field_reaches_the_terminal_as_a_control_character(gateway: Gateway) -> None:
    message = "\x1b[2J\x07gone [bold]"
    gateway.source.the_events.append(Event(gateway.now_ns, Severity.ERROR, "link.down", "a\nb", message))
    for command in ("status", "events"):
        shown = gateway.ask(command).stdout
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert "gone [bold]" in shown
        assert "a�b" in shown


def test_top_shows_tags_with_problems_and_ends_after_the_looks_asked_for(gateway: Gateway) -> None:
    done = gateway.ask("top", "--count", "2", "--every", "0.2")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "tags that are not good or in alarm: 11" in done.stdout
    assert "boiler.level" in done.stdout


def test_top_for_programs_is_a_status_a_line(gateway: Gateway) -> None:
    lines = gateway.ask("top", "--count", "2", "--every", "0.2", "--json").stdout.splitlines()
    assert [json.loads(line)["gateway_id"] for line in lines] == ["boiler-house"] * 2


# --- tags


def test_tags_are_found_by_every_word_and_come_with_value_quality_and_age(gateway: Gateway) -> None:
    done = gateway.ask("tags", "PUMP-07", "press")
    row = done.stdout.splitlines()[1]
    assert row.split()[0] == "pump-07.pressure"
    assert "stale" in row
    assert "1 min 40 s" in row
    assert len(done.stdout.splitlines()) == 2


def test_more_tags_than_the_limit_are_counted(gateway: Gateway) -> None:
    assert "50 of 232 tags; --limit shows more" in gateway.ask("tags").stdout
    assert len(gateway.json("tags", "--limit", "200000")["tags"]) == 232


def test_pages_of_the_api_are_put_together(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.tags.PAGE", 7)
    report = gateway.json("tags", "--limit", "30")
    assert report["total"] == 232
    assert [tag["row"] for tag in report["tags"]] == list(range(30))


def test_only_problems(gateway: Gateway) -> None:
    report = gateway.json("tags", "--problems")
    assert report["total"] == 11
    assert all(tag["quality"]["level"] != "good" or tag["alarms"] for tag in report["tags"])


def test_a_search_that_finds_nothing_says_so(gateway: Gateway) -> None:
    done = gateway.ask("tags", "zeppelin")
    assert (done.exit_code, done.stdout) == (0, "no tag matches\n")


# --- tail


def test_tail_prints_a_line_for_each_new_value_only(gateway: Gateway) -> None:
    lines = gateway.ask("tail", "boiler.temperature", "press-2.pressure", "--count", "2").stdout.splitlines()
    assert "boiler.temperature" in lines[0]
    assert "°C" in lines[0]
    assert "not initialised" in lines[1]

    def move() -> None:
        gateway.now_ns += 2 * NS_PER_S

    timer = threading.Timer(0.5, move)
    timer.start()
    done = gateway.ask("tail", "boiler.temperature", "--count", "2", "--every", "0.1", "--json")
    timer.join()
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert second["acquired_ms"] == first["acquired_ms"] + 2_000
    assert first["acquired_ms"] == (START_NS + 100 * NS_PER_S + WALL_OFFSET_NS) // 1_000_000


def test_tail_knows_a_tag_by_its_whole_name_and_shows_near_ones(gateway: Gateway) -> None:
    done = gateway.ask("tail", "boiler.temperature", "boiler.temp", "tank.levle", "nowhere.near", "--count", "1")
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "boiler.temp is not a tag; there are boiler.temperature",
        "tank.levle is not a tag; there are tank.level",
        "nowhere.near is not a tag; `fieldgate tags` lists them",
    ]


def test_an_energy_counter_is_told_to_the_last_digit(gateway: Gateway) -> None:
    assert "9007199254741000 kWh" in gateway.ask("tail", "boiler.energy", "--count", "1").stdout


def test_the_api_gives_named_tags_in_the_order_asked_for(gateway: Gateway) -> None:
    found = tail.look(Api(gateway.url), ["tank.level", "no.such", "boiler.level"])
    assert [tag.name for tag in found] == ["tank.level", "boiler.level"]


def test_ctrl_c_ends_tail_with_130_and_no_traceback(gateway: Gateway) -> None:
    command = [sys.executable, "-m", "gateway", "tail", "boiler.temperature", "--url", gateway.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tailing:
        assert tailing.stdout is not None
        assert tailing.stderr is not None
        assert "boiler.temperature" in tailing.stdout.readline()
        os.kill(tailing.pid, signal.SIGINT)
        assert tailing.wait(10) == 130
        assert tailing.stderr.read() == ""


# --- events


def test_events_come_oldest_first_as_a_log_does(gateway: Gateway) -> None:
    lines = gateway.ask("events").stdout.splitlines()
    assert len(lines) == 6
    assert "gateway.ready" in lines[0]
    assert "alarm.on" in lines[-1]
    assert "link.down" in gateway.ask("events", "--severity", "error").stdout
    assert len(gateway.ask("events", "--severity", "warning").stdout.splitlines()) == 4
    assert json.loads(gateway.ask("events", "--limit", "1", "--json").stdout)["kind"] == "alarm.on"


def _event(number: int, time_ms: int = 0) -> EventStatus:
    return EventStatus(time_ms=time_ms, severity="info", kind="k", subject=str(number), message="")


@pytest.mark.parametrize(
    ("now", "seen", "new"),
    [
        ([], [], []),
        ([2, 1], [1], [2]),
        ([2, 1], [2, 1], []),
        ([1, 1], [1], [1]),  # the same again within a millisecond
        ([9, 8, 7], [3, 2, 1], [9, 8, 7]),  # more than are kept
        ([4, 3], [3, 2, 1], [4]),  # the oldest were forgotten
    ],
)
def test_following_shows_each_event_once(now: list[int], seen: list[int], new: list[int]) -> None:
    found = events.since(tuple(map(_event, now)), tuple(map(_event, seen)))
    assert [int(event.subject) for event in found] == new


# --- which gateway, and when there is none

COMMANDS = [("status",), ("top",), ("tags",), ("events",), ("tail", "a.b")]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_gateway_that_does_not_answer_is_exit_code_1_with_a_remedy(command: tuple[str, ...], free_port: int) -> None:
    done = run(*command, "--url", f"http://127.0.0.1:{free_port}")
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"no gateway answers at http://127.0.0.1:{free_port} (connection refused)" in done.stderr
    assert "--config FILE or --url URL" in done.stderr


@pytest.mark.parametrize("url", ["127.0.0.1:9464", "ftp://a", "http://", "http://a:b", "http://a:99999", "http://a/?x"])
def test_what_is_no_address_is_exit_code_2(url: str) -> None:
    done = run("status", "--url", url)
    assert done.exit_code == 2
    assert "is not an address; write http://HOST:PORT" in done.stderr


def test_a_server_that_is_no_gateway_is_told_apart(gateway: Gateway) -> None:
    done = run("status", "--url", f"{gateway.url}/metrics")
    assert done.exit_code == 1
    assert "answers, but is not a gateway (HTTP 404" in done.stderr


def test_an_answer_of_another_shape_is_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(4_096)
                client.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"other": 1}')

        threading.Thread(target=answer, daemon=True).start()
        done = run("status", "--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert done.exit_code == 1
    assert "not as this fieldgate understands it" in done.stderr


def test_what_does_not_speak_http_is_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(4_096)
                client.sendall(b"220 mail ready\r\n")

        threading.Thread(target=answer, daemon=True).start()
        done = run("status", "--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert done.exit_code == 1
    assert "does not speak HTTP" in done.stderr


def test_the_address_is_that_of_the_configuration(gateway: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "plant.toml"
    path.write_text(f'[http]\nlisten = "127.0.0.1:{gateway.server.port}"\n', encoding="utf-8")
    assert run("status", "--config", str(path)).exit_code == 0


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("[::]:8000", "http://[::1]:8000"),
        ("10.1.2.3:9464", "http://10.1.2.3:9464"),
    ],
)
def test_a_wildcard_is_asked_on_loopback(listen: str, url: str, tmp_path: Path) -> None:
    path = tmp_path / "plant.toml"
    path.write_text(f'[http]\nlisten = "{listen}"\nusers_file = "users.toml"\n', encoding="utf-8")
    assert find(path, None).url == url


def test_problems_elsewhere_in_the_configuration_keep_nobody_from_looking(gateway: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "plant.toml"
    path.write_text(f'[http]\nlisten = "127.0.0.1:{gateway.server.port}"\n[links.plc]\nmod = 1\n', encoding="utf-8")
    assert run("status", "--config", str(path)).exit_code == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no [http] section"),
        ("[http]\nport = 1\n", "http.port: is not a setting here"),
        ("[http", "syntax"),
    ],
)
def test_a_configuration_without_an_address_is_exit_code_2(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "plant.toml"
    path.write_text(text, encoding="utf-8")
    done = run("tags", "--config", str(path))
    assert done.exit_code == 2
    assert words in done.stderr


def test_config_and_url_together_are_refused(tmp_path: Path) -> None:
    done = run("status", "--config", str(tmp_path / "a.toml"), "--url", "http://127.0.0.1:1")
    assert done.exit_code == 2
    assert "write one of them" in done.stderr
