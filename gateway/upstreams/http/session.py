"""A session with a server: what waits is sent, and what comes back judged."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Final

import h11
import msgspec

from gateway.core.ports import Answer, Clock, LinkDown, Refusal, Resized, Verdict, as_given
from gateway.core.record import Identity
from gateway.core.types import NS_PER_S
from gateway.native.errors import words
from gateway.protocol.lineprotocol import lines
from gateway.protocol.records import position
from gateway.protocol.records.form import CANONICAL, Form
from gateway.protocol.records.position import Place
from gateway.settings.credentials import CredentialError, password_of, read_secret, tls_context, username_of
from gateway.settings.schema import HttpAddress, HttpFormat
from gateway.upstreams.http.connection import Broken, Connection, Reply

ABOUT_THE_RECORD: Final = frozenset({400, 413, 422})
ABOUT_THE_LOG_IN: Final = frozenset({401, 403, 407})
LATER: Final = frozenset({408, 409, 425, 429})
REPLY_BYTES_MAX: Final = 65_536
"""Of a reply; more of it is read and dropped."""
POSITION_BYTES_MAX: Final = 4 * 1024 * 1024
GROUP_RECORDS_MAX: Final = 32
GZIP_LEVEL: Final = 5


class HttpUpstream:
    """A session with one server; `gateway.core.ports.Upstream`. Made by `connect`."""

    def __init__(
        self,
        address: HttpAddress,
        *,
        timeout_ns: int,
        wall_offset_ns: Callable[[], int],
        form: Form,
        resized: Resized,
        stopwatch_ns: Clock = time.monotonic_ns,
    ) -> None:
        self._stopwatch_ns = stopwatch_ns
        self._address = address
        self._resized = resized
        self._described = _described(address, form)
        self._timeout_s = timeout_ns / NS_PER_S
        self._wall_offset_ns = wall_offset_ns
        self._tls: ssl.SSLContext | None = None
        self._headers: list[tuple[str, str]] = []
        self._connection: Connection | None = None
        self._held: dict[Place, int] = {}
        self._turn = asyncio.Lock()
        self._waiting: dict[Identity, bytes] = {}
        self._answers: dict[Identity, Answer] = {}
        self._lost: LinkDown | None = None

    async def open(self) -> None:
        """Connect, log in, and learn what the server holds."""
        self._tls, self._headers = await asyncio.to_thread(_read_secrets, self._address)
        self._connection = await self._connected()
        if self._address.position is not None:
            reply = await self._exchange("GET", self._address.position, [], b"", POSITION_BYTES_MAX)
            self._held = _read_position(reply, f"{self._address.name}{self._address.position}")

    @property
    def held(self) -> dict[Place, int]:
        """As the server said when the session was opened."""
        return self._held

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def send(self, identity: Identity, payload: bytes) -> Answer:
        held = self._held.get((identity.stream, identity.segment), 0)
        if identity.sequence <= held and not identity.is_asked:
            self._resized(identity, -len(payload))
            return Verdict.ACCEPTED
        self._waiting[identity] = payload
        async with self._turn:
            # Whoever has the turn sends for those that wait behind; they find their answer.
            if self._lost is None and identity in self._waiting:
                try:
                    await self._send_waiting()
                except LinkDown as error:
                    self._lost = error
        if identity in self._answers:
            return self._answers.pop(identity)
        assert self._lost is not None
        raise self._lost

    async def _send_waiting(self) -> None:
        first = next(iter(self._waiting))
        is_joined = self._address.format is HttpFormat.INFLUX
        fellows = [each for each in self._waiting if is_joined and each.stream == first.stream and each != first]
        group = {each: self._waiting.pop(each) for each in (first, *fellows[: GROUP_RECORDS_MAX - 1])}
        answer = await self._post(group)
        if isinstance(answer, Refusal) and len(group) > 1:
            for identity, payload in group.items():
                self._answers[identity] = await self._post({identity: payload}, is_again=True)
        else:
            self._answers |= dict.fromkeys(group, answer)

    async def _post(self, group: dict[Identity, bytes], *, is_again: bool = False) -> Answer:
        try:
            body = await asyncio.to_thread(self._encoded, tuple(group.values()))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            return Refusal(f"it cannot be written as {self._address.format.value}: {type(error).__name__} {error}")
        for each, payload in group.items():
            self._resized(each, len(body) // len(group) - (0 if is_again else len(payload)))
        if not body:
            return Verdict.ACCEPTED
        headers: list[tuple[str, str]] = []
        identity = next(iter(group))
        target = self._address.target.replace("{stream}", identity.stream)
        if self._address.format is HttpFormat.JSON:
            who = f"{identity.gateway}/{identity.stream}/{identity.segment}/{identity.sequence}"
            headers.append(("Idempotency-Key", json.dumps(who)))
        reply = await self._exchange("POST", target, headers, body, REPLY_BYTES_MAX)
        return _judged(reply, f"{self._address.name}{target}")

    def _encoded(self, payloads: Sequence[bytes]) -> bytes:
        """In a thread. Raises what `lines` raises."""
        body = payloads[0]
        if self._address.format is HttpFormat.INFLUX:
            offset_ns = self._wall_offset_ns()
            body = b"".join(lines(msgspec.json.decode(payload), offset_ns) for payload in payloads)
        return gzip.compress(body, GZIP_LEVEL, mtime=0) if body and self._address.gzip else body

    async def _exchange(
        self, method: str, target: str, headers: list[tuple[str, str]], body: bytes, bytes_max: int
    ) -> Reply:
        """Raises LinkDown. Every request may be made twice: that is what the key, or the point's own place, is for."""
        common = [("Host", self._address.authority), ("User-Agent", "fieldgate"), *self._headers, *headers]
        if method == "POST":
            common += [("Content-Length", str(len(body))), *self._described]
        request = h11.Request(
            method=method, target=target, headers=[(name.encode(), value.encode()) for name, value in common]
        )
        name = self._address.name
        try:
            while True:
                connection = await self._usable()
                try:
                    return await connection.exchange(
                        request, body, bytes_max, timeout_s=self._timeout_s, stopwatch_ns=self._stopwatch_ns
                    )
                except Broken as broken:
                    await self.close()
                    if not (broken.is_idle and connection.is_used):
                        raise LinkDown(f"{name}: connection lost ({broken})", "it is tried again by itself") from broken
        except TimeoutError as error:
            raise LinkDown(
                f"{name}: no answer for {self._timeout_s:g} s", "check the server's load and the route to it"
            ) from error

    async def _usable(self) -> Connection:
        """The connection, made anew where the server ended it between two requests."""
        if self._connection is None or not self._connection.may_go_on:
            await self.close()
            self._connection = await self._connected()
        return self._connection

    async def _connected(self) -> Connection:
        address = self._address
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = await asyncio.open_connection(address.host, address.port, ssl=self._tls)
        except (OSError, TimeoutError) as error:
            remedy = "check that the server runs and listens on this port, and the route to it"
            if isinstance(error, ssl.SSLCertVerificationError):
                remedy = "check ca_file, and that the certificate names this host"
            elif isinstance(error, ssl.SSLError):
                remedy = "check that this port speaks TLS"
            raise LinkDown(f"{address.name}: {words(error) or 'no answer'}", remedy) from error
        return Connection(reader, writer)


@asynccontextmanager
async def connect(
    address: HttpAddress,
    *,
    acknowledge_timeout_ns: int,
    wall_offset_ns: Callable[[], int],
    form: Form = CANONICAL,
    resized: Resized = as_given,
) -> AsyncIterator[HttpUpstream]:
    """A session, or LinkDown. Token, password and certificates are read anew for each."""
    upstream = HttpUpstream(
        address, timeout_ns=acknowledge_timeout_ns, wall_offset_ns=wall_offset_ns, form=form, resized=resized
    )
    try:
        await upstream.open()
        yield upstream
    finally:
        await upstream.close()


async def positions(address: HttpAddress, timeout_ns: int) -> dict[Place, int]:
    """By stream and segment, up to which sequence the server says that it holds everything. Raises LinkDown."""
    async with connect(address, acknowledge_timeout_ns=timeout_ns, wall_offset_ns=lambda: 0) as upstream:
        return upstream.held


def _described(address: HttpAddress, form: Form) -> list[tuple[str, str]]:
    """What a request says of its body."""
    if address.format is HttpFormat.INFLUX:
        headers = {"Content-Type": "text/plain; charset=utf-8"}
    else:
        headers = form.headers
    return [*headers.items(), *([("Content-Encoding", "gzip")] if address.gzip else [])]


def _judged(reply: Reply, where: str) -> Answer:
    """What a reply means for the records. Raises LinkDown where it is about something else."""
    status = reply.status
    if 200 <= status < 300:
        return Verdict.ACCEPTED
    if status in ABOUT_THE_RECORD:
        return Refusal(reply.told)
    if status in ABOUT_THE_LOG_IN:
        raise LinkDown(f"{where}: the server refuses us ({reply.told})", "check token_file, or username and password")
    if status in LATER or status >= 500:
        raise LinkDown(
            f"{where}: the server does not take records now ({reply.told})",
            "look into its log and its limits",
            retry_after_ns=_retry_after_ns(reply.headers),
        )
    remedy = "check the address and its path"
    if 300 <= status < 400:
        remedy = f"write the address that it names: {reply.headers.get('location', 'none')}"
    raise LinkDown(f"{where}: the server has no such place for records ({reply.told})", remedy)


def _retry_after_ns(headers: dict[str, str]) -> int:
    """Of Retry-After (RFC 9110, 10.2.3): seconds, or a date, which is held against the server's; 0 without one."""
    word = headers.get("retry-after", "").strip()
    if word.isdecimal() and len(word) < 10:
        return int(word) * NS_PER_S
    try:
        wait = parsedate_to_datetime(word) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):
        return 0
    return max(0, round(wait.total_seconds()) * NS_PER_S)


def _read_position(reply: Reply, where: str) -> dict[Place, int]:
    """By stream and segment, up to which sequence the server holds everything. Raises LinkDown."""
    answer = _judged(reply, where)
    try:
        if isinstance(answer, Refusal):
            raise ValueError(answer.reason)
        return position.decoded(reply.body)
    except ValueError as error:
        raise LinkDown(
            f"{where}: does not say what the server holds ({error})",
            'have it answer {"held": [{"stream": "samples", "segment": 1, "sequence": 2}]}, or take position out',
        ) from error


def _read_secrets(address: HttpAddress) -> tuple[ssl.SSLContext | None, list[tuple[str, str]]]:
    """What TLS needs, and the header that logs in."""
    try:
        tls = tls_context(address)
        if address.token_file is not None:
            token = read_secret(address.token_file, "token").strip()
            scheme = "Token" if address.format is HttpFormat.INFLUX else "Bearer"
            return tls, [("Authorization", f"{scheme} {token}")]
        if address.username is None and address.username_file is None:
            return tls, []
        user, password = username_of(address), password_of(address)
    except CredentialError as error:
        raise LinkDown(str(error), error.remedy) from error
    word = b64encode(f"{user}:{password or ''}".encode()).decode()
    return tls, [("Authorization", f"Basic {word}")]
