"""Single requests out of the schedule: before reads, without starving them, each answered or refused by name."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from gateway.core.limits import ERRANDS_WAITING_MAX
from gateway.protocol.modbus import pdu
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.errands import CrowdedError, NoAnswerError, NotConnectedError
from gateway.protocol.modbus.frames import DeviceRefusedError
from gateway.sources.modbus.errands import RUN_MAX
from gateway.sources.modbus.fast_memory import ASKS_MAX
from gateway.sources.modbus.source import ModbusSource
from tests.support.modbus import Asked, Rig, pymodbus_server, running, scripted, silent, tag, until


@pytest.fixture(autouse=True, params=["thread", "loop"])
def polled_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever polls, errands are the same."""
    monkeypatch.setattr(Rig, "polled_by", request.param)


READ = pdu.read(Function.READ_HOLDING_REGISTERS, 7, 2)


def test_every_write_reaches_a_pymodbus_server_and_is_echoed() -> None:
    async def body() -> None:
        async with pymodbus_server([0] * 20, [False] * 20) as port, running(Rig([tag("a", 1)], port)) as rig:
            await until(lambda: rig.reading("connected") == 1, "connected")
            request = rig.source.request
            for written in (
                pdu.write_coil(3, True),
                pdu.write_register(4, b"\x12\x34"),
                pdu.write_coils(5, [True, False, True]),
                pdu.write_registers(9, b"\x00\x01\x00\x02"),
                pdu.mask_write(4, keep=0xFF00, put=0x0056),
            ):
                pdu.check_echo(written, await request(1, written))
            coils = pdu.read(Function.READ_COILS, 3, 5)
            assert pdu.read_data(coils, await request(1, coils)) == b"\x15"
            registers = pdu.read(Function.READ_HOLDING_REGISTERS, 4, 1)
            assert pdu.read_data(registers, await request(1, registers)) == b"\x12\x56"
            both = pdu.read_write(9, 3, 10, b"\x00\x09\x00\x08")
            assert pdu.read_data(both, await request(1, both)) == b"\x00\x01\x00\x09\x00\x08"
            asked = pdu.read_identification()
            found = pdu.identification(asked, await request(1, asked))
            assert found.objects == {0: b"acme", 1: b"P1", 2: b"2.1"}
            assert rig.reading("errands_total") == 9

    asyncio.run(body())


def test_errands_go_before_reads_and_starve_none() -> None:
    async def body() -> None:
        order: list[int] = []

        async def noted(asked: Asked, writer: asyncio.StreamWriter) -> None:
            order.append(asked.unit)
            await asyncio.sleep(0.002)
            writer.write(asked.reply())

        async with scripted({None: noted}) as server:
            # Two units that are always due, and errands to a third.
            tags = [tag("a", 1, unit=unit, every_ms=1) for unit in (1, 2)]
            async with running(Rig(tags, server.port)) as rig:
                await until(lambda: len(order) > 5, "the link is busy")
                order.clear()
                answers = await asyncio.gather(*(rig.source.request(9, READ) for _ in range(40)))
                assert {pdu.read_data(READ, answer) for answer in answers} == {(9007).to_bytes(2, "big") + b"\x23\x30"}
        first, last = order.index(9), len(order) - 1 - order[::-1].index(9)
        during = order[first : last + 1]
        runs = "".join("e" if unit == 9 else "r" for unit in during)
        assert "e" * (RUN_MAX + 1) not in runs, runs
        assert "rr" not in runs, runs
        assert runs.count("r") >= 8, runs

    asyncio.run(body())


def test_an_errand_ends_with_what_became_of_it() -> None:
    async def refusing(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(asked.exception(2))

    async def body() -> None:
        async with scripted({3: refusing, 4: silent}) as server:
            rig = Rig([tag("a", 1)], server.port, timeout_ms=100)
            with pytest.raises(NotConnectedError, match="is not connected"):
                await rig.source.request(1, READ)
            async with running(rig):
                await until(lambda: rig.reading("connected") == 1, "connected")
                with pytest.raises(DeviceRefusedError, match="illegal data address"):
                    await rig.source.request(3, READ)
                with pytest.raises(NoAnswerError, match="unit 4 on plc: no reply within 0"):
                    await rig.source.request(4, READ)
                most = ERRANDS_WAITING_MAX if isinstance(rig.source, ModbusSource) else ASKS_MAX
                waiting = [asyncio.ensure_future(rig.source.request(4, READ)) for _ in range(most + 2)]
                await asyncio.sleep(0)
                with pytest.raises(CrowdedError, match="try again later"):
                    await waiting[-1]
                for writer in list(server.writers):
                    writer.transport.abort()
                ends = await asyncio.gather(*waiting[:-1], return_exceptions=True)
                assert {type(end) for end in ends} <= {NoAnswerError, NotConnectedError, CrowdedError}
                assert "unit.silent" not in rig.kinds()

    asyncio.run(body())


def test_a_busy_unit_is_asked_again_later_and_its_breaker_stays_closed() -> None:
    async def body() -> None:
        times: list[float] = []

        async def busy(asked: Asked, writer: asyncio.StreamWriter) -> None:
            times.append(asyncio.get_running_loop().time())
            writer.write(asked.exception(6) if len(times) < 3 else asked.reply())

        async with scripted({1: busy}) as server, running(Rig([tag("a", 1, every_ms=20)], server.port)) as rig:
            await until(lambda: len(rig.of(0)) > 0, "it is read in the end")
            await until(lambda: "unit.answers" in rig.kinds(), "that is told")
            assert all(later - earlier >= 0.499 for earlier, later in pairwise(times[:3]))
            assert times[2] - times[0] < 1.5
            assert rig.kinds() == ["link.up", "unit.busy", "unit.answers"]
            assert list(rig.of(0)["value"]) == [1001] * len(rig.of(0))

    asyncio.run(body())
