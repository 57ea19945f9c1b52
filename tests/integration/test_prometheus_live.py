"""Debian's Prometheus at work: it scrapes the demo, and alerts fire in faults that are made, and clear after them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.core.types import Quality
from hil.devices.instruments import MeterUnit, TankUnit
from hil.devices.modbus import Endpoint, Unit
from hil.proxy import Proxy
from tests.integration.test_daemon_scada import CONFIG, Scada
from tests.support.brokers import mosquitto
from tests.support.daemon import ROOT, Gateway, Outside, until
from tests.support.prometheus import Prometheus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.timeout(400)
def test_prometheus_scrapes_the_demo_and_sees_its_outage(tmp_path: Path) -> None:
    with (tmp_path / "demo.out").open("wb") as out:
        demo = subprocess.Popen(
            [sys.executable, "-m", "gateway", "demo", "--seconds", "45"],
            stdout=out,
            stderr=out,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
    try:

        def port() -> int | None:
            for config in tmp_path.glob("*/plant.toml"):
                found = re.search(r'\[http\]\s+listen = "127\.0\.0\.1:(\d+)"', config.read_text())
                if found:
                    return int(found[1])
            return None

        http = until(port, "the demo has a configuration", 60.0)
        with Prometheus(tmp_path, http) as prometheus:
            until(lambda: prometheus.target()["health"] == "up", "the demo is scraped", 150.0)
            fired: set[str] = set()
            errors: set[str] = set()
            while demo.poll() is None:
                target = prometheus.target()
                fired |= prometheus.firing()
                if demo.poll() is None and "connection refused" not in target["lastError"]:
                    errors |= {target["lastError"]} - {""}
                time.sleep(0.2)
            assert "FieldgateUplinkDown" in fired, "its outage"
            assert prometheus.sick_rules() == []
            series = prometheus.query('max_over_time(scrape_samples_scraped{job="fieldgate"}[5m])')[0][1]
            duration_s = prometheus.query('max_over_time(scrape_duration_seconds{job="fieldgate"}[5m])')[0][1]
            rate = prometheus.query("max_over_time(rate(fieldgate_engine_samples_total[10s])[2m:1s])")
            cleared = prometheus.query("last_over_time(fieldgate_uplink_connected[5m])")
            print(f"{series:.0f} series, {duration_s:.3f} s the longest scrape, fired {sorted(fired)}, errors {errors}")
            assert series > 200
            assert not errors, errors
            assert rate, "the engine's samples are there"
            assert cleared[0][1] == 1, "the link is up again"
    finally:
        demo.send_signal(signal.SIGTERM)
        demo.wait(60)


UPLINK = """
[uplink.cloud]
mqtt = "mqtt://127.0.0.1:{broker}"
"""


def test_alerts_fire_in_a_fault_that_is_made_and_clear_after_it(tmp_path: Path) -> None:
    with Outside() as outside, mosquitto(tmp_path) as broker:
        endpoint = Endpoint(Unit(1, TankUnit()), Unit(2, MeterUnit(1)))
        outside.run(endpoint.start())
        field, far = Proxy(endpoint.port), Proxy(broker.port)
        outside.run(field.start())
        outside.run(far.start())
        text = CONFIG.format(plc=field.port, inserted="") + UPLINK.format(broker=far.port)
        text = text.replace("loops_unit = 9", 'loops_unit = 9\nwatchdog = "600s"\nwatchdog_loops = ["control.tank"]')
        with Gateway(tmp_path, text) as gateway, Prometheus(tmp_path, gateway.http_port) as prometheus:
            gateway.start()
            until(lambda: gateway.quality("tank.outflow") == Quality.GOOD, "the tank is read")
            until(lambda: prometheus.target()["health"] == "up", "it is scraped", 30.0)

            prometheus.rehearse(
                {"FieldgateLinkDown", "FieldgateStaleDevices"},
                lambda: outside.run(field.cut()),
                lambda: outside.run(field.mend()),
            )
            prometheus.rehearse(
                {"FieldgateUplinkDown"}, lambda: outside.run(far.cut()), lambda: outside.run(far.mend())
            )
            watched = gateway.config.read_text().replace('watchdog = "600s"', 'watchdog = "1s"')
            counting = watched.replace('watchdog = "1s"', 'watchdog = "600s"')

            def silent() -> None:
                gateway.config.write_text(watched)
                gateway.signal(signal.SIGHUP)

            def counts() -> None:
                gateway.config.write_text(counting)
                gateway.signal(signal.SIGHUP)
                until(lambda: len(gateway.lines("configuration.applied")) == 2, "it is read again")
                Scada(gateway).write(9, "gateway/watchdog", "7")

            prometheus.rehearse({"FieldgateScadaSilent", "FieldgateLoopInFailsafe"}, silent, counts)
            prometheus.rehearse({"FieldgateDown"}, gateway.kill, gateway.start)
            assert prometheus.sick_rules() == []
        outside.run(field.stop())
        outside.run(far.stop())
        outside.run(endpoint.stop())
