"""The publisher of the MQTT benchmark, a process of its own: prebuilt frames into the broker's socket.

Each line on its standard input is one job, a JSON object; when a job is done, its result is one line on the standard
output. Two ways to send:

- flat out: as fast as the broker takes them, but never more than `ahead` messages in front of the subscriber, since a
  broker cuts off who lags behind without end;
- paced: message i is due at start + i / rate; every millisecond goes what is due. A publisher that comes late sends
  late, and the lateness counts, as latency is taken from the time at which a message was due.
"""

from __future__ import annotations

import itertools
import json
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.protocol.mqtt import codec
from gateway.protocol.mqtt.codes import V311
from gateway.runtime.benches.mqtt_frames import SHAPES, Ring
from gateway.runtime.benches.mqtt_shared import AHEAD, BEGUN_NS, RECEIVED, SENT, STARTED_NS, Words, attach

TICK_NS: Final = NS_PER_MS
CHUNK_BYTES: Final = 65_536
WAIT_S: Final = 0.0002
CONNACK_BYTES: Final = 4
BIRTHS_AHEAD: Final = 50
BIRTHS_S: Final = 30.0


def connect(port: int, number: int) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", port), 10.0)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(
        codec.encode_connect(version=V311, client_id=f"bench-publisher-{number}", clean_start=True, keep_alive_s=0)
    )
    greeting = link.recv(CONNACK_BYTES, socket.MSG_WAITALL)
    if greeting != b"\x20\x02\x00\x00":
        raise ConnectionError(f"the broker refuses the publisher: {greeting.hex()}")
    return link


class Publisher:
    """Sends the frames of one ring, on and on; with several links, each chunk by the next one."""

    def __init__(self, ring: Ring, words: Words, links: Sequence[socket.socket]) -> None:
        self._ring = ring
        self._words = words
        self._links = itertools.cycle(links)
        self.sent = 0

    def send_births(self) -> None:
        """What must go ahead of the frames; returns when the subscriber has dealt with it."""
        births = self._ring.shape.births
        if births is None:
            return
        link = next(self._links)
        messages = 0
        deadline_s = time.monotonic() + BIRTHS_S
        for topic, payload in births(len(self._ring)):
            link.sendall(codec.encode_publish(topic, payload, V311))
            messages += "/DBIRTH/" in topic
            # A broker cuts off who lags behind without end, and births take their time.
            while messages - int(self._words[RECEIVED]) > BIRTHS_AHEAD:
                time.sleep(WAIT_S)
                if time.monotonic() > deadline_s:
                    raise TimeoutError("the subscriber does not take the births")
        while int(self._words[RECEIVED]) < messages and time.monotonic() < deadline_s:
            time.sleep(WAIT_S)
        self._words[AHEAD] = messages

    def send(self, count: int) -> None:
        """The next `count` messages."""
        while count > 0:
            first = self.sent % len(self._ring)
            after = min(first + count, len(self._ring))
            self._ring.stamp(first, after, self.sent, time.time_ns())
            size = self._ring.frame_bytes
            next(self._links).sendall(self._ring.view[first * size : after * size])
            self.sent += after - first
            count -= after - first
            self._words[SENT] = self.sent

    def flat_out(self, seconds: float, ahead: int) -> None:
        end_ns = time.monotonic_ns() + int(seconds * NS_PER_S)
        chunk = max(1, CHUNK_BYTES // self._ring.frame_bytes)
        while time.monotonic_ns() < end_ns:
            room = ahead - (self.sent - int(self._words[RECEIVED]))
            if room >= min(chunk, ahead):
                self.send(min(chunk, room))
            else:
                time.sleep(WAIT_S)

    def paced(self, seconds: float, rate: float) -> None:
        start_ns = time.monotonic_ns() + 10 * NS_PER_MS
        self._words[STARTED_NS] = start_ns
        tick_ns = start_ns
        total = int(seconds * rate)
        while self.sent < total:
            wait_ns = tick_ns - time.monotonic_ns()
            if wait_ns > 0:
                time.sleep(wait_ns / NS_PER_S)
            due = min(total, int((time.monotonic_ns() - start_ns) * rate / NS_PER_S) + 1)
            self.send(due - self.sent)
            tick_ns += TICK_NS


def work(job: dict[str, Any], rings: dict[tuple[str, int], Ring]) -> dict[str, Any]:
    """One job; rings are kept for the next one."""
    words = attach(Path(job["shared"]))
    key = job["payload"], job["tags"]
    if key not in rings:
        rings[key] = Ring(SHAPES[key[0]], key[1])
    with ExitStack() as stack:
        links = [stack.enter_context(connect(job["port"], number)) for number in range(job["links"])]
        publisher = Publisher(rings[key], words, links)
        publisher.send_births()
        words[BEGUN_NS] = time.monotonic_ns()
        begun_ns = time.process_time_ns()
        if job["rate"]:
            publisher.paced(job["seconds"], job["rate"])
        else:
            publisher.flat_out(job["seconds"], job["ahead"])
        return {"sent": publisher.sent, "cpu_ns": time.process_time_ns() - begun_ns}


def main() -> None:
    rings: dict[tuple[str, int], Ring] = {}
    for line in sys.stdin:
        sys.stdout.write(json.dumps(work(json.loads(line), rings)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
