"""Compile what the daemons of the tests would otherwise compile one by one: `python -m tests.warm`, beside the lint.

One gateway with all of its parts is started on devices that do not answer, and stopped when it is ready. What only a
sample of some kind needs is still compiled where it is needed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from gateway.kernelcache import choose
from hil.ports import free_port
from tests.support.daemon import Gateway

CONFIG = """
[gateway]
id = "warm"
[http]
listen = "127.0.0.1:<http>"
[scada]
modbus_tcp = "127.0.0.1:<scada>"
[journal]
[links.plc]
modbus_tcp = "127.0.0.1:{closed}"
[links.slow]
modbus_tcp = "127.0.0.1:{closed}"
keep_open = false
[links.floor]
mqtt = "mqtt://127.0.0.1:{closed}"
[uplink.cloud]
mqtt = "mqtt://127.0.0.1:{closed}"
[devices.tank]
link = "plc"
tags.level = {{ register = "holding 0", type = "float32" }}
tags.valve = {{ register = "holding 10", write = true }}
[devices.meter]
link = "plc"
tags.double = {{ formula = "power * 2" }}
[devices.meter.tags.power]
register = "holding 0"
report = {{ change = 1.0 }}
calculate.day = {{ of = ["mean"], calendar = "day" }}
[devices.pump]
link = "slow"
tags.speed = {{ register = "holding 0" }}
[devices.machine]
link = "floor"
topic = "plant/{{device}}/{{tag}}"
tags.count = {{ field = "value" }}
[control.tank]
pid = {{ input = "tank.level", output = "tank.valve", setpoint = 30.0, kp = 4.0, ti = "4s", every = "20ms" }}
limits = {{ min = 0, max = 100 }}
failsafe = {{ output = 0, when_older_than = "500ms" }}
"""

WITHIN_S = 600.0


def main() -> None:
    choose(os.environ)
    begun_s = time.monotonic()
    print("compiling kernels (for some minutes, the first time only)", file=sys.stderr)
    with (
        tempfile.TemporaryDirectory() as folder,
        Gateway(Path(folder), CONFIG.format(closed=free_port())) as gateway,
    ):
        try:
            gateway.launch()
            gateway.wait_ready(WITHIN_S)
            gateway.terminate()
        except AssertionError as error:
            print(f"{error}\nThe tests compile what is missing, and say what is wrong.", file=sys.stderr)
            return
    print(f"kernels are compiled, in {time.monotonic() - begun_s:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
