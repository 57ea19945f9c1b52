"""Runs the demo: starts the processes, takes the uplink down once on its own, and adds everything up at the end."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from hil.broker import BrokerFailed, NatsServer
from hil.children import ON_ITS_OWN
from hil.demo.consumer import Consumer, GivenOut, missing
from hil.demo.view import STARTING, View
from hil.ports import free_port
from hil.proxy import Proxy

SECONDS_MIN = 12
READY_S_MAX = 1_200.0
"""The first start compiles for some minutes, the longer the busier the machine is; that it goes on is told."""
DRAIN_S_MAX = 20.0
STOP_S_MAX = 10.0
OUTAGE_BEGINS = 0.4
OUTAGE_LASTS = 0.2
"""As shares of the demo's length."""
SETTLED_WITHIN = 0.02
PLAIN_EVERY_S = 5.0


class DemoFailed(Exception):
    """Something that the demo needs did not come up; the message says what and where its log is."""


class DemoInterrupted(Exception):
    """Asked to end before there was anything to show."""


class Demo:
    """One run in one temporary folder; everything in it goes when it ends.

    SIGINT, SIGTERM and SIGHUP end it sooner, with the summary. They reach this process alone: its children are in
    process groups of their own, are ended one after the other, and die with it if it is killed.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self._folder = folder
        self._seconds = seconds
        self._http_port = free_port()
        self._scada_port = free_port()
        self._given = GivenOut(folder / "state" / "spool.db")
        self._status: Mapping[str, Any] = {}
        self._outage_s = 0.0
        self._phase = "starting"
        self._stop = asyncio.Event()
        self._console = Console(stderr=True)
        self._page = f"http://127.0.0.1:{self._http_port}/"
        self._view = View(self._page)

    async def run(self) -> Mapping[str, object]:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        async with AsyncExitStack() as stack:
            broker = NatsServer(self._folder / "broker")
            broker.start()
            stack.callback(broker.stop)
            proxy = Proxy(broker.port)
            await proxy.start()
            stack.push_async_callback(proxy.stop)
            world, ports = await self._start_world(broker.port)
            stack.push_async_callback(_end, world, None)
            consumer = Consumer(self._folder / "received.db", broker_port=broker.port, topic="fieldgate/demo/#")
            subscribed = asyncio.Event()
            task = asyncio.create_task(consumer.run(subscribed))
            stack.push_async_callback(_cancel, task)
            await asyncio.wait_for(subscribed.wait(), STOP_S_MAX)
            ports |= {"broker": broker.port, "uplink": proxy.port, "http": self._http_port, "scada": self._scada_port}
            gateway = await self._start_gateway(ports)
            stack.push_async_callback(_end, gateway, signal.SIGTERM)
            await self._watch(gateway, world, proxy, consumer)
            exit_code = await _end(gateway, signal.SIGTERM)
            await asyncio.sleep(1.0)
            return self._summary(consumer, exit_code)

    async def _start_world(self, broker_port: int) -> tuple[asyncio.subprocess.Process, dict[str, int]]:
        with (self._folder / "world.log").open("wb") as log:
            world = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "hil.demo.world", str(broker_port),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, **ON_ITS_OWN,
            )  # fmt: skip
        assert world.stdout is not None
        line = await asyncio.wait_for(world.stdout.readline(), READY_S_MAX)
        if not line:
            raise DemoFailed("the simulated devices did not start: " + _tail(self._folder / "world.log"))
        return world, json.loads(line)

    async def _start_gateway(self, ports: Mapping[str, int]) -> asyncio.subprocess.Process:
        text = (files("hil.demo") / "plant.toml").read_text(encoding="utf-8")
        for name, port in ports.items():
            text = text.replace(f"<{name}>", str(port))
        config = self._folder / "plant.toml"
        config.write_text(text, encoding="utf-8")
        with (self._folder / "gateway.log").open("wb") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", "run", "--config", str(config),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, **ON_ITS_OWN,
            )  # fmt: skip

    async def _watch(
        self,
        gateway: asyncio.subprocess.Process,
        world: asyncio.subprocess.Process,
        proxy: Proxy,
        consumer: Consumer,
    ) -> None:
        """Show what goes on; cut and mend the uplink in between; return when it is over and the spool is empty."""
        with self._shown():
            await self._until_ready(gateway)
            begun_s = time.monotonic()
            cut_s = begun_s + OUTAGE_BEGINS * self._seconds
            mend_s = cut_s + OUTAGE_LASTS * self._seconds
            assert world.stdin is not None
            world.stdin.write(b"replay\n")
            self._phase = "uplink up"
            told_s = 0.0
            while time.monotonic() < begun_s + self._seconds and not self._stop.is_set():
                if gateway.returncode is not None:
                    raise DemoFailed("the gateway ended by itself: " + _tail(self._folder / "gateway.log"))
                if self._phase == "uplink up" and cut_s < time.monotonic() < mend_s:
                    await proxy.cut()
                    self._phase = "uplink taken down"
                elif self._phase == "uplink taken down" and time.monotonic() >= mend_s:
                    await self._mend(proxy, cut_s)
                await self._look(consumer)
                if time.monotonic() - told_s > PLAIN_EVERY_S:
                    told_s = time.monotonic()
                    self._tell(self._line(told_s - begun_s, consumer))
                await self._rest(0.5)
            if self._phase == "uplink taken down":
                await self._mend(proxy, cut_s)
            self._phase = "ending"
            self._tell("ending: what still waits is delivered, then the gateway is stopped")
            await self._drain(consumer)

    def _shown(self) -> AbstractContextManager[object]:
        """The live view, where there is a terminal for it; elsewhere `_tell` says a line now and then."""
        if not self._console.is_terminal:
            return nullcontext()
        return Live(console=self._console, get_renderable=lambda: self._view, refresh_per_second=4)

    def _tell(self, line: str) -> None:
        if not self._console.is_terminal:
            self._console.print(line, highlight=False, soft_wrap=True)

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _mend(self, proxy: Proxy, cut_s: float) -> None:
        await proxy.mend()
        self._outage_s = time.monotonic() - cut_s
        self._phase = "line mended"

    async def _until_ready(self, gateway: asyncio.subprocess.Process) -> None:
        begun_s = time.monotonic()
        told_s = begun_s - PLAIN_EVERY_S
        while (now_s := time.monotonic()) < begun_s + READY_S_MAX:
            if gateway.returncode is not None:
                raise DemoFailed("the gateway did not start: " + _tail(self._folder / "gateway.log"))
            if self._stop.is_set():
                raise DemoInterrupted("ended before the gateway was ready")
            if (await self._get("/readyz")) is not None and (await self._look_at_status()):
                self._tell(f"{now_s - begun_s:5.0f} s  the live page is {self._page}")
                return
            self._view.waiting(now_s - begun_s)
            if now_s - told_s > PLAIN_EVERY_S:
                told_s = now_s
                self._tell(f"{now_s - begun_s:5.0f} s  {STARTING}")
            await self._rest(0.2)
        raise DemoFailed(f"the gateway was not ready within {READY_S_MAX:g} s: " + _tail(self._folder / "gateway.log"))

    async def _look_at_status(self) -> bool:
        """Whether there is something to show."""
        status = await self._get("/api/status")
        self._status = status or {}
        return bool(status and status["loops"] and status["loops"][0]["process_value"] is not None)

    async def _drain(self, consumer: Consumer) -> None:
        deadline_s = time.monotonic() + DRAIN_S_MAX
        while time.monotonic() < deadline_s:
            await self._look(consumer)
            uplink = self._status["uplink"]
            if uplink["is_connected"] and (uplink["oldest_age_s"] or 0.0) < 2.0:
                return
            await asyncio.sleep(0.2)

    async def _look(self, consumer: Consumer) -> None:
        status = await self._get("/api/status")
        if status is not None:
            self._status = status
            received = consumer.receiver.summary()
            said = (
                f"{received.received} records, {received.missing} missing, {received.duplicates} duplicates discarded"
            )
            self._view.update(status, phase=self._phase, received=said)

    async def _get(self, path: str) -> Any:
        def ask() -> Any:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._http_port}{path}", timeout=5) as answer:
                return json.load(answer)

        try:
            return await asyncio.to_thread(ask)
        except (urllib.error.URLError, OSError, json.JSONDecodeError):
            return None

    def _line(self, elapsed_s: float, consumer: Consumer) -> str:
        rates, uplink = self._status["rates"], self._status["uplink"]
        loop = self._status["loops"][0]
        return (
            f"{elapsed_s:5.0f} s  {rates['samples_per_s'] or 0:7,.0f} samples/s  level {loop['process_value']:.2f} "
            f"(setpoint {loop['setpoint']:g})  spool {uplink['waiting_records']} records  "
            f"received {consumer.receiver.summary().received}  {self._phase}"
        )

    def _summary(self, consumer: Consumer, exit_code: int | None) -> Mapping[str, object]:
        given = self._given.look()
        lost = missing(given, consumer.identities())
        received = consumer.receiver.summary()
        latencies = {latency["title"]: latency["total"] for latency in self._status["latencies"]}
        aggregate = latencies["sample → aggregate"]
        control = latencies["control input → output"]
        loop = self._status["loops"][0]
        off = abs(loop["process_value"] - loop["setpoint"]) / loop["setpoint"]
        kinds = [event["kind"] for event in self._status["events"]]
        promises = {
            "nothing is missing": lost == 0 and received.missing == 0,
            "nothing is stored twice": consumer.stored_twice() == 0,
            "the gateway stopped cleanly": exit_code == 0,
        }
        if not self._stop.is_set():
            promises |= {
                "the tank's level is within 2 % of its setpoint": off <= SETTLED_WITHIN,
                "the uplink was down and came back": self._outage_s > 0,
            }
        return {
            "samples_in": self._status["rates"]["samples_total"],
            "sample_to_aggregate_p50_ms": _rounded(aggregate["p50_ms"]),
            "sample_to_aggregate_p99_ms": _rounded(aggregate["p99_ms"]),
            "control_input_to_output_p50_ms": _rounded(control["p50_ms"]),
            "control_input_to_output_p99_ms": _rounded(control["p99_ms"]),
            "control_misses": loop["misses"],
            "uplink_outage_s": round(self._outage_s, 1),
            "records_produced": given.records,
            "records_received": received.received,
            "records_waiting_at_stop": len(given.waiting),
            "records_missing": lost,
            "records_duplicated": consumer.stored_twice(),
            "duplicates_discarded": received.duplicates,
            "tank_setpoint_percent": loop["setpoint"],
            "tank_level_percent": round(loop["process_value"], 3),
            "tank_level_settled": off <= SETTLED_WITHIN,
            "alarms_raised": sum(kind.startswith("alarm.") and kind.endswith(".raised") for kind in kinds),
            "anomalies_found": kinds.count("alarm.score.raised"),
            "ended_early": self._stop.is_set(),
            "failed": [promise for promise, kept in promises.items() if not kept],
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _tail(path: Path) -> str:
    return "\n" + path.read_text(encoding="utf-8", errors="replace")[-2000:]


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _end(process: asyncio.subprocess.Process, number: signal.Signals | None) -> int | None:
    """Ask a process to end (by a signal, or by closing its input), and insist after STOP_S_MAX."""
    if process.returncode is None:
        if number is not None:
            process.send_signal(number)
        elif process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_S_MAX)
        except TimeoutError:
            process.kill()
            await process.wait()
    return process.returncode


def run_demo(seconds: float) -> int:
    """Run it; print the summary as JSON; 0 when every promise was kept."""
    with tempfile.TemporaryDirectory(prefix="fieldgate-demo-") as folder:
        try:
            summary = asyncio.run(Demo(Path(folder), max(seconds, SECONDS_MIN)).run())
        except (DemoFailed, BrokerFailed) as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        except DemoInterrupted as error:
            print(f"demo: {error}", file=sys.stderr)
            return 130
    print(json.dumps(summary, indent=2))
    return 1 if summary["failed"] else 0
