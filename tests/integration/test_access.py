"""Who may come in, and what they may do: over real sockets, path by path and role by role."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from gateway.core.events import Event
from gateway.core.types import NS_PER_S
from gateway.serving.http.access import FREE_FAILURES, SESSION_NS, Access
from gateway.serving.http.app import PAGE_FILES
from gateway.serving.http.doors import ACTIONS, NEEDS, Done
from gateway.serving.http.history import HISTORY_PATH, Kept
from gateway.serving.http.live import LIVE_PATH
from gateway.serving.http.openapi import OPENAPI_PATH
from gateway.serving.http.server import HttpServer, HttpServerFailed
from gateway.serving.http.users import NOBODY, Role, User, hashed, matches, write_users
from tests.support.http import START_NS, TABLE, FakeSource

PASSWORDS = {role: f"{role.word} of the boiler house" for role in Role}
HASHES = {role: hashed(password) for role, password in PASSWORDS.items()}
OPEN = {*PAGE_FILES, "/healthz", "/readyz", "/api/me", "/api/login", "/api/logout", OPENAPI_PATH}
"""Paths that show nothing of the plant, or are the door itself."""
JSON = {"content-type": "application/json"}


class Gate:
    """A server whose users stand in a file, a clock that stands still, and what was asked of the operator's desk."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.now_ns = START_NS + 100 * NS_PER_S
        self.users_file = folder / "users.toml"
        self.write({role.word: User(role, HASHES[role]) for role in Role})
        self.events: list[Event] = []
        self.notes: list[tuple[str, str, str]] = []
        self.performed: list[tuple[str, str, bytes]] = []
        self.access = Access(
            now_ns=lambda: self.now_ns, emit=self.events.append, note=lambda *words: self.notes.append(words)
        )
        self.access.use(self.users_file)
        self.source = FakeSource(lambda: self.now_ns)
        self.server = HttpServer(
            host="127.0.0.1",
            port=0,
            source=self.source,
            tables=[TABLE],
            build={},
            now_ns=lambda: self.now_ns,
            access=self.access,
            perform=self._perform,
            read_history=lambda asked: Kept(10 * NS_PER_S, [(asked.from_ns, 1.0, 0.0, 2.0, 1.0)]),
            **options,
        )
        self.server.start()

    def write(self, users: dict[str, User]) -> None:
        write_users(self.users_file, users)

    async def _perform(self, who: str, action: str, arguments: bytes) -> Done:
        self.performed.append((who, action, arguments))
        return Done(b"refuse" not in arguments, f"{action} it is")

    def client(self, role: Role | None = None, **options: Any) -> httpx.Client:
        """One of a role is logged in and says the token of its session in every request."""
        client = httpx.Client(base_url=f"http://127.0.0.1:{self.server.port}", timeout=10, **options)
        if role is not None:
            entered = client.post("/api/login", json={"user": role.word, "password": PASSWORDS[role]})
            assert entered.status_code == 200, entered.text
            client.headers["x-csrf-token"] = entered.json()["csrf"]
        return client


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """For tests that change nothing that others see."""
    gate = Gate(tmp_path_factory.mktemp("gate"))
    yield gate
    assert gate.server.stop(5.0)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    assert gate.server.stop(5.0)


def knock(client: httpx.Client, method: str, path: str) -> httpx.Response:
    """What is answered, but for the rest of an answer that never ends."""
    content = b"{}" if method == "POST" else None
    asked = {"tag": "boiler.temperature"} if path == HISTORY_PATH else None
    with client.stream(method, path, params=asked, headers=JSON, content=content) as response:
        if path != LIVE_PATH or response.status_code != 200:
            response.read()
    return response


def test_every_path_and_method_is_open_to_those_whose_role_allows_it_and_to_nobody_else(shared: Gate) -> None:
    routes = [route for route in shared.server.routes if isinstance(route, Route)]
    needs: dict[str, Role] = {**NEEDS, **{f"/api/actions/{action}": role for action, role in ACTIONS.items()}}
    assert {route.path for route in routes} == OPEN | needs.keys()  # a path that nobody thought of fails here
    visitors = {role: shared.client(role) for role in (None, *Role)}
    for route in routes:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            for role, client in visitors.items():
                if route.path in OPEN:
                    continue
                done = knock(client, method, route.path)
                where = f"{method} {route.path} as {role}: {done.status_code}"
                if method not in (route.methods or ()):
                    assert done.status_code == 405, where
                elif role is None:
                    assert done.status_code == 401, where
                elif role < needs[route.path]:
                    assert done.status_code == 403, where
                else:
                    assert done.status_code == 200, where


def test_the_page_says_who_one_is_and_what_one_may(shared: Gate) -> None:
    assert shared.client().get("/api/me").json() == {
        "can_log_in": True, "user": None, "role": None, "csrf": "", "may": [],
    }  # fmt: skip
    me = shared.client(Role.OPERATOR).get("/api/me").json()
    assert (me["user"], me["role"]) == ("operator", "operator")
    assert "tag.write" in me["may"]
    assert "baseline.learn" not in me["may"]


def test_an_action_is_done_by_the_operators_desk_in_the_name_of_who_asked(gate: Gate) -> None:
    client = gate.client(Role.OPERATOR)
    done = client.post("/api/actions/alarm.acknowledge", json={"alarm": "boiler.temperature/high"})
    assert done.json() == {"ok": True, "says": "alarm.acknowledge it is"}
    refused = client.post("/api/actions/tag.write", json={"tag": "refuse"})
    assert (refused.status_code, refused.json()["ok"]) == (409, False)
    assert [asked[:2] for asked in gate.performed] == [("operator", "alarm.acknowledge"), ("operator", "tag.write")]
    assert client.post("/api/actions/rm.everything", json={}).status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"x-csrf-token": ""}},
        {"headers": {"x-csrf-token": "guess"}},
        {"headers": {"content-type": "text/plain"}},
    ],
)
def test_what_another_site_could_send_changes_nothing(gate: Gate, change: dict[str, Any]) -> None:
    client = gate.client(Role.ENGINEER)
    headers = {**JSON, **change["headers"]}
    done = client.post("/api/actions/alarm.shelve", content=b"{}", headers=headers)
    assert done.status_code in (403, 415)
    assert not gate.performed
    cookie = client.post("/api/login", json={"user": "viewer", "password": PASSWORDS[Role.VIEWER]}).headers[
        "set-cookie"
    ]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


def test_a_session_ends_by_logging_out_by_time_and_with_its_user(gate: Gate) -> None:
    leaving, waiting, removed = (gate.client(Role.VIEWER) for _ in range(3))
    stolen = dict(leaving.cookies)
    assert leaving.post("/api/logout").status_code == 200
    assert gate.client(cookies=stolen).get("/api/status").status_code == 401
    gate.write({"operator": User(Role.OPERATOR, HASHES[Role.OPERATOR])})
    gate.now_ns += 2 * NS_PER_S
    assert removed.get("/api/status").status_code == 401
    gate.write({"viewer": User(Role.VIEWER, HASHES[Role.VIEWER])})
    gate.now_ns += 2 * NS_PER_S
    assert waiting.get("/api/status").status_code == 200
    gate.now_ns += SESSION_NS
    assert waiting.get("/api/status").status_code == 401


def test_guessing_is_slowed_down_by_address_and_told_and_the_right_one_gets_in_afterwards(gate: Gate) -> None:
    client = gate.client()
    for _ in range(FREE_FAILURES):
        assert client.post("/api/login", json={"user": "operator", "password": "wrong"}).status_code == 403
    right = {"user": "operator", "password": PASSWORDS[Role.OPERATOR]}
    slowed = client.post("/api/login", json=right)
    assert (slowed.status_code, slowed.headers["retry-after"]) == (429, "1")
    assert client.get("/api/status", auth=("operator", "wrong")).status_code == 429
    gate.now_ns += 2 * NS_PER_S
    assert client.post("/api/login", json=right).status_code == 200
    assert [event.kind for event in gate.events] == ["login.refused", "login.refused", "login"]
    assert [note[2] for note in gate.notes] == [
        "refused, failure 1 from there", f"refused, failure {FREE_FAILURES} from there", "logged in",
    ]  # fmt: skip


def test_an_unknown_name_takes_as_long_and_is_told_as_nobodys(gate: Gate) -> None:
    asked = {"user": "admin'--", "password": "wrong"}
    assert gate.client().post("/api/login", json=asked).text == "user or password are wrong\n"
    assert [event.subject for event in gate.events] == ["somebody unknown"]
    assert len(NOBODY) == len(HASHES[Role.VIEWER])


def test_scripts_log_in_with_each_request_and_scrapers_of_named_networks_need_not(tmp_path: Path) -> None:
    gate = Gate(tmp_path, metrics_clients=("127.0.0.0/8",))
    try:
        client = gate.client()
        assert client.get("/metrics").status_code == 200
        assert client.get("/api/status").status_code == 401
        auth = ("viewer", PASSWORDS[Role.VIEWER])
        assert [client.get("/api/status", auth=auth).status_code for _ in range(3)] == [200] * 3
        gate.write({"viewer": User(Role.VIEWER, HASHES[Role.ENGINEER])})
        gate.now_ns += 2 * NS_PER_S
        assert (
            client.get("/api/status", auth=auth).status_code == 401
        )  # another password: what was right is not any more
        token = gate.access.local_token()
        asked = {"authorization": f"Bearer {token}"}
        assert client.get("/api/tags", headers=asked).status_code == 200
        assert client.post("/api/actions/tag.write", headers=asked, json={}).status_code == 403
        gate.now_ns += 3_601 * NS_PER_S
        assert client.get("/api/tags", headers=asked).status_code == 401
    finally:
        gate.server.stop(5.0)


def test_a_users_file_that_is_damaged_is_told_once_and_those_who_were_known_stay(gate: Gate) -> None:
    client = gate.client(Role.VIEWER)
    gate.users_file.write_text('[users.viewer]\nrole = "king"\npassword = "x"\n')
    for _ in range(3):
        gate.now_ns += 2 * NS_PER_S
        assert client.get("/api/status").status_code == 200
    gate.users_file.unlink()
    gate.now_ns += 2 * NS_PER_S
    assert client.get("/api/status").status_code == 401
    told = [event for event in gate.events if event.kind == "users.unusable"]
    assert "users.viewer: role 'king' is none of viewer, operator, engineer" in told[0].message
    assert "nobody can log in" in told[1].message
    assert len(told) == 2


def test_without_users_everybody_sees_and_nobody_acts(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    gate.access.use(None)
    try:
        client = gate.client()
        assert client.get("/api/status").status_code == 200
        assert client.post("/api/actions/alarm.shelve", json={}).status_code == 403
        assert client.post("/api/login", json={"user": "viewer", "password": "x"}).status_code == 404
        assert client.get("/api/me").json()["can_log_in"] is False
    finally:
        gate.server.stop(5.0)


def test_many_log_ins_at_once_do_not_hold_up_a_reader(gate: Gate) -> None:
    reader = gate.client(Role.VIEWER)
    codes: list[int] = []

    def guess() -> None:
        with gate.client() as client:
            codes.append(client.post("/api/login", json={"user": "viewer", "password": "wrong"}).status_code)

    guessing = [threading.Thread(target=guess) for _ in range(25)]
    for thread in guessing:
        thread.start()
    slowest_s = 0.0
    while any(thread.is_alive() for thread in guessing):
        began = time.monotonic()
        assert reader.get("/api/status").status_code in (200, 503)
        slowest_s = max(slowest_s, time.monotonic() - began)
    assert set(codes) <= {403, 429, 503}
    assert codes.count(403) <= 2 * FREE_FAILURES + 16
    assert slowest_s < 5.0  # each guess alone costs a tenth of a second of a core


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run(command, check=True, capture_output=True)
    return paths


def test_with_a_certificate_it_is_https_and_the_cookie_never_leaves_it(tmp_path: Path) -> None:
    pair, other = certificate(tmp_path, "gateway"), certificate(tmp_path, "other")
    gate = Gate(tmp_path, tls=pair)
    try:
        with httpx.Client(base_url=f"https://127.0.0.1:{gate.server.port}", verify=False, timeout=10) as client:
            entered = client.post("/api/login", json={"user": "viewer", "password": PASSWORDS[Role.VIEWER]})
            assert "Secure" in entered.headers["set-cookie"]
            assert client.get("/api/status").status_code == 200
    finally:
        gate.server.stop(5.0)
    with pytest.raises(HttpServerFailed, match=r"cannot use the certificate .*gateway\.crt with the key .*other\.key"):
        Gate(tmp_path, tls=(pair[0], other[1]))


def test_equal_passwords_do_not_look_alike() -> None:
    once, again = hashed("the same for both"), hashed("the same for both")
    assert once != again
    assert matches("the same for both", once)
    assert matches("the same for both", again)
    assert not matches("the same for both ", once)
