"""NATS JetStream as an upstream: stored once, because each identity has a subject of its own.

A record goes to `<subject>.<segment>.<sequence>`, with `Nats-Expected-Last-Subject-Sequence: 0`: the server stores it
only if it holds nothing under that identity. So a resend after an outage, however late, is answered "wrong last
sequence" and counts as accepted; no de-duplication window is relied on, nothing need be read back at connect, and
what the stream lost can be sent again in any order. `Nats-Msg-Id` carries the identity for consumers; what somebody
asked for again goes without, for the server would take it for a duplicate as long as it remembers the id, also of a
message that it has lost.

What the promise rests on is looked at when a session starts: a stream must catch the subjects, keep them in files and
acknowledge. One thing the protocol does not tell: with its default `sync_interval` of two minutes the server
acknowledges what a power cut may still take; set `sync_interval: always`, or keep a grace and reconcile.

Whether a session is silent is judged here (`core.patience`), and not by the client's time-outs and pings, which take a
narrow link for a dead one: an answer may take as long as it takes to get what is ahead of it through.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from gateway.core.patience import LOOKS, Patience
from gateway.core.ports import Answer, Clock, LinkDown, Refusal, Verdict
from gateway.core.record import Identity
from gateway.core.types import NS_PER_S
from gateway.native.errors import words
from gateway.protocol.records.form import CANONICAL, Form
from gateway.sendqueue import unacknowledged
from gateway.settings.schema import NatsAddress

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

WRONG_LAST_SEQUENCE: Final = 10071
"""JetStream's code for: there is a message under this subject already."""
MESSAGE_TOO_LARGE: Final = 10054
HEADERS_ROOM: Final = 512
"""Bytes that headers and subject may take of the server's largest payload."""
FAREWELL_S: Final = 1.0
PING_EVERY_S: Final = 10
NEVER_S: Final = 366 * 86_400
"""What is judged here is not judged by the client."""


class Ending:
    """Whether a connection has ended, and what was heard of why.

    The client's own tasks are looked at, too: one that fails ends it without a word.
    """

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.why = ""

    async def note(self) -> None:
        self.came.set()

    async def note_error(self, error: Exception) -> None:
        self.hear(error)

    def watch(self, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            task.add_done_callback(self._note_task)

    def _note_task(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception):
            self.hear(error)
        self.came.set()

    def hear(self, error: Exception) -> None:
        """The first says why, those behind it that it is so."""
        said = str(error).removeprefix("nats: ")
        if isinstance(error, OSError):
            said = os.strerror(errno.ECONNRESET) if isinstance(error, ConnectionResetError) else error.strerror or said
        self.why = self.why or said


class NatsUpstream:
    """One connection; `gateway.core.ports.Upstream`. Made by `connect`."""

    def __init__(
        self,
        client: Client,
        jetstream: JetStreamContext,
        *,
        name: str,
        subject: str,
        bytes_max: int,
        timeout_s: float,
        form: Form = CANONICAL,
        stopwatch_ns: Clock = time.monotonic_ns,
    ) -> None:
        self._stopwatch_ns = stopwatch_ns
        self.lost: asyncio.Future[LinkDown] = asyncio.get_running_loop().create_future()
        self._client = client
        self._jetstream = jetstream
        self._name = name
        self._subject = subject
        self._headers = {} if form.is_canonical else form.headers
        self._bytes_max = bytes_max
        self._timeout_s = timeout_s
        self._patience = Patience(round(timeout_s * NS_PER_S))

    async def send(self, identity: Identity, payload: bytes) -> Answer:
        if len(payload) + HEADERS_ROOM > self._bytes_max:
            return Refusal(f"it has {len(payload)} bytes, and the server takes {self._bytes_max - HEADERS_ROOM}")
        publishing = asyncio.ensure_future(self._publish(identity, payload))
        number = self._patience.sent(len(payload), self._stopwatch_ns())
        try:
            ends: set[asyncio.Future[Any]] = {publishing, self.lost}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not publishing.done():
                raise self.lost.result()
            return publishing.result()
        finally:
            self._patience.ended(number, is_answered=publishing.done())
            publishing.cancel()

    @property
    def error(self) -> Exception | None:
        """What the client says went wrong last."""
        return self._client.last_error

    async def judge(self) -> None:
        """Ends the session when an answer is waited for too long."""
        while not self.lost.done():
            await asyncio.sleep(self._timeout_s / LOOKS)
            if self._patience.is_over(_queued_bytes(self._client), self._stopwatch_ns()):
                why = f"{self._name}: no acknowledgement for {self._timeout_s:g} s"
                self.end(LinkDown(why, "check the server's load and the route to it"))

    async def ask(self) -> None:
        """A ping now and then, answered within the same time: a connection without records may be dead too."""
        from nats import errors

        while not self.lost.done():
            await asyncio.sleep(PING_EVERY_S)
            number = self._patience.sent(0, self._stopwatch_ns())
            is_answered = False
            try:
                await self._client.flush(timeout=NEVER_S)
                is_answered = True
            except errors.Error as error:
                self.end(LinkDown(f"{self._name}: connection lost ({error})", "it is tried again by itself"))
            finally:
                self._patience.ended(number, is_answered=is_answered)

    def end(self, error: LinkDown) -> None:
        if not self.lost.done():
            self.lost.set_result(error)

    async def _publish(self, identity: Identity, payload: bytes) -> Answer:
        from nats import errors
        from nats.js.errors import APIError, NoStreamResponseError

        who = f"{identity.gateway}/{identity.stream}/{identity.segment}/{identity.sequence}"
        named = {} if identity.is_asked else {"Nats-Msg-Id": who}
        subject = self._subject.replace("{stream}", identity.stream)
        try:
            await self._jetstream.publish(
                f"{subject}.{identity.segment}.{identity.sequence}",
                payload,
                timeout=NEVER_S,
                headers={**named, "Nats-Expected-Last-Subject-Sequence": "0", **self._headers},
            )
        except APIError as error:
            if error.err_code == WRONG_LAST_SEQUENCE:
                return Verdict.ACCEPTED
            if error.err_code == MESSAGE_TOO_LARGE:
                return Refusal(f"error {MESSAGE_TOO_LARGE} of JetStream: {error.description}")
            return Verdict.RETRY
        except NoStreamResponseError as error:
            raise LinkDown(f"{self._name}: no stream takes {subject}.>", _make_stream(subject)) from error
        except errors.Error as error:
            raise LinkDown(f"{self._name}: connection lost ({error})", "it is tried again by itself") from error
        return Verdict.ACCEPTED


@asynccontextmanager
async def connect(
    address: NatsAddress, *, subject: str, acknowledge_timeout_ns: int, form: Form = CANONICAL
) -> AsyncIterator[NatsUpstream]:
    """A whole session, or LinkDown. Records go below `subject`, its {stream} filled in."""
    name = f"nats://{address.host}:{address.port}"
    timeout_s = acknowledge_timeout_ns / NS_PER_S
    ending = Ending()
    client = await connected(address, name, timeout_s, ending)
    watchers: list[asyncio.Task[None]] = []
    try:
        jetstream = client.jetstream(timeout=timeout_s)
        bytes_max = min(client.max_payload, await _look_at_stream(jetstream, name, subject))
        upstream = NatsUpstream(
            client, jetstream, name=name, subject=subject, bytes_max=bytes_max, timeout_s=timeout_s, form=form
        )
        watching = (_watch(upstream, name, ending), upstream.judge(), upstream.ask())
        watchers = [asyncio.create_task(each, name="uplink watch") for each in watching]
        yield upstream
    finally:
        for watcher in watchers:
            watcher.cancel()
        if watchers:
            await asyncio.wait(watchers)
        await leave(client)


async def leave(client: Client) -> None:
    """Close it, also one whose own closing was broken off: that leaves its subscriptions and its socket."""
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(FAREWELL_S):
            await client.close()
    for subscription in client._subs.values():
        waiting: asyncio.Task[None] | None = subscription._wait_for_msgs_task
        if waiting is not None:
            waiting.cancel()
    if client._transport is not None:
        client._transport.close()  # type: ignore[no-untyped-call]


async def _watch(upstream: NatsUpstream, name: str, ending: Ending) -> None:
    await ending.came.wait()
    if (error := upstream.error) is not None:
        ending.hear(error)
    why = f" ({ending.why})" if ending.why else ""
    upstream.end(LinkDown(f"{name}: connection lost{why}", "it is tried again by itself"))


def _queued_bytes(client: Client) -> int:
    """Handed over, and not at the server's TCP: in the client's buffers, and in the socket's."""
    connection: asyncio.StreamWriter | None = getattr(client._transport, "_io_writer", None)
    if connection is None:
        return client.pending_data_size
    in_socket = unacknowledged(connection.get_extra_info("socket").fileno())
    return client.pending_data_size + connection.transport.get_write_buffer_size() + in_socket


async def connected(address: NatsAddress, name: str, timeout_s: float, ending: Ending) -> Client:
    """Logged in; `ending` is told when the connection ends. Raises LinkDown."""
    try:
        import nats
        from nats import errors
    except ImportError as error:
        raise LinkDown(f"{name}: the NATS client is not installed", "pip install 'fieldgate[nats]'") from error

    tls, password = await asyncio.to_thread(_read_secrets, address)
    try:
        async with asyncio.timeout(timeout_s):
            client = await nats.connect(
                name,
                name=address.client_name,
                user=address.username,
                password=password,
                tls=tls,
                allow_reconnect=False,
                connect_timeout=max(1, round(timeout_s)),
                ping_interval=NEVER_S,
                disconnected_cb=ending.note,
                closed_cb=ending.note,
                error_cb=ending.note_error,
            )
    except (TimeoutError, OSError, errors.Error) as error:
        remedy = "check that the server runs and listens on this port, and the route to it"
        if isinstance(error, errors.AuthorizationError):
            remedy = "check username and password_file"
        raise LinkDown(f"{name}: {words(error) or 'no answer'}", remedy) from error
    for task in (client._reading_task, client._flusher_task):
        ending.watch(task)
    return client


async def _look_at_stream(jetstream: JetStreamContext, name: str, subject: str) -> int:
    """The stream's largest message in bytes. Raises LinkDown when it cannot keep what the gateway promises."""
    from nats import errors
    from nats.js.api import StorageType
    from nats.js.errors import NotFoundError

    example = subject.replace("{stream}", "events") + ".1.1"
    try:
        stream = await jetstream.find_stream_name_by_subject(example)
        config = (await jetstream.stream_info(stream)).config
    except NotFoundError as error:
        raise LinkDown(f"{name}: no stream takes {example}", _make_stream(subject)) from error
    except errors.Error as error:
        raise LinkDown(f"{name}: JetStream does not answer ({error})", "check that it is switched on") from error
    if config.storage == StorageType.MEMORY.value:
        raise LinkDown(
            f"{name}: stream {stream} is kept in memory, so a restart loses what it acknowledged",
            "make it with --storage file",
        )
    if config.no_ack:
        raise LinkDown(f"{name}: stream {stream} does not acknowledge", "make it without --no-ack")
    return config.max_msg_size if config.max_msg_size and config.max_msg_size > 0 else 2**31


def _make_stream(subject: str) -> str:
    return f"make one: nats stream add --storage file --subjects '{subject.replace('{stream}', '*')}.>'"


def _read_secrets(address: NatsAddress) -> tuple[ssl.SSLContext | None, str | None]:
    try:
        tls = ssl.create_default_context(cafile=address.ca_file) if address.tls else None
        password = None
        if address.password_file is not None:
            password = address.password_file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise LinkDown(
            f"cannot use ca_file or password_file: {error}", "check that they exist and that we may read them"
        ) from error
    return tls, password
