"""Chaos: gateway and broker are killed, the link is spoilt in all ways at random; then the books are compared.

A seed gives the same harm at the same distances again; the machine's own timing is not its. All kinds of harm come in
turn, in an order that is drawn anew each time.

The gateway's side (spool and delivery, making records all the while) is a process of its own that is killed with
SIGKILL and started again over the same file. The broker is a NATS server that syncs always, killed likewise: as
JetStream, where the stream itself must hold each identity once, or as an MQTT broker with a receiver behind it.
Between them is the proxy.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import tempfile
import time
from contextlib import suppress
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import nats as nats_client

from gateway.core.record import Stream
from gateway.receiver import Receiver
from gateway.runtime.receivers import read_files
from gateway.runtime.reconcile import Verdict, reconcile
from gateway.settings.schema import NatsAddress
from gateway.spool.records import Grace
from gateway.spool.store import Store
from gateway.spool.worker import SpoolWorker
from gateway.upstreams import mqtt, nats
from hil.ports import free_port
from hil.proxy import Proxy
from tests.support.spool import draft, encode
from tests.support.spool_brokers import Broker, nats_server
from tests.support.uplink import TOPIC, Consumer, address, delivery_by

TIMEOUT_NS = 1_000_000_000
GRACE = Grace(10**18, 1 << 30)
KINDS = ("jetstream", "mqtt")
HARM = (
    *("kill gateway", "kill broker"),
    *("cut", "tear", "reset", "hold", "forget", "delay", "slow"),
)
"""What the last seven do: `hil.proxy`."""
TORN_BYTES_MAX = 400
"""Records have some 200 bytes, so most are torn in the middle."""
SLOW_BYTES_PER_S = 20_000
SETTLE_S = 60.0


def gateway_side(folder: Path, kind: str, port: int, number: int) -> None:
    """Makes and delivers records until killed; once the file `enough` is there, until all are delivered."""
    asyncio.run(_gateway_side(folder, kind, port, number))


async def _gateway_side(folder: Path, kind: str, port: int, number: int) -> None:
    store = Store(folder / "spool.db", bytes_max=1 << 30, grace=GRACE)
    worker = SpoolWorker(store=store, encode=encode, now_ns=time.time_ns, emit=lambda event: None)
    connect: Any = partial(mqtt.connect, address(port), topic=TOPIC, acknowledge_timeout_ns=TIMEOUT_NS)
    if kind == "jetstream":
        far_end = NatsAddress(host="127.0.0.1", port=port, client_name="chaos")
        connect = partial(nats.connect, far_end, subject="chaos.{stream}", acknowledge_timeout_ns=TIMEOUT_NS)
    worker.start()
    delivery = asyncio.create_task(delivery_by(connect, worker, []).run())
    (folder / f"began-{number}").touch()
    made = 0
    while not (folder / "enough").exists():
        worker.put(draft(made, stream=list(Stream)[made % 3]))
        made += 1
        await asyncio.sleep(0.003)
    await worker.flush()
    while worker.depth():
        await asyncio.sleep(0.05)
    delivery.cancel()
    with suppress(asyncio.CancelledError):
        await delivery
    await asyncio.to_thread(worker.stop, 10.0)


class World:
    def __init__(self, folder: Path, kind: str, chance: random.Random) -> None:
        self._folder = folder
        self._kind = kind
        self._chance = chance
        self.done = dict.fromkeys(HARM, 0)
        self._next: list[str] = []
        self._starts = 0
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.support.chaos"])
        client_port, mqtt_port = free_port(), free_port()
        port = client_port if kind == "jetstream" else mqtt_port
        configuration = folder / "nats.conf"
        configuration.write_text(
            f'server_name: far_end\nhost: "127.0.0.1"\nport: {client_port}\n'
            f'jetstream {{ store_dir: "{folder / "jetstream"}", sync_interval: always }}\n'
            f'mqtt {{ host: "127.0.0.1", port: {mqtt_port}, ack_wait: "1s" }}\n'
        )
        self._client_port = client_port
        self._broker: Broker = nats_server(configuration, port)
        self._proxy = Proxy(port)
        self._consumer = Consumer(mqtt_port, folder / "received.db") if kind == "mqtt" else None
        self._gateway: BaseProcess | None = None

    async def play(self, rounds: int) -> Verdict:
        await asyncio.to_thread(self._broker.start)
        await self._proxy.start()
        consuming = None
        try:
            if self._consumer is not None:
                consuming = asyncio.create_task(self._consumer.run())
                await self._consumer.subscribed.wait()
            else:
                await self._make_stream()
            await self._start_gateway()
            for _ in range(rounds):
                await asyncio.sleep(self._chance.uniform(0.0, 0.4))
                await self._harm()
            return await self._settle()
        finally:
            if consuming is not None:
                consuming.cancel()
                await asyncio.wait([consuming])
            if self._gateway is not None:
                self._gateway.kill()
            await self._proxy.stop()
            await asyncio.to_thread(self._broker.kill)

    async def _harm(self) -> None:
        if not self._next:
            self._next = self._chance.sample(HARM, len(HARM))
        what = self._next.pop()
        self.done[what] += 1
        pause_s = self._chance.uniform(0.0, 0.3)
        if what == "kill gateway":
            assert self._gateway is not None and self._gateway.pid is not None
            os.kill(self._gateway.pid, signal.SIGKILL)
            await asyncio.to_thread(self._gateway.join)
            await self._start_gateway()
        elif what == "kill broker":
            await asyncio.to_thread(self._broker.kill)
            await asyncio.sleep(pause_s)
            await asyncio.to_thread(self._broker.start)
        elif what == "cut":
            await self._proxy.cut()
            await asyncio.sleep(pause_s)
            await self._proxy.mend()
        elif what == "hold":
            self._proxy.hold()
            # Now and then for longer than an acknowledgement may take.
            await asyncio.sleep(pause_s * (6 if self._chance.random() < 0.3 else 1))
            self._proxy.release()
        elif what == "delay":
            self._proxy.delay_s = pause_s / 5
            await asyncio.sleep(pause_s)
            self._proxy.delay_s = 0.0
        elif what == "slow":
            self._proxy.bytes_per_s = SLOW_BYTES_PER_S
            await asyncio.sleep(pause_s)
            self._proxy.bytes_per_s = 0
        elif what == "tear":
            self._proxy.tear(self._chance.randint(1, TORN_BYTES_MAX))
        elif what == "forget":
            self._proxy.forget()
        else:
            self._proxy.reset()

    async def _start_gateway(self) -> None:
        self._starts += 1
        began = self._folder / f"began-{self._starts}"
        arguments = (self._folder, self._kind, self._proxy.port, self._starts)
        self._gateway = self._context.Process(target=gateway_side, args=arguments)
        self._gateway.start()
        deadline_s = time.monotonic() + SETTLE_S
        while not began.exists():
            assert time.monotonic() < deadline_s, "the gateway's side did not start"
            await asyncio.sleep(0.005)

    async def _settle(self) -> Verdict:
        """No more harm: everything must come through, and be where the books say."""
        (self._folder / "enough").touch()
        assert self._gateway is not None
        await asyncio.to_thread(self._gateway.join, SETTLE_S)
        assert self._gateway.exitcode == 0, f"the gateway's side did not finish ({self._gateway.exitcode})"
        deadline_s = time.monotonic() + SETTLE_S
        while True:
            if self._kind == "jetstream":
                await self._receive_all()
            verdict = await asyncio.to_thread(self._compare)
            if verdict.is_whole or time.monotonic() > deadline_s:
                return verdict
            await asyncio.sleep(0.2)

    def _compare(self) -> Verdict:
        read = partial(read_files, [self._folder / "received.db"], "plant")
        return reconcile(self._folder / "spool.db", read, pause=lambda: None)

    async def _make_stream(self) -> None:
        client = await nats_client.connect(f"nats://127.0.0.1:{self._client_port}")
        await client.jetstream().add_stream(name="CHAOS", subjects=["chaos.>"], storage="file")
        await client.close()

    async def _receive_all(self) -> None:
        """Every message of the stream into a fresh receiver's file."""
        path = self._folder / "received.db"
        for beside in ("", "-wal", "-shm"):
            (path.with_name(path.name + beside)).unlink(missing_ok=True)
        receiver = Receiver(path)
        client = await nats_client.connect(f"nats://127.0.0.1:{self._client_port}")
        jetstream = client.jetstream()
        subscription = await jetstream.subscribe("chaos.>", ordered_consumer=True)
        expected = (await jetstream.stream_info("CHAOS")).state.messages
        seen: set[bytes] = set()
        for _ in range(expected):
            payload = (await subscription.next_msg(timeout=10)).data
            assert payload not in seen, "the stream holds an identity twice"
            seen.add(payload)
            receiver.accept(payload)
        receiver.commit()
        receiver.close()
        await subscription.unsubscribe()
        await client.close()


def rounds_of(kind: str, rounds: int, seed: int) -> tuple[Verdict, dict[str, int]]:
    with tempfile.TemporaryDirectory(prefix="fieldgate-chaos-") as folder:
        world = World(Path(folder), kind, random.Random(seed))
        return asyncio.run(world.play(rounds)), world.done
