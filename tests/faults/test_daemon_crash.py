"""Power cuts and outages of the whole: NATS with its store, the gateway with its spool, a consumer that persists.

Two books are compared: what the gateway's spool gave out, and what arrived at the far end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core.types import NS_PER_S
from gateway.runtime.uplink import LEASE_KEY
from gateway.spool.store import Store
from hil.broker import NatsServer
from hil.devices.instruments import MeterUnit
from hil.devices.modbus import Endpoint, Unit
from hil.proxy import Proxy
from tests.support.daemon import FarEnd, Gateway, MuteProxy, Outside, until

CONFIG = """
[gateway]
id = "plant"
state_dir = "state"

[defaults]
every = "50ms"
windows = ["2s"]

[links.plc]
modbus_tcp = "127.0.0.1:{plc}"

[devices.meter]
link = "plc"
unit = 1
tags.voltage = {{ register = "holding 0", type = "float32", unit = "V" }}
tags.power = {{ register = "holding 4", type = "float32", unit = "W" }}

[uplink.cloud]
mqtt = "mqtt://127.0.0.1:{uplink}"
streams = ["events", "aggregates", "samples"]
aggregates_every = "200ms"
samples_every = "100ms"
drain = "{drain}"

[http]
listen = "127.0.0.1:<http>"
"""
AHEAD_NS = 3_600 * NS_PER_S


@pytest.fixture
def outside() -> Iterator[Outside]:
    with Outside() as outside:
        yield outside


@pytest.fixture
def plc(outside: Outside) -> Iterator[int]:
    endpoint = Endpoint(Unit(1, MeterUnit(1)))
    outside.run(endpoint.start())
    yield endpoint.port
    outside.run(endpoint.stop())


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "broker")
    server.start()
    yield server
    server.kill()


@pytest.mark.parametrize("first_up", ["broker", "gateway"])
def test_a_power_cut_of_broker_and_gateway_loses_nothing_and_doubles_nothing(
    tmp_path: Path, outside: Outside, plc: int, broker: NatsServer, first_up: str
) -> None:
    # The wall clock stands an hour behind the engine time that an earlier run has used.
    (tmp_path / "state").mkdir()
    began_ns = time.time_ns() + AHEAD_NS
    set_lease(tmp_path / "state" / "spool.db", began_ns)
    proxy = MuteProxy(broker.port)
    outside.run(proxy.start())
    far_end = FarEnd(outside, tmp_path, broker_port=broker.port)
    with Gateway(tmp_path, CONFIG.format(plc=plc, uplink=proxy.port, drain="100/s")) as gateway:
        gateway.start()
        until(lambda: far_end.received() > 10, "records arrive")
        proxy.is_mute = True
        before = far_end.received()
        # More than are asked for below: acknowledgements of the first ones may have been on their way already.
        until(lambda: far_end.received() >= before + 15, "records arrive, unacknowledged")
        broker.kill()
        until(lambda: far_end.waiting() > 20, "records are stored behind them")
        gateway.kill()
        first_run = far_end.given()
        proxy.is_mute = False

        for start in (broker.start, gateway.start)[:: 1 if first_up == "broker" else -1]:
            start()
        until(lambda: gateway.status()["uplink"]["is_connected"], "the uplink is back")
        until(lambda: far_end.given().records > first_run.records + 30, "the second run makes records")
        until(lambda: far_end.waiting() < 5, "what waited is drained")
        assert gateway.terminate() == 0

    summary = far_end.expect_everything()
    assert summary.duplicates >= 5, "what came before the cut without acknowledgement came again, and was discarded"
    expect_time_went_on(far_end.records(), began_ns)


def set_lease(spool: Path, engine_ns: int) -> None:
    store = Store(spool, bytes_max=10**6)
    with store.transaction():
        store.write_meta(LEASE_KEY, str(engine_ns))
    store.close()


def expect_time_went_on(records: list[dict[str, Any]], began_ns: int) -> None:
    """In the order in which they were made, records of a stream never go back, over the crash neither."""
    for stream in ("samples", "aggregates"):
        of_stream = [each for each in records if each["stream"] == stream and "first_ns" in each]
        of_stream.sort(key=lambda each: (each["segment"], each["sequence"]))
        assert len({each["segment"] for each in of_stream}) >= 2, "the crash closed a segment"
        times_ns = [time_ns for each in of_stream for time_ns in (each["first_ns"], each["last_ns"])]
        assert times_ns == sorted(times_ns)
        assert times_ns[0] > began_ns
        assert times_ns[-1] < began_ns + 120 * NS_PER_S


def test_an_outage_is_drained_in_order_beside_live_records(
    tmp_path: Path, outside: Outside, plc: int, broker: NatsServer
) -> None:
    proxy = Proxy(broker.port)
    outside.run(proxy.start())
    far_end = FarEnd(outside, tmp_path, broker_port=broker.port)
    with Gateway(tmp_path, CONFIG.format(plc=plc, uplink=proxy.port, drain="20/s")) as gateway:
        gateway.start()
        until(lambda: far_end.received() > 5, "records arrive")
        outside.run(proxy.cut())
        until(lambda: far_end.waiting() > 40, "the outage fills the spool")
        outside.run(proxy.mend())
        until(lambda: gateway.status()["uplink"]["is_connected"], "the uplink is back")
        assert [len(gateway.lines(kind)) for kind in ("uplink.up", "uplink.down")] == [2, 1]
        until(lambda: far_end.waiting() < 5, "the backlog is drained")
        assert gateway.metric("fieldgate_uplink_outages_total") == 1
        assert gateway.terminate() == 0
    far_end.expect_everything()

    arrived = [(each["segment"], each["sequence"]) for each in far_end.records() if each["stream"] == "samples"]
    outage, live = sorted({segment for segment, _ in arrived})[-2:]
    assert live == outage + 1
    drained = [place for place, (segment, _) in enumerate(arrived) if segment == outage]
    at_once = [place for place, (segment, _) in enumerate(arrived) if segment == live]
    assert at_once[0] < drained[-1] - 10, "live records do not wait for the backlog"
    for segment in (outage, live):
        sequences = [sequence for each, sequence in arrived if each == segment]
        assert sequences == list(range(1, len(sequences) + 1)), "each segment arrives in order"
