"""What stands before a Kafka server in tests, for the servers of the tests know neither TLS nor log-ins.

A door takes connections, with TLS by Python's OpenSSL where it has a context, asks for a SASL log-in where it has users
(PLAIN by RFC 4616, SCRAM by RFC 5802 and 7677, with KIP-43's handshake and KIP-152's framing), and passes all other
requests on. It puts its own port, or the one that it is told, where the server names its own.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import ssl
import struct
from contextlib import suppress
from typing import Any, NamedTuple

HANDSHAKE, AUTHENTICATE, API_VERSIONS = 17, 36, 18
FLEXIBLE = 3
"""From this version on answers to API_VERSIONS are compact."""
NO_ERROR, UNSUPPORTED_MECHANISM, NOT_AUTHENTICATED = 0, 33, 58
ITERATIONS = 4_096
FRAME_BYTES_MAX = 100 << 20
"""As of a broker (socket.request.max.bytes); a greeting of TLS looks larger."""
HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
MECHANISMS = ("PLAIN", *HASHES)


class Refused(Exception):
    """The log-in is wrong."""


class _Request(NamedTuple):
    key: int
    version: int
    correlation: bytes
    body: bytes


class Door:
    """Passes on to 127.0.0.1:`target_port`; of the loop that it is started in."""

    def __init__(
        self, target_port: int, *, tls: ssl.SSLContext | None = None, users: dict[str, str] | None = None
    ) -> None:
        self._target_port = target_port
        self._tls = tls
        self._users = users
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()
        self.port = 0
        self.spoken_port = 0
        """What clients are told; by default its own."""
        self.certificates: list[dict[str, Any]] = []
        """Of clients, as the context saw them."""
        self.logged_in: list[tuple[str, str]] = []
        """Mechanism and user."""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.spoken_port = self.spoken_port or self.port

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for each in tuple(self._conversations):
            each.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        if self._tls is not None:
            self.certificates.append(writer.get_extra_info("peercert"))
        versions_asked: dict[bytes, int] = {}
        for each in (
            self._pass_on(reader, writer, far_writer, versions_asked),
            self._pass_back(far_reader, writer, versions_asked),
        ):
            task = asyncio.create_task(each)
            self._conversations.add(task)
            task.add_done_callback(self._conversations.discard)

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far: asyncio.StreamWriter,
        asked: dict[bytes, int],
    ) -> None:
        login = Login(self._users) if self._users is not None else None
        with suppress(OSError, asyncio.IncompleteReadError):
            try:
                while True:
                    frame = await _frame(reader)
                    key, version, correlation, client_bytes = struct.unpack_from(">hh4sh", frame)
                    request = _Request(key, version, correlation, frame[10 + max(0, client_bytes) :])
                    if login is not None and key in (HANDSHAKE, AUTHENTICATE):
                        writer.write(_framed(correlation + login.answer(request)))
                        if login.is_done:
                            self.logged_in.append((login.mechanism, login.user))
                    elif login is None or login.is_done or key == API_VERSIONS:
                        if key == API_VERSIONS and login is not None:
                            asked[correlation] = version
                        far.write(_framed(frame))
                        await far.drain()
                    else:
                        return
            finally:
                far.close()
                writer.close()

    async def _pass_back(
        self, far: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[bytes, int]
    ) -> None:
        own, told = (b"127.0.0.1" + struct.pack(">i", port) for port in (self._target_port, self.spoken_port))
        with suppress(OSError, asyncio.IncompleteReadError):
            try:
                while True:
                    frame = (await _frame(far)).replace(own, told)
                    if (version := asked.pop(frame[:4], None)) is not None:
                        frame = frame[:4] + _with_log_in(frame[4:], version)
                    writer.write(_framed(frame))
                    await writer.drain()
            finally:
                writer.close()


class Login:
    """One connection's."""

    def __init__(self, users: dict[str, str]) -> None:
        self.mechanism = ""
        self.user = ""
        self.is_done = False
        self._users = users
        self._first = ""
        self._salt = os.urandom(16)
        self._nonce = ""

    def answer(self, request: _Request) -> bytes:
        if request.key == HANDSHAKE:
            (size,) = struct.unpack_from(">h", request.body)
            self.mechanism = request.body[2 : 2 + size].decode()
            names = b"".join(struct.pack(">h", len(name)) + name.encode() for name in MECHANISMS)
            error = NO_ERROR if self.mechanism in MECHANISMS else UNSUPPORTED_MECHANISM
            return struct.pack(">hi", error, len(MECHANISMS)) + names
        (size,) = struct.unpack_from(">i", request.body)
        try:
            said, error, why = self._authenticate(request.body[4 : 4 + size]), NO_ERROR, struct.pack(">h", -1)
        except Refused as refused:
            text = str(refused).encode()
            said, error, why = b"", NOT_AUTHENTICATED, struct.pack(">h", len(text)) + text
        lifetime = struct.pack(">q", 0) if request.version else b""
        return struct.pack(">h", error) + why + struct.pack(">i", len(said)) + said + lifetime

    def _authenticate(self, said: bytes) -> bytes:
        if self.mechanism == "PLAIN":
            _, self.user, password = said.decode().split("\0")
            if self._users.get(self.user) != password:
                raise Refused("Authentication failed: Invalid username or password")
            self.is_done = True
            return b""
        return self._begin(said.decode()) if not self._nonce else self._end(said.decode())

    def _begin(self, said: str) -> bytes:
        bare = said.removeprefix("n,,")
        fields = dict(field.split("=", 1) for field in bare.split(","))
        self.user, self._nonce = fields["n"], fields["r"] + base64.b64encode(os.urandom(12)).decode()
        answer = f"r={self._nonce},s={base64.b64encode(self._salt).decode()},i={ITERATIONS}"
        self._first = f"{bare},{answer}"
        return answer.encode()

    def _end(self, said: str) -> bytes:
        without_proof, _, proof = said.rpartition(",p=")
        name = HASHES[self.mechanism]
        salted = hashlib.pbkdf2_hmac(name, self._users.get(self.user, "").encode(), self._salt, ITERATIONS)
        client_key, server_key = (hmac.digest(salted, what, name) for what in (b"Client Key", b"Server Key"))
        message = f"{self._first},{without_proof}".encode()
        signature = hmac.digest(hashlib.new(name, client_key).digest(), message, name)
        expected = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        if self.user not in self._users or base64.b64decode(proof) != expected or f"r={self._nonce}" not in said:
            raise Refused("Authentication failed during authentication due to invalid credentials")
        self.is_done = True
        return b"v=" + base64.b64encode(hmac.digest(server_key, message, name))


def _with_log_in(body: bytes, version: int) -> bytes:
    """An answer to API_VERSIONS that names the requests of a log-in, too."""
    error = body[:2]
    if version < FLEXIBLE:
        (count,) = struct.unpack_from(">i", body, 2)
        size, at = 6, 6
        mine = b"".join(struct.pack(">hhh", key, 0, 1) for key in (HANDSHAKE, AUTHENTICATE))
    else:
        assert body[2] < 126, "a count of one byte"
        count, size, at = body[2] - 1, 7, 3
        mine = b"".join(struct.pack(">hhhB", key, 0, 1, 0) for key in (HANDSHAKE, AUTHENTICATE))
    entries = [body[at + n * size : at + (n + 1) * size] for n in range(count)]
    others = [each for each in entries if struct.unpack_from(">h", each)[0] not in (HANDSHAKE, AUTHENTICATE)]
    total = len(others) + 2
    head = struct.pack(">i", total) if version < FLEXIBLE else bytes([total + 1])
    return error + head + b"".join(others) + mine + body[at + count * size :]


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    if not 0 <= size <= FRAME_BYTES_MAX:
        raise ConnectionError("no request of Kafka")
    return await reader.readexactly(size)


def _framed(frame: bytes) -> bytes:
    return struct.pack(">i", len(frame)) + frame
