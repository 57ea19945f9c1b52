"""The doors of the API: which role each path and each action needs, how one logs in, and how things are done.

What an action is, and what comes of it, is the operator's desk's business: the page's actions are those of the
operator's socket, by another way in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateway.serving.http.access import (
    COOKIE,
    CSRF_HEADER,
    SESSION_NS,
    Access,
    NotNow,
    Visitor,
    address_of,
    is_among,
)
from gateway.serving.http.users import Role

Handler = Callable[[Request], Awaitable[Response]]
Perform = Callable[[str, str, bytes], Awaitable["Done"]]
"""Who asks, the action, its arguments as JSON."""

ACTIONS: Final = {
    "alarm.acknowledge": Role.OPERATOR,
    "alarm.shelve": Role.OPERATOR,
    "alarm.unshelve": Role.OPERATOR,
    "tag.write": Role.OPERATOR,
    "maintenance.on": Role.ENGINEER,
    "maintenance.off": Role.ENGINEER,
    "feedback.normal": Role.ENGINEER,
    "feedback.undo": Role.ENGINEER,
    "baseline.learn": Role.ENGINEER,
    "baseline.apply": Role.ENGINEER,
    "baseline.lift": Role.ENGINEER,
}
"""What the page may ask for, and who. What is not here can be asked for by the operator's socket only."""

NEEDS: Final = {
    "/metrics": Role.VIEWER,
    "/api/status": Role.VIEWER,
    "/api/tags": Role.VIEWER,
    "/api/devices": Role.VIEWER,
    "/api/loops": Role.VIEWER,
    "/api/alarms": Role.VIEWER,
    "/api/events": Role.VIEWER,
    "/api/history": Role.VIEWER,
    "/api/live": Role.VIEWER,
}
"""The least role of each path that shows something of the plant."""


class LogIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user: str
    password: str


class Done(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of an action: `says` is what was done, or why nothing was."""

    ok: bool
    says: str
    result: Any = None


class Me(msgspec.Struct, frozen=True):
    """Who the asker is. `can_log_in`: there are users. `may`: the actions that the role allows. `csrf` goes into the
    header x-csrf-token of what changes something."""

    can_log_in: bool
    user: str | None = None
    role: str | None = None
    csrf: str = ""
    may: tuple[str, ...] = ()


class Doors:
    def __init__(
        self, access: Access, *, perform: Perform | None, metrics_clients: tuple[str, ...], is_secure: bool
    ) -> None:
        self._access = access
        self._perform = perform
        self._metrics_clients = metrics_clients
        self._cookie_words = f"; Path=/; HttpOnly; SameSite=Strict{'; Secure' if is_secure else ''}"

    def routes(self) -> list[Route]:
        return [
            Route("/api/me", self.me),
            Route("/api/login", self.log_in, methods=["POST"]),
            Route("/api/logout", self.log_out, methods=["POST"]),
            *(Route(f"/api/actions/{action}", self.act, methods=["POST"]) for action in ACTIONS),
        ]

    def guarded(self, path: str, handler: Handler) -> Route:
        """The route of a path in NEEDS."""
        needs = NEEDS[path]

        async def behind(request: Request) -> Response:
            if path == "/metrics" and is_among(request, self._metrics_clients):
                return await handler(request)
            visitor = await self._visitor(request)
            if isinstance(visitor, Response):
                return visitor
            return await handler(request) if visitor.role >= needs else _too_low(visitor, needs)

        return Route(path, behind)

    async def may_look(self, request: Request) -> bool:
        """Whether the asker is still somebody."""
        visitor = await self._visitor(request)
        return isinstance(visitor, Visitor) and visitor.role >= Role.VIEWER

    async def me(self, request: Request) -> Response:
        try:
            visitor = await self._access.visitor(request)
        except NotNow as error:
            return _not_now(error)
        return _json(_me(self._access, visitor))

    async def log_in(self, request: Request) -> Response:
        if self._access.is_open:
            return _no(404, "there are no users: write users_file in [http], and `fieldgate user add NAME`")
        if (wrong := _not_json(request)) is not None:
            return wrong
        try:
            asked = msgspec.json.decode(await request.body(), type=LogIn)
            entered = await self._access.log_in(asked.user, asked.password, address_of(request))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _no(400, f'write {{"user": ..., "password": ...}} ({error})')
        except NotNow as error:
            return _not_now(error)
        if entered is None:
            return _no(403, "user or password are wrong")
        token, visitor = entered
        answer = _json(_me(self._access, visitor))
        answer.headers["set-cookie"] = f"{COOKIE}={token}{self._cookie_words}; Max-Age={SESSION_NS // 1_000_000_000}"
        return answer

    async def log_out(self, request: Request) -> Response:
        visitor = await self._changing(request)
        if isinstance(visitor, Response):
            return visitor
        self._access.log_out(request)
        answer = _json(Me(can_log_in=True))
        answer.headers["set-cookie"] = f"{COOKIE}={self._cookie_words}; Max-Age=0"
        return answer

    async def act(self, request: Request) -> Response:
        action = request.url.path.rpartition("/")[2]
        visitor = await self._changing(request)
        if isinstance(visitor, Response):
            return visitor
        if visitor.role < ACTIONS[action]:
            return _too_low(visitor, ACTIONS[action])
        if (wrong := _not_json(request)) is not None:
            return wrong
        if self._perform is None:
            return _no(503, "the gateway is starting; try again when it is ready")
        answered = await self._perform(visitor.name, action, await request.body())
        return _json(answered, 200 if answered.ok else 409)

    async def _visitor(self, request: Request) -> Visitor | Response:
        try:
            visitor = await self._access.visitor(request)
        except NotNow as error:
            return _not_now(error)
        # Without WWW-Authenticate: a browser would ask in its own way, and send what it is told for ever.
        return _no(401, "log in first") if visitor is None else visitor

    async def _changing(self, request: Request) -> Visitor | Response:
        """Whoever changes something: it must be this site's own page that asks, not another one in the same browser."""
        visitor = await self._visitor(request)
        if isinstance(visitor, Visitor) and request.headers.get(CSRF_HEADER, "") != visitor.csrf:
            return _no(403, f"the header {CSRF_HEADER} must say what /api/me says")
        return visitor


def _me(access: Access, visitor: Visitor | None) -> Me:
    if visitor is None:
        return Me(can_log_in=True)
    may = tuple(action for action, needs in ACTIONS.items() if visitor.role >= needs)
    return Me(not access.is_open, visitor.name, visitor.role.word, visitor.csrf, may)


def _json(answer: msgspec.Struct, status_code: int = 200) -> Response:
    return Response(msgspec.json.encode(answer), status_code, media_type="application/json")


def _no(status_code: int, why: str) -> Response:
    return PlainTextResponse(f"{why}\n", status_code)


def _not_json(request: Request) -> Response | None:
    """A form of another site cannot send JSON without asking first, which nothing here answers."""
    if request.headers.get("content-type", "").partition(";")[0].strip() == "application/json":
        return None
    return _no(415, "write content-type: application/json")


def _too_low(visitor: Visitor, needs: Role) -> Response:
    return _no(403, f"{visitor.name} is {visitor.role.word}; this needs {needs.word}")


def _not_now(error: NotNow) -> Response:
    return PlainTextResponse(f"{error}\n", 429, headers={"retry-after": str(error.seconds)})
