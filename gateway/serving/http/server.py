"""The HTTP server: uvicorn on an event loop of its own in a thread of its own.

A big scrape or a slow browser then holds up nobody but other readers. The listening socket is bound before the thread
starts, so a port that is taken is the caller's error, with its address, and not a line in a thread's log. Who gets a
connection is the business of `gate`.

A connection that has not had a whole answer within `ANSWER_S_MAX` is cut off: silent ones, those that send their
request byte by byte and those that do not read their answer alike.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import uvicorn
import uvloop
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from gateway.core.events import Emit
from gateway.core.limits import CONNECTIONS_PER_CLIENT, HTTP_CONNECTIONS_MAX
from gateway.core.places import Places, Refusal
from gateway.core.ports import Clock
from gateway.core.readings import HistogramReading, Reading
from gateway.serving.http.access import METRICS as ACCESS_METRICS
from gateway.serving.http.access import Access
from gateway.serving.http.app import METRICS as APP_METRICS
from gateway.serving.http.app import Guard, Routes, make_app
from gateway.serving.http.doors import Doors, Perform
from gateway.serving.http.gate import Gate, Visit
from gateway.serving.http.history import History, ReadHistory
from gateway.serving.http.live import LIVE_PATH, Live
from gateway.serving.http.metrics import BuildCollector, GatewayCollector, MetricTable, make_registry
from gateway.serving.http.openapi import describe
from gateway.serving.http.overview import METRICS as OVERVIEW_METRICS
from gateway.serving.http.overview import Overview
from gateway.serving.http.recorder import Recorder
from gateway.serving.http.status import StatusSource

ANSWER_S_MAX: Final = 15.0
KEEP_ALIVE_S: Final = 5
START_S_MAX: Final = 10.0
BACKLOG: Final = 128

METRICS: MetricTable = (
    *APP_METRICS,
    *ACCESS_METRICS,
    *OVERVIEW_METRICS,
    ("fieldgate_http_viewers", "gauge", "Pages that are told what changes."),
    ("fieldgate_http_connections", "gauge", "HTTP connections open now."),
    (
        "fieldgate_http_connections_cut_total",
        "counter",
        "HTTP connections cut off, by reason: too many of them, too many of one client, or no whole answer in time.",
    ),
)


class HttpServerFailed(Exception):
    """The server did not start; the message says why."""


class HttpAddressUnavailable(HttpServerFailed):
    """The server cannot listen where it was told to; the message says where and what to do."""


class Connection(H11Protocol, Visit):
    """One connection, watched: whatever it is up to, answers must go out."""

    answered = 0
    answered_at_check = 0
    watch: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        state = self.server_state
        assert isinstance(state, Connections)
        self.watch = self.loop.call_later(state.answer_s_max, self._check)

    def _check(self) -> None:
        state = self.server_state
        assert isinstance(state, Connections)
        if self.answered == self.answered_at_check and not self._is_viewer_who_reads():
            state.cut_too_slow += 1
            self.transport.abort()
            return
        self.answered_at_check = self.answered
        self.watch = self.loop.call_later(state.answer_s_max, self._check)

    def _is_viewer_who_reads(self) -> bool:
        """A stream is never answered to its end; whoever takes what is sent may stay."""
        cycle = self.cycle
        is_stream = cycle is not None and cycle.response_started and cycle.scope["path"] == LIVE_PATH
        return is_stream and self.transport.get_write_buffer_size() == 0

    def on_response_complete(self) -> None:
        self.answered += 1
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.cancel()
        self.on_gone()
        super().connection_lost(exc)


class Connections(ServerState):
    """uvicorn's set of open connections, and how many were too slow."""

    def __init__(self, answer_s_max: float) -> None:
        super().__init__()
        self.answer_s_max = answer_s_max
        self.cut_too_slow = 0


class _Server(uvicorn.Server):
    """Lets in whom the gate lets in, says when it has started, and notes the plant once a second."""

    def __init__(
        self,
        config: uvicorn.Config,
        state: Connections,
        gate: Gate,
        recorder: Recorder,
        live: Live,
        source: StatusSource,
        now_ns: Clock,
    ) -> None:
        super().__init__(config)
        self.server_state = state
        self.startup_over = threading.Event()
        self._gate = gate
        self._recorder = recorder
        self._live = live
        self._source = source
        self._now_ns = now_ns

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])  # no listener of uvicorn's own
        for listener in sockets or []:
            self._gate.open(listener, self.config.ssl, self._connection)
        self.startup_over.set()

    def _connection(self) -> Connection:
        return Connection(self.config, self.server_state, self.lifespan.state)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gate.close()
        self._live.close()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # uvicorn ticks ten times a second
            self._recorder.note(self._now_ns(), self._source)
        return await super().on_tick(counter)


class HttpServer:
    """`tables` are the METRICS of all other components; `source.measured()` gives those components, not this one.

    `build` is told to Prometheus as labels of `fieldgate_build_info`. `access` None: everybody sees, nobody acts;
    `perform` carries out what the page asks for, `bodies` has the types of the actions' arguments; `read_history` None:
    none is kept. `tls`: the files of certificate and key. `connections_per_client`: of the HTTP_CONNECTIONS_MAX that
    are answered.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        source: StatusSource,
        tables: Iterable[MetricTable],
        build: dict[str, str],
        now_ns: Clock,
        access: Access | None = None,
        perform: Perform | None = None,
        bodies: Mapping[str, type[Any]] | None = None,
        read_history: ReadHistory | None = None,
        metrics_clients: tuple[str, ...] = (),
        tls: tuple[Path, Path] | None = None,
        connections_per_client: int = CONNECTIONS_PER_CLIENT,
        emit: Emit = lambda event: None,
        answer_s_max: float = ANSWER_S_MAX,
    ) -> None:
        self._tls = tls
        self._host = host
        self._wanted_port = port
        self._state = Connections(answer_s_max)
        places = Places(total_max=2 * HTTP_CONNECTIONS_MAX, each_max=connections_per_client)
        self._gate = Gate(places, handshake_s=answer_s_max, now_ns=now_ns, emit=emit)
        overview = Overview(source)
        self.collector = GatewayCollector(
            tables=[METRICS, *tables], measured=lambda: (self, overview, *source.measured())
        )
        registry = make_registry(self.collector, BuildCollector(gateway_id=source.gateway_id, build=build))
        recorder = Recorder()
        self._access = access or Access(now_ns=now_ns, emit=lambda event: None, note=lambda who, address, what: None)
        doors = Doors(
            self._access, perform=perform, metrics_clients=metrics_clients, is_secure=tls is not None,
        )  # fmt: skip
        self._history = History(read_history, lambda: now_ns() + source.health().wall_offset_ns)
        self._routes = Routes(
            source=source,
            registry=registry,
            recorder=recorder,
            doors=doors,
            history=self._history,
            description=describe(bodies or {}),
            now_ns=now_ns,
        )
        self._guard = Guard(
            make_app(self._routes),
            connections=lambda: self._gate.places.taken,
            connections_max=HTTP_CONNECTIONS_MAX,
            now_ns=now_ns,
        )
        config = uvicorn.Config(
            self._guard,
            ssl_certfile=tls[0] if tls else None,
            ssl_keyfile=tls[1] if tls else None,
            # Of an encrypted key: without one it would be asked for on a terminal, which a service has not.
            ssl_keyfile_password="" if tls else None,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=16_384,
        )
        self._server = _Server(config, self._state, self._gate, recorder, self._routes.viewers, source, now_ns)
        # A daemon, so that a hung answer never keeps the gateway from leaving.
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._socket: socket.socket | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; the one asked for before the start."""
        if self._socket is None:
            return self._wanted_port
        return int(self._socket.getsockname()[1])

    @property
    def routes(self) -> list[Route]:
        """All that is answered."""
        return self._routes.routes()

    @property
    def history_waiting(self) -> int:
        return self._history.waiting

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        """Returns when requests are answered. Raises HttpAddressUnavailable or HttpServerFailed."""
        if self._tls is not None:
            _try_certificate(*self._tls)
        self._socket = _listen(self._host, self._wanted_port)
        self._thread.start()
        if not self._server.startup_over.wait(START_S_MAX) or not self._server.started:
            raise HttpServerFailed(f"http: the server on port {self.port} did not start within {START_S_MAX:.0f} s")

    def stop(self, timeout_s: float) -> bool:
        """Answers what is under way, then ends. True when the thread has ended in time."""
        if self._socket is None:
            return True
        self._server.should_exit = True
        self._thread.join(timeout_s)
        self._history.close()
        return not self._thread.is_alive()

    def readings(self) -> Iterator[Reading | HistogramReading]:
        yield from self._guard.readings()
        yield from self._access.readings()
        yield Reading("fieldgate_http_viewers", self._routes.viewers.viewers)
        yield Reading("fieldgate_http_connections", self._gate.places.taken)
        cut = self._gate.cut
        for reason, count in (
            ("too many", cut[Refusal.FULL]),
            ("too many of one client", cut[Refusal.CROWDED]),
            ("too slow", self._state.cut_too_slow),
        ):
            yield Reading("fieldgate_http_connections_cut_total", count, (("reason", reason),))

    def _run(self) -> None:
        assert self._socket is not None
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._server.serve(sockets=[self._socket]))
        finally:
            self._server.startup_over.set()


def _try_certificate(certificate: Path, key: Path) -> None:
    """Raises HttpServerFailed: in the server's thread it would be a line in a log."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise HttpServerFailed(
            f"http: cannot use the certificate {certificate} with the key {key}: {why};"
            " check that both are PEM files that belong together, and that the service's user may read them"
        ) from error


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises HttpAddressUnavailable."""
    place = f"http: cannot listen on {host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise HttpAddressUnavailable(
            f"{place}: {error.strerror}; write an address of this machine as `listen` in [http]"
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise HttpAddressUnavailable(f"{place}: {error.strerror}; {_remedy(error, port)}") from error
    return listener


def _remedy(error: OSError, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"`ss -ltnp sport = :{port}` names the program that has it: stop that, or change `listen` in [http]"
        case errno.EACCES:
            return "ports below 1024 need CAP_NET_BIND_SERVICE: change `listen` in [http]"
        case errno.EADDRNOTAVAIL:
            return "no interface of this machine has this address: change `listen` in [http]"
        case _:
            return "change `listen` in [http]"
