"""The http side of the daemon: its listener, which may be moved and replaced, and who comes in by it.

The listener has a thread and an event loop of its own. What a visitor asks to be done is done on the daemon's loop, by
the operator's desk, like everything that operators ask for; log-ins go into the audit trail from there too.
"""

from __future__ import annotations

import asyncio
import platform
from typing import Final

import msgspec

from gateway import __version__
from gateway.core.events import Emit, Event, Severity
from gateway.core.ports import Clock
from gateway.runtime import metric_tables
from gateway.serving.http.access import Access
from gateway.serving.http.doors import Done
from gateway.serving.http.history import ReadHistory
from gateway.serving.http.server import HttpServer, HttpServerFailed
from gateway.serving.http.status import StatusSource
from gateway.serving.operator.messages import Answered
from gateway.serving.operator.server import Action, Asker, OperatorServer
from gateway.settings.schema import Http
from gateway.writing.audit import Line, Trail, TrailError

STOP_S: Final = 1.0


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Web:
    """`read_history` None: none is kept."""

    def __init__(
        self,
        trail: Trail,
        *,
        loop: asyncio.AbstractEventLoop,
        now_ns: Clock,
        emit: Emit,
        read_history: ReadHistory | None,
    ) -> None:
        self._trail = trail
        self._loop = loop
        self._now_ns = now_ns
        self._emit = emit
        self._read_history = read_history
        self._access = Access(now_ns=now_ns, emit=emit, note=self._note)
        self._server: HttpServer | None = None

    def actions(self) -> dict[str, Action]:
        """What the operator's socket may be asked for: a token for the terminal commands."""
        return {"http.token": Action(Nothing, self._token)}

    @property
    def is_dead(self) -> bool:
        """The thread ended by itself."""
        return self._server is not None and not self._server.is_alive

    def start(self, http: Http | None, source: StatusSource, operator: OperatorServer) -> None:
        """Returns when requests are answered. Raises HttpServerFailed."""
        self._source, self._operator = source, operator
        self._server = self._started(http)

    async def stop(self) -> None:
        # Taken away first: else the watch would find it dead and start it again.
        server, self._server = self._server, None
        if server is not None:
            await asyncio.to_thread(server.stop, STOP_S)

    async def move(self, old: Http | None, new: Http | None) -> None:
        """Listen as `new` says; when that cannot be, as before. Raises HttpServerFailed then."""
        await self.stop()
        try:
            self._server = self._started(new)
        except HttpServerFailed:
            self._server = self._started(old)
            raise

    async def replace(self, http: Http | None) -> None:
        """The thread died of an error of its own: the plant goes on, the page comes back."""
        self._say("component.failed", "the http thread ended by itself; it is started again")
        await self.stop()
        try:
            self._server = self._started(http)
        except HttpServerFailed as error:
            self._say("http.failed", f"{error}; the page and the metrics stay away until a reload")

    def _started(self, http: Http | None) -> HttpServer | None:
        if http is None:
            return None
        self._access.use(http.users_file)
        tls = None if http.cert_file is None or http.key_file is None else (http.cert_file, http.key_file)
        server = HttpServer(
            host=http.host,
            port=http.port,
            source=self._source,
            tables=metric_tables.TABLES,
            build={"version": __version__, "python": platform.python_version()},
            now_ns=self._now_ns,
            access=self._access,
            perform=self._perform,
            bodies=self._operator.bodies(),
            read_history=self._read_history,
            metrics_clients=http.metrics_clients,
            tls=tls,
            connections_per_client=http.connections_per_client,
            emit=self._emit,
        )
        server.start()
        return server

    async def _perform(self, who: str, action: str, arguments: bytes) -> Done:
        """On the listener's loop."""
        doing = self._operator.perform(Asker(who, way="page"), action, arguments)
        answered = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(doing, self._loop))
        return Done(answered.ok, answered.says, answered.result)

    async def _token(self, asker: Asker, nothing: Nothing) -> Answered:
        return Answered(True, "may look for an hour", self._access.local_token())

    def _note(self, who: str, address: str, what: str) -> None:
        """On the listener's thread."""
        line = Line(id=f"{self._now_ns():x}", way="page", who=who, what="log-in", new="", result=what, reason=address)
        self._loop.call_soon_threadsafe(self._post, line)

    def _post(self, line: Line) -> None:
        try:
            self._trail.post(line)
        except TrailError as error:
            self._say("audit.lost", str(error))

    def _say(self, kind: str, message: str) -> None:
        self._emit(Event(self._now_ns(), Severity.ERROR, kind, "http", message))
