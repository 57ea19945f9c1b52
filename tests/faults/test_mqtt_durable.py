"""Durable sessions: nothing is acknowledged that is not on disk, nothing that was is lost, and nothing counts twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import uvloop

from gateway.core.pressure import Step
from gateway.settings.schema import Tag
from tests.support.mqtt import Rig, ScriptedBroker, StuckIntake, link, message, running, tag, until

ONCE = tag("press.force", "force", ("v",), qos=1, sequence_field=("n",), durable=True)
TWICE = tag("press.speed", "speed", ("v",), qos=2, durable=True)
BARE = tag("press.level", "level", qos=1, durable=True)
TAGS: list[Tag] = [ONCE, TWICE, BARE]


def reading(n: int) -> bytes:
    return b'{"n": %d, "v": %d}' % (n, n)


def test_an_acknowledgement_waits_for_the_disk_and_keeps_its_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ScriptedBroker().serving() as broker:
            broker.answers_all = True
            async with running(Rig(link(broker.port), TAGS, intake=tmp_path, stuck=True)) as rig:
                assert isinstance(rig.intake, StuckIntake)
                await until(lambda: rig.is_connected, "connected")
                broker.send(
                    message("force", reading(1), qos=1, packet_id=1)
                    + message("speed", reading(2), qos=2, packet_id=2)
                    + message("force", reading(3), qos=1, packet_id=3)
                )
                await until(lambda: len(rig.intake.held or ()) >= 2, "it is with the disk")
                await asyncio.sleep(0.1)
                assert broker.acks == []
                assert len(rig.samples()) == 0, "nothing goes on that is not on disk"
                rig.intake.release()
                await until(lambda: len(broker.acks) == 3, "all acknowledgements")
                assert broker.acks == [(0x40, 1), (0x50, 2), (0x40, 3)]
                assert rig.good(0) == [1.0, 3.0]
                assert rig.good(1) == [2.0]

    uvloop.run(scenario())


def test_what_the_broker_repeats_after_a_crash_counts_once(tmp_path: Path) -> None:
    sent = (
        message("force", reading(1), qos=1, packet_id=1)
        + message("speed", reading(2), qos=2, packet_id=2)
        + message("level", b"5", qos=1, packet_id=3)
    )
    again = (
        message("force", reading(1), qos=1, packet_id=1, flags=8)
        + message("speed", reading(2), qos=2, packet_id=2, flags=8)
        + message("level", b"5", qos=1, packet_id=3, flags=8)
        + message("force", reading(4), qos=1, packet_id=4)
    )

    async def scenario() -> None:
        kept = ScriptedBroker(connack=b"\x20\x02\x01\x00")
        kept.answers_all = True
        async with kept.serving() as broker:
            async with running(Rig(link(broker.port), TAGS, intake=tmp_path)) as rig:
                await until(lambda: rig.is_connected, "connected")
                broker.send(sent)
                await until(lambda: (0x40, 3) in broker.acks, "acknowledged")
                position = rig.lane.appended
            # The next run goes on where the journal stood: nothing of this was in it.
            async with running(Rig(link(broker.port), TAGS, intake=tmp_path)) as rig:
                await until(lambda: rig.is_connected, "connected")
                assert rig.good(0) == [1.0]
                assert rig.lane.appended == position
                broker.send(again)
                await until(lambda: 4.0 in rig.good(0), "the new one")
                assert rig.good(0) == [1.0, 4.0]
                assert rig.good(1) == [2.0]
                assert rig.good(2) == [5.0, 5.0], "nothing tells a bare value from its repetition"
                assert rig.reading("repeated_messages_total") == 1
                assert rig.reading("duplicate_messages_total") == 1
                assert rig.reading("unidentified_messages_total") == 1
                safe = rig.lane.appended
            # And once all of it is in the journal, nothing comes back; QoS 2 is released over restarts.
            async with running(Rig(link(broker.port), TAGS, intake=tmp_path, safe=safe)) as rig:
                await until(lambda: rig.is_connected, "connected")
                broker.send(b"\x62\x02\x00\x02" + message("speed", reading(9), qos=2, packet_id=2))
                await until(lambda: rig.good(1) == [9.0], "a new message under a released identifier")
                assert rig.good(0) == []

    uvloop.run(scenario())


def test_a_broker_that_forgot_the_session_starts_afresh(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ScriptedBroker().serving() as broker:
            broker.answers_all = True
            for run in range(2):
                async with running(Rig(link(broker.port), TAGS, intake=tmp_path, safe=10**9)) as rig:
                    await until(lambda rig=rig: rig.is_connected, "connected")
                    broker.send(message("speed", reading(run), qos=2, packet_id=7))
                    await until(lambda rig=rig, run=run: rig.good(1)[-1:] == [float(run)], "a message of this session")

    uvloop.run(scenario())


def test_under_the_highest_pressure_the_broker_keeps_what_it_has_and_brings_it_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ScriptedBroker().serving() as broker:
            broker.answers_all = True
            async with running(Rig(link(broker.port), TAGS, intake=tmp_path)) as rig:
                await until(lambda: rig.is_connected, "connected")
                broker.send(message("force", reading(0), qos=1, packet_id=1))
                await until(lambda: len(broker.acks) == 1, "the first is acknowledged")
                rig.source.press(Step.HOLD)
                broker.send(message("force", reading(1), qos=1, packet_id=2))
                await until(lambda: rig.source._session.is_paused, "reading pauses")
                for n in range(2, 50):
                    broker.send(message("force", reading(n), qos=1, packet_id=n + 1))
                await asyncio.sleep(0.1)
                assert len(broker.acks) <= 2, "what was read already may be acknowledged, no more"
                rig.source.press(Step.SLOW_POLLS)
                await until(lambda: len(broker.acks) == 50, "all acknowledged")
                await until(lambda: len(rig.good(0)) == 50, "all there")
                assert rig.good(0) == [float(n) for n in range(50)]

    uvloop.run(scenario())


def test_a_disk_behind_its_limit_holds_the_broker_up(tmp_path: Path) -> None:
    count = 3_000

    async def scenario() -> None:
        async with ScriptedBroker().serving() as broker:
            broker.answers_all = True
            async with running(Rig(link(broker.port), TAGS, 400, intake=tmp_path, stuck=True)) as rig:
                assert isinstance(rig.intake, StuckIntake)
                await until(lambda: rig.is_connected, "connected")
                broker.send(b"".join(message("force", reading(n), qos=1, packet_id=n + 1) for n in range(count)))
                await until(lambda: rig.source._session.is_paused, "reading pauses")
                await asyncio.sleep(0.6)
                waiting = sum(len(frame.samples) for frame, _ in rig.intake.held or ())
                assert waiting <= 400
                while len(rig.good(0)) < count:
                    rig.intake.release()
                    await asyncio.sleep(0.001)
                assert rig.good(0) == [float(n) for n in range(count)]
                await until(lambda: len(broker.acks) == count, "all acknowledged")

    uvloop.run(scenario())
