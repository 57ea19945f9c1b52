"""Misbehaving Modbus peers: what a fault costs, whom it costs, and how it is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvloop

from gateway.core.types import Quality
from tests.support.modbus import Answer, Asked, Rig, good, running, scripted, silent, tag, until

GOOD, COMM, CONFIG = int(Quality.GOOD), int(Quality.BAD_COMM_FAILURE), int(Quality.BAD_CONFIG)


@pytest.fixture(autouse=True, params=["thread", pytest.param("loop", marks=pytest.mark.slow)])
def polled_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rig, "polled_by", request.param)


async def wrong_unit(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(asked.reply(unit=asked.unit + 1))


async def wrong_length(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(asked.reply(data=asked.values()[:-2]))


async def wrong_function(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(asked.reply(function=asked.function + 1))


async def wrong_count(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(asked.frame(bytes([asked.function, 77]) + asked.values()))


async def wrong_transaction(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(asked.reply(transaction=asked.transaction ^ 0x4000))


def test_three_dead_units_of_ten_leave_the_living_95_percent_of_their_reads() -> None:
    """One request in flight, all answer first, then three fall silent; counted from the onset.

    What the living should get is what they get on a link beside it, where nobody dies: a slow machine slows both.
    """

    async def body() -> None:
        units = range(1, 11)
        tags = [tag("a", 1, unit=unit, every_ms=100) for unit in units]
        async with (
            scripted({}) as server,
            scripted({}) as sound,
            running(Rig(tags, server.port, timeout_ms=300)) as rig,
            running(Rig(tags, sound.port, timeout_ms=300)) as beside,
        ):
            await until(lambda: all(len(rig.of(row)) >= 3 for row in range(10)), "all answer")
            await until(lambda: all(len(beside.of(row)) >= 3 for row in range(10)), "all answer beside it")
            dead = (2, 5, 9)
            server.answers.update(dict.fromkeys(dead, silent))
            before, before_beside = server.asked.copy(), sound.asked.copy()
            await asyncio.sleep(6)
            alive = [unit for unit in units if unit not in dead]
            expected = min(sound.asked[unit] - before_beside[unit] for unit in alive)
            share = min(server.asked[unit] - before[unit] for unit in alive) / expected
            print(f"least share of reads: {share:.3f} of {expected}")
            assert share >= 0.95
            assert all(rig.qualities(unit - 1) == [GOOD] for unit in alive)
            assert all(rig.qualities(unit - 1) == [GOOD, COMM] for unit in dead)
            await until(lambda: sorted(rig.kinds()) == ["link.up"] + ["unit.silent"] * 3, "it is told")
            assert sum(server.asked[unit] - before[unit] for unit in dead) < 3 * 10
            assert rig.reading("device_up", device="u5") == 0
            assert rig.reading("device_up", device="u4") == 1
            server.answers.clear()
            server.answers[None] = good
            await until(lambda: all(rig.qualities(unit - 1) == [GOOD, COMM, GOOD] for unit in dead), "they return", 12)
            await until(lambda: rig.kinds().count("unit.answers") == 3, "it is told")

    uvloop.run(body())


def test_units_dead_from_the_start_do_not_hold_up_their_neighbours() -> None:
    async def body() -> None:
        async with scripted({1: silent, 2: silent, 3: silent}) as server:
            tags = [tag("a", 1, unit=unit, every_ms=50) for unit in range(1, 11)]
            async with running(Rig(tags, server.port, timeout_ms=1_000)):
                # The first requests of a link have nothing to be measured by: half a second each, once.
                await until(lambda: all(server.asked[unit] >= 20 for unit in range(4, 11)), "the living are read", 4)
                assert max(server.asked[unit] for unit in (1, 2, 3)) <= 6

    asyncio.run(body())


def test_a_slow_unit_is_not_taken_for_a_dead_one() -> None:
    """It answers later than it was waited for at first; its replies still count and teach patience."""

    async def slow(asked: Asked, writer: asyncio.StreamWriter) -> None:
        asyncio.get_running_loop().call_later(0.15, writer.write, asked.reply())

    async def body() -> None:
        async with scripted({}) as server:
            tags = [tag("a", 1, unit=unit) for unit in (1, 2)]
            async with running(Rig(tags, server.port, timeout_ms=1_000)) as rig:
                await until(lambda: len(rig.of(0)) > 5 and len(rig.of(1)) > 5, "both answer")
                server.answers[2] = slow
                n = len(rig.of(1))
                await until(lambda: len(rig.of(1)) > n + 8, "the slow one goes on")
                assert rig.kinds() == ["link.up"]
                assert rig.qualities(1) == [GOOD]
                assert rig.reading("timeouts_total") == 0

    asyncio.run(body())


@pytest.mark.parametrize("answer", [wrong_unit, wrong_length, wrong_function, wrong_count])
def test_a_reply_that_does_not_fit_fails_its_request_alone(answer: Answer) -> None:
    async def body() -> None:
        async with scripted({}) as server:
            tags = [tag("a", 1, unit=unit) for unit in (1, 2)]
            async with running(Rig(tags, server.port)) as rig:
                await until(lambda: len(rig.of(0)) > 2 and len(rig.of(1)) > 2, "both answer")
                server.answers[1] = answer
                await until(lambda: rig.qualities(0) == [GOOD, COMM], "its tag is bad")
                n = len(rig.of(1))
                await until(lambda: len(rig.of(1)) > n + 10, "the neighbour goes on")
                del server.answers[1]
                await until(lambda: rig.qualities(0) == [GOOD, COMM, GOOD], "it recovers")
                await until(lambda: rig.kinds() == ["link.up", "unit.garbage", "unit.answers"], "it is told")
                assert rig.qualities(1) == [GOOD]
                assert server.connections == 1
                assert rig.reading("reply_errors_total") >= 1
                assert all(value == 1001 for value in rig.of(0)["value"] if value)

    asyncio.run(body())


def test_a_reply_with_another_transaction_id_answers_nothing() -> None:
    async def body() -> None:
        async with (
            scripted({1: wrong_transaction}) as server,
            running(Rig([tag("a", 1), tag("b", 1, unit=2)], server.port)) as rig,
        ):
            await until(lambda: rig.qualities(0) == [COMM], "its tag is bad")
            assert rig.reading("stray_replies_total") >= 1
            await until(lambda: "unit.silent" in rig.kinds(), "the unit is silent")
            await until(lambda: len(rig.of(1)) > 10, "the neighbour is read")
            assert server.connections == 1

    asyncio.run(body())


def test_a_late_reply_is_never_taken_for_the_present_one() -> None:
    """Each reply comes after its timeout, with the register as it was then: no sample may carry one."""

    async def body() -> None:
        async def late(asked: Asked, writer: asyncio.StreamWriter) -> None:
            asyncio.get_running_loop().call_later(0.15, writer.write, asked.reply(data=b"\xde\xad"))

        async with scripted({}) as server, running(Rig([tag("a", 1)], server.port, timeout_ms=100)) as rig:
            await until(lambda: len(rig.of(0)) > 2, "it answers")
            server.answers[1] = late
            await until(lambda: rig.reading("stray_replies_total") >= 1, "a late reply came")
            server.answers[1] = good
            await until(lambda: rig.of(0)[-1]["quality"] == GOOD, "it recovers")
            assert 0xDEAD not in rig.of(0)["value"]
            assert rig.reading("timeouts_total") >= 1

    asyncio.run(body())


def test_garbage_closes_the_connection_and_opens_another() -> None:
    async def garbage(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def body() -> None:
        async with scripted({}) as server, running(Rig([tag("a", 1)], server.port)) as rig:
            await until(lambda: len(rig.of(0)) > 2, "it answers")
            server.answers[1] = garbage
            await until(lambda: rig.reading("protocol_errors_total") >= 2, "it was tried again")
            assert rig.kinds() == ["link.up", "link.down"], "one event, not one per attempt"
            assert "not Modbus TCP" in rig.events[-1].message
            server.answers[1] = good
            await until(lambda: rig.of(0)[-1]["quality"] == GOOD, "it recovers", 8)
            await until(lambda: rig.kinds() == ["link.up", "link.down", "link.up"], "it is told")
            assert rig.qualities(0) == [GOOD, int(Quality.BAD_NOT_CONNECTED), GOOD]

    asyncio.run(body())


def test_a_connection_closed_in_mid_frame_is_opened_again() -> None:
    async def half(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(asked.reply()[:7])
        await writer.drain()
        writer.close()

    async def body() -> None:
        async with scripted({}) as server, running(Rig([tag("a", 1)], server.port)) as rig:
            await until(lambda: len(rig.of(0)) > 2, "it answers")
            server.answers[1] = half
            await until(lambda: "link.down" in rig.kinds(), "the link is down")
            server.answers[1] = good
            await until(lambda: rig.of(0)[-1]["quality"] == GOOD, "it recovers")
            assert all(value == 1001 for value in rig.of(0)["value"] if value)

    asyncio.run(body())


def test_replies_cut_into_single_bytes_and_glued_together_are_read() -> None:
    async def body() -> None:
        kept: list[bytes] = []

        async def dribble(asked: Asked, writer: asyncio.StreamWriter) -> None:
            for byte in asked.reply():
                writer.write(bytes([byte]))
                await asyncio.sleep(0)

        async def pairs(asked: Asked, writer: asyncio.StreamWriter) -> None:
            kept.append(asked.reply())
            if len(kept) == 2:
                writer.write(b"".join(kept))
                kept.clear()

        async with scripted({1: dribble, 2: pairs}) as server:
            tags = [tag("a", 1), tag("a", 1, unit=2), tag("b", 100, unit=2)]
            async with running(Rig(tags, server.port, in_flight=3)) as rig:
                await until(lambda: all(len(rig.of(row)) > 3 for row in range(3)), "all are read")
                assert [rig.of(row)[-1]["value"] for row in range(3)] == [1001, 2001, 2100]

    asyncio.run(body())


def refusing(address: int, code: int) -> Answer:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        is_touched = asked.address <= address < asked.address + asked.count
        writer.write(asked.exception(code) if is_touched else asked.reply())

    return answer


def test_an_illegal_address_costs_its_own_tag_only_and_is_named() -> None:
    async def body() -> None:
        async with scripted({1: refusing(7, 2)}) as server:
            tags = [tag(f"t{address}", address) for address in range(12)]
            async with running(Rig(tags, server.port)) as rig:
                await until(lambda: all(len(rig.of(row)) > 2 for row in range(12) if row != 7), "the others are read")
                await until(lambda: rig.qualities(7) == [CONFIG], "its tag is bad")
                assert all(rig.qualities(row) == [GOOD] for row in range(12) if row != 7)
                assert rig.kinds().count("unit.exception") == 1
                message = next(event.message for event in rig.events if event.kind == "unit.exception")
                assert "holding 7 (u1.t7)" in message
                assert "illegal data address" in message
                assert rig.reading("exceptions_total", code="2") >= 1
                assert server.connections == 1

    asyncio.run(body())


@pytest.mark.parametrize("code", [2, 6])
def test_a_late_word_on_a_block_that_was_cut_since_harms_nobody(code: int) -> None:
    """The block is asked for again while its first request is still under way, and both are answered at last."""
    refuse = refusing(2, 2)
    held: list[Asked] = []

    async def slow_at_first(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.count < 4 or len(held) >= 2:
            await refuse(asked, writer)
            return
        held.append(asked)
        if len(held) == 2:
            writer.write(held[0].exception(2))
            await asyncio.sleep(0.1)
            writer.write(held[1].exception(code))

    async def body() -> None:
        async with scripted({1: slow_at_first}) as server:
            tags = [tag(f"t{address}", address) for address in range(4)]
            async with running(Rig(tags, server.port, in_flight=2, timeout_ms=2_000)) as rig:
                await until(lambda: rig.qualities(2) == [CONFIG], "its tag is bad")
                await until(lambda: all(len(rig.of(row)) > 5 for row in (0, 1, 3)), "the others are read")
                assert all(rig.qualities(row) == [GOOD] for row in (0, 1, 3))
                assert rig.kinds() == ["link.up", "unit.exception"]

    asyncio.run(body())


def test_an_unused_register_that_the_device_does_not_have_costs_nobody() -> None:
    async def body() -> None:
        async with (
            scripted({1: refusing(3, 2)}) as server,
            running(Rig([tag("a", 1), tag("b", 6)], server.port)) as rig,
        ):
            await until(lambda: len(rig.of(0)) > 2 and len(rig.of(1)) > 2, "both are read")
            assert rig.qualities(0) == rig.qualities(1) == [GOOD]
            assert rig.kinds() == ["link.up"]

    asyncio.run(body())


@pytest.mark.parametrize(
    ("code", "quality", "kind"),
    [
        (4, Quality.BAD_DEVICE_FAILURE, "unit.exception"),
        (1, Quality.BAD_CONFIG, "unit.exception"),
        (99, Quality.BAD_DEVICE_FAILURE, "unit.exception"),
        (11, Quality.BAD_COMM_FAILURE, "unit.silent"),
    ],
)
def test_an_exception_shows_in_quality_and_one_event_and_the_link_stays(code: int, quality: Quality, kind: str) -> None:
    async def body() -> None:
        async with scripted({}) as server, running(Rig([tag("a", 1), tag("a", 1, unit=2)], server.port)) as rig:
            await until(lambda: len(rig.of(0)) > 2, "it answers")
            server.answers[1] = refusing(1, code)
            await until(lambda: kind in rig.kinds() and rig.qualities(0) == [GOOD, int(quality)], "it is told")
            n = len(rig.of(1))
            await until(lambda: len(rig.of(1)) > n + 20, "the neighbour goes on")
            server.answers[1] = good
            await until(lambda: rig.qualities(0) == [GOOD, int(quality), GOOD], "it recovers", 8)
            await until(lambda: rig.kinds() == ["link.up", kind, "unit.answers"], "it is told")
            assert server.connections == 1

    asyncio.run(body())


def test_a_peer_that_accepts_and_hangs_up_makes_one_event() -> None:
    async def body() -> None:
        async def hang_up(*streams: Any) -> None:
            streams[1].close()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        async with running(Rig([tag("a", 1)], server.sockets[0].getsockname()[1])) as rig:
            await until(lambda: rig.reading("failed_connects_total") >= 3, "it was tried three times")
            assert rig.kinds() == ["link.down"]
        server.close()

    asyncio.run(body())


def test_a_flood_of_replies_nobody_asked_for_is_counted_and_harms_nothing() -> None:
    async def flood(asked: Asked, writer: asyncio.StreamWriter) -> None:
        stray = asked.reply(transaction=asked.transaction ^ 0x8000)
        writer.write(stray * 5_000 + asked.reply())

    async def body() -> None:
        async with scripted({1: flood}) as server, running(Rig([tag("a", 1)], server.port)) as rig:
            await until(lambda: len(rig.of(0)) > 3, "it is read all the same")
            assert rig.reading("stray_replies_total") >= 5_000
            assert rig.qualities(0) == [GOOD]

    asyncio.run(body())


def test_a_connection_on_which_nothing_comes_back_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A router that forgot the connection swallows both ways; only a new one helps. One event, however often."""
    monkeypatch.setattr("gateway.sources.modbus.source.LINK_SILENCE_NS", 500_000_000)

    async def body() -> None:
        async with scripted({}) as server, running(Rig([tag("a", 1)], server.port, timeout_ms=100)) as rig:
            await until(lambda: len(rig.of(0)) > 2, "it answers")
            server.answers[1] = silent
            await until(lambda: server.connections >= 3, "it was made anew twice", 10)
            assert rig.kinds() == ["link.up", "unit.silent", "link.down"]
            server.answers[1] = good
            await until(lambda: rig.of(0)[-1]["quality"] == GOOD, "it recovers")
            told = ["link.up", "unit.silent", "link.down", "link.up", "unit.answers"]
            await until(lambda: rig.kinds() == told, "it is told")

    asyncio.run(body())


UNITS = range(1, 5)


async def unreachable(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(asked.exception(11))


def bus_rig(port: int, *, timeout_ms: int = 200) -> Rig:
    return Rig([tag("a", 1, unit=unit, every_ms=50) for unit in UNITS], port, timeout_ms=timeout_ms)


def test_a_dead_bus_is_one_event_and_one_state_and_so_is_its_return() -> None:
    async def body() -> None:
        async with scripted({}) as server, running(bus_rig(server.port)) as rig:
            await until(lambda: all(len(rig.of(row)) > 2 for row in range(4)), "all answer")
            server.answers[None] = silent
            await until(lambda: "bus.silent" in rig.kinds(), "the verdict")
            assert rig.kinds() == ["link.up", "bus.silent"]
            assert "none of its 4 units answers (no reply within 0.2 s)" in rig.events[-1].message
            assert rig.events[-1].subject == "plc"
            assert rig.reading("bus_silent") == 1
            assert rig.reading("connected") == 1
            assert [rig.reading("device_up", device=f"u{unit}") for unit in UNITS] == [0] * 4
            assert all(rig.qualities(row) == [GOOD, COMM] for row in range(4))
            server.answers[None] = good
            await until(lambda: all(rig.of(row)[-1]["quality"] == GOOD for row in range(4)), "all are read again", 12)
            assert rig.kinds() == ["link.up", "bus.silent", "bus.answers"]
            assert rig.reading("bus_silent") == 0
            # The samples are there a moment before the poller says so.
            await until(lambda: [rig.reading("device_up", device=f"u{unit}") for unit in UNITS] == [1] * 4, "all up")

    asyncio.run(body())


def test_who_stays_silent_when_the_bus_returns_is_told_alone() -> None:
    async def body() -> None:
        async with scripted({}) as server, running(bus_rig(server.port)) as rig:
            await until(lambda: all(len(rig.of(row)) > 2 for row in range(4)), "all answer")
            server.answers.update({None: silent, 4: silent})
            await until(lambda: rig.kinds() == ["link.up", "bus.silent"], "the verdict")
            server.answers[None] = good
            await until(lambda: rig.kinds()[2:] == ["bus.answers", "unit.silent"], "it is told", 12)
            assert rig.events[-1].subject == "u4"
            server.answers[4] = good
            await until(lambda: rig.kinds()[4:] == ["unit.answers"], "it is told", 12)

    asyncio.run(body())


def test_a_gateway_that_reaches_none_of_its_units_has_a_dead_bus_behind_it() -> None:
    async def body() -> None:
        async with scripted({None: unreachable}) as server, running(bus_rig(server.port)) as rig:
            await until(lambda: "bus.silent" in rig.kinds(), "the verdict")
            assert rig.kinds() == ["link.up", "bus.silent"]
            assert "(the gateway says: gateway target failed to respond)" in rig.events[-1].message
            assert all(rig.qualities(row) == [COMM] for row in range(4))

    asyncio.run(body())


def test_a_dead_bus_stays_one_event_while_its_connection_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.sources.modbus.source.LINK_SILENCE_NS", 600_000_000)

    async def body() -> None:
        tags = [tag("a", 1, unit=unit, every_ms=50) for unit in (1, 2)]
        async with scripted({}) as server, running(Rig(tags, server.port, timeout_ms=100)) as rig:
            await until(lambda: all(len(rig.of(row)) > 2 for row in range(2)), "all answer")
            server.answers[None] = silent
            await until(lambda: server.connections >= 3, "it was made anew twice", 10)
            assert rig.kinds() == ["link.up", "bus.silent"]
            assert all(rig.qualities(row) == [GOOD, COMM] for row in range(2))
            server.answers[None] = good
            await until(lambda: all(rig.of(row)[-1]["quality"] == GOOD for row in range(2)), "all are read again", 12)
            assert rig.kinds() == ["link.up", "bus.silent", "bus.answers"]
            for writer in list(server.writers):
                writer.transport.abort()
            await until(lambda: rig.kinds()[3:] == ["link.down", "link.up"], "a lost connection is one event too")

    asyncio.run(body())
