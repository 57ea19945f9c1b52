"""Kafka as an upstream: stored once, for records and the position behind them are committed in one transaction.

Records that wait together go in one transaction, whose last record says up to where the cluster now holds each segment
(`gateway.upstreams.kafka.position`). At connect that is read, and what it covers is not sent again. So a resend, after
an outage or a crash of either side, is accepted without being stored twice, for every consumer that reads what is
committed (`isolation.level=read_committed`). An idempotent producer alone cannot do that: its numbers end with its
process.

    topic       `fieldgate.{gateway}.{stream}`, or as set; key GATEWAY/STREAM, so a stream stays in one partition
    headers     fieldgate-identity: GATEWAY/STREAM/SEGMENT/SEQUENCE; content-type and content-encoding where not JSON

librdkafka waits and calls back as it likes; it has a thread of its own here, and the loop never waits for it
(`gateway.upstreams.kafka.transactions`). A thread that does not end in time is left behind: the next session shuts its
producer out, so whatever it still does is not committed.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, TypeAlias

from gateway.core.ports import Answer, Clock, LinkDown
from gateway.core.record import Identity
from gateway.core.types import NS_PER_S
from gateway.protocol.records.form import CANONICAL, Form
from gateway.settings.credentials import CredentialError, password_of, read_secret, tls_context, username_of
from gateway.settings.schema_uplink import KafkaAddress
from gateway.upstreams.kafka.errors import Names
from gateway.upstreams.kafka.transactions import Transactions

FAREWELL_S: Final = 1.0
NO_CLIENT: Final = "pip install 'fieldgate[kafka]' where fieldgate is; the Debian package and the wheelhouse have it"
GROUP_BYTES_FIRST: Final = 64 * 1024
GROUP_BYTES_MIN: Final = 1024
GROUP_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of the records of one transaction; a larger record goes alone. Where the line is narrow fewer go together, for a
cluster does not wait for long for a transaction to end."""

Job: TypeAlias = Callable[[], Any]


class _Thread:
    """Runs one job after the other. There are never more than two: what is under way, and the last."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[tuple[Job, asyncio.Future[Any]] | None] = queue.SimpleQueue()
        # Not waited for when the process ends: what it holds is not committed, and comes again.
        self._thread = threading.Thread(target=self._work, name="kafka", daemon=True)
        self._thread.start()

    def run(self, job: Job) -> asyncio.Future[Any]:
        done: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.put((job, done))
        return done

    def end(self) -> None:
        self._jobs.put(None)

    def _work(self) -> None:
        while (each := self._jobs.get()) is not None:
            job, done = each
            try:
                self._settle(done, job(), None)
            except LinkDown as down:
                self._settle(done, None, down)
            except BaseException as error:
                self._settle(done, None, error)
                raise
            del each, job, done

    def _settle(self, done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        with suppress(RuntimeError):  # a loop that was closed meanwhile
            self._loop.call_soon_threadsafe(_settle, done, result, error)


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)


class KafkaUpstream:
    """A session with one cluster; `gateway.core.ports.Upstream`. Made by `connect`."""

    def __init__(
        self,
        transactions: Transactions,
        thread: _Thread,
        *,
        timeout_ns: int,
        stopwatch_ns: Clock = time.monotonic_ns,
    ) -> None:
        self._timeout_ns = timeout_ns
        self._stopwatch_ns = stopwatch_ns
        self._group_bytes = GROUP_BYTES_FIRST
        self._transactions = transactions
        self._thread = thread
        self._turn = asyncio.Lock()
        self._waiting: dict[Identity, bytes] = {}
        self._answers: dict[Identity, Answer] = {}
        self._lost: LinkDown | None = None

    async def send(self, identity: Identity, payload: bytes) -> Answer:
        self._waiting[identity] = payload
        async with self._turn:
            # Whoever has the turn sends for those that wait behind; they find their answer.
            while self._lost is None and identity in self._waiting:
                group, began_ns = self._group(), self._stopwatch_ns()
                try:
                    self._answers |= await self._thread.run(partial(self._transactions.send, group))
                    self._note_pace(self._stopwatch_ns() - began_ns)
                except LinkDown as error:
                    self._lost = error
        if identity in self._answers:
            return self._answers.pop(identity)
        assert self._lost is not None
        raise self._lost

    def _group(self) -> dict[Identity, bytes]:
        group: dict[Identity, bytes] = {}
        size = 0
        for identity, payload in self._waiting.items():
            size += len(payload)
            if group and size > self._group_bytes:
                break
            group[identity] = payload
        for identity in group:
            del self._waiting[identity]
        return group

    def _note_pace(self, took_ns: int) -> None:
        if took_ns > self._timeout_ns // 2:
            self._group_bytes = max(GROUP_BYTES_MIN, self._group_bytes // 2)
        elif took_ns < self._timeout_ns // 8:
            self._group_bytes = min(GROUP_BYTES_MAX, self._group_bytes * 2)


@asynccontextmanager
async def connect(
    address: KafkaAddress,
    *,
    topic: str,
    streams: tuple[str, ...],
    acknowledge_timeout_ns: int,
    form: Form = CANONICAL,
) -> AsyncIterator[KafkaUpstream]:
    """A whole session, or LinkDown. Secrets are read anew for each."""
    client = await asyncio.to_thread(client_settings, address)
    headers = [] if form.is_canonical else [(name.lower(), text.encode()) for name, text in form.headers.items()]
    names = Names(address.name, address.client_name, topic, address.position_topic, streams)
    transactions = Transactions(names, client, headers=headers, timeout_s=acknowledge_timeout_ns / NS_PER_S)
    thread = _Thread()
    try:
        await thread.run(transactions.open)
        yield KafkaUpstream(transactions, thread, timeout_ns=acknowledge_timeout_ns)
    finally:
        transactions.give_up()
        closed = thread.run(transactions.close)
        thread.end()
        await asyncio.wait([closed], timeout=FAREWELL_S)


def client_settings(address: KafkaAddress) -> dict[str, Any]:
    """What every client of this session is configured with. Raises LinkDown."""
    try:
        import confluent_kafka  # noqa: F401
    except ImportError as error:
        raise LinkDown(f"{address.name}: the Kafka client is not installed", NO_CLIENT) from error
    protocol = ("SASL_" if address.sasl else "") + ("SSL" if address.tls else "PLAINTEXT")
    client: dict[str, Any] = {
        "bootstrap.servers": ",".join(address.servers),
        "client.id": address.client_name,
        "security.protocol": protocol,
    }
    try:
        if address.sasl:
            client["sasl.mechanism"] = address.sasl.value.upper()
            client["sasl.username"] = username_of(address) or ""
            client["sasl.password"] = password_of(address) or ""
        # What cannot be used is told in our own words before librdkafka sees it.
        if tls_context(address) is not None:
            client |= _tls(address)
    except CredentialError as error:
        raise LinkDown(str(error), error.remedy) from error
    return client


def _tls(address: KafkaAddress) -> dict[str, str]:
    found = {"ssl.ca.location": "probe" if address.ca_file is None else str(address.ca_file)}
    if address.cert_file is not None:
        found["ssl.certificate.location"] = str(address.cert_file)
        found["ssl.key.location"] = str(address.key_file or address.cert_file)
        if address.key_password_file is not None:
            found["ssl.key.password"] = read_secret(address.key_password_file, "key password")
    return found
