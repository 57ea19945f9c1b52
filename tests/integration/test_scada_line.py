"""The Modbus server at a serial port: libmodbus (mbpoll) and plain bytes at the other end of a pseudo-terminal."""

from __future__ import annotations

import asyncio
import os
import re
import struct
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from gateway.protocol.modbus.codes import ModbusException
from gateway.protocol.modbus.rtuserver import rtu_frame
from gateway.serving.scada import line as scada_line
from gateway.serving.scada.server import ListenError
from gateway.settings.schema_modbus import Parity, SerialPort
from gateway.settings.schema_scada import ScadaLine
from tests.integration.test_scada_clients import needs_mbpoll
from tests.support.lines import Line, plugged
from tests.support.scada import Bench, boiler_house, serving
from tests.support.settings import HEAD, examine_text, problems_of

Run = Callable[[Coroutine[Any, Any, None]], None]
BAUD = 115_200
READ = struct.pack(">BHH", 3, 5_000, 2)
SETPOINT = struct.pack(">BHHBf", 16, 100, 2, 4, 61.5)
on_both_loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


def bench_of(path: Path, *, units: tuple[tuple[int, int], ...] = ((1, 247),), may_write: bool = True) -> Bench:
    settings = boiler_house()
    assert settings.scada is not None
    port = SerialPort(path=str(path), baud=BAUD)
    line = ScadaLine(serial=port, units=units, may_write=may_write)
    scada = msgspec.structs.replace(settings.scada, has_tcp=False, line=line)
    return Bench(msgspec.structs.replace(settings, scada=scada))


class Master:
    """The other end of the line."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def ask(self, unit: int, pdu: bytes, within_s: float = 5.0) -> bytes:
        """The PDU of the answer, whose length the line's silence says."""
        self.say(rtu_frame(unit, pdu))
        frame = await self.heard(within_s)
        assert frame, "no answer"
        assert rtu_frame(frame[0], frame[1:-2]) == frame
        assert frame[0] == unit
        return frame[1:-2]

    def say(self, data: bytes) -> None:
        os.write(self._line.master, data)

    async def heard(self, within_s: float) -> bytes:
        """What comes, until nothing more does; nothing when it stays silent."""
        data = b""
        end_s = time.monotonic() + within_s
        while time.monotonic() < end_s:
            await asyncio.sleep(0.01)
            with suppress(BlockingIOError):
                data += os.read(self._line.master, 4_096)
                end_s = min(end_s, time.monotonic() + 0.1)
        return data


async def until(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)
    assert condition(), what


@needs_mbpoll
def test_mbpoll_reads_several_units_and_writes_a_setpoint_over_rtu(tmp_path: Path) -> None:
    """mbpoll (libmodbus) at a pseudo-terminal of its own; its bytes are carried to the gateway's."""

    async def mbpoll(port: str, unit: int, address: int, kind: str, *values: str) -> str:
        command = ["mbpoll", "-m", "rtu", "-b", str(BAUD), "-P", "even", "-0", "-1", "-B", "-o", "5"]
        command += ["-a", str(unit), "-r", str(address), "-t", kind, port, *values]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await asyncio.wait_for(process.communicate(), 20)
        return output.decode()

    async def body() -> None:
        with plugged(tmp_path / "gateway") as ours, plugged(tmp_path / "mbpoll") as theirs:
            async with serving(bench_of(ours.path)) as bench:
                loop = asyncio.get_running_loop()

                def carry(source: Line, to: Line) -> None:
                    with suppress(BlockingIOError):
                        os.write(to.master, os.read(source.master, 4_096))

                loop.add_reader(ours.master, carry, ours, theirs)
                loop.add_reader(theirs.master, carry, theirs, ours)
                bench.plant.set("boiler.temperature", 78.5, bench.now_ns)
                bench.plant.set("meter.power", 1_234.5, bench.now_ns)
                for unit, key, value in ((1, "boiler.temperature/value", 78.5), (2, "meter.power/value", 1_234.5)):
                    address = bench.points[unit, key].address
                    output = await mbpoll(theirs.device, unit, address, "4:float")
                    found = re.search(rf"\[{address}\]:\s+(\S+)", output)
                    assert found is not None, output
                    assert float(found[1]) == value
                output = await mbpoll(theirs.device, 100, 100, "4:float", "66.25")
                assert "Written 1 references" in output, output
                assert bench.control.state["setpoint"][0] == 66.25
                assert "Illegal data address" in await mbpoll(theirs.device, 1, 40_000, "4")
                loop.remove_reader(ours.master)
                loop.remove_reader(theirs.master)
                assert bench.counted("line_up") == 1

    asyncio.run(body())


@on_both_loops
def test_reads_writes_and_exceptions_are_those_of_the_tcp_server_and_audited_by_the_port(
    run: Run, tmp_path: Path
) -> None:
    async def body() -> None:
        with plugged(tmp_path / "port") as line:
            async with serving(bench_of(line.path)) as bench:
                bench.plant.set("boiler.temperature", 78.5, bench.now_ns)
                master = Master(line)
                assert await master.ask(1, READ) == b"\x03\x04" + struct.pack(">f", 78.5)
                assert await master.ask(100, SETPOINT) == SETPOINT[:5]
                assert bench.control.state["setpoint"][0] == 61.5
                assert bench.events[-1].kind == "scada.write.accepted"
                assert bench.events[-1].message == f"{line.path} wrote control.boiler/setpoint: 50 -> 61.5"
                assert await master.ask(1, struct.pack(">BHH", 3, 40_000, 1)) == b"\x83\x02"
                assert await master.ask(1, b"\x11") == b"\x91\x01", "a function that it does not know"
                assert bench.counted("line_discarded_bytes_total") == 0
                assert bench.counted("exceptions_total", code="2") == 1

    run(body())


@on_both_loops
def test_others_on_the_line_are_left_alone(run: Run, tmp_path: Path) -> None:
    async def body() -> None:
        with plugged(tmp_path / "port") as line:
            async with serving(bench_of(line.path, units=((1, 1), (100, 247)))) as bench:
                master = Master(line)
                master.say(rtu_frame(9, READ))
                master.say(rtu_frame(9, b"\x03\x04\x00\x01\x00\x02"))
                master.say(rtu_frame(2, READ))  # of the map, and not for this line
                master.say(rtu_frame(0, struct.pack(">BHH", 6, 104, 0)))
                assert await master.heard(0.3) == b""
                assert bench.control.state["mode"][0] != 0
                master.say(b"\xff")  # a driver that is switched on
                assert (await master.ask(1, READ))[0] == 3
                assert bench.counted("requests_total", function="3") == 1
                assert bench.counted("line_discarded_bytes_total") == 1

    run(body())


def test_a_line_that_may_not_write_reads_only(tmp_path: Path) -> None:
    async def body() -> None:
        with plugged(tmp_path / "port") as line:
            async with serving(bench_of(line.path, may_write=False)) as bench:
                assert await Master(line).ask(100, SETPOINT) == b"\x90\x01"
                assert bench.control.state["setpoint"][0] == 50.0
                assert "write is false under [scada.modbus_rtu]" in bench.events[-1].message

    uvloop.run(body())


def test_an_answer_that_comes_after_the_line_went_on_is_never_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that takes its time with a write: the master gives up and asks for something else."""

    async def body() -> None:
        with plugged(tmp_path / "port") as line:
            bench = bench_of(line.path)
            answered = asyncio.Event()

            async def slow() -> bytes:
                await answered.wait()
                return bytes([0x86, ModbusException.SERVER_DEVICE_FAILURE])

            answer = bench.server.answer

            def patched(adu: Any, client: Any) -> bytes:
                if adu.pdu[0] != 6:
                    return answer(adu, client)
                client.answer_later(adu, slow())
                return b""

            monkeypatch.setattr(bench.server, "answer", patched)
            async with serving(bench):
                master = Master(line)
                master.say(rtu_frame(1, struct.pack(">BHH", 6, 104, 1)))
                assert await master.heard(0.2) == b""
                assert (await master.ask(1, READ))[0] == 3
                answered.set()
                assert await master.heard(0.3) == b""
                assert bench.counted("line_late_answers_total") == 1
                master.say(rtu_frame(1, struct.pack(">BHH", 6, 104, 1)))
                assert (await master.heard(5))[1:3] == b"\x86\x04", "in time, it is sent"
                # Asked twice before the first was read: only the last is answered.
                master.say(rtu_frame(1, READ) + rtu_frame(2, READ))
                assert (await master.heard(5))[0] == 2
                assert bench.counted("line_late_answers_total") == 2

    asyncio.run(body())


@on_both_loops
def test_a_port_that_is_pulled_out_is_told_once_and_comes_back(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scada_line, "RETRY_S", 0.05)

    async def body() -> None:
        with plugged(tmp_path / "port") as line:
            async with serving(bench_of(line.path)) as bench:
                master = Master(line)
                assert (await master.ask(1, READ))[0] == 3
                line.unplug()
                await until(lambda: bench.counted("line_up") == 0, "it is noticed")
                await asyncio.sleep(0.3)
                assert [event.kind for event in bench.events] == ["scada.line.up", "scada.line.down"]
                line.plug()
                await until(lambda: bench.counted("line_up") == 1, "it is found again")
                assert (await master.ask(1, READ))[0] == 3
                assert [event.kind for event in bench.events][2:] == ["scada.line.up"]

    run(body())


def test_a_port_that_is_not_there_holds_nothing_else_up(tmp_path: Path) -> None:
    async def body() -> None:
        async with serving(bench_of(tmp_path / "nowhere")) as bench:
            (event,) = bench.events
            assert event.kind == "scada.line.down"
            assert "is not there: plug the adapter in" in event.message
            assert bench.counted("line_up") == 0
        bench = bench_of(tmp_path / "nowhere", units=((33, 40),))
        with pytest.raises(ListenError, match="none of the units under units is in the register map"):
            await bench.server.start()

    uvloop.run(body())


# --- settings


def test_a_line_is_read_from_the_configuration(tmp_path: Path) -> None:
    table = '[scada]\nmodbus_rtu = { port = "/dev/ttyS1", baud = 9600, parity = "none", units = [1, "3-5"] }\n'
    scada = examine_text(tmp_path, HEAD + table).settings.scada
    assert scada is not None
    assert scada.line == ScadaLine(
        serial=SerialPort(path="/dev/ttyS1", baud=9_600, parity=Parity.NONE, stop_bits=2),
        units=((1, 1), (3, 5)),
        may_write=True,
    )
    assert scada.places == ("/dev/ttyS1 (RTU, 9600 baud, 8N2)",)
    named = table.replace("[scada]\n", '[scada]\nwrite_clients = ["10.0.0.7"]\n')
    scada = examine_text(tmp_path, HEAD + named).settings.scada
    assert scada is not None
    assert scada.line is not None
    assert not scada.line.may_write, "who may write is said, and the line is not among them"


def test_wrong_lines_are_named(tmp_path: Path) -> None:
    for table, says in (
        ("{}", 'scada.modbus_rtu.port: is missing; write port = "/dev/serial/by-id/usb-..."'),
        ('{ port = "ttyS1" }', '"ttyS1" is not a port; write its whole path, like "/dev/ttyS1"'),
        ('{ port = "/dev/ttyS1", baud = 9601 }', "9601 is no baud rate"),
        ('{ port = "/dev/ttyS1", units = ["5-3"] }', "does not rise"),
        ('{ port = "/dev/ttyS1", baut = 9600 }', "is not a setting here"),
    ):
        (problem,) = problems_of(tmp_path, HEAD + f"[scada]\nmodbus_rtu = {table}\n")
        assert says in str(problem)
