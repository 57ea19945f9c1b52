"""A plant that does not exist, for the tests of the http part and for looking at the page.

`python -m tests.support.http [PORT]` serves it until Ctrl-C. Everything is a function of engine time, so a test that
gives the time knows the answer.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gateway.core.alarms import ALARM, AlarmDefinition, AlarmKind
from gateway.core.calculations import RESULT
from gateway.core.directory import Directory
from gateway.core.events import Event, Severity
from gateway.core.histogram import BUCKETS, SIZE
from gateway.core.kernels.histogram import observe
from gateway.core.model import DeviceDefinition, Model, TagDefinition
from gateway.core.multivariate import MULTIVARIATE
from gateway.core.readings import HistogramReading, Measured, Reading
from gateway.core.record import AGGREGATE
from gateway.core.symbols import no_texts
from gateway.core.types import NS_PER_MS, NS_PER_S, Kind, Quality, Samples
from gateway.core.view import DEVICE, LIVE, LOOP, Mode
from gateway.core.wear import Wear
from gateway.serving.http.metrics import MetricTable
from gateway.serving.http.status import Health, Heartbeat, LinkState, Phase, Plant, Stage, UplinkState
from gateway.settings.schema import PidLoop

START_NS = 1_000 * NS_PER_S
STAGES = (
    Stage(title="sample → aggregate", metric="fieldgate_engine_aggregate_latency_seconds", budget_ns=50 * NS_PER_MS),
    Stage(title="sample → anomaly score", metric="fieldgate_engine_score_latency_seconds", budget_ns=100 * NS_PER_MS),
    Stage(title="control input → output", metric="fieldgate_control_io_seconds", budget_ns=10 * NS_PER_MS),
    Stage(title="control wake lateness", metric="fieldgate_control_wake_seconds", budget_ns=None),
)
TABLE: MetricTable = (
    ("fieldgate_inbox_accepted_samples_total", "counter", "Samples that a lane took."),
    ("fieldgate_inbox_dropped_samples_total", "counter", "Samples refused because a lane was full."),
    *((stage.metric, "histogram", f"Latency: {stage.title}.") for stage in STAGES),
)
MEDIAN_MS = {STAGES[0].metric: 6.2, STAGES[1].metric: 8.1, STAGES[2].metric: 1.1, STAGES[3].metric: 0.09}

POINTS = (
    ("temperature", "°C", 74.0, 3.0),
    ("pressure", "bar", 5.8, 0.2),
    ("flow", "m³/h", 21.0, 2.5),
    ("level", "%", 61.0, 4.0),
    ("vibration", "mm/s", 2.1, 0.4),
    ("current", "A", 14.2, 1.1),
    ("power", "kW", 9.6, 0.8),
    ("energy", "kWh", 0.0, 0.0),
)
DEVICES = (
    ("boiler", "plc-1"),
    ("tank", "plc-1"),
    ("meter", "plc-2"),
    *((f"pump-{n:02d}", "plc-3" if n < 12 else "hall-b") for n in range(1, 25)),
    ("press-1", "floor"),
    ("press-2", "floor"),
)
SILENT = "pump-07"


def make_model() -> Model:
    tags = tuple(
        TagDefinition(
            name=f"{name}.{point}",
            device=device,
            kind=Kind.U64 if point == "energy" else Kind.F64,
            unit=unit,
            stale_after_ns=2 * NS_PER_S,
            windows_ns=(10 * NS_PER_S, 300 * NS_PER_S) if point == "temperature" else (60 * NS_PER_S,),
            alarms=(AlarmDefinition(AlarmKind.SCORE, 0.9),),
        )
        for device, (name, _) in enumerate(DEVICES)
        for point, unit, _, _ in POINTS
    )
    return Model(devices=tuple(DeviceDefinition(name, link) for name, link in DEVICES), tags=tags)


def make_loop(name: str, source: str, setpoint: float, **changes: object) -> PidLoop:
    fields = {
        "name": name,
        "input": source,
        "output": "tank.flow",
        "setpoint": setpoint,
        "setpoint_min": 0.0,
        "setpoint_max": 100.0,
        "kp": 2.0,
        "every_ns": 20 * NS_PER_MS,
        "output_min": 0.0,
        "output_max": 100.0,
        "stale_after_ns": NS_PER_S // 2,
    }
    return PidLoop(**(fields | changes))  # type: ignore[arg-type]


@dataclass
class FakePlantView:
    model: Model
    now_ns: Callable[[], int]

    def live(self, rows: npt.NDArray[np.int32]) -> Samples:
        out = np.zeros(len(rows), LIVE)
        now_ns = self.now_ns()
        for at, row in enumerate(rows):
            out[at] = self._record(int(row), now_ns)
        return out

    def _record(self, row: int, now_ns: int) -> Samples:
        record = np.zeros((), LIVE)
        tag = self.model.tags[row]
        _, _, mean, swing = POINTS[row % len(POINTS)]
        acquired_ns = now_ns - (row * 7 % 100) * NS_PER_MS
        record["quality"] = Quality.GOOD
        record["score"] = 0.2 + 0.3 * math.sin(row) ** 2
        if tag.name.startswith(SILENT):
            record["quality"] = Quality.UNCERTAIN_STALE
            acquired_ns = START_NS
        elif tag.name == "press-2.pressure":
            record["quality"] = Quality.BAD_NOT_INITIALISED
            acquired_ns = 0
        elif tag.name == "pump-03.vibration":
            record["score"], record["alarms"] = 0.94, 4
        elif tag.name == "boiler.level":
            record["quality"] = Quality.UNCERTAIN_OUT_OF_RANGE
            record["alarms"] = 2
        if tag.kind is Kind.U64:
            record["bits"] = 9_007_199_254_740_993 + row
        else:
            record["value"] = mean + swing * math.sin(now_ns / NS_PER_S / (9 + row % 7) + row)
        record["row"], record["source_ns"], record["arrival_ns"] = row, acquired_ns, acquired_ns
        return record

    def aggregates(self, rows: npt.NDArray[np.int32]) -> Samples:
        out = []
        for row in rows:
            _, _, mean, swing = POINTS[int(row) % len(POINTS)]
            for window_ns in self.model.tags[row].windows_ns:
                record = np.zeros((), AGGREGATE)
                record["row"], record["quality"], record["window_ns"] = row, Quality.GOOD, window_ns
                if self.model.tags[row].name != "press-2.pressure":
                    record["count"] = window_ns // (100 * NS_PER_MS)
                record["mean"], record["sd"] = mean + 0.1, swing / math.sqrt(2)
                record["min"], record["max"] = mean - swing, mean + swing
                record["rate"], record["ewma"], record["score"] = math.nan, mean, 0.8
                out.append(record[()])
        return np.array(out, AGGREGATE)

    def multivariate(self) -> Samples:
        return np.zeros(0, MULTIVARIATE)

    def devices(self) -> Samples:
        out = np.zeros(len(self.model.devices), DEVICE)
        for index, rows in enumerate(self.model.rows_of_device):
            live = self.live(np.array(rows, np.int32))
            best = int(np.argmax(live["score"]))
            out[index]["quality"] = live["quality"].min()
            out[index]["tags_good"] = (live["quality"] >= Quality.GOOD).sum()
            out[index]["tags"] = len(rows)
            out[index]["samples"] = (self.now_ns() - START_NS) // (100 * NS_PER_MS) * len(rows)
            out[index]["score"], out[index]["score_row"] = live["score"][best], rows[best]
            out[index]["alarms"] = np.bitwise_or.reduce(live["alarms"])
        return out


@dataclass
class FakeControlView:
    now_ns: Callable[[], int]
    count: int

    def loops(self) -> Samples:
        out = np.zeros(self.count, LOOP)
        t_s = (self.now_ns() - START_NS) / NS_PER_S
        step = 60.0 if t_s % 80 < 40 else 68.0
        before = 68.0 if step == 60.0 else 60.0
        settled = math.exp(-(t_s % 40) / 6)
        value = step + (before - step) * settled * math.cos((t_s % 40) / 4)
        rows = [
            (step, value, 45 + 3.1 * (step - value), Mode.AUTO, Quality.GOOD),
            (78.0, 78.0 + 0.6 * math.sin(t_s / 7), 52 - 4 * math.sin(t_s / 7), Mode.AUTO, Quality.GOOD),
            (5.5, 5.5, 0.0, Mode.FAILSAFE, Quality.BAD_COMM_FAILURE),
        ]
        for at, (setpoint, process_value, output, mode, quality) in enumerate(rows[: self.count]):
            stale_ns = 41 * NS_PER_S if mode is Mode.FAILSAFE else 4 * NS_PER_MS
            cycles = int(t_s * 50)
            out[at] = (setpoint, process_value, output, mode, quality, self.now_ns() - stale_ns, cycles, at, 0)
        return out

    def write_setpoint(self, loop: int, value: float) -> None:
        raise ValueError("not in this plant")

    def write_mode(self, loop: int, mode: Mode) -> None:
        raise ValueError("not in this plant")

    def keep_alive(self, loop: int) -> None:
        raise AssertionError("the page commands no loop")

    def write_output(self, loop: int, value: float) -> None:
        raise ValueError("not in this plant")


@dataclass
class FakeComponent:
    """Counts 48,000 samples/s and draws latencies around `MEDIAN_MS`."""

    now_ns: Callable[[], int]
    histograms: dict[str, npt.NDArray[np.int64]] = field(
        default_factory=lambda: {stage.metric: np.zeros(SIZE, np.int64) for stage in STAGES}
    )
    extra: list[Reading | HistogramReading] = field(default_factory=list)

    def draw(self, rng: np.random.Generator, count: int) -> None:
        for metric, counts in self.histograms.items():
            for ms in rng.lognormal(math.log(MEDIAN_MS[metric]), 0.45, count):
                observe(counts, int(ms * NS_PER_MS))

    def readings(self) -> Iterator[Reading | HistogramReading]:
        accepted = 48_000 * (self.now_ns() - START_NS) // NS_PER_S
        for lane, share in (("plc-1", 0.75), ("floor", 0.25)):
            yield Reading("fieldgate_inbox_accepted_samples_total", int(accepted * share), (("lane", lane),))
            yield Reading("fieldgate_inbox_dropped_samples_total", 0, (("lane", lane),))
        for metric, counts in self.histograms.items():
            yield HistogramReading(metric, counts[:BUCKETS].copy(), int(counts[BUCKETS]))
        yield from self.extra


class FakeSource:
    """A StatusSource. Tests change its public fields; the clock is theirs."""

    gateway_id = "boiler-house"
    version = "0.1.0"

    def __init__(self, now_ns: Callable[[], int], *, wall_offset_ns: int = 0) -> None:
        self.now_ns = now_ns
        self.model = make_model()
        self.component = FakeComponent(now_ns)
        loops = (
            make_loop("tank-level", "tank.level", 60.0),
            make_loop("boiler-temperature", "boiler.temperature", 78.0),
            make_loop("header-pressure", "boiler.pressure", 5.5, setpoint_max=10.0),
        )
        self.the_plant: Plant | None = Plant(
            model=self.model,
            directory=Directory(self.model, np.ones(len(self.model.tags), np.int64)),
            plant_view=FakePlantView(self.model, now_ns),
            text_of=no_texts,
            loops=loops,
            control_view=FakeControlView(now_ns, len(loops)),
            calculations=lambda row, now_ns: np.zeros(0, RESULT),
            outputs=(),
            alarms=lambda: np.zeros(len(self.model.alarms), ALARM),
            stages=STAGES,
        )
        self.phase = Phase.READY
        self.detail = ""
        self.engine_silent_ns = 0
        self.first_cycle_done = True
        self.wall_offset_ns = wall_offset_ns
        self.wall_is_synchronised = True
        self.the_events = [
            Event(START_NS, Severity.NOTICE, "gateway.ready", "boiler-house", "232 tags of 29 devices, 3 loops"),
            Event(START_NS + NS_PER_S, Severity.NOTICE, "link.up", "plc-1", "connected to 10.0.0.5:502"),
            Event(START_NS + 3 * NS_PER_S, Severity.WARNING, "device.silent", SILENT, "no reply in 3 polls; probing"),
            Event(START_NS + 9 * NS_PER_S, Severity.ERROR, "link.down", "hall-b", "10.0.1.9:502: refused"),
            Event(START_NS + 21 * NS_PER_S, Severity.WARNING, "loop.failsafe", "header-pressure", "bad input: 0 %"),
            Event(START_NS + 30 * NS_PER_S, Severity.WARNING, "alarm.on", "pump-03.vibration", "score 0.94 above 0.9"),
        ]  # fmt: skip

    def health(self) -> Health:
        now_ns = self.now_ns()
        beats = (
            Heartbeat(name="engine", last_ns=now_ns - self.engine_silent_ns, stale_after_ns=2 * NS_PER_S),
            Heartbeat(name="executive", last_ns=now_ns - 3 * NS_PER_MS, stale_after_ns=2 * NS_PER_S),
        )
        return Health(
            phase=self.phase,
            detail=self.detail,
            started_ns=START_NS,
            configuration_loaded=True,
            kernels_warm=True,
            first_cycle_done=self.first_cycle_done,
            heartbeats=beats,
            wall_offset_ns=self.wall_offset_ns,
            wall_is_synchronised=self.wall_is_synchronised,
        )

    def plant(self) -> Plant | None:
        return self.the_plant

    def links(self) -> Sequence[LinkState]:
        def up(name: str, kind: str, detail: str) -> LinkState:
            return LinkState(name=name, kind=kind, is_up=True, since_ns=START_NS + NS_PER_S, detail=detail)

        return (
            up("plc-1", "Modbus TCP", "10.0.0.5:502"),
            up("plc-2", "Modbus TCP", "10.0.0.6:502"),
            up("plc-3", "Modbus TCP", "10.0.1.2:502, 1 of 11 units silent"),
            LinkState(
                name="hall-b",
                kind="Modbus TCP",
                is_up=False,
                since_ns=START_NS + 9 * NS_PER_S,
                detail="10.0.1.9:502 refused the connection; next try in 8 s",
            ),
            up("floor", "MQTT 3.1.1", "127.0.0.1:1883"),
        )

    def wear(self) -> Wear:
        return Wear(0)

    def uplinks(self) -> Sequence[UplinkState]:
        cloud = UplinkState(
            name="cloud",
            is_connected=False,
            since_ns=self.now_ns() - 94 * NS_PER_S,
            detail="broker.example:8883: no route to host; next try in 5 s",
            waiting_records=1_284,
            waiting_bytes=311_427_072,
            bytes_max=2_000_000_000,
            oldest_ns=self.now_ns() - 96 * NS_PER_S,
            segments=2,
            delivered_records=(self.now_ns() - START_NS) // NS_PER_S * 12,
            dropped_records=0,
            dropped_samples=0,
            pressure=0.0,
            pressure_step=0,
        )
        return (cloud,)

    def events(self) -> Sequence[Event]:
        return self.the_events

    def measured(self) -> Sequence[Measured]:
        return (self.component,)


def main() -> None:
    from gateway.serving.http.server import HttpServer

    skip_ns = 4_000 * NS_PER_S

    def now_ns() -> int:
        return START_NS + skip_ns + time.monotonic_ns() - began_ns

    began_ns = time.monotonic_ns()
    source = FakeSource(now_ns, wall_offset_ns=time.time_ns() - now_ns())
    rng = np.random.default_rng(1)
    source.component.draw(rng, 20_000)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    server = HttpServer(
        host="127.0.0.1", port=port, source=source, tables=[TABLE], build={"version": "0.1.0"}, now_ns=now_ns
    )
    server.start()
    print(f"http://127.0.0.1:{server.port}/", flush=True)
    over = threading.Event()
    try:
        while not over.wait(0.1):
            source.component.draw(rng, 100)
    except KeyboardInterrupt:
        server.stop(2.0)


if __name__ == "__main__":
    main()
