"""What the description of the API says, the API does: asked as it allows, and as it does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from gateway.runtime.operating import OneAlarm, Shelving, Writing
from gateway.runtime.schooling import Learning, OneDevice, OneName, OneNumber, OneTag
from gateway.serving.http.app import PAGE_FILES
from gateway.serving.http.doors import ACTIONS
from gateway.serving.http.live import LIVE_PATH
from gateway.serving.http.openapi import OPENAPI_PATH, SHOWN
from gateway.serving.http.users import Role
from tests.integration.test_access import PASSWORDS, Gate

BODIES: dict[str, type[Any]] = {
    "alarm.acknowledge": OneAlarm,
    "alarm.shelve": Shelving,
    "alarm.unshelve": OneAlarm,
    "tag.write": Writing,
    "maintenance.on": OneDevice,
    "maintenance.off": OneDevice,
    "feedback.normal": OneTag,
    "feedback.undo": OneNumber,
    "baseline.learn": Learning,
    "baseline.apply": OneName,
    "baseline.lift": OneName,
}
few = partial(settings, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    gate = Gate(tmp_path_factory.mktemp("described"), bodies=BODIES)
    yield gate
    assert gate.server.stop(5.0)


@pytest.fixture(scope="module")
def asker(gate: Gate) -> Iterator[httpx.Client]:
    with gate.client() as client:
        client.auth = ("engineer", PASSWORDS[Role.ENGINEER])
        yield client


@pytest.fixture(scope="module")
def described(gate: Gate) -> dict[str, Any]:
    with gate.client() as nobody:
        return dict(nobody.get(OPENAPI_PATH).json())


def test_every_route_is_described_and_nothing_else(gate: Gate, described: dict[str, Any]) -> None:
    routes = {
        (route.path, method.lower())
        for route in gate.server.routes
        if isinstance(route, Route) and route.path not in {*PAGE_FILES, OPENAPI_PATH}
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert {(path, method) for path, methods in described["paths"].items() for method in methods} == routes
    assert set(BODIES) == set(ACTIONS)


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    text = json.dumps(described)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= described["components"]["schemas"].keys()
    assert len(names) > 20


values = {
    "integer": lambda schema: st.integers(schema["minimum"], schema["maximum"]).map(str),
    "string": lambda schema: (
        st.sampled_from(schema["enum"] if "enum" in schema else schema["examples"])
        if schema.keys() & {"enum", "examples"}
        else st.text(min_size=schema.get("minLength", 0), max_size=40)
    ),
    "array": lambda schema: st.lists(st.text(max_size=20), max_size=5),
}


@few(max_examples=60)
@given(data=st.data())
def test_what_it_allows_is_answered_as_it_says(
    gate: Gate, asker: httpx.Client, described: dict[str, Any], data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(sorted(SHOWN.keys() - {LIVE_PATH})))
    parameters = described["paths"][path]["get"]["parameters"]
    chosen = [p for p in parameters if p["required"] or data.draw(st.booleans())]
    query = {p["name"]: data.draw(values[p["schema"]["type"]](p["schema"])) for p in chosen}
    answer = asker.get(path, params=query)
    if path == "/api/history" and answer.status_code in (400, 404):
        return  # a step that is too fine for the time, or no such tag
    assert answer.status_code == 200 or (path in ("/healthz", "/readyz") and answer.status_code == 503), answer.text
    shown = SHOWN[path].answer
    if shown is not None:
        msgspec.json.decode(answer.content, type=shown)


junk = st.one_of(st.text(max_size=300), st.integers().map(str), st.sampled_from(["-1", "1e3", "٣", "0x1", "NaN", " 5"]))


@few(max_examples=100)
@given(data=st.data())
def test_what_it_does_not_allow_is_refused_with_one_of_its_codes_and_the_listener_lives(
    gate: Gate, asker: httpx.Client, described: dict[str, Any], data: st.DataObject
) -> None:
    path, method = data.draw(st.sampled_from([(p, m) for p, ms in described["paths"].items() for m in ms]))
    if path == "/api/login":
        return  # guesses would slow the tests down, as they should
    operation = described["paths"][path][method]
    query = {p["name"]: data.draw(junk) for p in operation["parameters"] if p["in"] == "query"}
    body = data.draw(st.one_of(st.none(), st.binary(max_size=200), st.recursive(JSON_LEAVES, nest).map(encoded)))
    kind = data.draw(st.sampled_from(["application/json", "text/plain", "application/json; charset=utf-16"]))
    headers = {"content-type": kind} if method == "post" else {}
    content = body if method == "post" else None
    with asker.stream(method.upper(), path, params=query, content=content, headers=headers) as answer:
        if path == LIVE_PATH and answer.status_code == 200:
            return  # and would go on for as long as somebody listens
        answer.read()
    assert str(answer.status_code) in operation["responses"], f"{answer.status_code}: {answer.text}"
    assert answer.text.strip()


JSON_LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=30))


def nest(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["alarm", "for_s", "tag", "value", "verify", "device", "x"])
    return st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=4))


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()
