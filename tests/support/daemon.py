"""The whole daemon as a process of its own, and the world around it.

with Outside() as outside, Gateway(tmp_path, CONFIG.format(plc=port)) as gateway:
    gateway.start()            # returns when it is ready
    gateway.status(); gateway.metric("fieldgate_engine_cycles_total")
    gateway.kill(); gateway.start()

Tests read from top to bottom and wait by `until`; devices, proxies and consumers live on the event loop of `Outside`,
in a thread beside them. Everything listens on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import aiomqtt
from prometheus_client.parser import text_string_to_metric_families

from gateway.mqttclient import Client
from gateway.receiver import Summary
from hil.demo.consumer import Consumer, Given, GivenOut, again_in, missing
from hil.ports import free_port
from hil.proxy import CHUNK_BYTES, Proxy

ROOT = Path(__file__).parents[2]
READY_S_MAX = 110.0
"""Without a kernel cache a small machine compiles for a minute."""
DEADLINE_S = 15.0
STOP_S_MAX = 30.0
"""After SIGTERM, on a machine with much else to do. The gateway has limits of its own, and tells of it then."""

LINE = re.compile(r"^\S+Z (?P<level>[a-z]+) (?P<kind>\S+) (?P<subject>.+?): (?P<message>.*)$")

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, deadline_s: float = DEADLINE_S) -> T:
    """The first result of `condition` that is true."""
    end_s = time.monotonic() + deadline_s
    while not (result := condition()):
        assert time.monotonic() < end_s, f"within {deadline_s:g} s it did not come about that {what}"
        time.sleep(0.02)
    return result


@dataclass(frozen=True)
class Line:
    """One event in the log."""

    level: str
    kind: str
    subject: str
    message: str


class Gateway:
    """One gateway over one folder; `start` after `kill` or `terminate` is the same gateway again.

    In the text `<http>` and `<scada>` stand for the ports that were chosen for it. `environment` is added to ours.
    """

    module = "gateway"
    """What is run; the tests that stall it have their own."""

    def __init__(self, folder: Path, text: str, environment: Mapping[str, str] | None = None) -> None:
        self.http_port = free_port()
        self.scada_port = free_port()
        self.config = folder / "plant.toml"
        self.log = folder / "gateway.log"
        self._environment = {
            **os.environ,
            **(environment or {}),
            "PYTHONPATH": str(ROOT),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begins = 0
        self.write(text)

    def __enter__(self) -> Gateway:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def write(self, text: str) -> None:
        """Replace the configuration's text."""
        filled = text.replace("<http>", str(self.http_port)).replace("<scada>", str(self.scada_port))
        self.config.write_text(filled, encoding="utf-8")

    # The process

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def launch(self) -> None:
        """Start the process and return at once."""
        assert self._process is None or self._process.poll() is not None, "it runs"
        self._log_begins = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, "run", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
            )

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        self.launch()
        self.wait_ready()

    def wait_ready(self, within_s: float = READY_S_MAX) -> None:
        end_s = time.monotonic() + within_s
        while not self.is_ready():
            assert self.exit_code is None, f"the gateway ended with {self.exit_code}:\n{self.text()[-3000:]}"
            assert time.monotonic() < end_s, f"not ready within {within_s:g} s:\n{self.text()[-3000:]}"
            time.sleep(0.05)

    def is_ready(self) -> bool:
        try:
            return bool(self.get("/readyz")["ok"])
        except OSError:
            return False

    def kill(self) -> None:
        """SIGKILL, as a power cut does it (but for the page cache)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait_exit(self, within_s: float) -> int:
        assert self._process is not None
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not leave within {within_s:g} s:\n{self.text()[-3000:]}") from None

    def terminate(self) -> int:
        """SIGTERM, as the service manager does it; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_exit(STOP_S_MAX)

    # What it shows

    def get(self, path: str) -> Any:
        """The JSON that is answered, also with a status that says no."""
        return json.loads(self.fetch(path))

    def fetch(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode()

    def status(self) -> Any:
        return self.get("/api/status")

    def links_up(self) -> set[str]:
        return {link["name"] for link in self.status()["links"]["links"] if link["is_up"]}

    def device_samples(self) -> dict[str, int]:
        """Samples of each device since the plant was built."""
        return {device["name"]: device["samples"] for device in self.get("/api/devices?limit=500")["devices"]}

    def quality(self, tag: str) -> int:
        """The quality code of a tag."""
        found = [each for each in self.get(f"/api/tags?search={tag}")["tags"] if each["name"] == tag]
        assert len(found) == 1, f"no tag {tag}"
        return int(found[0]["quality"]["code"])

    def metrics(self) -> dict[str, list[tuple[Mapping[str, str], float]]]:
        """A scrape: for each sample's name its labels and values."""
        samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for family in text_string_to_metric_families(self.fetch("/metrics")):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append((sample.labels, sample.value))
        return samples

    def metric(self, name: str, **labels: str) -> float:
        """The sum over all series that have these labels."""
        found = [value for given, value in self.metrics()[name] if labels.items() <= given.items()]
        assert found, f"no {name} with {labels}"
        return sum(found)

    # What it says

    def text(self) -> str:
        """The log since the last start."""
        with self.log.open("rb") as log:
            log.seek(self._log_begins)
            return log.read().decode(errors="replace")

    def lines(self, kind: str = "", subject: str = "") -> list[Line]:
        """The events in the log since the last start, of one kind and subject if given."""
        parsed = [Line(**found.groupdict()) for found in map(LINE.match, self.text().splitlines()) if found]
        return [line for line in parsed if kind in ("", line.kind) and subject in ("", line.subject)]


class Outside:
    """An event loop in a thread of its own: devices, proxies, publishers and consumers beside the test."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="outside", daemon=True)
        self._spawned: list[Future[Any]] = []

    def __enter__(self) -> Outside:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it out there and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    def call(self, function: Callable[[], T]) -> T:
        """Call a plain function out there."""

        async def work() -> T:
            return function()

        return self.run(work())

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Start it; it is cancelled at the end, or by itself."""
        self._spawned.append(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for future in self._spawned:
            if future.done() and not future.cancelled() and (error := future.exception()) is not None:
                raise error


class FarEnd:
    """The consumer at the far end of an uplink, beside the gateway's own book of what it gave out."""

    def __init__(self, outside: Outside, folder: Path, *, broker_port: int, topic: str = "fieldgate/plant/#") -> None:
        self._path = folder / "received.db"
        self._given_out = GivenOut(folder / "state" / "spool.db")
        self._outside = outside

        async def begin() -> Consumer:
            consumer = Consumer(self._path, broker_port=broker_port, topic=topic)
            subscribed = asyncio.Event()
            outside.spawn(consumer.run(subscribed))
            await subscribed.wait()
            return consumer

        self._consumer = outside.run(begin())

    def given(self) -> Given:
        return self._given_out.look()

    def waiting(self) -> int:
        return len(self.given().waiting)

    def summary(self) -> Summary:
        return self._outside.call(self._consumer.receiver.summary)

    def received(self) -> int:
        return self.summary().received

    def records(self) -> list[dict[str, Any]]:
        """All that was received, in the order of arrival."""
        self._outside.call(self._consumer.receiver.commit)
        with closing(sqlite3.connect(self._path, timeout=5)) as received:
            rows = received.execute("SELECT payload FROM records ORDER BY id").fetchall()
        return [json.loads(payload) for (payload,) in rows]

    def missing(self) -> int:
        """Records that were given out and neither arrived nor wait."""
        return missing(self.given(), self._outside.call(self._consumer.identities))

    def expect_everything(self) -> Summary:
        """The gateway has ended: wait for what is under way, then nothing may be missing and nothing doubled."""
        until(lambda: self.missing() == 0, "everything arrives")
        return self.expect_accounts()

    def expect_accounts(self) -> Summary:
        """The gateway has ended: what did not arrive is in its loss reports, and nothing is doubled."""
        until(lambda: self.summary().missing == 0, "everything arrives, or is reported as lost")
        summary = self.summary()
        assert summary.segments_unseen == (), summary
        assert summary.received == len(self._outside.call(self._consumer.identities))
        assert self._outside.call(self._consumer.stored_twice) == 0
        return summary


class MuteProxy(Proxy):
    """A proxy that can swallow all that the far side answers: a line on which acknowledgements get lost."""

    is_mute = False

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, generation: int) -> None:
        is_answer = writer.get_extra_info("sockname")[1] == self.port
        with suppress(OSError):
            try:
                while chunk := await reader.read(CHUNK_BYTES):
                    if not (is_answer and self.is_mute):
                        writer.write(chunk)
                        await writer.drain()
            finally:
                writer.transport.abort()


async def publish(port: int, topic: str, payload: Callable[[int], bytes], *, every_s: float) -> None:
    """Publish `payload(0)`, `payload(1)` and so on at a steady rate until cancelled; again when the broker is back."""
    loop = asyncio.get_running_loop()
    number = 0
    while True:
        with suppress(aiomqtt.MqttError):
            async with Client("127.0.0.1", port) as client:
                due_s = loop.time()
                while True:
                    await client.publish(topic, payload(number))
                    number += 1
                    due_s += every_s
                    await asyncio.sleep(max(0.0, due_s - loop.time()))
        await again_in(0.2)
