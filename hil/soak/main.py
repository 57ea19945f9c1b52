"""Runs the soak: a plant under load, faults by a script, looks every few seconds, and the verdict at the end.

What it leaves: soak.csv (every look), soak.json (where, what, the verdict), soak.svg and the gateway's log.
"""

from __future__ import annotations

import asyncio
import csv
import json
import math
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from gateway.runtime.benches.environment import environment
from gateway.runtime.receivers import read_files
from gateway.runtime.reconcile import reconcile
from hil.broker import NatsServer
from hil.children import ON_ITS_OWN
from hil.demo.consumer import Consumer
from hil.demo.world import METERS
from hil.ports import free_port
from hil.proxy import Proxy
from hil.soak.far import Far
from hil.soak.field import DEVICES_MAX, FIRST_DEVICE, SHAPE
from hil.soak.picture import draw
from hil.soak.script import Fault, Kind, script
from hil.soak.verdict import Books, Trend, broken, trends
from hil.soak.watch import Watch

SPEAKS_PER_S: Final = 10
"""So often each device of the floor."""
RATE_MIN: Final = SPEAKS_PER_S * SHAPE.tags_per_message
RATE_MAX: Final = DEVICES_MAX * RATE_MIN
VIEWERS: Final = 3
LOOK_EVERY_S: Final = 5.0
READY_S_MAX: Final = 1_200.0
DRAIN_S_MAX: Final = 60.0
STOP_S_MAX: Final = 30.0
TOLD_EVERY_S: Final = 30.0
SLOW_S: Final = 0.3


class SoakFailed(Exception):
    """It could not begin, or the gateway went away; the message says what and shows the end of its log."""


class Soak:
    """One soak in one folder. SIGINT and SIGTERM end it sooner, with the report of what was seen."""

    def __init__(self, folder: Path, out: Path, *, seconds: float, rate: int, seed: int) -> None:
        self._folder, self._out = folder, out
        self._seconds = seconds
        self._devices = max(1, rate // RATE_MIN)
        self._seed = seed
        self._http_port, self._scada_port = free_port(), free_port()
        self._stop = asyncio.Event()
        self._proxies: dict[str, Proxy] = {}
        self._uplink_broker: NatsServer | None = None
        self._gateway: asyncio.subprocess.Process | None = None
        self._happened: list[Fault] = []
        self._now = "calm"
        self._units = METERS
        self._refused = 0

    async def run(self) -> Mapping[str, object]:
        for asked in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(asked, self._stop.set)
        where = environment()
        async with AsyncExitStack() as stack:
            floor_broker, uplink_broker = (NatsServer(self._folder / name) for name in ("floor", "uplink"))
            self._uplink_broker = uplink_broker
            for broker in (floor_broker, uplink_broker):
                broker.start()
                stack.callback(broker.stop)
            field, ports = await self._start_field(floor_broker.port)
            stack.push_async_callback(_end, field)
            for name, port in (*ports.items(), ("uplink", uplink_broker.port)):
                proxy = self._proxies[name] = Proxy(port)
                await proxy.start()
                stack.push_async_callback(proxy.stop)
            self._ports = {name: proxy.port for name, proxy in self._proxies.items()} | {"broker": floor_broker.port}
            consumer = Consumer(
                self._folder / "received.db", broker_port=uplink_broker.port, topic="fieldgate/soak/#", make=Far
            )
            subscribed = asyncio.Event()
            await stack.enter_async_context(Running(consumer.run(subscribed)))
            await asyncio.wait_for(subscribed.wait(), STOP_S_MAX)
            self._write_configuration()
            gateway = self._gateway = await self._start_gateway()
            stack.push_async_callback(_end, gateway)
            await self._until_ready()
            assert field.stdin is not None
            field.stdin.write(b"publish\n")
            watch = await asyncio.to_thread(Watch, gateway.pid, self._http_port, self._folder / "state")
            async with AsyncExitStack() as inner:
                for number in range(VIEWERS):
                    await inner.enter_async_context(Running(self._view(number)))
                await inner.enter_async_context(Running(self._play()))
                await self._keep_looking(watch)
            await self._calm()
            field.stdin.write(b"enough\n")
            assert field.stdout is not None
            sent = json.loads(await field.stdout.readline())["readings"]
            books = await self._settle(watch, consumer, sent)
        return self._report(where, watch, books)

    async def _start_field(self, broker_port: int) -> tuple[asyncio.subprocess.Process, dict[str, int]]:
        with (self._folder / "field.log").open("wb") as log:
            field = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "hil.soak.field",
                str(broker_port), str(self._devices), str(self._devices * SPEAKS_PER_S),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, **ON_ITS_OWN,
            )  # fmt: skip
        assert field.stdout is not None
        line = await asyncio.wait_for(field.stdout.readline(), READY_S_MAX)
        if not line:
            raise SoakFailed("the simulated devices did not start: " + _tail(self._folder / "field.log"))
        return field, json.loads(line)

    def _write_configuration(self) -> None:
        text = (files("hil.soak") / "plant.toml").read_text(encoding="utf-8")
        channels = "\n".join(f"value{place:02d} = {{ scada = false }}" for place in range(SHAPE.tags_per_message))
        filled = self._ports | {
            "http": self._http_port, "scada": self._scada_port, "units": self._units, "channels": channels,
            "last": FIRST_DEVICE + self._devices - 1,
        }  # fmt: skip
        for name, value in filled.items():
            text = text.replace(f"<{name}>", str(value))
        (self._folder / "plant.toml").write_text(text, encoding="utf-8")

    async def _start_gateway(self) -> asyncio.subprocess.Process:
        with (self._out / "gateway.log").open("wb") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", "run", "--config", str(self._folder / "plant.toml"),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, **ON_ITS_OWN,
            )  # fmt: skip

    async def _until_ready(self) -> None:
        began_s = told_s = time.monotonic()
        while not self._stop.is_set():
            self._still_runs()
            now_s = time.monotonic()
            with suppress(OSError):
                if b"200" in await self._ask("/readyz"):
                    return
            if now_s - began_s > READY_S_MAX:
                raise SoakFailed(f"the gateway was not ready within {READY_S_MAX:g} s")
            if now_s - told_s > LOOK_EVERY_S:
                told_s = now_s
                _tell(f"{now_s - began_s:6.0f} s  the gateway starts (the first start compiles for some minutes)")
            await asyncio.sleep(0.2)
        raise SoakFailed("ended before the gateway was ready")

    async def _ask(self, path: str) -> bytes:
        """The first line of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._http_port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n".encode())
        try:
            return await reader.readline()
        finally:
            writer.close()

    def _still_runs(self) -> None:
        assert self._gateway is not None
        if self._gateway.returncode is not None:
            raise SoakFailed("the gateway ended by itself: " + _tail(self._out / "gateway.log"))

    async def _keep_looking(self, watch: Watch) -> None:
        every_s = min(LOOK_EVERY_S, self._seconds / 20)
        began_s = time.monotonic()
        told_s = -TOLD_EVERY_S
        while (at_s := time.monotonic() - began_s) < self._seconds and not self._stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), every_s)
            self._still_runs()
            one = await asyncio.to_thread(watch.look)
            if at_s - told_s >= min(TOLD_EVERY_S, self._seconds / 10):
                told_s = at_s
                seen = one.figures
                _tell(
                    f"{one.at_s:6.0f} s of {self._seconds:.0f}  {seen['samples_per_s']:9,.0f} samples/s  "
                    f"p99 {seen['aggregate_p99_ms']:5.1f} ms, control {seen['control_p99_ms']:6.3f} ms  "
                    f"{seen['resident_bytes'] / 1e6:5.0f} MB  {seen['cpu_cores']:.2f} cores  "
                    f"{seen['threads']:.0f} threads, {seen['descriptors']:.0f} descriptors  "
                    f"disk {seen['disk_bytes'] / 1e6:4.0f} MB  {seen['waiting_records']:5.0f} records wait  {self._now}"
                )

    async def _view(self, number: int) -> None:
        """A page that is open for a while, and closed for a while."""
        open_s = self._seconds / 20 * (number + 1)
        while True:
            with suppress(OSError, TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._http_port)
                writer.write(f"GET /api/live?search=floor-10{number} HTTP/1.1\r\nHost: soak\r\n\r\n".encode())
                try:
                    async with asyncio.timeout(open_s):
                        while await reader.read(65_536):
                            pass
                finally:
                    writer.close()
            await asyncio.sleep(open_s / 4)

    async def _play(self) -> None:
        """The script, fault after fault."""
        began_s = time.monotonic()
        for fault in script(self._seconds, self._seed):
            await asyncio.sleep(max(0.0, began_s + fault.at_s - time.monotonic()))
            self._happened.append(replace(fault, at_s=time.monotonic() - began_s))
            self._now = str(fault.kind)
            await self._begin(fault.kind)
            await asyncio.sleep(max(0.0, began_s + fault.end_s - time.monotonic()))
            await self._calm()

    async def _begin(self, kind: Kind) -> None:
        assert self._uplink_broker is not None and self._gateway is not None
        match kind:
            case Kind.UPLINK_CUT:
                await self._proxies["uplink"].cut()
            case Kind.UPLINK_BLACK_HOLE:
                self._proxies["uplink"].hold()
            case Kind.UPLINK_RESET:
                self._proxies["uplink"].reset()
            case Kind.UPLINK_BROKER_RESTART:
                await asyncio.to_thread(self._uplink_broker.stop)
                await asyncio.to_thread(self._uplink_broker.start)
            case Kind.METERS_DEAD:
                self._proxies["meters"].hold()
            case Kind.METERS_SLOW:
                self._proxies["meters"].delay_s = SLOW_S
            case Kind.FAN_CUT:
                await self._proxies["fan"].cut()
            case Kind.PLC_CUT:
                await self._proxies["plc"].cut()
            case Kind.RELOAD:
                self._units = METERS - 1 if self._units == METERS else METERS
                self._write_configuration()
                self._gateway.send_signal(signal.SIGHUP)

    async def _calm(self) -> None:
        """All is well again, whatever it was."""
        for proxy in self._proxies.values():
            proxy.release()
            proxy.delay_s = 0.0
            if not proxy.is_listening:
                await proxy.mend()
        self._now = "calm"

    async def _settle(self, watch: Watch, consumer: Consumer, sent: int) -> Books:
        """The backlog drains, the gateway stops, and the books are compared."""
        _tell("waiting for the backlog, then stopping the gateway")
        far = consumer.receiver
        assert isinstance(far, Far) and self._gateway is not None
        deadline_s = time.monotonic() + DRAIN_S_MAX
        while far.readings < sent and time.monotonic() < deadline_s:
            await asyncio.sleep(0.5)
        scrape = await asyncio.to_thread(watch.scrape)
        dropped = int(scrape["fieldgate_inbox_dropped_samples_total"])
        exit_code = await _end(self._gateway)
        await asyncio.sleep(1.0)
        far.commit()
        verdict = await asyncio.to_thread(
            reconcile, self._folder / "state" / "spool.db", partial(read_files, [self._folder / "received.db"], "soak"),
            pause=lambda: time.sleep(1.0),
        )  # fmt: skip
        return Books(
            readings_sent=sent,
            readings_received=far.readings,
            samples_dropped=dropped,
            records_produced=verdict.produced,
            records_received=verdict.received,
            records_ledgered=verdict.ledgered,
            records_waiting=verdict.waiting,
            records_lost=sum(map(len, (*verdict.lost, *verdict.lost_kept))),
            records_duplicated=sum(map(len, verdict.duplicates)),
            exit_code=exit_code,
        )

    def _report(self, where: Mapping[str, object], watch: Watch, books: Books) -> Mapping[str, object]:
        at_s = [one.at_s for one in watch.looks]
        figures = {name: [one.figures[name] for one in watch.looks] for name in watch.looks[0].figures}
        found = trends(at_s, figures)
        whole_ms = watch.whole_ms()
        with (self._out / "soak.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["at_s", *figures])
            table.writerows([[round(one.at_s, 1), *map(_short, one.figures.values())] for one in watch.looks])
        title = (
            f"{self._devices * RATE_MIN:,} samples/s for {at_s[-1] / 60:.1f} minutes, {len(self._happened)} faults "
            f"({where['cpu']}, {where['cores']} cores)"
        )
        (self._out / "soak.svg").write_text(draw(title, at_s, figures, self._happened), encoding="utf-8")
        result: dict[str, object] = {
            "bench": "soak",
            "environment": where,
            "figures": {
                "samples_per_s": self._devices * RATE_MIN,
                "seconds": round(at_s[-1], 1),
                "seed": self._seed,
                "faults": _counted(self._happened),
                **{f"whole_{name}": round(value, 3) for name, value in whole_ms.items()},
                **_worst(figures),
                **asdict(books),
            },
            "trends": [_shown(one) for one in found],
            "ended_early": self._stop.is_set(),
            "failed": broken(found, whole_ms, books),
        }
        (self._out / "soak.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        return result


def _counted(faults: Sequence[Fault]) -> dict[str, int]:
    return {str(kind): sum(fault.kind is kind for fault in faults) for kind in Kind}


def _worst(figures: Mapping[str, Sequence[float]]) -> dict[str, float]:
    names = ("aggregate_p99_ms", "control_p99_ms", "resident_bytes", "disk_bytes", "waiting_records", "cpu_cores")
    known = {name: [value for value in figures[name] if math.isfinite(value)] for name in names}
    return {f"worst_{name}": round(max(values, default=math.nan), 3) for name, values in known.items()}


def _shown(one: Trend) -> dict[str, object]:
    return {key: _short(value) if isinstance(value, float) else value for key, value in asdict(one).items()}


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _tail(path: Path) -> str:
    return "\n" + path.read_text(encoding="utf-8", errors="replace")[-2000:]


class Running:
    """A task that is cancelled at the end of the block."""

    def __init__(self, work: Any) -> None:
        self._work = work

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._work)

    async def __aexit__(self, *raised: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


async def _end(process: asyncio.subprocess.Process) -> int | None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_S_MAX)
        except TimeoutError:
            process.kill()
            await process.wait()
    return process.returncode


def run_soak(*, seconds: float, rate: int, seed: int, out: Path) -> Mapping[str, object]:
    """The report, which is in `out`, too. Raises SoakFailed or BrokerFailed when there is none."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fieldgate-soak-") as folder:
        return asyncio.run(Soak(Path(folder), out.resolve(), seconds=seconds, rate=rate, seed=seed).run())
