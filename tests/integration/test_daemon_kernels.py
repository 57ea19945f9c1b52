"""A gateway's first start, without a kernel cache: all is compiled before it says that it is ready."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.devices.instruments import TankUnit
from hil.devices.modbus import Endpoint, Unit
from tests.support.brokers import mosquitto
from tests.support.daemon import FarEnd, Gateway, Outside, until

CONFIG = """
[gateway]
id = "plant"
[defaults]
every = "50ms"
[journal]
[links.plc]
modbus_tcp = "127.0.0.1:{plc}"
[devices.tank]
link = "plc"
[devices.tank.tags.level]
register = "holding 0"
type = "float32"
unit = "%"
alarm = {{ high = 90 }}
calculate.total = {{ of = ["mean"], every = "1s" }}
[devices.tank.tags.valve]
register = "holding 10"
scale = 0.1
write = true
[control.tank]
pid = {{ input = "tank.level", output = "tank.valve", setpoint = 30.0, kp = 8.0, ti = "3s", every = "20ms" }}
limits = {{ min = 0, max = 100 }}
failsafe = {{ output = 0, when_older_than = "500ms" }}
[uplink.cloud]
mqtt = "mqtt://127.0.0.1:{broker}"
[http]
listen = "127.0.0.1:<http>"
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_nothing_is_compiled_any_more_once_the_gateway_is_ready(tmp_path: Path) -> None:
    kernels = tmp_path / "kernels"
    (tmp_path / "broker").mkdir()
    with Outside() as outside, mosquitto(tmp_path / "broker") as broker:
        endpoint = Endpoint(Unit(1, TankUnit()))
        outside.run(endpoint.start())
        text = CONFIG.format(plc=endpoint.port, broker=broker.port)
        with Gateway(tmp_path, text, {"NUMBA_CACHE_DIR": str(kernels)}) as gateway:
            gateway.launch()
            until(lambda: gateway.exit_code is not None or gateway.is_ready(), "it is ready", 300.0)
            assert gateway.exit_code is None, gateway.text()
            compiled = set(kernels.rglob("*.nbi"))
            assert len(compiled) > 100
            far = FarEnd(outside, tmp_path, broker_port=broker.port)
            until(lambda: far.received() > 3, "records arrive", 30.0)
            until(lambda: gateway.metric("fieldgate_checkpoints_total") > 3, "checkpoints are written", 30.0)
            for path in ("/api/live?limit=0", "/api/tags", "/api/loops", "/api/alarms", "/api/devices", "/metrics"):
                gateway.fetch(path)
            late = {path.name for path in kernels.rglob("*.nbi")} - {path.name for path in compiled}
        outside.run(endpoint.stop())
    assert not late
