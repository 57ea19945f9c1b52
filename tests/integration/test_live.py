"""What viewers of the page are told, over real sockets."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.core.limits import HTTP_CONNECTIONS_MAX
from gateway.serving.http import live
from gateway.serving.http.live import LIVE_PATH, STREAMS_MAX
from gateway.serving.http.users import Role, User
from tests.integration.test_access import HASHES, PASSWORDS, Gate
from tests.support.daemon import until


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path, answer_s_max=4.0, connections_per_client=HTTP_CONNECTIONS_MAX)
    yield gate
    assert gate.server.stop(5.0), "streams end with the server"


def told(client: httpx.Client, count: int, **query: str) -> list[Any]:
    """The first events."""
    events: list[Any] = []
    with client.stream("GET", LIVE_PATH, params=query) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            if line.startswith("data: "):
                events.append(json.loads(line.removeprefix("data: ")))
            if len(events) == count:
                break
    return events


def viewers(gate: Gate) -> float:
    [found] = [each.value for each in gate.server.readings() if each.name == "fieldgate_http_viewers"]  # type: ignore[union-attr]
    return float(found)


def test_one_is_told_each_second_what_one_asked_for(gate: Gate) -> None:
    events = told(gate.client(Role.VIEWER), 3, search="boiler temp")
    assert [[tag["name"] for tag in event["tags"]["tags"]] for event in events] == [["boiler.temperature"]] * 3
    assert events[0]["status"]["gateway_id"] == "boiler-house"
    assert "alarms" in events[0]["alarms"]
    until(lambda: viewers(gate) == 0, "whoever left is not counted")


def test_what_many_look_at_is_made_once(gate: Gate) -> None:
    made = []
    source = gate.source
    measured = source.measured

    def counted() -> Any:
        made.append(threading.get_ident())
        return measured()

    source.measured = counted  # type: ignore[method-assign]
    with ThreadPoolExecutor(8) as pool:
        begun = time.monotonic()
        clients = [gate.client(Role.VIEWER) for _ in range(8)]
        made.clear()
        streams = list(pool.map(lambda client: told(client, 3), clients))
        ticks = time.monotonic() - begun + 2
    assert all(len(events) == 3 for events in streams)
    assert len(made) <= 3 * ticks, "not once for each of them"


def test_a_query_that_cannot_be_meant_is_refused_and_not_streamed(gate: Gate) -> None:
    assert gate.client(Role.VIEWER).get(LIVE_PATH, params={"limit": "0"}).status_code == 400


def test_a_viewer_who_is_put_out_is_told_no_more(gate: Gate) -> None:
    client = gate.client(Role.VIEWER)
    with client.stream("GET", LIVE_PATH) as response:
        lines = response.iter_lines()
        next(lines)
        gate.write({"engineer": User(Role.ENGINEER, HASHES[Role.ENGINEER])})
        gate.now_ns += 2_000_000_000
        assert len(list(lines)) < 10, "the stream ends"
    assert client.get("/api/status").status_code == 401


def test_more_viewers_than_there_is_room_for_are_told_so_and_room_comes_back(gate: Gate) -> None:
    base = f"http://127.0.0.1:{gate.server.port}"
    # By the viewer's session, as the page; a password for each would be slowed.
    with httpx.Client(base_url=base, limits=httpx.Limits(max_connections=STREAMS_MAX + 2)) as client:
        client.post("/api/login", json={"user": "viewer", "password": PASSWORDS[Role.VIEWER]})
        streams = [client.stream("GET", LIVE_PATH) for _ in range(STREAMS_MAX)]
        assert [stream.__enter__().status_code for stream in streams] == [200] * STREAMS_MAX
        until(lambda: viewers(gate) == STREAMS_MAX, "all are there")
        assert client.get(LIVE_PATH).status_code == 503
        for stream in streams:
            stream.__exit__(None, None, None)
        until(lambda: viewers(gate) == 0, "they left")
        with client.stream("GET", LIVE_PATH) as response:
            assert response.status_code == 200


def test_a_viewer_who_reads_stays_and_one_who_does_not_is_cut_off(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.1)  # so that what is not read fills the kernel's buffers sooner
    begun = time.monotonic()
    assert len(told(gate.client(Role.VIEWER), 60)) == 60
    assert time.monotonic() - begun > 5.0, "past answer_s_max"
    until(lambda: viewers(gate) == 0, "it left")
    cookie = gate.client(Role.VIEWER).cookies["fieldgate"]
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        deaf.connect(("127.0.0.1", gate.server.port))
        deaf.sendall(f"GET {LIVE_PATH}?limit=500 HTTP/1.1\r\nhost: x\r\ncookie: fieldgate={cookie}\r\n\r\n".encode())
        until(lambda: viewers(gate) == 1, "it is there")
        until(lambda: viewers(gate) == 0, "it is cut off", 60.0)
