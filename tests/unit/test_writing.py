"""Orders to write: what is sent, what is refused, what is remembered. Devices here are functions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.core import limits
from gateway.core.events import Event
from gateway.core.types import Quality
from gateway.core.view import LIVE
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.errands import NoAnswerError, NotConnectedError
from gateway.protocol.modbus.frames import DeviceRefusedError
from gateway.runtime.model import build_model
from gateway.settings.schema import Settings
from gateway.writing import audit, sending
from gateway.writing.audit import Line, Trail, TrailError
from gateway.writing.order import ValueRefusedError, order_of
from gateway.writing.service import Outcome, Result, Why, Writer
from tests.support.settings import examine_text

PLANT = """
[gateway]
id = "g"
[links.plc]
modbus_tcp = "10.0.0.5"
[devices.d]
link = "plc"
unit = 7
tags.word = { register = "holding 4", write = true }
tags.level = { register = "holding 5", type = "int16", scale = 0.5, write = true, valid = { low = -10, high = 50 } }
tags.flow = { register = "holding 6", type = "float32", write = true, word_order = "little", verify = true }
tags.total = { register = "holding 8", type = "uint64", write = true, not_available = [0xFFFFFFFFFFFFFFFF] }
tags.gear = { register = "holding 12", bits = "4..6", write = true, labels = { 1 = "slow", 2 = "fast" }, verify = true }
tags.swap = { register = "holding 12", bits = 3, type = "bool", write = true, byte_order = "little" }
tags.pump = { register = "coil 9", write = true }
tags.recipe = { register = "holding 30", type = "string", registers = 3, write = true, verify = true }
tags.letter = { register = "holding 36", type = "string", registers = 1, encoding = "utf-16", write = true }
tags.fixed = { register = "holding 20" }
tags.pv = { register = "holding 21", type = "float32", valid = { low = 0, high = 100 } }
tags.out = { register = "holding 23", write = true }
[devices.d.tags.swapped]
register = "holding 34"
type = "string"
registers = 2
byte_order = "little"
padding = "space"
write = true
[devices.many]
link = "plc"
unit = 8
write_with = "multiple"
tags.word = { register = "holding 4", write = true }
tags.pump = { register = "coil 9", write = true }
[devices.both]
link = "plc"
unit = 9
write_with = "read_write"
tags.word = { register = "holding 4", write = true, verify = true }
[control.c]
pid = { input = "d.pv", output = "d.out", setpoint = 50, kp = 2 }
limits = { min = 0, max = 100 }
failsafe = { output = 0 }
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return examine_text(tmp_path_factory.mktemp("plant"), PLANT).settings


@pytest.mark.parametrize(
    ("name", "value", "sent"),
    [
        ("d.word", "513", "06 0004 0201"),
        ("d.word", 513, "06 0004 0201"),
        ("d.level", -1.5, "06 0005 fffd"),
        ("d.flow", "1.5", "10 0006 0002 04 0000 3fc0"),
        ("d.total", str(2**63 + 1), "10 0008 0004 08 8000000000000001"),
        ("d.gear", "fast", "16 000c ff8f 0020"),
        ("d.gear", 7, "16 000c ff8f 0070"),
        ("d.swap", "on", "16 000c f7ff 0800"),
        ("d.pump", True, "05 0009 ff00"),
        ("d.pump", "off", "05 0009 0000"),
        ("d.recipe", "Bäck", "10 001e 0003 06 42c3a4636b00"),
        ("d.recipe", "1.50", "10 001e 0003 06 312e35300000"),
        ("d.swapped", "abc", "10 0022 0002 04 62612063"),
        ("d.letter", "Ω", "06 0024 03a9"),
        ("many.word", 1, "10 0004 0001 02 0001"),
        ("many.pump", 1, "0f 0009 0001 01 01"),
        ("both.word", 1, "17 0004 0001 0004 0001 02 0001"),
    ],
)
def test_a_value_is_sent_as_the_tag_and_its_device_want_it(
    settings: Settings, name: str, value: Any, sent: str
) -> None:
    tag = next(tag for tag in settings.tags if tag.name == name)
    order = order_of(tag, value)
    assert order.request.hex() == sent.replace(" ", "")
    assert order.unit == {"d": 7, "many": 8, "both": 9}[tag.device]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("d.word", "65536", "65536 does not fit uint16"),
        ("d.word", "1.5", "1.5 is not whole, and d.word is a whole number"),
        ("d.word", "many", '"many" is no number'),
        ("d.word", "nan", "nan is not a finite number"),
        ("d.level", 51, "51 is not valid for d.level: write -10 to 50"),
        ("d.total", str(2**64 - 1), "means that d.total has no value"),
        ("d.gear", "fastest", '"fastest" is no number and none of "slow", "fast"'),
        ("d.gear", 8, "8 does not fit the 3 bits of d.gear"),
        ("d.pump", 2, "2 is neither 0 nor 1"),
        ("d.recipe", "too long", "'too long' takes 8 bytes, and its 3 registers hold 6"),
        ("d.recipe", 7, "7 is not a text, and d.recipe is one"),
        ("d.letter", "ab", "'ab' takes 4 bytes"),
        ("d.flow", 1e39, "does not fit float32"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(settings: Settings, name: str, value: Any, says: str) -> None:
    tag = next(tag for tag in settings.tags if tag.name == name)
    with pytest.raises(ValueRefusedError) as refused:
        order_of(tag, value)
    assert says in str(refused.value)


class Device:
    """Holds registers and coils by address, and answers as a device does."""

    def __init__(self) -> None:
        self.registers = dict.fromkeys(range(100), 0)
        self.asked: list[bytes] = []
        self.faults: list[Exception] = []

    async def request(self, unit: int, asked: bytes) -> bytes:
        self.asked.append(asked)
        await asyncio.sleep(0)
        if self.faults:
            raise self.faults.pop(0)
        address, word = int.from_bytes(asked[1:3], "big"), int.from_bytes(asked[3:5], "big")
        match asked[0]:
            case Function.READ_HOLDING_REGISTERS:
                data = b"".join(self.registers[address + n].to_bytes(2, "big") for n in range(word))
                return bytes([asked[0], len(data)]) + data
            case Function.WRITE_SINGLE_REGISTER:
                self.registers[address] = word
            case Function.WRITE_MULTIPLE_REGISTERS:
                self._store(address, asked[6:])
                return asked[:5]
            case Function.MASK_WRITE_REGISTER:
                self.registers[address] = self.registers[address] & word | int.from_bytes(asked[5:7], "big") & ~word
            case Function.READ_WRITE_REGISTERS:
                self._store(int.from_bytes(asked[5:7], "big"), asked[10:])
                return bytes([asked[0], 2]) + self.registers[address].to_bytes(2, "big")
        return asked

    def _store(self, address: int, data: bytes) -> None:
        for n in range(len(data) // 2):
            self.registers[address + n] = int.from_bytes(data[2 * n : 2 * n + 2], "big")


class View:
    def live(self, rows: Any) -> Any:
        live = np.zeros(len(rows), LIVE)
        live["quality"] = Quality.GOOD
        live["bits"] = 3
        return live


class Rig:
    def __init__(self, settings: Settings, folder: Path) -> None:
        self.events: list[Event] = []
        self.device = Device()
        self.link: Device | None = self.device
        self.folder = folder
        self.trail = Trail(folder, wall_ns=lambda: 10**18, now_ns=lambda: 1, emit=self.events.append)
        self.writer = Writer(
            settings,
            model=build_model(settings),
            view=View(),  # type: ignore[arg-type]
            requesters=lambda name: self.link,
            trail=self.trail,
            text_of={3: "former"}.get,
            now_ns=lambda: 1,
            emit=self.events.append,
        )

    def lines(self) -> list[dict[str, Any]]:
        text = (self.folder / audit.FILE).read_text(encoding="utf-8") if (self.folder / audit.FILE).exists() else ""
        lines = [json.loads(line) for line in text.splitlines()]
        return [{key: value for key, value in line.items() if key not in ("number", "before")} for line in lines]


def run(rig: Rig, body: Callable[[], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        task = asyncio.create_task(rig.trail.run())
        try:
            await body()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(all_of_it())


def test_a_write_is_audited_before_and_after_and_told(settings: Settings, tmp_path: Path) -> None:
    rig = Rig(settings, tmp_path)

    async def body() -> None:
        outcome = await rig.writer.write("d.word", "42", way="local", who="eve")
        assert outcome == Outcome(tag="d.word", result=Result.WRITTEN, old="3", new="42")
        outcome = await rig.writer.write("d.gear", "fast", way="scada", who="10.0.0.7:5")
        assert outcome.result is Result.VERIFIED
        assert rig.device.registers[12] == 0x20
        outcome = await rig.writer.write("both.word", "9", way="local", who="eve")
        assert (outcome.result, len(rig.device.asked)) == (Result.VERIFIED, 4)

    run(rig, body)
    first, second = rig.lines()[:2]
    assert first == {
        "time": "2001-09-09T01:46:40.000+00:00", "id": first["id"], "way": "local", "who": "eve", "what": "d.word",
        "old": "3", "new": "42", "result": "sent",
    }  # fmt: skip
    assert second == first | {"result": "written"}
    assert [line["result"] for line in rig.lines()] == ["sent", "written", "sent", "verified", "sent", "verified"]
    told = [event for event in rig.events if event.kind != "audit.head"]
    assert told[0].kind == "write.written"
    assert told[0].message == "eve by local: d.word 3 -> 42: written"


def test_a_text_is_written_and_read_back_and_its_former_one_is_on_record(settings: Settings, tmp_path: Path) -> None:
    rig = Rig(settings, tmp_path)

    async def body() -> None:
        outcome = await rig.writer.write("d.recipe", "Bäck", way="local", who="eve")
        assert outcome == Outcome(tag="d.recipe", result=Result.VERIFIED, old="former", new="Bäck")
        assert [rig.device.registers[address] for address in (30, 31, 32)] == [0x42C3, 0xA463, 0x6B00]

    run(rig, body)
    assert rig.lines()[-1]["old"] == "former"


def test_a_write_that_the_stop_overtakes_before_it_is_sent_has_failed(settings: Settings, tmp_path: Path) -> None:
    """The disk is slow to take the line that goes before it."""
    rig = Rig(settings, tmp_path)

    async def both() -> None:
        write = asyncio.create_task(rig.writer.write("d.word", 1, way="local", who="eve"))
        await asyncio.sleep(0.01)
        stop = asyncio.create_task(rig.writer.finish(0.01))
        await asyncio.sleep(0.05)
        trail = asyncio.create_task(rig.trail.run())
        await stop
        assert (await write).result is Result.FAILED
        trail.cancel()
        await asyncio.gather(trail, return_exceptions=True)

    asyncio.run(both())
    assert rig.device.asked == []
    assert [line["result"] for line in rig.lines()] == ["sent", "failed"]
    assert rig.lines()[-1]["reason"] == "the gateway was stopped before it was sent"


def test_each_refusal_has_its_reason_and_sends_nothing(settings: Settings, tmp_path: Path) -> None:
    rig = Rig(settings, tmp_path)

    async def body() -> None:
        for name, value, why, says in [
            ("d.wrod", 1, Why.UNKNOWN, 'd.wrod is not a tag; did you mean "d.word"?'),
            ("d.fixed", 1, Why.FORBIDDEN, "d.fixed is read only; write = true in that tag allows it"),
            ("d.out", 1, Why.FORBIDDEN, "loop c has d.out: write its setpoint, or its output in manual"),
            ("d.word", -1, Why.VALUE, "-1 does not fit uint16"),
        ]:
            outcome = await rig.writer.write(name, value, way="local", who="eve")
            assert (outcome.result, outcome.why) == (Result.REFUSED, why)
            assert says in outcome.reason
        assert rig.device.asked == []
        rig.link = None
        outcome = await rig.writer.write("d.word", 1, way="local", who="eve")
        assert (outcome.result, outcome.why) == (Result.FAILED, Why.AWAY)

    run(rig, body)
    assert [line["result"] for line in rig.lines()] == ["refused"] * 4 + ["failed"]
    assert all(line["reason"] for line in rig.lines())


def test_nothing_is_written_while_writing_is_inhibited(tmp_path: Path) -> None:
    text = PLANT.replace('id = "g"', 'id = "g"\ninhibit_writes = true')
    rig = Rig(examine_text(tmp_path, text).settings, tmp_path)

    async def body() -> None:
        outcome = await rig.writer.write("d.word", 1, way="scada", who="x")
        assert outcome.reason == "writing is inhibited: inhibit_writes is on under [gateway]"

    run(rig, body)
    assert rig.device.asked == []


def test_a_busy_device_is_asked_again_and_what_it_says_otherwise_is_the_result(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "BUSY_RETRY_S", 0.01)
    rig = Rig(settings, tmp_path)

    async def body() -> None:
        for faults, result, says in [
            ([DeviceRefusedError(6), DeviceRefusedError(5)], Result.WRITTEN, ""),
            ([DeviceRefusedError(6)] * 5, Result.REJECTED, "server device busy"),
            ([DeviceRefusedError(2)], Result.REJECTED, "illegal data address: check address and table"),
            ([DeviceRefusedError(11)], Result.UNCERTAIN, "gateway target failed to respond"),
            ([NoAnswerError("unit 7: no reply")], Result.UNCERTAIN, "it may have been carried out"),
            ([NotConnectedError("plc is not connected")], Result.FAILED, "plc is not connected"),
        ]:
            rig.device.faults = list(faults)
            outcome = await rig.writer.write("d.word", 1, way="local", who="eve")
            assert outcome.result is result, outcome
            assert says in outcome.reason

    run(rig, body)


def test_a_device_that_confirms_and_holds_something_else_is_told(settings: Settings, tmp_path: Path) -> None:
    rig = Rig(settings, tmp_path)

    async def body() -> None:
        rig.device._store = lambda address, data: None  # type: ignore[method-assign]
        outcome = await rig.writer.write("d.flow", 1.5, way="local", who="eve")
        assert outcome.result is Result.DIFFERS
        assert "holds 0000 0000" in outcome.reason
        outcome = await rig.writer.write("d.flow", 1.5, way="local", who="eve", verify=False)
        assert outcome.result is Result.WRITTEN

    run(rig, body)


def test_without_a_trail_nothing_is_sent(settings: Settings, tmp_path: Path) -> None:
    rig = Rig(settings, tmp_path / "missing")

    async def body() -> None:
        outcome = await rig.writer.write("d.word", 1, way="local", who="eve")
        assert (outcome.result, outcome.why) == (Result.FAILED, Why.FAULT)
        assert "cannot be kept" in outcome.reason
        assert rig.device.asked == []
        (tmp_path / "missing").mkdir()
        outcome = await rig.writer.write("d.word", 1, way="local", who="eve")
        assert outcome.result is Result.WRITTEN

    run(rig, body)
    assert [event.kind for event in rig.events if event.kind.startswith("audit.")] == [
        "audit.broken", "audit.lost", "audit.head", "audit.kept",
    ]  # fmt: skip


def test_a_write_goes_on_when_whoever_asked_hangs_up(settings: Settings, tmp_path: Path) -> None:
    rig = Rig(settings, tmp_path)

    async def body() -> None:
        asking = asyncio.create_task(rig.writer.write("d.word", 1, way="local", who="eve"))
        while not rig.device.asked:
            await asyncio.sleep(0)
        asking.cancel()
        while len(rig.lines()) < 2:
            await asyncio.sleep(0.01)

    run(rig, body)
    assert [line["result"] for line in rig.lines()] == ["sent", "written"]


def test_a_full_file_is_put_aside_and_the_oldest_deletion_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "AUDIT_FILE_BYTES_MAX", 300)
    monkeypatch.setattr(audit, "AUDIT_FILES_MAX", 3)
    events: list[Event] = []
    walls = iter(range(10**18, 10**18 + 10**12, 10**9))
    trail = Trail(tmp_path, wall_ns=lambda: next(walls), now_ns=lambda: 1, emit=events.append)

    async def body() -> None:
        task = asyncio.create_task(trail.run())
        for n in range(20):
            await trail.note(Line(id=f"{n}", way="local", who="eve", what="d.word", new="1", result="sent"))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(body())
    kept = sorted(tmp_path.glob("*.jsonl"))
    assert len(kept) == 3
    numbers = sorted(int(json.loads(line)["id"]) for file in kept for line in file.read_text().splitlines())
    assert numbers == list(range(numbers[0], 20))
    assert {event.kind for event in events} == {"audit.deleted", "audit.head"}


def test_a_trail_that_nobody_writes_out_fills_up_and_says_so(tmp_path: Path) -> None:
    trail = Trail(tmp_path, wall_ns=lambda: 1, now_ns=lambda: 1, emit=lambda event: None)

    async def body() -> None:
        line = Line(id="1", way="local", who="eve", what="d.word", new="1", result="sent")
        for _ in range(limits.AUDIT_WAITING_MAX):
            trail.post(line)
        with pytest.raises(TrailError, match="wait for the disk already"):
            trail.post(line)

    asyncio.run(body())


def test_a_write_that_the_stop_overtakes_is_on_record_as_uncertain(settings: Settings, tmp_path: Path) -> None:
    rig = Rig(settings, tmp_path)

    async def never(unit: int, asked: bytes) -> bytes:
        rig.device.asked.append(asked)
        await asyncio.Event().wait()
        return b""

    async def body() -> None:
        rig.device.request = never  # type: ignore[method-assign]
        asking = asyncio.create_task(rig.writer.write("d.word", 1, way="local", who="eve"))
        while not rig.device.asked:
            await asyncio.sleep(0)
        await rig.writer.finish(0.01)
        assert (await asking).result is Result.UNCERTAIN

    run(rig, body)
    assert rig.lines()[-1]["reason"] == "the gateway was stopped before the device answered"
