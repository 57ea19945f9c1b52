"""A small plant and its control for the tests of the register server, and what any view must hold to stand in for them.

`FakePlant` and `FakeControl` keep their state in arrays that a test changes directly. `expect_plant_view` and
`expect_control_view` state the contract of `gateway.core.view`; the fakes and the real views must both pass them.
"""

from __future__ import annotations

import struct
from collections.abc import Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gateway.core.events import Event
from gateway.core.limits import CONNECTIONS_PER_CLIENT
from gateway.core.model import DeviceDefinition, Model, TagDefinition
from gateway.core.multivariate import MULTIVARIATE
from gateway.core.ports import Clock
from gateway.core.record import AGGREGATE
from gateway.core.types import NS_PER_S, Kind, Quality
from gateway.core.view import DEVICE, LIVE, LOOP, ControlView, Mode, PlantView
from gateway.protocol.modbus.server import Adu
from gateway.serving.scada.access import Access
from gateway.serving.scada.lock import Entry
from gateway.serving.scada.map import Point, RegisterMap, build_map
from gateway.serving.scada.server import ScadaServer
from gateway.settings.schema import (
    Device,
    ModbusLink,
    ModbusPoint,
    PidLoop,
    RegisterType,
    Scada,
    Settings,
    Table,
    Tag,
)

MINUTE_NS = 60 * NS_PER_S


class FakePlant:
    """`rows` are LIVE, `windows` AGGREGATE by row and window, `rolled_up` DEVICE; all begin as never initialised."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.rows = np.zeros(len(model.tags), LIVE)
        self.rows["row"] = np.arange(len(model.tags))
        self.rows["quality"] = Quality.BAD_NOT_INITIALISED
        self.rows["value"] = np.nan
        self.windows = {
            row: np.array([(row, 32, ns, 0, *[np.nan] * 8, 0, np.nan, np.nan, 32) for ns in tag.windows_ns], AGGREGATE)
            for row, tag in enumerate(model.tags)
        }
        self.rolled_up = np.zeros(len(model.devices), DEVICE)

    def live(self, rows: Any) -> Any:
        return self.rows[rows]

    def aggregates(self, rows: Any) -> Any:
        parts = [self.windows[int(row)] for row in rows]
        return np.concatenate([np.zeros(0, AGGREGATE), *parts])

    def multivariate(self) -> Any:
        return np.zeros(0, MULTIVARIATE)

    def devices(self) -> Any:
        return self.rolled_up.copy()

    def set(self, name: str, value: float, now_ns: int, quality: int = Quality.GOOD) -> None:
        record = self.rows[self.model.row_of[name]]
        if self.model.tags[self.model.row_of[name]].kind is Kind.F64:
            record["value"] = value
        else:
            record["bits"] = np.uint64(int(value) & (2**64 - 1)).view(np.int64)
        record["quality"], record["source_ns"], record["arrival_ns"] = quality, now_ns, now_ns


class FakeControl:
    """Loops with setpoint and output limits of 0 to 100."""

    def __init__(self, count: int) -> None:
        self.state = np.zeros(count, LOOP)
        self.signs_of_life = [0] * count
        self.state["setpoint"] = 50.0
        self.state["mode"] = Mode.AUTO
        self.state["quality"] = Quality.GOOD

    def loops(self) -> Any:
        return self.state.copy()

    def write_setpoint(self, loop: int, value: float) -> None:
        self._in_limits(value)
        self.state["setpoint"][loop] = value

    def write_mode(self, loop: int, mode: Mode) -> None:
        if mode not in (Mode.AUTO, Mode.MANUAL):
            raise ValueError("the mode is set to AUTO or MANUAL only")
        self.state["mode"][loop] = mode

    def write_output(self, loop: int, value: float) -> None:
        if self.state["mode"][loop] != Mode.MANUAL:
            raise ValueError("the output is written in MANUAL only")
        self._in_limits(value)
        self.state["output"][loop] = value

    def keep_alive(self, loop: int) -> None:
        self.signs_of_life[loop] += 1

    @staticmethod
    def _in_limits(value: float) -> None:
        if not 0 <= value <= 100:
            raise ValueError("permitted are 0 to 100")


def expect_plant_view(view: PlantView, model: Model) -> None:
    """What the register image relies on, for any model."""
    backwards = np.arange(len(model.tags), dtype=np.int32)[::-1].copy()
    live = view.live(backwards)
    assert live.dtype == LIVE
    assert live.shape == backwards.shape
    assert list(live["row"]) == list(backwards)
    windows = view.aggregates(backwards)
    assert windows.dtype == AGGREGATE
    expected = [(int(row), window_ns) for row in backwards for window_ns in model.tags[row].windows_ns]
    assert [(int(window["row"]), int(window["window_ns"])) for window in windows] == expected
    devices = view.devices()
    assert devices.dtype == DEVICE
    assert devices.shape == (len(model.devices),)
    nothing = np.zeros(0, np.int32)
    assert view.live(nothing).shape == (0,)
    assert view.aggregates(nothing).shape == (0,)
    copy = view.live(backwards)
    copy["quality"] = 1
    assert not np.any(view.live(backwards)["quality"] == 1), "a view hands out copies"


def expect_control_view(view: ControlView, loops: int) -> None:
    state = view.loops()
    assert state.dtype == LOOP
    assert state.shape == (loops,)
    state["mode"] = 99
    assert not np.any(view.loops()["mode"] == 99), "a view hands out copies"


def tag(
    name: str, kind: Kind = Kind.F64, unit: str = "°C", windows_ns: tuple[int, ...] = (MINUTE_NS,), **more: Any
) -> Tag:
    point = ModbusPoint(unit=1, table=Table.HOLDING, address=0, type=RegisterType.FLOAT32, every_ns=NS_PER_S)
    return Tag(
        name=name,
        device=name.split(".")[0],
        point=point,
        kind=kind,
        unit=unit,
        windows_ns=windows_ns,
        stale_after_ns=5 * NS_PER_S,
        **more,
    )


def loop(name: str, source: str, output: str) -> PidLoop:
    return PidLoop(
        name=name,
        input=source,
        output=output,
        setpoint=50.0,
        setpoint_min=0.0,
        setpoint_max=100.0,
        kp=1.0,
        every_ns=20_000_000,
        output_min=0.0,
        output_max=100.0,
        stale_after_ns=NS_PER_S,
    )


def settings_of(
    tags: Sequence[Tag],
    units: dict[str, int],
    *,
    loops: Sequence[PidLoop] = (),
    loops_unit: int = 100,
    writable: tuple[str, ...] = (),
    lock_file: Path = Path("registers.lock"),
    connections_per_client: int = CONNECTIONS_PER_CLIENT,
) -> Settings:
    link = ModbusLink(name="plc", host="127.0.0.1", connect_timeout_ns=NS_PER_S, response_timeout_ns=NS_PER_S)
    names = tuple(dict.fromkeys(tag.device for tag in tags))
    return Settings(
        checkpoint_every_ns=10**9,
        journal=None,
        path=Path("plant.toml"),
        gateway_id="plant",
        state_dir=Path("state"),
        log_level="info",
        panes_per_window=30,
        links=(link,),
        devices=tuple(Device(name=name, link="plc") for name in names),
        tags=tuple(tags),
        loops=tuple(loops),
        uplinks=(),
        scada=Scada(
            host="127.0.0.1",
            port=0,
            units=units,
            loops_unit=loops_unit,
            tags=tuple(tag.name for tag in tags if tag.scada),
            writable=writable,
            lock_file=lock_file,
            connections_per_client=connections_per_client,
        ),
        http=None,
    )


def boiler_house(**more: Any) -> Settings:
    """Two devices on two units, all three kinds of value, a loop with everything writable."""
    return settings_of(
        [
            tag("boiler.temperature", windows_ns=(10 * NS_PER_S, MINUTE_NS)),
            tag("boiler.valve", unit="%"),
            tag("boiler.starts", Kind.I64, unit="", windows_ns=()),
            tag("meter.energy", Kind.U64, unit="Wh", windows_ns=()),
            tag("meter.power", unit="W"),
        ],
        {"boiler": 1, "meter": 2},
        loops=[loop("boiler", "boiler.temperature", "boiler.valve")],
        writable=("control.boiler.setpoint", "control.boiler.mode", "control.boiler.output"),
        **more,
    )


def model_of(settings: Settings) -> Model:
    devices = {device.name: index for index, device in enumerate(settings.devices)}
    return Model(
        devices=tuple(DeviceDefinition(device.name, device.link) for device in settings.devices),
        tags=tuple(
            TagDefinition(tag.name, devices[tag.device], tag.kind, tag.unit, tag.stale_after_ns, tag.windows_ns)
            for tag in settings.tags
        ),
    )


def map_of(settings: Settings, locked: tuple[Entry, ...] = ()) -> RegisterMap:
    assert settings.scada is not None
    return build_map(settings, settings.scada, locked)


def points_of(registers: RegisterMap) -> dict[tuple[int, str], Point]:
    """The points by unit and key."""
    return {(unit, point.key): point for unit in registers.units for point in registers.points(unit)}


class Bench:
    """A server over a fake plant, with a clock that stands still until a test moves it (`clock` may run instead)."""

    def __init__(self, settings: Settings, *, with_control: bool = True, locked: tuple[Entry, ...] = ()) -> None:
        assert settings.scada is not None
        self.settings = settings
        self.now_ns = 1_000 * NS_PER_S
        self.clock: Clock = lambda: self.now_ns
        self.beats = 0
        self.events: list[Event] = []
        self.model = model_of(settings)
        self.plant = FakePlant(self.model)
        self.control = FakeControl(len(settings.loops))
        self.registers = map_of(settings, locked)
        self.points = points_of(self.registers)
        from gateway.core.symbols import Symbols  # only here: it brings Numba, which the register map needs not

        self.symbols = Symbols()
        self.server = ScadaServer(
            settings=settings.scada,
            registers=self.registers,
            plant=self.plant,
            text_of=self.symbols.text_of,
            control=self.control if with_control else None,
            model=self.model,
            loops=tuple(loop.name for loop in settings.loops),
            now_ns=lambda: self.clock(),
            heartbeat=lambda: self.beats,
            emit=self.events.append,
        )

    def counted(self, name: str, **labels: str) -> float:
        wanted = tuple(labels.items())
        return sum(
            reading.value
            for reading in self.server.readings()
            if reading.name == f"fieldgate_scada_{name}" and (not wanted or reading.labels == wanted)
        )


class Caller:
    """A client as the answers know it, at some address, with the rights that the settings give it there."""

    def __init__(self, bench: Bench, host: str = "192.0.2.1") -> None:
        scada = bench.settings.scada
        assert scada is not None
        access = Access(clients=scada.clients, write_clients=scada.write_clients, rules=scada.rules)
        self.host = self.who = host
        self.peer = f"{host}:50000"
        self.rule = access.rule_of(host)
        self.refused = ""
        self.read_only = access.read_only(host)
        self.has_room = True
        self._bench = bench

    def ask(self, pdu: bytes, unit: int = 1) -> bytes:
        """The PDU of the answer."""
        return self._bench.server.answer(Adu(1, unit, pdu), self)

    def answer_later(self, adu: Adu, response: Coroutine[Any, Any, bytes]) -> None:
        raise AssertionError("no point of a tag is written here")


@asynccontextmanager
async def serving(bench: Bench) -> Any:
    await bench.server.start()
    try:
        yield bench
    finally:
        await bench.server.stop()


def request(pdu: bytes, unit: int = 1, transaction: int = 7) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def read_request(address: int, quantity: int, unit: int = 1, function: int = 3, transaction: int = 7) -> bytes:
    return request(struct.pack(">BHH", function, address, quantity), unit, transaction)
