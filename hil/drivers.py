"""What a scenario runs against: the executive in this process, or the whole daemon as a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, Protocol

from gateway.control.handle import ControlExecutive
from gateway.core.types import NS_PER_MS, Kind
from gateway.core.view import Mode
from gateway.settings.schema import ModbusLink, ModbusPoint, PidLoop, RegisterType, Table, Tag
from hil.devices.plc import HEARTBEAT, VALVE
from hil.hardware import Hardware, Register
from hil.scenario import LoopTable

ANY: Final = 1e6
DOWN_WITHIN_S: Final = 20.0
RELOADED_GAIN: Final = 1.5

CONFIGURATION: Final = """\
[gateway]
id = "hil"
log_level = "warning"

[links.plc]
{link}

[devices.plant]
link = "plc"
tags.value = {{ register = "holding 0", type = "float32" }}
tags.actuator = {{ register = "holding {valve}", scale = 0.1, write = true, valid = {{ low = 0, high = 100 }} }}
tags.heartbeat = {{ register = "holding {heartbeat}", write = true }}

[defaults]
every = "40ms"

[control.loop]
pid.input = "plant.value"
pid.output = "plant.actuator"
pid.setpoint = {setpoint}
pid.kp = {kp}
pid.ti = "{ti_ms}ms"
pid.every = "{every_ms}ms"
failsafe = {{ output = {failsafe}, when_older_than = "{stale_after_ms}ms" }}
"""
HEARTBEATS: Final = """
[blocks]
beat.counter = { every = "100ms" }

[control.heartbeat]
follow = { input = "blocks.beat", output = "plant.heartbeat", every = "50ms" }
limits = { min = 0, max = 65535 }
failsafe = { output = "hold" }
"""


def line(path: str, baud: int) -> str:
    """A link's settings: a serial line with RTU frames."""
    return f'modbus_rtu = "{path}"\nbaud = {baud}\nresponse_timeout = "200ms"'


class Driver(Protocol):
    def start(self) -> None: ...

    def set_setpoint(self, value: float) -> None: ...

    def fault(self, fault: str) -> None: ...

    def stop(self) -> None: ...


def point(there: Hardware, register: Register, *, writable: bool = False) -> ModbusPoint:
    return ModbusPoint(
        unit=there.unit,
        table=Table(register.table),
        address=register.address,
        type=register.type,
        every_ns=1,
        scale=register.scale,
        offset=register.offset,
        writable=writable,
    )


class Executive:
    """The executive alone."""

    def __init__(self, port: int, loop: LoopTable, hardware: Hardware | None = None) -> None:
        """Against the simulated device at `port` of this machine, or against `hardware`."""

        def tag(name: str, row: int, point: ModbusPoint) -> tuple[int, Tag]:
            return row, Tag(
                name=name, device="plant", point=point, kind=Kind.F64, windows_ns=(), stale_after_ns=NS_PER_MS
            )

        there = hardware or Hardware(
            modbus_tcp=f"127.0.0.1:{port}",
            measurement=Register(address=0, type=RegisterType.FLOAT32),
            actuator=Register(address=VALVE, scale=0.1),
            response_timeout_ms=100,
        )
        value, actuator = point(there, there.measurement), point(there, there.actuator, writable=True)
        self._control = ControlExecutive(
            loops=[
                PidLoop(
                    name="loop",
                    input="plant.value",
                    output="plant.actuator",
                    setpoint=loop.setpoint,
                    setpoint_min=-ANY,
                    setpoint_max=ANY,
                    kp=loop.kp,
                    ti_s=loop.ti_s,
                    td_s=loop.td_s,
                    setpoint_weight=loop.setpoint_weight,
                    every_ns=loop.every_ms * NS_PER_MS,
                    output_min=there.actuator.low,
                    output_max=there.actuator.high,
                    failsafe_output=loop.failsafe,
                    stale_after_ns=loop.stale_after_ms * NS_PER_MS,
                )
            ],
            tags={"plant.value": tag("plant.value", 0, value), "plant.actuator": tag("plant.actuator", 1, actuator)},
            links={
                "plant": ModbusLink(
                    name="plc",
                    host=there.host,
                    port=there.port,
                    connect_timeout_ns=500 * NS_PER_MS,
                    response_timeout_ns=there.response_timeout_ms * NS_PER_MS,
                )
            },
            now_ns=time.monotonic_ns,
            emit=lambda event: None,
            real_time=False,
        )

    def start(self) -> None:
        self._control.start()

    def set_setpoint(self, value: float) -> None:
        self._control.write_setpoint(0, value)

    def look(self) -> tuple[float, float]:
        """Measurement and actuator as the executive knows them."""
        record = self._control.loops()[0]
        return float(record["process_value"]), float(record["output"])

    def is_controlling(self) -> bool:
        return int(self._control.loops()[0]["mode"]) == Mode.AUTO

    def fault(self, fault: str) -> None:
        raise NotImplementedError(fault)

    def stop(self) -> None:
        self._control.stop(5.0)


class Daemon:
    """The whole gateway; its files are gone afterwards."""

    def __init__(self, port: int, loop: LoopTable, line: str = "") -> None:
        """At the port of this machine, or by a link with these settings; there, nobody counts a heartbeat."""
        self._link = line or f'modbus_tcp = "127.0.0.1:{port}"\nresponse_timeout = "100ms"'
        self._heartbeats = "" if line else HEARTBEATS
        self._folder = tempfile.TemporaryDirectory(prefix="fieldgate-hil-")
        self._file = Path(self._folder.name, "gateway.toml")
        self._loop = loop
        self._write(loop.kp)
        self._process: subprocess.Popen[bytes] | None = None

    def _write(self, kp: float) -> None:
        loop = self._loop
        self._file.write_text(
            CONFIGURATION.format(
                link=self._link,
                valve=VALVE,
                heartbeat=HEARTBEAT,
                setpoint=loop.setpoint,
                kp=kp,
                ti_ms=round(1000 * loop.ti_s),
                every_ms=loop.every_ms,
                failsafe='"hold"' if loop.failsafe is None else loop.failsafe,
                stale_after_ms=loop.stale_after_ms,
            )
            + self._heartbeats,
            encoding="utf-8",
        )

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", "gateway", "run", "--config", str(self._file)])

    def set_setpoint(self, value: float) -> None:
        raise NotImplementedError(value)

    def fault(self, fault: str) -> None:
        if fault == "start":
            self.start()
        elif fault == "reload" and self._process is not None:
            self._write(RELOADED_GAIN * self._loop.kp)
            self._process.send_signal(signal.SIGHUP)
        elif self._process is not None:
            wanted = {"pause": signal.SIGSTOP, "resume": signal.SIGCONT, "kill": signal.SIGKILL}
            self._process.send_signal(wanted[fault])
            if fault == "kill":
                self._process.wait()

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(DOWN_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._folder.cleanup()
