"""Shipped alerts fire in faults that are made, of a real daemon under Debian's Prometheus, and clear after them.

What the rules lose for it is said at `tests.support.prometheus.hurried`. Errors that the gateway does not have are
planted (`tests.support.failing_daemon`); last week is written into Prometheus' store by promtool; the kernel's word on
its clock and an error of the disk come from a library between gateway and libc. All else is as in a plant.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest
from pymodbus.constants import ExcCodes

from gateway.core.types import Quality
from tests.support.daemon import Gateway, until
from tests.support.faulty_disk import FaultyDisk, preloaded
from tests.support.prometheus import Prometheus
from tests.support.promtool import ALERTS
from tests.support.rehearsal import Withheld, plant, reload

DAILY = {"FieldgateLinkDown", "FieldgateStaleDevices", "FieldgateConfigurationRefused"}
FIELD = [
    {"FieldgateLinkDown", "FieldgateStaleDevices"},
    {"FieldgateDeviceSilent", "FieldgateModbusErrors"},
    {"FieldgateControlOverBudget", "FieldgateDeadlineMisses"},
    {"FieldgateMqttErrors", "FieldgateDeadLetters"},
    {"FieldgateAggregateOverBudget", "FieldgateScoreOverBudget", "FieldgateLatencyTrend"},
    {"FieldgateScadaSilent", "FieldgateLoopInFailsafe"},
]
DELIVERY = [
    {"FieldgateRecordsRejected"},
    {"FieldgateUplinkDown", "FieldgateConsumerLag", "FieldgateBufferNearlyFull", "FieldgateRecordsDropped"},
    {"FieldgateBacklogGrows", "FieldgateDrainTrend"},
]
STORE = [
    {"FieldgateDiskNearFloor", "FieldgateUnderPressure"},
    {"FieldgateSpoolUnavailable"},
]
MACHINE = [
    {"FieldgateClockUnsynchronised"},
    {"FieldgateEngineStalled", "FieldgateSamplesDropped"},
    {"FieldgateComponentRestarts"},
    {"FieldgateMetricsLeftOut"},
    {"FieldgateMemoryTrend"},
    {"FieldgateDown"},
    {"FieldgateRestarts"},
]


def test_every_alert_is_rehearsed_here() -> None:
    rehearsed = set().union(DAILY, *FIELD, *DELIVERY, *STORE, *MACHINE)
    assert rehearsed == set(re.findall(r"- alert: (\w+)", ALERTS.read_text()))


def ready(gateway: Gateway, prometheus: Prometheus) -> None:
    until(lambda: gateway.quality("tank.level") == Quality.GOOD, "the tank is read")
    prometheus.scrapes()


@pytest.mark.timeout(300)
def test_a_link_is_cut_and_a_configuration_refused_and_the_reload_is_marked_on_the_dashboard(tmp_path: Path) -> None:
    with plant(tmp_path) as field:
        text = field.config(delivers=False)
        with Gateway(tmp_path, text) as gateway, Prometheus(tmp_path, gateway.http_port) as prometheus:
            gateway.start()
            ready(gateway, prometheus)

            def fault() -> None:
                field.outside.run(field.plc.cut())
                reload(gateway, text + "[nonsense]\n")

            def end() -> None:
                assert "Refused reloads" in prometheus.marks()
                field.outside.run(field.plc.mend())
                reload(gateway, text)

            prometheus.rehearse(DAILY, fault, end)
            assert prometheus.sick_rules() == []
            until(lambda: "Reloads" in prometheus.marks(), "the reload is marked")
            marks = prometheus.marks()
            assert 0 < marks["Reloads"] - marks["Starts"] < 300_000, "milliseconds"


WEEK = {
    'fieldgate:latency_seconds:p99_5m{path="aggregate"}': 0.06,
    'fieldgate:latency_seconds:p99_5m{path="score"}': 0.06,
}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_alerts_of_the_field_fire_and_clear(tmp_path: Path) -> None:
    with plant(tmp_path) as field:
        text = field.config(delivers=False)
        with Gateway(tmp_path, text) as gateway, Prometheus(tmp_path, gateway.http_port, last_week=WEEK) as prometheus:
            gateway.start()
            ready(gateway, prometheus)
            away = Withheld(gateway)

            def bad_payloads(payload: bytes) -> None:
                field.payload = payload

            def delay(s: float) -> None:
                field.out.delay_s = s

            def answer(exception: ExcCodes | None) -> None:
                field.meter.exception = exception

            faults = (
                (lambda: field.outside.run(field.plc.cut()), lambda: field.outside.run(field.plc.mend())),
                (lambda: answer(ExcCodes.GATEWAY_NO_RESPONSE), lambda: answer(None)),
                (lambda: delay(0.04), lambda: delay(0.0)),
                (lambda: bad_payloads(b"warm"), lambda: bad_payloads(b"21.5")),
                (away.begin, away.end),
                (
                    lambda: reload(gateway, text.replace('watchdog = "600s"', 'watchdog = "1s"')),
                    lambda: reload(gateway, text.replace('watchdog = "600s"\n', "").replace("watchdog_loops", "# ")),
                ),
            )
            for names, (fault, end) in zip(FIELD, faults, strict=True):
                prometheus.rehearse(names, fault, end)
            assert prometheus.sick_rules() == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_alerts_of_delivery_fire_and_clear(tmp_path: Path) -> None:
    drained = {'fieldgate:backlog_records:drained_rate5m{uplink="cloud"}': 1_000.0}
    with plant(tmp_path) as field, Gateway(tmp_path, field.config()) as gateway:

        def throttle(bytes_per_s: int) -> None:
            field.far.bytes_per_s = bytes_per_s

        def refuse() -> None:
            field.refuse_records(is_so=True)
            reload(gateway, field.config())  # which is an event, and so a record

        with Prometheus(tmp_path, gateway.http_port, hours_ago=drained) as prometheus:
            gateway.start()
            ready(gateway, prometheus)
            faults = (
                (refuse, lambda: field.refuse_records(is_so=False)),
                (lambda: field.outside.run(field.far.cut()), lambda: field.outside.run(field.far.mend())),
                (lambda: throttle(25_000), lambda: throttle(0)),
            )
            for names, (fault, end) in zip(DELIVERY, faults, strict=True):
                prometheus.rehearse(names, fault, end)
            assert prometheus.sick_rules() == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_alerts_of_the_store_fire_and_clear(tmp_path: Path) -> None:
    disk = FaultyDisk(tmp_path)
    with plant(tmp_path) as field, Gateway(tmp_path, field.config(), disk.environment) as gateway:
        text = field.config()

        with Prometheus(tmp_path, gateway.http_port) as prometheus:
            gateway.start()
            ready(gateway, prometheus)
            faults = (
                (
                    lambda: reload(gateway, text.replace('free_disk = "1MB"', 'free_disk = "9000GB"')),
                    lambda: reload(gateway, text),
                ),
                (lambda: disk.fail(f"write spool.db-wal {errno.ENOSPC}"), disk.heal),
            )
            for names, (fault, end) in zip(STORE, faults, strict=True):
                prometheus.rehearse(names, fault, end)
            assert prometheus.sick_rules() == []


class Failing(Gateway):
    module = "tests.support.failing_daemon"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_alerts_of_the_machine_fire_and_clear(tmp_path: Path) -> None:
    errors, clock = tmp_path / "errors", tmp_path / "undisciplined"
    errors.touch()
    environment = {
        "FAILING_DAEMON": str(errors),
        "UNDISCIPLINED_CLOCK": str(clock),
        "LD_PRELOAD": str(preloaded("undisciplined_clock")),
    }
    with plant(tmp_path) as field, Failing(tmp_path, field.config(delivers=False), environment) as gateway:
        gateway.start()
        week = {
            "process_resident_memory_bytes": gateway.metric("process_resident_memory_bytes"),
            "fieldgate_engine_tags": gateway.metric("fieldgate_engine_tags"),
        }
        with Prometheus(tmp_path, gateway.http_port, last_week=week) as prometheus:
            ready(gateway, prometheus)

            def happens(error: str) -> None:
                errors.write_text(error)

            def hang() -> None:
                happens("engine")
                field.every_s = 0.0005

            def go_on() -> None:
                field.every_s = 0.2
                happens("")

            faults = (
                (clock.touch, clock.unlink),
                (hang, go_on),
                (lambda: happens("component"), lambda: happens("")),
                (lambda: happens("reading"), lambda: happens("")),
                (lambda: happens("leak"), lambda: happens("")),
                (gateway.kill, gateway.start),
                (lambda: restart_again_and_again(gateway, prometheus), lambda: None),
            )
            for names, (fault, end) in zip(MACHINE, faults, strict=True):
                prometheus.rehearse(names, fault, end)
            assert prometheus.sick_rules() == []


def restart_again_and_again(gateway: Gateway, prometheus: Prometheus) -> None:
    for _ in range(6):
        gateway.kill()
        gateway.start()
        prometheus.scrapes()
        if "FieldgateRestarts" in prometheus.firing():
            return
