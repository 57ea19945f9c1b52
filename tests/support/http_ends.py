"""HTTP servers that take records, by the standard library: with idempotency keys, and a time series database.

The database reads line protocol on its own, character by character, and keeps one set of fields for each point.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

Point: TypeAlias = tuple[str, tuple[tuple[str, str], ...], int]
"""Measurement, tags, time."""


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Response:
    status: int = 204
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False
    """Close without a word, after the request was read."""


class HttpServer:
    """`answer` says what comes back; whatever it keeps outlives a `stop`."""

    def __init__(self, answer: Callable[[Request], Response], port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.requests: list[Request] = []
        self.connections = 0
        self._answer = answer
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def setup(self) -> None:
                super().setup()
                outer._open.add(self.connection)
                outer.connections += 1

            def finish(self) -> None:
                outer._open.discard(self.connection)
                super().finish()

            def log_message(self, *args: Any) -> None:
                """Tests look at `requests`."""

            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(size)
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, body)
                outer.requests.append(request)
                response = outer._answer(request)
                if response.hang_up:
                    self.close_connection = True
                    return
                self.send_response_only(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                if response.status != 204:
                    self.send_header("Content-Length", str(len(response.body)))
                self.end_headers()
                self.wfile.write(response.body)

            do_GET = do_POST

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign, assignment]
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def drop_connections(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self.drop_connections()
            self._server = None


class Keeper:
    """Keeps each record once, by its key, as a server should that keeps keys and data in one transaction."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.records: dict[str, bytes] = {}
        self.says: Response | None = None
        """Instead of taking a record."""

    def __call__(self, request: Request) -> Response:
        if request.path == "/position":
            return Response(200, json.dumps({"held": self._held()}).encode())
        if self.says is not None:
            return self.says
        if len(request.body) > self._bytes_max:
            return Response(413, b"too large a record")
        self.records.setdefault(json.loads(request.headers["idempotency-key"]), request.body)
        return Response(200, b"{}")

    def _held(self) -> list[dict[str, Any]]:
        """Up to where there is no gap."""
        by_segment: dict[tuple[str, int], set[int]] = {}
        for key in self.records:
            _, stream, segment, sequence = key.split("/")
            by_segment.setdefault((stream, int(segment)), set()).add(int(sequence))
        held = []
        for (stream, segment), there in by_segment.items():
            last = 0
            while last + 1 in there:
                last += 1
            held.append({"stream": stream, "segment": segment, "sequence": last})
        return held


class TimeSeries:
    """Points of line protocol. A request of which one point cannot be kept is refused as a whole."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.points: dict[Point, dict[str, object]] = {}
        self._types: dict[tuple[str, str], type] = {}

    def __call__(self, request: Request) -> Response:
        if len(request.body) > self._bytes_max:
            return Response(413, b'{"code":"request too large"}')
        taken = read_lines(request.body.decode())
        for (measurement, _, _), fields in taken:
            for name, value in fields.items():
                if self._types.setdefault((measurement, name), type(value)) is not type(value):
                    return Response(400, f'{{"message":"field type conflict: {name}"}}'.encode())
        for point, fields in taken:
            self.points.setdefault(point, {}).update(fields)
        return Response(204)


def read_lines(text: str) -> list[tuple[Point, dict[str, object]]]:
    reader = _Reader(text)
    found = []
    while not reader.is_at_end:
        found.append(reader.line())
    return found


class Unsigned(int):
    """A type of its own, as in InfluxDB 2."""


class _Reader:
    """By the syntax in InfluxDB's documentation."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        return self._at >= len(self._text)

    def line(self) -> tuple[Point, dict[str, object]]:
        measurement = self._word(", ", ", ")
        tags = {}
        while self._text[self._at] == ",":
            self._at += 1
            name = self._word("=", ",= ")
            self._at += 1
            tags[name] = self._word(", ", ",= ")
            assert name
            assert tags[name], "an empty tag"
        fields: dict[str, object] = {}
        while self._text[self._at] in " ,":
            is_first = self._text[self._at] == " "
            if is_first and fields:
                break
            self._at += 1
            name = self._word("=", ",= ")
            self._at += 1
            fields[name] = self._value()
        assert fields, "a point without a field"
        assert self._text[self._at] == " "
        end = self._text.index("\n", self._at)
        time_ns = int(self._text[self._at + 1 : end])
        self._at = end + 1
        assert "\n" not in measurement + "".join(tags) + "".join(tags.values())
        return (measurement, tuple(sorted(tags.items())), time_ns), fields

    def _word(self, ends: str, escaped: str) -> str:
        out = ""
        while self._text[self._at] not in ends:
            if self._text[self._at] == "\\" and self._text[self._at + 1] in escaped:
                self._at += 1
            out += self._text[self._at]
            self._at += 1
        return out

    def _value(self) -> object:
        if self._text[self._at] == '"':
            self._at += 1
            out = ""
            while self._text[self._at] != '"':
                if self._text[self._at] == "\\" and self._text[self._at + 1] in '"\\':
                    self._at += 1
                out += self._text[self._at]
                self._at += 1
            self._at += 1
            return out
        word = self._word(", ", "")
        if word[-1] == "i":
            value = int(word[:-1])
            assert -(1 << 63) <= value < 1 << 63
            return value
        return Unsigned(word[:-1]) if word[-1] == "u" else float(word)
