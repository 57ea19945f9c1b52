"""A gateway as it was just installed, without a device or a tag: it runs, starts again, and takes its first tag."""

from __future__ import annotations

from pathlib import Path

from gateway.core.engine import Engine
from gateway.core.limits import GRID_NS
from gateway.core.model import Model
from gateway.core.snapshot import COMMON, Shares
from gateway.core.types import Quality
from hil.devices.instruments import TankUnit
from hil.devices.modbus import Endpoint, Unit
from tests.support.daemon import ROOT, Gateway, Outside, until

CHECKPOINTS = "fieldgate_checkpoints_total"
TANK = """
[links.plc]
modbus_tcp = "127.0.0.1:{plc}"
[devices.tank]
link = "plc"
tags.level = {{ register = "holding 0", type = "float32", every = "50ms", windows = ["2s"] }}
"""


def test_the_memory_of_an_engine_without_tags_is_one_share_of_no_rows() -> None:
    def empty() -> Engine:
        return Engine(Model((), ()), aggregates_every_ns=GRID_NS, samples_every_ns=GRID_NS, streams=frozenset())

    shares, into = Shares(empty()), Shares(empty())
    assert (shares.count, shares.range_of(0)) == (1, (0, 0))
    assert shares.layout == into.layout
    for share in (0, COMMON):
        into.install(shares.capture(share))


def test_a_gateway_that_was_just_installed_runs_starts_again_and_takes_its_first_tag(tmp_path: Path) -> None:
    installed = (ROOT / "packaging/deb/fieldgate.toml").read_text(encoding="utf-8")
    installed = installed.replace("/var/lib/fieldgate", "state").replace("127.0.0.1:9464", "127.0.0.1:<http>")
    with Outside() as outside, Gateway(tmp_path, installed) as gateway:
        endpoint = Endpoint(Unit(1, TankUnit()))
        outside.run(endpoint.start())
        for text in (installed, installed + TANK.format(plc=endpoint.port)):
            gateway.write(text)
            for _ in range(2):
                gateway.start()
                until(lambda: gateway.metric(CHECKPOINTS) >= 2, "two checkpoints are on the disk")
                gateway.kill()
        gateway.start()
        until(lambda: gateway.quality("tank.level") == Quality.GOOD, "its first tag is read")
        assert gateway.terminate() == 0, gateway.text()
