"""Topics that nobody wrote down, many more than there is room for: does memory stay flat, do they find their state?

The whole daemon in a process of its own behind a real broker. A publisher sends messages of tags that were never
seen before, a bounded number ahead of what the daemon has taken in. Between its rounds some of the earlier ones, drawn
at random, speak once more. Tag k only ever sends the value k, so its window must have as many samples as it sent
messages, and least, greatest and mean must be k: anything else is a state that was lost, or a stranger's.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from gateway.protocol.mqtt import codec
from gateway.protocol.mqtt.codes import V311
from gateway.runtime.benches.environment import PAGE_BYTES, environment
from gateway.runtime.benches.mqtt_brokers import broker
from hil.children import ON_ITS_OWN
from hil.ports import free_port

AHEAD: Final = 2_000
"""Messages in front of the daemon."""
ROUNDS: Final = 20
RETURNING: Final = 200
"""Tags that speak again after each round."""
AGAIN: Final = 20
"""So often those that have left again may speak before they are asked for."""
READY_S: Final = 120.0
STUCK_S: Final = 20.0
"""Without any progress for so long the benchmark fails."""
STOP_S: Final = 10.0

CONFIG: Final = """
[gateway]
id = "bench"
state_dir = "{folder}/state"
parking = "4GB"

[links.floor]
mqtt = "mqtt://127.0.0.1:{broker}"

[topics.floor]
link = "floor"
match = ["bench/{{device}}/{{tag}}"]
limit = {limit}
tags_per_device = {per_device}
evict_idle_after = "{idle_s}s"
windows = ["24h"]

[http]
listen = "127.0.0.1:{http}"
"""

Progress = Callable[[str], None]


class Stuck(Exception):
    """The daemon does not get on."""


@dataclass(slots=True)
class Sample:
    """The daemon after a round."""

    at_s: float
    topics: int
    resident_bytes: int
    evicted: int
    evicted_idle: int
    restored: int
    parked_tags: int
    parked_bytes: int


@dataclass(slots=True)
class Daemon:
    """One that runs, and what was asked of it."""

    process: subprocess.Popen[bytes]
    http: int
    per_device: int
    visits: dict[int, int] = field(default_factory=dict)

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=STUCK_S) as answer:
            body: bytes = answer.read()
        return body

    def metrics(self) -> dict[str, float]:
        """Sums over all labels, and each reason by itself."""
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(self.get("/metrics").decode()):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
                sums[f"{sample.name}/{sample.labels.get('reason')}"] = sample.value
        return sums

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE_BYTES

    def wait_for(self, samples: int) -> None:
        """Until the engine has taken so many samples."""
        last, since_s = -1.0, time.monotonic()
        while (found := self.metrics()["fieldgate_engine_samples_total"]) < samples:
            if found != last:
                last, since_s = found, time.monotonic()
            if time.monotonic() - since_s > STUCK_S:
                raise Stuck(f"{found:,.0f} of {samples:,} messages were taken in, and no more for {STUCK_S:g} s")
            time.sleep(0.02)

    def name_of(self, k: int) -> tuple[str, str]:
        """Device and tag number k."""
        return f"d{k // self.per_device}", f"t{k % self.per_device}"

    def windows(self, tags: Sequence[int]) -> dict[int, dict[str, float]]:
        """The window of each of these tags that has a row."""
        numbers = {".".join(self.name_of(k)): k for k in tags}
        query = "&".join(f"name={name}" for name in numbers)
        answer = json.loads(self.get(f"/api/tags?{query}&limit=500"))
        return {numbers[tag["name"]]: tag["windows"][0] for tag in answer["tags"]}

    def absent(self, tags: Sequence[int]) -> list[int]:
        present = self.windows(tags)
        return [k for k in tags if k not in present]

    def wrong(self, tags: Sequence[int]) -> list[str]:
        """What is not as it must be of these tags, which have just spoken."""
        present = self.windows(tags)
        wrong = []
        for k in tags:
            window = present.get(k)
            want = (self.visits[k], k, k, k)
            have = window and (window["count"], window["min"], window["mean"], window["max"])
            if have != want:
                name = ".".join(self.name_of(k))
                wrong.append(f"{name}: count, least, mean and greatest are {have}, not {want}")
        return wrong


@contextmanager
def daemon(folder: Path, port: int, *, limit: int, per_device: int, idle_s: int) -> Iterator[Daemon]:
    http = free_port()
    config = folder / "bench.toml"
    text = CONFIG.format(folder=folder, broker=port, http=http, limit=limit, per_device=per_device, idle_s=idle_s)
    config.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "gateway", "run", "--config", str(config)]
    with (folder / "daemon.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **ON_ITS_OWN)
    try:
        running = Daemon(process, http, per_device)
        _wait_ready(running, folder)
        yield running
    finally:
        process.terminate()
        process.wait(STOP_S)


def _wait_ready(running: Daemon, folder: Path) -> None:
    end_s = time.monotonic() + READY_S
    while time.monotonic() < end_s and running.process.poll() is None:
        try:
            if any(link["is_up"] for link in json.loads(running.get("/api/status"))["links"]["links"]):
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise Stuck(f"the daemon is not ready: {(folder / 'daemon.log').read_text(errors='replace')[-2_000:]}")


class Publisher:
    """A plain connection that publishes at QoS 0, held up until the daemon has what was sent."""

    def __init__(self, port: int, to: Daemon) -> None:
        self._to = to
        self._socket = socket.create_connection(("127.0.0.1", port), STUCK_S)
        self._socket.sendall(
            codec.encode_connect(version=V311, client_id="bench-publisher", clean_start=True, keep_alive_s=0)
        )
        self._socket.recv(4, socket.MSG_WAITALL)
        self.sent = 0

    def send(self, tags: Sequence[int]) -> None:
        for first in range(0, len(tags), AHEAD // 2):
            part = tags[first : first + AHEAD // 2]
            self._socket.sendall(b"".join(self._message(k) for k in part))
            self.sent += len(part)
            for k in part:
                self._to.visits[k] = self._to.visits.get(k, 0) + 1
            self._to.wait_for(self.sent - AHEAD)

    def close(self) -> None:
        self._socket.close()

    def _message(self, k: int) -> bytes:
        return codec.encode_publish("/".join(("bench", *self._to.name_of(k))), str(k).encode(), V311)


def run(
    *, topics: int, limit: int, per_device: int, idle_s: int, broker_name: str, seed: int, progress: Progress
) -> dict[str, object]:  # fmt: skip
    """The whole benchmark, as its JSON object; `wrong` is empty when every state was found as it was left."""
    where = environment()
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="fieldgate-bench-") as name, broker(broker_name, Path(name)) as port:
        folder = Path(name)
        progress("starting the daemon")
        with (
            daemon(folder, port, limit=limit, per_device=per_device, idle_s=idle_s) as of,
            closing(Publisher(port, of)) as publisher,
        ):
            began_s = time.monotonic()
            start_bytes = of.resident_bytes()
            samples, wrong, asked = list[Sample](), list[str](), 0
            for number in range(ROUNDS):
                stop = topics * (number + 1) // ROUNDS
                publisher.send(range(topics * number // ROUNDS, stop))
                returning = draw.sample(range(stop), min(RETURNING, stop))
                publisher.send(returning)
                of.wait_for(publisher.sent)
                for _ in range(AGAIN):
                    # Who was the next to leave when it spoke may have left by now.
                    if not (absent := of.absent(returning)):
                        break
                    publisher.send(absent)
                    of.wait_for(publisher.sent)
                asked += len(returning)
                wrong += of.wrong(returning)
                samples.append(_sample(of, stop, time.monotonic() - began_s))
                progress(_told(samples[-1], wrong))
            metrics = of.metrics()
    full = next((sample for sample in samples if sample.topics >= min(2 * limit * per_device, topics)), samples[-1])
    return {
        "bench": "appearing",
        "environment": where,
        "figures": {
            "topics": topics,
            "limit": limit,
            "tags_per_device": per_device,
            "evict_idle_after_s": idle_s,
            "seed": seed,
            "seconds": round(samples[-1].at_s, 1),
            "messages": publisher.sent,
            "messages_per_s": round(publisher.sent / samples[-1].at_s),
            "evicted": samples[-1].evicted,
            "evicted_idle": samples[-1].evicted_idle,
            "restored": samples[-1].restored,
            "returned_and_asked": asked,
            "wrong": len(wrong),
            "parked_tags": samples[-1].parked_tags,
            "parked_bytes": samples[-1].parked_bytes,
            "parking_dropped": round(metrics["fieldgate_parking_dropped_total"]),
            "refused": round(metrics["fieldgate_pool_refused_topics_total"]),
            "rejected_samples": round(metrics["fieldgate_engine_rejected_samples_total"]),
            "resident_at_start_bytes": start_bytes,
            "resident_when_full_bytes": full.resident_bytes,
            "resident_at_end_bytes": samples[-1].resident_bytes,
            "resident_growth_since_full_bytes": samples[-1].resident_bytes - full.resident_bytes,
        },
        "over_time": [_shown(one) for one in samples],
        "wrong": wrong[:20],
    }


def _sample(of: Daemon, topics: int, at_s: float) -> Sample:
    metrics: dict[str, Any] = of.metrics()
    return Sample(
        at_s=at_s,
        topics=topics,
        resident_bytes=of.resident_bytes(),
        evicted=round(metrics["fieldgate_pool_evicted_total"]),
        evicted_idle=round(metrics["fieldgate_pool_departures_total/idle"]),
        restored=round(metrics["fieldgate_pool_restored_total"]),
        parked_tags=round(metrics["fieldgate_parking_tags"]),
        parked_bytes=round(metrics["fieldgate_parking_bytes"]),
    )


def _shown(one: Sample) -> dict[str, object]:
    return {"at_s": round(one.at_s, 1), "topics": one.topics, "resident_bytes": one.resident_bytes}


def _told(one: Sample, wrong: Sequence[str]) -> str:
    return (
        f"{one.at_s:6.1f} s  {one.topics:,} topics, {one.evicted:,} left ({one.evicted_idle:,} idle), "
        f"{one.restored:,} found their state, {len(wrong)} wrong, "
        f"resident {one.resident_bytes / 1e6:.0f} MB, parked {one.parked_bytes / 1e6:.0f} MB"
    )
