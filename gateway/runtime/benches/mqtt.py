"""How many MQTT messages and readings a second the gateway takes in, through aggregates and scores.

A publisher in a process of its own sends prebuilt frames to a real broker; the gateway subscribes as the daemon does,
its engine folds what comes. Beside it, in turn, with the same publisher and broker: a subscriber on gmqtt and one on
aiomqtt, each alone in a process, that do nothing but count messages. All share this machine.

- Flat out: the publisher keeps a bounded number of messages in front of the subscriber, so that the slowest of the
  three (publisher, broker, subscriber) sets the pace and no queue grows without end. Medians of interleaved rounds.
- Paced: messages are due at a steady rate, `HELD_SHARE` of the flat-out one or, for payloads of many readings, as
  given. Latency counts from when a message was due until its samples are in aggregates and scores.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import uvloop

from gateway.core.histogram import SIZE, quantile_ns
from gateway.core.kernels.histogram import observe_due
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.core.warming import warm_up
from gateway.runtime.benches.environment import environment, process_cpu_ns, resident_bytes
from gateway.runtime.benches.mqtt_brokers import broker
from gateway.runtime.benches.mqtt_frames import SHAPES
from gateway.runtime.benches.mqtt_gateway import Plant, Subscriber, plant
from gateway.runtime.benches.mqtt_shared import BEGUN_NS, RECEIVED, Words, create

PEERS: Final = ("gmqtt", "aiomqtt")
SINGLE_TAGS: Final = 500
"""Topics; the NATS server remembers the way of 512 topics a connection."""
BATCH_TAGS: Final = 100_000
AHEAD_SINGLE: Final = 20_000
AHEAD_BATCH: Final = 400
LINKS_FLAT_OUT: Final = 2
"""Connections of the publisher. Paced it has one, which keeps the order from which the lateness follows."""
ROUNDS: Final = 5
SETTLE_S: Final = 0.3
PEER_SETTLE_S: Final = 0.3
ARRIVE_S: Final = 2.0
"""How long after its end a phase waits for what is on its way."""
HELD_SHARE: Final = 0.8
BUDGET_NS: Final = 50 * NS_PER_MS

Progress = Callable[[str], None]


@dataclass(slots=True)
class Phase:
    """One subscriber, measured once."""

    messages_per_s: float
    cpu_us_per_message: float = 0.0
    sent: int = 0
    received: int = 0
    p50_ns: int = 0
    p99_ns: int = 0
    p999_ns: int = 0
    cores: float = 0.0
    resident_growth_bytes: int = 0

    @property
    def is_held(self) -> bool:
        return self.received == self.sent and self.p99_ns < BUDGET_NS


@dataclass(slots=True)
class Bench:
    """What all phases share: the publisher's process, the words, the port of the broker of the hour."""

    publisher: subprocess.Popen[str]
    shared: Path
    words: Words
    port: int = 0
    plants: dict[tuple[str, int], Plant] = field(default_factory=dict)

    def job(self, payload: str, tags: int, seconds: float, rate: float, ahead: int) -> None:
        assert self.publisher.stdin is not None
        self.words[:] = 0
        # Sparkplug's messages must come in order, and so must those whose lateness is taken from their place.
        links = 1 if rate or SHAPES[payload].first_seq is not None else LINKS_FLAT_OUT
        job = {"port": self.port, "shared": str(self.shared), "payload": payload, "tags": tags}
        job |= {"seconds": seconds, "rate": rate, "ahead": ahead, "links": links}
        self.publisher.stdin.write(json.dumps(job) + "\n")
        self.publisher.stdin.flush()

    def result(self) -> dict[str, Any]:
        assert self.publisher.stdout is not None
        line = self.publisher.stdout.readline()
        if not line:
            raise RuntimeError("the publisher of the benchmark ended; see above")
        found: dict[str, Any] = json.loads(line)
        return found

    def plant(self, payload: str, tags: int) -> Plant:
        key = payload, tags
        if key not in self.plants:
            self.plants[key] = plant(SHAPES[payload], tags)
        return self.plants[key]


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    shared = folder / "words"
    words = create(shared)
    command = [sys.executable, "-m", "gateway.runtime.benches.mqtt_publisher"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as publisher:
        assert publisher.stdin is not None
        try:
            yield Bench(publisher, shared, words)
        finally:
            publisher.stdin.close()


async def ours(of: Bench, payload: str, tags: int, seconds: float, rate: float = 0.0) -> Phase:
    """The gateway: flat out for some seconds, or (`rate` in messages a second) paced."""
    plant = of.plant(payload, tags)
    per_message = plant.shape.tags_per_message
    of.words[:] = 0
    subscriber = Subscriber(plant, of.port, of.words, rate)
    async with subscriber.running():
        ahead = AHEAD_BATCH if per_message > 1 else AHEAD_SINGLE
        of.job(payload, tags, SETTLE_S + seconds, rate, ahead)
        result = asyncio.ensure_future(asyncio.to_thread(of.result))
        while not of.words[BEGUN_NS] and not result.done():
            await asyncio.sleep(0.01)
        await asyncio.sleep(SETTLE_S)
        before = resident_bytes()
        count, cpu_ns, wall_ns = int(of.words[RECEIVED]), time.process_time_ns(), time.monotonic_ns()
        await asyncio.sleep(seconds - 0.05)
        count = int(of.words[RECEIVED]) - count
        cpu_ns = time.process_time_ns() - cpu_ns
        wall_ns = time.monotonic_ns() - wall_ns
        grown = resident_bytes() - before
        sent = int((await result)["sent"])
        await _arrived(of.words, sent)
    late = plant.engine.late
    return Phase(
        messages_per_s=count * NS_PER_S / wall_ns,
        cpu_us_per_message=cpu_ns / 1_000 / max(1, count),
        sent=sent,
        received=int(of.words[RECEIVED]),
        p50_ns=quantile_ns(late, 0.5),
        p99_ns=quantile_ns(late, 0.99),
        p999_ns=quantile_ns(late, 0.999),
        cores=cpu_ns / wall_ns,
        resident_growth_bytes=grown,
    )


async def _arrived(words: Words, sent: int) -> None:
    deadline_s = time.monotonic() + ARRIVE_S
    while int(words[RECEIVED]) < sent and time.monotonic() < deadline_s:
        await asyncio.sleep(0.01)


def theirs(of: Bench, peer: str, payload: str, tags: int, seconds: float) -> Phase:
    """A peer, flat out."""
    of.words[:] = 0
    command = [sys.executable, "-m", "gateway.runtime.benches.mqtt_peer", peer, str(of.port), str(of.shared)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the {peer} subscriber of the benchmark ended; see above")
        of.job(payload, tags, PEER_SETTLE_S + seconds, 0.0, AHEAD_SINGLE)
        time.sleep(PEER_SETTLE_S)
        count, cpu_ns, wall_ns = int(of.words[RECEIVED]), process_cpu_ns(process.pid), time.monotonic_ns()
        time.sleep(seconds - 0.05)
        count, wall_ns = int(of.words[RECEIVED]) - count, time.monotonic_ns() - wall_ns
        cpu_ns = process_cpu_ns(process.pid) - cpu_ns
        of.result()
        process.stdin.close()
        process.wait(5.0)
    return Phase(messages_per_s=count * NS_PER_S / wall_ns, cpu_us_per_message=cpu_ns / 1_000 / max(1, count))


def singles(of: Bench, payload: str, *, seconds: float, rounds: int, progress: Progress) -> dict[str, Any]:
    """Messages of one reading beside the peers, interleaved; then at a share of what was found."""
    phase_s = max(0.4, seconds / (rounds * 3 + 3) - 0.6)
    own: list[Phase] = []
    peers: dict[str, list[Phase]] = {name: [] for name in PEERS if find_spec(name) is not None}
    if len(peers) < len(PEERS):
        progress(f"beside {' and '.join(peers)} only; for the others: pip install 'fieldgate[dev]'")
    for turn in range(rounds):
        own.append(uvloop.run(ours(of, payload, SINGLE_TAGS, phase_s)))
        for name, phases in peers.items():
            phases.append(theirs(of, name, payload, SINGLE_TAGS, phase_s))
        said = ", ".join(f"{name} {found[-1].messages_per_s:,.0f}" for name, found in peers.items())
        progress(f"{payload} {turn + 1} of {rounds}: {own[-1].messages_per_s:,.0f} messages/s; {said}")
    rate = statistics.median(phase.messages_per_s for phase in own)
    held = uvloop.run(ours(of, payload, SINGLE_TAGS, max(1.0, 2 * phase_s), HELD_SHARE * rate))
    progress(told(payload, held, 1))
    cpu_us = statistics.median(phase.cpu_us_per_message for phase in own)
    beside: dict[str, dict[str, float]] = {"peers": {}, "ratios": {}}
    for name, phases in peers.items():
        their_rate = statistics.median(phase.messages_per_s for phase in phases)
        their_cpu_us = statistics.median(phase.cpu_us_per_message for phase in phases)
        beside["peers"] |= {
            f"{name}_messages_per_s": round(their_rate),
            f"{name}_cpu_us_per_message": round(their_cpu_us, 2),
        }
        beside["ratios"] |= {
            f"ratio_to_{name}": round(rate / their_rate, 2),
            f"ratio_to_{name}_cpu": round(their_cpu_us / cpu_us, 2),
        }
    return {
        "figures": {
            "messages_per_s": round(rate),
            "cpu_us_per_message": round(cpu_us, 3),
            **paced_figures(held, 1),
        },
        **beside,
    }


def batches(
    of: Bench, payload: str, *, rate: float, seconds: float, hold_s: float, rounds: int, progress: Progress
) -> dict[str, Any]:
    """Messages of many readings: flat out, then at `rate` readings a second for `hold_s`."""
    per_message = SHAPES[payload].tags_per_message
    phases = []
    for turn in range(rounds):
        phases.append(uvloop.run(ours(of, payload, BATCH_TAGS, max(0.5, seconds / rounds - SETTLE_S))))
        progress(f"{payload} {turn + 1} of {rounds}: {phases[-1].messages_per_s * per_message:,.0f} readings/s")
    held = uvloop.run(ours(of, payload, BATCH_TAGS, hold_s, rate / per_message))
    progress(told(payload, held, per_message))
    flat = statistics.median(phase.messages_per_s for phase in phases)
    return {
        "figures": {
            "readings_per_s": round(flat * per_message),
            "cpu_us_per_reading": round(
                statistics.median(phase.cpu_us_per_message for phase in phases) / per_message, 4
            ),
            **paced_figures(held, per_message),
        },
        "peers": {},
        "ratios": {},
    }


def paced_figures(held: Phase, per_message: int) -> dict[str, Any]:
    return {
        "paced_readings_per_s": round(held.messages_per_s * per_message),
        "paced_due_to_aggregate_p50_ms": held.p50_ns / NS_PER_MS,
        "paced_due_to_aggregate_p99_ms": held.p99_ns / NS_PER_MS,
        "paced_due_to_aggregate_p999_ms": held.p999_ns / NS_PER_MS,
        "paced_lost_messages": held.sent - held.received,
        "paced_gateway_cores": round(held.cores, 3),
        "paced_memory_growth_bytes": held.resident_growth_bytes,
        "paced_held": held.is_held,
    }


def told(payload: str, held: Phase, per_message: int) -> str:
    return (
        f"{payload} paced at {held.messages_per_s * per_message:,.0f} readings/s: p50 {held.p50_ns / NS_PER_MS:.1f}, "
        f"p99 {held.p99_ns / NS_PER_MS:.1f} ms, {held.sent - held.received} of {held.sent:,} messages lost, "
        f"{held.cores:.2f} cores, memory {held.resident_growth_bytes / 1e6:+.1f} MB"
    )


def run(
    *,
    brokers: Sequence[str],
    payloads: Sequence[str],
    seconds: float,
    rate: float,
    hold_s: float,
    progress: Progress,
) -> dict[str, object]:
    """The whole benchmark, as its JSON object."""
    where = environment()
    progress("loading or compiling kernels")
    warm_up()
    observe_due(np.zeros(SIZE, np.int64), 0, 1, 0, 1.0, 1, 0)
    out: dict[str, dict[str, Any]] = {"figures": {}, "peers": {}, "ratios": {}}
    share_s = seconds / (len(brokers) * len(payloads))
    with tempfile.TemporaryDirectory(prefix="fieldgate-bench-") as folder, bench(Path(folder)) as of:
        for name in brokers:
            with broker(name, Path(folder)) as of.port:
                progress(f"behind {name}")
                for payload in payloads:
                    if SHAPES[payload].tags_per_message == 1:
                        found = singles(of, payload, seconds=share_s, rounds=ROUNDS, progress=progress)
                    else:
                        found = batches(
                            of, payload, rate=rate, seconds=share_s / 2, hold_s=hold_s or share_s / 2, rounds=3,
                            progress=progress,
                        )  # fmt: skip
                    for part, values in found.items():
                        out[part] |= {f"{name}_{payload.replace('-', '_')}_{key}": x for key, x in values.items()}
    return {"bench": "mqtt", "environment": where, **out}
