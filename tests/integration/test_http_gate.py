"""Who gets an HTTP connection: one client cannot have them all, whatever it does with them."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from gateway.core.events import Event
from gateway.core.limits import HTTP_CONNECTIONS_MAX
from gateway.core.readings import Reading
from gateway.serving.http.server import HttpServer
from tests.integration.test_http import Running, wait_until

EACH = 4
OTHER = "127.0.0.2"
"""Linux has the whole of 127.0.0.0/8: connections may come from different addresses."""


def come(port: int, host: str = OTHER) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5, source_address=(host, 0))


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def cut(server: HttpServer, reason: str) -> float:
    name, labels = "fieldgate_http_connections_cut_total", (("reason", reason),)
    (count,) = (r.value for r in server.readings() if isinstance(r, Reading) and (r.name, r.labels) == (name, labels))
    return count


def open_now(server: HttpServer) -> float:
    return next(r.value for r in server.readings() if r.name == "fieldgate_http_connections" and isinstance(r, Reading))


def test_one_client_has_its_part_of_the_connections_and_others_are_answered() -> None:
    events: list[Event] = []
    running = Running(connections_per_client=EACH, emit=events.append)
    server = running.server
    held = [come(server.port) for _ in range(EACH)]
    wait_until(lambda: open_now(server) == EACH)
    for number in range(1, 3 * HTTP_CONNECTIONS_MAX):
        with come(server.port) as refused:
            answer = b"".join(iter(lambda: refused.recv(4_096), b""))
        assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        assert answer.endswith(b"\r\n\r\n4 connections of your address are open\n")
        assert cut(server, "too many of one client") == number
    assert running.client.get("/healthz").status_code == 200
    assert running.client.get("/metrics").status_code == 200
    assert [(event.kind, event.subject) for event in events] == [("http.client.crowded", OTHER)]
    held.pop().close()
    wait_until(lambda: open_now(server) == EACH)  # three of it, and the other client's
    with httpx.Client(transport=httpx.HTTPTransport(local_address=OTHER), timeout=5) as again:
        assert again.get(f"{running.url}/healthz").status_code == 200
    for connection in held:
        connection.close()
    running.stop()
    assert open_now(server) == 0


def test_connections_count_before_their_tls_handshake_which_has_its_time(tmp_path: Path) -> None:
    files = tmp_path / "a.crt", tmp_path / "a.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a"]
    subprocess.run([*command, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    running = Running(connections_per_client=EACH, tls=files, answer_s_max=1.0)
    server = running.server
    silent = [come(server.port) for _ in range(EACH)]
    wait_until(lambda: open_now(server) == EACH)
    with come(server.port) as refused:
        assert is_closed(refused)
    assert cut(server, "too many of one client") == 1
    with httpx.Client(base_url=f"https://127.0.0.1:{server.port}", verify=False, timeout=5) as other:
        assert other.get("/healthz").status_code == 200
    assert all(is_closed(connection) for connection in silent)
    with pytest.raises((ssl.SSLError, ConnectionError)), come(server.port) as babbling:
        babbling.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
        ssl.create_default_context().wrap_socket(babbling, server_hostname="a")
    for connection in silent:
        connection.close()
    wait_until(lambda: open_now(server) == 0)
    running.stop()


def test_who_is_coming_in_when_the_server_stops_is_closed(tmp_path: Path) -> None:
    files = tmp_path / "a.crt", tmp_path / "a.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a"]
    subprocess.run([*command, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    running = Running(tls=files)
    with come(running.server.port) as silent:
        wait_until(lambda: open_now(running.server) == 1)
        running.stop()
        assert is_closed(silent)
    assert open_now(running.server) == 0


def test_a_process_without_files_left_lets_those_in_who_waited_when_it_has_some_again() -> None:
    resource = pytest.importorskip("resource")
    running = Running()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    waiting = socket.socket()
    waiting.settimeout(10)
    used = waiting.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
    try:
        waiting.connect(("127.0.0.1", running.server.port))
        waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        waiting.settimeout(0.5)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    waiting.settimeout(10)
    assert waiting.recv(4_096).startswith(b"HTTP/1.1 200 OK")
    waiting.close()
    running.stop()
