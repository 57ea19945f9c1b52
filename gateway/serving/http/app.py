"""The routes, and the rules that hold for every one of them.

What shows the plant is GET and HEAD, without a body. Its handlers are coroutines that never wait (starlette would give
plain functions to a pool of threads): each makes its answer at once on the http thread, so at most one is under way,
whatever is asked. Who may ask, and what can be done beside looking, is the business of `doors`.

`Guard` wraps the whole: it refuses bodies and excess connections, sets the security headers on every answer, errors
included, and counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Final

import msgspec
import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.core.histogram import SIZE
from gateway.core.kernels.histogram import observe
from gateway.core.ports import Clock
from gateway.core.readings import HistogramReading, Reading, histogram_reading
from gateway.serving.http.alarms import AlarmPage, alarm_page
from gateway.serving.http.build import (
    build_status,
    event_page,
    health_answer,
    loops_answer,
    ready_answer,
    tag_page,
)
from gateway.serving.http.devices import device_page
from gateway.serving.http.doors import ACTIONS, NEEDS, Doors
from gateway.serving.http.history import HISTORY_PATH, History
from gateway.serving.http.live import LIVE_PATH, Live
from gateway.serving.http.metrics import MetricTable
from gateway.serving.http.openapi import OPENAPI_PATH
from gateway.serving.http.query import Query, QueryInvalid, TagQuery
from gateway.serving.http.recorder import Recorder
from gateway.serving.http.search import Finder
from gateway.serving.http.status import HealthAnswer, Status, StatusSource, TagPage

BODY_BYTES_MAX: Final = 65_536
"""Body of one request. More, or a body of unsaid length, is refused unread."""

METRICS: MetricTable = (
    ("fieldgate_http_requests_total", "counter", "Requests answered, by path and status code."),
    ("fieldgate_http_answer_seconds", "histogram", "Time from a request's header being read to its answer being sent."),
)

PAGE_FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/access.js": ("access.js", "text/javascript; charset=utf-8"),
    "/trend.js": ("trend.js", "text/javascript; charset=utf-8"),
    "/past.js": ("past.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

SECURITY_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows in a second: everything at a glance, the tags that are asked for, alarms."""

    status: Status
    tags: TagPage
    alarms: AlarmPage


def _json(answer: msgspec.Struct, status_code: int = 200) -> Response:
    return Response(msgspec.json.encode(answer), status_code, media_type="application/json")


def _health(answer: HealthAnswer) -> Response:
    return _json(answer, 200 if answer.ok else 503)


class Routes:
    """The handlers and what they read from."""

    def __init__(
        self,
        *,
        source: StatusSource,
        registry: CollectorRegistry,
        recorder: Recorder,
        doors: Doors,
        history: History,
        description: bytes,
        now_ns: Clock,
    ) -> None:
        self._source = source
        self._doors = doors
        self._history = history
        self._registry = registry
        self._recorder = recorder
        self._finder = Finder()
        self.viewers = Live()
        self._description = description
        self._now_ns = now_ns
        folder = files("gateway.serving.http") / "page"
        self._page = {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in PAGE_FILES.items()}

    def routes(self) -> list[Route]:
        shown = {
            "/metrics": self.metrics,
            "/api/status": self.status,
            "/api/tags": self.tags,
            "/api/devices": self.devices,
            "/api/loops": self.loops,
            "/api/alarms": self.alarms,
            LIVE_PATH: self.live,
            "/api/events": self.events,
            HISTORY_PATH: self._history.answer,
        }
        return [
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            *(self._doors.guarded(path, handler) for path, handler in shown.items()),
            *self._doors.routes(),
            Route(OPENAPI_PATH, self.description),
            *(Route(path, self.page) for path in PAGE_FILES),
        ]

    async def metrics(self, request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._registry), headers={"content-type": content_type})

    async def healthz(self, request: Request) -> Response:
        return _health(health_answer(self._source.health(), self._now_ns()))

    async def readyz(self, request: Request) -> Response:
        return _health(ready_answer(self._source.health(), self._now_ns()))

    async def status(self, request: Request) -> Response:
        return _json(self._status())

    async def tags(self, request: Request) -> Response:
        return _json(self._tag_page(TagQuery.of(request)))

    async def live(self, request: Request) -> Response:
        query = TagQuery.of(request)

        def make() -> bytes:
            seen = Seen(
                status=self._status(), tags=self._tag_page(query), alarms=self._alarm_page(Query(), every=False)
            )
            return msgspec.json.encode(seen)

        return self.viewers.answer(request, query, make, self._doors.may_look)

    def _status(self) -> Status:
        return build_status(self._source, self._recorder, self._finder, self._now_ns())

    def _tag_page(self, query: TagQuery) -> TagPage:
        return tag_page(
            self._source.plant(),
            self._finder,
            self._source.health(),
            self._now_ns(),
            search=query.part.search,
            names=query.names,
            only_problems=query.only_problems,
            offset=query.part.offset,
            limit=query.part.limit,
        )

    async def devices(self, request: Request) -> Response:
        query = Query.of(request)
        page = device_page(
            self._source.plant(), self._finder, search=query.search, offset=query.offset, limit=query.limit
        )
        return _json(page)

    async def loops(self, request: Request) -> Response:
        return _json(loops_answer(self._source.plant(), self._recorder, self._source.health(), self._now_ns()))

    async def alarms(self, request: Request) -> Response:
        query = Query.of(request)
        include = request.query_params.get("include", "")
        if include not in ("", "all"):
            raise QueryInvalid("include: write all for those that are normal too, or leave it out")
        return _json(self._alarm_page(query, every=include == "all"))

    def _alarm_page(self, query: Query, *, every: bool) -> AlarmPage:
        return alarm_page(
            self._source.plant(),
            self._source.health(),
            self._now_ns(),
            search=query.search,
            every=every,
            offset=query.offset,
            limit=query.limit,
        )

    async def events(self, request: Request) -> Response:
        query = Query.of(request)
        page = event_page(self._source.events(), self._source.health(), offset=query.offset, limit=query.limit)
        return _json(page)

    async def description(self, request: Request) -> Response:
        return Response(self._description, media_type="application/json")

    async def page(self, request: Request) -> Response:
        content, kind = self._page[request.url.path]
        return Response(content, headers={"content-type": kind, "cache-control": "no-cache"})


async def _refuse_query(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", status_code=400)


class Guard:
    """What holds for every request, as an ASGI application around the routes.

    `connections` counts those open now; past `connections_max` a request is answered 503 at once.
    """

    def __init__(self, app: ASGIApp, *, connections: Callable[[], int], connections_max: int, now_ns: Clock) -> None:
        self._app = app
        self._connections = connections
        self._connections_max = connections_max
        self._now_ns = now_ns
        self._answered: Counter[tuple[str, int]] = Counter()
        self._seconds = np.zeros(SIZE, np.int64)
        observe(np.zeros(SIZE, np.int64), 0)  # compiles now, so that the first request does not wait for it

    def readings(self) -> Iterator[Reading | HistogramReading]:
        for (path, code), count in list(self._answered.items()):
            yield Reading("fieldgate_http_requests_total", count, (("code", str(code)), ("path", path)))
        yield histogram_reading("fieldgate_http_answer_seconds", self._seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began_ns = self._now_ns()
        code = 500
        refusal = self._refusal(scope)

        async def send_guarded(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
                if refusal is not None:
                    headers["connection"] = "close"
            await send(message)

        try:
            await (refusal or self._app)(scope, receive, send_guarded)
        finally:
            path = scope["path"] if scope["path"] in KNOWN_PATHS else "other"
            self._answered[path, code] += 1
            if path != LIVE_PATH:  # which is answered for as long as somebody looks
                observe(self._seconds, self._now_ns() - began_ns)

    def _refusal(self, scope: Scope) -> Response | None:
        if self._connections() > self._connections_max:
            return PlainTextResponse(f"{self._connections_max} connections are open; try again later\n", 503)
        headers = dict(scope["headers"])
        if b"transfer-encoding" in headers:
            return PlainTextResponse("a body must say its length\n", 411)
        # The HTTP parser has checked that the length is a number.
        if int(headers.get(b"content-length", b"0")) > BODY_BYTES_MAX:
            return PlainTextResponse(f"a body may have {BODY_BYTES_MAX} bytes\n", 413)
        return None


KNOWN_PATHS: Final = frozenset(
    {*PAGE_FILES, *NEEDS, "/healthz", "/readyz", "/api/me", "/api/login", "/api/logout", OPENAPI_PATH}
    | {f"/api/actions/{action}" for action in ACTIONS}
)
"""Paths that are counted by name; a scanner's inventions are all `other`."""


def make_app(routes: Routes) -> ASGIApp:
    return Starlette(
        routes=routes.routes(),
        middleware=[Middleware(GZipMiddleware, minimum_size=2_048, compresslevel=3)],
        exception_handlers={QueryInvalid: _refuse_query},
    )
