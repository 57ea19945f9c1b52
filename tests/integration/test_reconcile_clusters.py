"""Reconciliation with far ends that are asked themselves: a JetStream and the topics of a Kafka server."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from click.testing import CliRunner

from gateway.cli.app import app
from gateway.core.ports import Upstream
from gateway.core.record import Identity, Stream
from gateway.protocol.records.form import CANONICAL, Compression, Encoding, Form
from gateway.spool.worker import SpoolWorker
from tests.integration.test_reconcile import delivering
from tests.support.kafka_ends import READY_S, session
from tests.support.spool import draft, running_spool
from tests.support.uplink import until
from tests.support.upstreams import FarEnd, HttpJson, JetStream, Kafka

FORMS = {"json": CANONICAL, "msgpack and zstd": Form(Encoding.MSGPACK, Compression.ZSTD)}
COUNT = 30
SAMPLES = "contract.samples"


def configured(folder: Path, uplink: str) -> Path:
    path = folder / "plant.toml"
    path.write_text(
        f'[gateway]\nid = "plant"\nstate_dir = "{folder}"\n[links.l]\nmodbus_tcp = "127.0.0.1:1502"\n'
        '[devices.d]\nlink = "l"\nunit = 1\ntags.t = { register = "holding 1", type = "int16", every = "1s" }\n'
        f'[uplink.u]\nstreams = ["events", "samples"]\n{uplink}\n'
    )
    return path


def by_jetstream(folder: Path, form: Form) -> tuple[FarEnd, Path]:
    far_end = JetStream(folder, form)
    return far_end, configured(folder, f'nats = "nats://127.0.0.1:{far_end.port}"\nsubject = "contract.{{stream}}"')


class OwnKafka(Kafka):
    """Under the name that the configuration gives."""

    def connect(self) -> AbstractAsyncContextManager[Upstream]:
        return session(self.cluster.port, form=self._form, client_name="plant-uplink-u")


def by_kafka(folder: Path, form: Form) -> tuple[FarEnd, Path]:
    far_end = OwnKafka(folder, form)
    place = f'kafka = "kafka://127.0.0.1:{far_end.cluster.port}"'
    return far_end, configured(folder, f'{place}\ntopic = "contract.{{stream}}"\nposition_topic = "contract.position"')


async def command(configuration: Path, *more: str) -> tuple[int, dict[str, Any]]:
    def invoke() -> tuple[int, dict[str, Any]]:
        result = CliRunner().invoke(app, ["reconcile", str(configuration), "--json", "--wait", "0.1", *more])
        assert result.stdout, result.stderr
        return result.exit_code, json.loads(result.stdout)

    return await asyncio.to_thread(invoke)


async def delivered(spool: SpoolWorker) -> None:
    for number in range(COUNT):
        spool.put(draft(number, stream=Stream.EVENTS if number % 5 == 0 else Stream.SAMPLES))
    await until(lambda: spool.depth() == 0)


async def whole(configuration: Path) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            code, found = await command(configuration)
            if code == 0:
                return found
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("kind", [by_jetstream, by_kafka])
def test_what_an_upstream_that_can_be_asked_has_makes_up_what_was_produced(
    tmp_path: Path, kind: Any, form: Form
) -> None:
    far_end, configuration = kind(tmp_path, form)

    async def scenario() -> None:
        async with delivering(far_end, tmp_path) as spool:
            await delivered(spool)
            code, found = await command(configuration)
            assert (code, found["whole"], found["unreadable"], found["taken_away"]) == (0, True, [], 0)
            assert found["received"] == found["produced"] >= COUNT

    uvloop.run(scenario())


def test_a_record_that_a_jetstream_lost_is_named_and_sent_again(tmp_path: Path) -> None:
    far_end, configuration = by_jetstream(tmp_path, FORMS["msgpack and zstd"])

    async def scenario() -> None:
        async with delivering(far_end, tmp_path) as spool:
            await delivered(spool)
            stored = json.loads(
                CliRunner().invoke(app, ["spool", "list", str(configuration), "--state", "kept", "--json"]).stdout
            )
            keys = [each for each in stored if each["stream"] == "samples"][3:5]
            for each in keys:
                await far_end.lose(Identity("plant", "samples", each["segment"], each["sequence"]))
            code, found = await command(configuration, "--repair")
            assert (code, found["asked_again"]) == (1, 2)
            (lost,) = found["lost_kept"]
            assert (lost["first"], lost["last"]) == (keys[0]["sequence"], keys[1]["sequence"])
            found = await whole(configuration)
            assert found["received"] == found["produced"]

    uvloop.run(scenario())


def test_what_a_kafka_topic_lost_is_named_as_what_it_had_and_sent_again_and_what_is_there_twice_is_named(
    tmp_path: Path,
) -> None:
    far_end, configuration = by_kafka(tmp_path, CANONICAL)
    assert isinstance(far_end, Kafka)
    cluster = far_end.cluster

    def copy() -> None:
        """What lies there, once more, as of a mirror that began anew."""
        (first, *_) = cluster.committed(SAMPLES)
        producer = cluster.producer("mirror")
        producer.begin_transaction()
        producer.produce(SAMPLES, first.value, key=first.key, headers=first.headers)
        producer.commit_transaction(READY_S)

    async def scenario() -> None:
        async with delivering(far_end, tmp_path) as spool:
            await delivered(spool)
            await asyncio.to_thread(cluster.delete_topic, SAMPLES)
            await asyncio.to_thread(cluster.make_topic, SAMPLES)
            code, found = await command(configuration, "--repair")
            lost = sum(part["last"] - part["first"] + 1 for part in found["lost_kept"])
            assert (code, found["asked_again"], found["taken_away"]) == (1, lost, lost)
            assert lost >= COUNT * 4 // 5
            await whole(configuration)
            await asyncio.to_thread(copy)
            code, found = await command(configuration)
            assert code == 1
            ((twice),) = found["duplicates"]
            assert (twice["stream"], twice["first"], twice["last"]) == ("samples", 1, 1)

    uvloop.run(scenario())


def test_what_a_server_with_a_position_does_not_hold_is_sent_again(tmp_path: Path) -> None:
    far_end = HttpJson(tmp_path, position="/position")
    place = f"http://127.0.0.1:{far_end.server.port}"
    configuration = configured(tmp_path, f'http = "{place}/records/{{stream}}"\nposition = "{place}/position"')

    async def scenario() -> None:
        async with delivering(far_end, tmp_path) as spool:
            await delivered(spool)
            found = await whole(configuration)
            assert found["received"] == found["produced"] >= COUNT
            key = [each for each in far_end.keeper.records if "/samples/" in each][4]
            del far_end.keeper.records[key]
            code, found = await command(configuration, "--repair")
            (lost,) = found["lost_kept"]
            assert (code, f"plant/samples/{lost['segment']}/{lost['first']}") == (1, key)
            assert found["asked_again"] == lost["last"] - lost["first"] + 1, "what lies behind a hole is unknown"
            found = await whole(configuration)
            assert found["received"] == found["produced"]

    uvloop.run(scenario())


@pytest.mark.parametrize("kind", [by_jetstream, by_kafka])
def test_a_far_end_that_is_away_says_so(tmp_path: Path, kind: Any) -> None:
    _, configuration = kind(tmp_path, CANONICAL)
    with running_spool(tmp_path / "spool.db", []):
        result = CliRunner().invoke(app, ["reconcile", str(configuration)])
    assert result.exit_code == 1
    assert "127.0.0.1" in result.stderr
