"""Durable intake under SIGKILL: a publisher at QoS 1 and 2, a broker that keeps, the whole daemon killed at random.

A publisher counts 0, 1, 2, … on two topics: one of QoS 1 whose payload has a sequence number, one of QoS 2 with bare
values. The gateway is killed at seeded random moments, also while it starts, and goes on over the same folder. In the
end each reading that the broker confirmed must stand in the delivered records exactly once.

The same seed kills at the same distances again; the machine's own timing is not its.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt

from tests.support.brokers import Broker, mosquitto, nats
from tests.support.daemon import Gateway, Outside, until

CONFIG = """
[gateway]
id = "plant"
state_dir = "state"
[defaults]
windows = ["2s"]
[journal]
keep = "100MB"
[links.floor]
mqtt = "mqtt://127.0.0.1:{broker}"
[devices.press]
link = "floor"
topic = "press/{{tag}}"
tags.once = {{ field = "v", sequence_field = "n", qos = 1, durable = true }}
tags.twice = {{ qos = 2, durable = true }}
tags.plain = {{}}
[uplink.out]
file = "records.jsonl"
streams = ["samples"]
samples_every = "100ms"
[http]
listen = "127.0.0.1:<http>"
"""
PAYLOADS: dict[str, tuple[int, Callable[[int], bytes]]] = {
    "once": (1, lambda n: b'{"n": %d, "v": %d}' % (n, n)),
    "twice": (2, lambda n: b"%d" % n),
}
BROKERS = ("mosquitto", "nats")
EVERY_S = 0.002
ALIVE_S_MAX = 1.5
STARTING_S_MAX = 3.0
SETTLE_S = 60.0
GOOD = 192


class Publishers:
    """One for each topic. `confirmed[topic]` readings are with the broker; those after it were never begun."""

    def __init__(self, port: int) -> None:
        self.confirmed = dict.fromkeys(PAYLOADS, 0)
        self._port = port
        self._is_enough = False

    def stop(self) -> None:
        self._is_enough = True

    async def run(self, topic: str) -> None:
        qos, payload = PAYLOADS[topic]
        async with aiomqtt.Client("127.0.0.1", self._port, identifier=f"publisher-{topic}") as client:
            while not self._is_enough:
                await client.publish(f"press/{topic}", payload(self.confirmed[topic]), qos=qos)
                self.confirmed[topic] += 1
                await asyncio.sleep(EVERY_S)


@dataclass(frozen=True)
class Outcome:
    published: dict[str, int]
    missing: dict[str, list[int]]
    doubled: dict[str, list[int]]
    in_order: bool
    """Told only: after a reconnection both brokers send some new messages ahead of those that waited."""
    kills: int
    kills_while_starting: int
    repeated: int
    """Messages that the broker sent again and that were left out, in the last run."""

    @property
    def is_whole(self) -> bool:
        return not any((*self.missing.values(), *self.doubled.values()))


def delivered(folder: Path) -> dict[str, list[int]]:
    """The good readings of each durable tag in the records, in the order of the records' identities."""
    records: dict[tuple[int, int], dict[str, Any]] = {}
    for path in folder.glob("records*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            # The last line of a file may be half written while the gateway is at it.
            with suppress(json.JSONDecodeError):
                record = json.loads(line)
                # The end of a segment has no tags; a record delivered again is the same record.
                if "tags" in record:
                    records[record["segment"], record["sequence"]] = record
    found: dict[str, list[int]] = {topic: [] for topic in PAYLOADS}
    for _, record in sorted(records.items()):
        names = [name.removeprefix("press.") for name in record["tags"]]
        for place, value, quality in zip(record["tag"], record["value"], record["quality"], strict=True):
            if quality == GOOD and names[place] in found:
                found[names[place]].append(int(value))
    return found


def play(broker_kind: str, kills: int, seed: int, folder: Path) -> Outcome:
    chance = random.Random(seed)
    starting = 0
    start: Callable[[Path], Broker] = nats if broker_kind == "nats" else _keeping_mosquitto
    with (
        start(folder) as broker,
        Outside() as outside,
        Gateway(folder, CONFIG.format(broker=broker.port)) as gateway,
    ):
        # A first run makes the sessions: before them the broker keeps nothing for us.
        gateway.start()
        until(lambda: "floor" in gateway.links_up(), "the sessions are there")
        publishers = Publishers(broker.port)
        for topic in PAYLOADS:
            outside.spawn(publishers.run(topic))
        for number in range(kills):
            if number and chance.random() < 0.3:
                time.sleep(chance.uniform(0.0, STARTING_S_MAX))
                starting += not gateway.is_ready()
            else:
                gateway.wait_ready()
                time.sleep(chance.uniform(0.0, ALIVE_S_MAX))
            gateway.kill()
            gateway.launch()
        gateway.wait_ready()
        publishers.stop()
        wanted = dict(publishers.confirmed)
        end_s = time.monotonic() + SETTLE_S
        while not _is_all_there(folder, wanted) and time.monotonic() < end_s:
            time.sleep(0.2)
        time.sleep(0.5)
        repeated = sum(
            gateway.metric(f"fieldgate_mqtt_{what}_messages_total", link="floor-durable")
            for what in ("repeated", "duplicate")
        )
        wanted = dict(publishers.confirmed)
        gateway.terminate()
    return judge(delivered(folder), wanted, kills, starting, int(repeated))


def judge(found: dict[str, list[int]], wanted: dict[str, int], kills: int, starting: int, repeated: int) -> Outcome:
    counts = {topic: Counter(values) for topic, values in found.items()}
    return Outcome(
        published=wanted,
        missing={topic: [n for n in range(wanted[topic]) if not counts[topic][n]] for topic in wanted},
        doubled={topic: sorted(n for n, count in counts[topic].items() if count > 1) for topic in wanted},
        in_order=all(values == sorted(values) for values in found.values()),
        kills=kills,
        kills_while_starting=starting,
        repeated=repeated,
    )


def kills_of(broker_kind: str, kills: int, seed: int) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="fieldgate-intake-") as folder:
        return play(broker_kind, kills, seed, Path(folder))


def _keeping_mosquitto(folder: Path) -> Broker:
    """Its default is to drop what is more than a thousand messages for a session that is away."""
    return mosquitto(folder, extra="max_queued_messages 0")


def _is_all_there(folder: Path, wanted: dict[str, int]) -> bool:
    found = delivered(folder)
    return all(len(set(found[topic])) >= wanted[topic] for topic in wanted)
