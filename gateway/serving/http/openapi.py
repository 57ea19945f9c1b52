"""What the API is, as OpenAPI 3.1: paths, parameters, answers and who may ask, for whoever scripts against it.

The schemas are made from the types that the answers are encoded from, and the roles from the table that the doors go
by; only the words are written here. It shows nothing of the plant, so it is open to everybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway import __version__
from gateway.core.limits import HISTORY_POINTS_MAX
from gateway.serving.http.access import COOKIE, CSRF_HEADER
from gateway.serving.http.alarms import AlarmPage
from gateway.serving.http.doors import ACTIONS, NEEDS, Done, LogIn, Me
from gateway.serving.http.history import (
    FROM_DEFAULT,
    HISTORY_PATH,
    POINTS_DEFAULT,
    STEPS,
    TAG_CHARS_MAX,
    HistoryAnswer,
)
from gateway.serving.http.query import OFFSET_MAX, PAGE_DEFAULT, PAGE_MAX, SEARCH_CHARS_MAX
from gateway.serving.http.status import DevicePage, EventPage, HealthAnswer, LoopsAnswer, Status, TagPage

OPENAPI_PATH: Final = "/api/openapi.json"
JSON: Final = "application/json"
REF: Final = "#/components/schemas/{name}"
Schema = dict[str, Any]


def _parameter(name: str, words: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "required": False, "description": words, "schema": schema}


def _whole(low: int, high: int, default: int) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high, "default": default}


SEARCH: Final = _parameter(
    "search", "Words that a name must contain, in any order.", {"type": "string", "maxLength": SEARCH_CHARS_MAX}
)
PART: Final = (
    _parameter("offset", "How many of what is found to leave out first.", _whole(0, OFFSET_MAX, 0)),
    _parameter("limit", "How many to give at most.", _whole(1, PAGE_MAX, PAGE_DEFAULT)),
)
NAMES: Final = _parameter(
    "name",
    "These tags and no others; may be given many times.",
    {"type": "array", "items": {"type": "string"}, "maxItems": PAGE_MAX},
)
PROBLEMS: Final = _parameter("only", "Those that are not good.", {"type": "string", "enum": ["", "problems"]})
EVERY: Final = _parameter("include", "Alarms that are normal too.", {"type": "string", "enum": ["", "all"]})


TAG: Final = _parameter("tag", "The tag's name.", {"type": "string", "minLength": 1, "maxLength": TAG_CHARS_MAX}) | {
    "required": True
}
TIMES: Final = "A duration back from now, a time (ISO 8601, UTC unless it says otherwise), or milliseconds since 1970."
FROM: Final = _parameter("from", TIMES, {"type": "string", "default": FROM_DEFAULT, "examples": ["6h", "30d"]})
TO: Final = _parameter("to", f"{TIMES} Left out: now.", {"type": "string", "examples": ["1h", "1min"]})
STEP: Final = _parameter(
    "step", "Left out: the finest that suits, by `points`.", {"type": "string", "enum": ["", *STEPS]}
)
POINTS: Final = _parameter(
    "points", "At most so many, where no step is given.", _whole(1, HISTORY_POINTS_MAX, POINTS_DEFAULT)
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A path that is read. `answer` None: plain text."""

    says: str
    answer: type[Any] | None
    parameters: tuple[Schema, ...] = ()
    may_be_unwell: bool = False
    """503 with the same answer says no."""
    may_be_unknown: bool = False
    kind: str = "text/plain"
    """Of what is not JSON."""


SHOWN: Final[Mapping[str, Shown]] = {
    "/healthz": Shown("Is it alive?", HealthAnswer, may_be_unwell=True),
    "/readyz": Shown("Is it at work?", HealthAnswer, may_be_unwell=True),
    "/metrics": Shown("Metrics for Prometheus.", None),
    "/api/me": Shown("Who the asker is, and what they may do.", Me),
    "/api/status": Shown("Everything at a glance.", Status),
    "/api/tags": Shown("Values, windows and scores of tags.", TagPage, (SEARCH, *PART, NAMES, PROBLEMS)),
    "/api/devices": Shown("Devices, those that need attention first.", DevicePage, (SEARCH, *PART)),
    "/api/loops": Shown("Control loops and their last two minutes.", LoopsAnswer),
    "/api/alarms": Shown("Alarms, the most urgent first.", AlarmPage, (SEARCH, *PART, EVERY)),
    "/api/live": Shown(
        "Status, tags and alarms once a second, as server-sent events of one JSON object each.",
        None,
        (SEARCH, *PART, NAMES, PROBLEMS),
        kind="text/event-stream",
    ),
    "/api/events": Shown("Events, newest first.", EventPage, PART),
    HISTORY_PATH: Shown(
        "What a tag was, at falling resolution.", HistoryAnswer, (TAG, FROM, TO, STEP, POINTS), may_be_unknown=True
    ),
}
ACTION_WORDS: Final[Mapping[str, str]] = {
    "alarm.acknowledge": "Somebody has seen the alarm.",
    "alarm.shelve": "Put an alarm aside for a time.",
    "alarm.unshelve": "Show a shelved alarm again.",
    "tag.write": "Write to a tag, or to a loop's setpoint, mode or output.",
    "maintenance.on": "A device is worked on: its scores learn and raise no alarm.",
    "maintenance.off": "The work on a device is over.",
    "feedback.normal": "What a score flags was normal.",
    "feedback.undo": "Take such a word back.",
    "baseline.learn": "Learn a reference period.",
    "baseline.apply": "Hold scores against the reference period.",
    "baseline.lift": "Hold scores against the recent past again.",
}
TROUBLE: Final[Mapping[int, str]] = {
    400: "A parameter or the body cannot be meant; the text says which and what would do.",
    401: "Log in first.",
    403: "The role is too low, the password wrong, or the header of the session missing.",
    404: "There is no such thing: no users to log in as, or no history of the tag.",
    409: "It was not done; `says` tells why.",
    411: "A body must say its length.",
    413: "The body is too long.",
    415: "The body must be JSON.",
    429: "Too many log-ins failed from there; retry-after says when.",
    503: "Too many connections are open, or the gateway is starting.",
}


def describe(bodies: Mapping[str, type[Any]]) -> bytes:
    """The document as JSON. `bodies` has the type of each action's arguments."""
    acting = {action: bodies[action] for action in ACTIONS if action in bodies}
    answers = [shown.answer for shown in SHOWN.values() if shown.answer is not None]
    types = list(dict.fromkeys([*answers, LogIn, Done, *acting.values()]))
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    of = dict(zip(types, schemas, strict=True))
    paths: dict[str, Schema] = {path: {"get": _read(path, shown, of)} for path, shown in SHOWN.items()}
    paths["/api/login"] = {"post": _write("Begin a session.", "nobody", of[LogIn], of[Me], (403, 404))}
    paths["/api/logout"] = {"post": _write("End the session.", "viewer", None, of[Me], (401, 403))}
    for action, body in acting.items():
        done = _write(ACTION_WORDS[action], ACTIONS[action].word, of[body], of[Done], (401, 403, 409))
        done["responses"]["409"] = _answer(TROUBLE[409], of[Done])
        paths[f"/api/actions/{action}"] = {"post": done}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "fieldgate", "version": __version__, "description": ABOUT},
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "password": {"type": "http", "scheme": "basic"},
                    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
                },
            },
        }
    )


ABOUT: Final = (
    "Where the configuration names no users, everybody on the gateway's own machine reads and nobody acts. With users,"
    " a script gives its password (HTTP Basic) and the page has a session. Times end in _ms (since 1970), ages in _s; a"
    " number that does not exist is null."
)


def _read(path: str, shown: Shown, of: Mapping[Any, Schema]) -> Schema:
    responses = {"200": _answer("As asked.", of[shown.answer]) if shown.answer else _text("As asked.", shown.kind)}
    if shown.may_be_unwell:
        responses["503"] = _answer("No; `reasons` tells why.", of[shown.answer])
    codes = [
        429,
        *([400] if shown.parameters else []),
        *([401, 403] if path in NEEDS else []),
        *([404] if shown.may_be_unknown else []),
    ]
    needs = NEEDS[path].word if path in NEEDS else "nobody"
    return {
        "summary": shown.says,
        "parameters": list(shown.parameters),
        "responses": responses | _troubles(codes, responses),
        **_security(needs),
    }


def _write(says: str, needs: str, body: Schema | None, answer: Schema, codes: Sequence[int]) -> Schema:
    responses = {"200": _answer("Done.", answer)}
    header = {
        "name": CSRF_HEADER,
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
        "description": "With a session: what /api/me gives as csrf.",
    }
    described: Schema = {
        "summary": says,
        "parameters": [header] if needs != "nobody" else [],
        "responses": responses | _troubles([400, *codes, 411, 413, 415, 429], responses),
        **_security(needs),
    }
    if body is not None:
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": body}}}
    return described


def _security(needs: str) -> Schema:
    if needs == "nobody":
        return {"security": []}
    return {"x-role": needs, "security": [{"password": []}, {"session": []}]}


def _troubles(codes: Sequence[int], but: Mapping[str, Schema]) -> dict[str, Schema]:
    return {str(code): _text(TROUBLE[code]) for code in (*sorted(codes), 503) if str(code) not in but}


def _answer(words: str, schema: Schema) -> Schema:
    return {"description": words, "content": {JSON: {"schema": schema}}}


def _text(words: str, kind: str = "text/plain") -> Schema:
    return {"description": words, "content": {kind: {"schema": {"type": "string"}}}}
