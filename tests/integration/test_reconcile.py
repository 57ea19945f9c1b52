"""Reconciliation of a real spool with a real receiver's file: it proves, or it names; and it mends."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import pytest
import uvloop
from click.testing import CliRunner

from gateway.cli.app import app
from gateway.core.encode import envelope
from gateway.core.events import Event
from gateway.core.record import Identity, Stream
from gateway.receiver import Receiver
from gateway.runtime.received import Part, ReceiverUnfit
from gateway.runtime.receivers import read_files
from gateway.runtime.reconcile import Verdict, reconcile, repair
from gateway.spool.records import Encoded, Grace, Key, Lane, Stored, compress
from gateway.spool.store import Store
from gateway.spool.worker import SpoolWorker
from tests.support.spool import draft, encoded, running_spool
from tests.support.spool_brokers import mosquitto
from tests.support.uplink import Consumer, address, delivery_by, delivery_to, running, until
from tests.support.upstreams import FarEnd, JetStream

GRACE = Grace(10**18, 1 << 30)


@asynccontextmanager
async def delivering(far_end: FarEnd, folder: Path) -> AsyncIterator[SpoolWorker]:
    """A spool of which everything goes to a far end that is there, and is kept after it arrived."""
    events: list[Event] = []
    async with far_end.running():
        with running_spool(folder / "spool.db", events, grace=GRACE) as spool:
            async with running(delivery_by(far_end.connect, spool, events).run()):
                yield spool


def long_record(number: int) -> Encoded:
    noise = random.Random(number).randbytes(1_000).hex().encode()
    return Encoded(Stream.SAMPLES, number, number, 10, compress(b'{"noise":"' + noise + b'"}'))


class Plant:
    """A store, and a receiver that gets what the test hands it."""

    def __init__(self, folder: Path) -> None:
        self.spool, self.received = folder / "spool.db", folder / "received.db"
        self.store = Store(self.spool, bytes_max=1 << 30, grace=GRACE)
        self.receiver = Receiver(self.received)

    def waiting(self) -> list[Stored]:
        return self.store.next_records(Lane.BACKLOG, {}, 1_000) + self.store.next_records(Lane.LIVE, {}, 1_000)

    def take(self, records: list[Stored]) -> None:
        for record in records:
            self.receiver.accept(envelope(Identity("plant", *record.key), record.body))
        self.receiver.commit()

    def verdict(self) -> Verdict:
        return reconcile(self.spool, partial(read_files, [self.received], "plant"), pause=lambda: None)


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


def acknowledged(plant: Plant, records: list[Stored]) -> None:
    plant.store.acknowledge([record.key for record in records], now_ns=5)


def test_received_and_waiting_records_make_up_what_was_produced(plant: Plant) -> None:
    plant.store.append([encoded(n, stream=list(Stream)[n % 3]) for n in range(30)], 0)
    records = plant.waiting()
    plant.take(records[:12])
    acknowledged(plant, records[:9])
    verdict = plant.verdict()
    assert verdict.is_whole
    assert (verdict.produced, verdict.received, verdict.waiting, verdict.unexamined) == (30, 12, 18, 0)


def test_what_an_upstream_acknowledged_and_lost_is_named_and_sent_again_under_its_identity(plant: Plant) -> None:
    keys = plant.store.append([encoded(n) for n in range(10)], 0)
    records = plant.waiting()
    plant.take(records[:3] + records[6:])
    acknowledged(plant, records)
    verdict = plant.verdict()
    assert verdict.lost_kept == (Part("samples", keys[0].segment, 4, 6),)
    assert not verdict.is_whole
    assert repair(plant.spool, verdict) == 3
    again = plant.store.next_records(Lane.AGAIN, {}, 100)
    assert again == records[3:6]
    plant.take(again)
    acknowledged(plant, again)
    assert plant.verdict().is_whole


def test_what_is_lost_after_its_grace_is_named_as_lost(plant: Plant) -> None:
    keys = plant.store.append([encoded(n) for n in range(4)], 0)
    records = plant.waiting()
    plant.take(records[1:])
    acknowledged(plant, records)
    plant.store.grace = Grace()
    plant.store.expire(10)
    verdict = plant.verdict()
    assert verdict.lost == (Part("samples", keys[0].segment, 1, 1),)
    assert (verdict.lost_kept, repair(plant.spool, verdict)) == ((), 0)


def test_what_was_dropped_is_accounted_for_wherever_the_loss_report_is(plant: Plant) -> None:
    plant.store.append([long_record(n) for n in range(20)], 0)
    plant.store.bytes_max = 14_000
    plant.store.append([long_record(99)], 1)
    dropped = sum(loss.records for loss in plant.store.losses())
    assert dropped > 5
    assert plant.verdict().ledgered == dropped
    plant.store.report_losses(2)
    assert plant.verdict().ledgered == dropped
    records = plant.waiting()
    reports = [record for record in records if record.key.stream == "events"]
    acknowledged(plant, records)
    assert plant.store.losses() == []
    assert plant.verdict().ledgered == dropped, "the report is still kept"
    plant.take(records)
    assert len(reports) == 1
    plant.store.grace = Grace()
    plant.store.expire(10)
    verdict = plant.verdict()
    assert verdict.is_whole
    assert (verdict.ledgered, verdict.received) == (dropped, 22 - dropped)


def test_a_record_that_a_receiver_took_twice_is_named(plant: Plant) -> None:
    (first, *_) = plant.store.append([encoded(n) for n in range(3)], 0)
    plant.take(plant.waiting())
    with closing(sqlite3.connect(plant.received)) as connection, connection:
        connection.execute(
            "INSERT INTO records (gateway, stream, segment, sequence, payload)"
            " SELECT gateway, stream, segment, sequence, payload FROM records WHERE sequence = 1"
        )
    verdict = plant.verdict()
    assert verdict.duplicates == (Part("samples", first.segment, 1, 1),)
    assert not verdict.is_whole


def test_a_record_that_this_spool_never_gave_out_is_named(plant: Plant) -> None:
    plant.store.append([encoded(1)], 0)
    plant.take([*plant.waiting(), Stored(Key("samples", 3, 1), b'{"n":1}')])
    assert plant.verdict().strangers == (Part("samples", 3, 1, 1),)


def test_segments_of_earlier_runs_are_examined_with_their_ends(plant: Plant) -> None:
    for number in range(3):
        plant.store.append([encoded(number)], 0)
        plant.store.close_waiting_segments()
    records = plant.waiting()
    plant.take(records)
    acknowledged(plant, records)
    verdict = plant.verdict()
    assert verdict.is_whole
    assert (verdict.produced, verdict.received, verdict.unexamined) == (6, 6, 0)


def test_a_receiver_without_records_proves_nothing_and_says_so(plant: Plant) -> None:
    plant.store.append([encoded(1)], 0)
    bare = Receiver(plant.received, keep_bodies=False)
    for record in plant.waiting():
        bare.accept(envelope(Identity("plant", *record.key), record.body))
    bare.commit()
    with pytest.raises(ReceiverUnfit, match="keep_bodies"):
        plant.verdict()


def test_a_running_gateway_sends_again_what_the_command_asks_for(tmp_path: Path) -> None:
    configuration = tmp_path / "plant.toml"
    configuration.write_text(
        f'[gateway]\nid = "plant"\nstate_dir = "{tmp_path}"\n[links.l]\nmodbus_tcp = "127.0.0.1:1502"\n'
        '[devices.d]\nlink = "l"\nunit = 1\ntags.t = { register = "holding 1", type = "int16", every = "1s" }\n'
    )

    def command(*more: str) -> tuple[int, dict[str, object]]:
        arguments = ["reconcile", str(configuration), "--receiver", str(tmp_path / "far.db"), "--json", "--wait", "0.1"]
        result = CliRunner().invoke(app, [*arguments, *more])
        return result.exit_code, json.loads(result.stdout)

    class Forgetful(Consumer):
        """Acknowledges everything, and loses some the first time."""

        lost = 0

        def take(self, payload: bytes) -> None:
            if self.lost < 5 and json.loads(payload)["sequence"] % 3 == 0:
                self.lost += 1
            else:
                super().take(payload)

    async def scenario(port: int) -> None:
        events: list[Event] = []
        consumer = Forgetful(port, tmp_path / "far.db")
        with running_spool(tmp_path / "spool.db", events, grace=GRACE) as spool:
            delivery = delivery_to(address(port), spool, events)
            async with running(consumer.run(), delivery.run()):
                await consumer.subscribed.wait()
                for number in range(40):
                    spool.put(draft(number))
                await until(lambda: consumer.receiver.summary().received >= 35 and spool.depth() == 0)
                code, found = await asyncio.to_thread(command, "--repair")
                assert (code, found["whole"], found["asked_again"]) == (1, False, 5)
                await until(lambda: consumer.receiver.summary().received >= found["produced"])
                code, found = await asyncio.to_thread(command)
                assert (code, found["whole"], found["duplicates"]) == (0, True, [])
                assert found["received"] == found["produced"] >= 40  # type: ignore[operator]
        assert all(len(payloads) == 1 for payloads in consumer.bodies.values()), "a resend differs"

    with mosquitto(tmp_path, "allow_anonymous true") as broker:
        uvloop.run(scenario(broker.port))


def test_a_stream_whose_files_went_back_in_time_is_made_whole_again(tmp_path: Path) -> None:
    """What a power cut does to a JetStream with its default sync: it acknowledged, and does not have it."""
    far_end = JetStream(tmp_path)
    files, copy = tmp_path / "jetstream", tmp_path / "copy"
    plant = Plant(tmp_path)
    plant.store.close()

    async def received() -> Verdict:
        for payload in await far_end.held():
            plant.receiver.accept(payload)
        plant.receiver.commit()
        return await asyncio.to_thread(plant.verdict)

    async def scenario() -> None:
        events: list[Event] = []
        with running_spool(plant.spool, events, grace=GRACE) as spool:
            delivery = delivery_by(far_end.connect, spool, events)

            async def deliver(numbers: range) -> None:
                for number in numbers:
                    spool.put(draft(number))
                await asyncio.sleep(0.2)
                await until(lambda: spool.depth() == 0)

            async with running(delivery.run()):
                await deliver(range(20))
                await far_end.go_away()
                shutil.copytree(files, copy)
                await far_end.come_back()
                await deliver(range(20, 50))
                await far_end.go_away()
                shutil.rmtree(files)
                copy.rename(files)
                await far_end.come_back()
                await deliver(range(50, 60))
                verdict = await received()
                assert sum(map(len, verdict.lost_kept)) >= 30, "the copy did not go back in time"
                assert verdict.lost == ()
                assert repair(plant.spool, verdict) == sum(map(len, verdict.lost_kept))
                deadline = time.monotonic() + 20
                while not (verdict := await received()).is_whole:
                    assert time.monotonic() < deadline, verdict
                assert verdict.duplicates == ()
                held = await far_end.held()
                assert len(held) == len(set(held)), "the stream holds an identity twice"

    async def whole() -> None:
        async with far_end.running():
            await scenario()

    uvloop.run(whole())
