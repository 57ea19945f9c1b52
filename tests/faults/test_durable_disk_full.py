"""Durable MQTT readings while the disk fills, is full under SIGKILL, and has room again (a small tmpfs; needs root)."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.test_daemon_disk import fill, remount
from tests.support.brokers import mosquitto
from tests.support.daemon import Gateway, Outside, until
from tests.support.mqtt_chaos import CONFIG, PAYLOADS, Publishers, delivered, judge

SETTLE_S = 90.0


def top_up(ballast: Path) -> None:
    """Take what became free as well: finished journal segments and pages of the spool make room."""
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def confirmed(publishers: Publishers) -> int:
    return sum(publishers.confirmed.values())


def wait_for_more(folder: Path, than: int, what: str) -> None:
    until(lambda: min(len(values) for values in delivered(folder).values()) > than, what, SETTLE_S)


@pytest.mark.slow
def test_a_full_disk_loses_nothing_that_was_acknowledged_also_when_the_gateway_is_killed(
    tmp_path: Path, small_disk: Path
) -> None:
    remount(small_disk, "size=24m")
    ballast = small_disk / "ballast"
    text = CONFIG.replace('"state"', '"disk/state"').replace('"100MB"', '"8MB"')
    # The pressure ladder would hold acknowledgements back before the disk is full.
    text = text.replace("streams = ", 'free_disk = "0MB"\nstreams = ')
    with (
        mosquitto(tmp_path, extra="max_queued_messages 0") as broker,
        Outside() as outside,
        Gateway(tmp_path, text.format(broker=broker.port)) as gateway,
    ):
        gateway.launch()
        gateway.wait_ready(300.0)
        until(lambda: "floor" in gateway.links_up(), "the sessions are there")
        publishers = Publishers(broker.port)
        for topic in PAYLOADS:
            outside.spawn(publishers.run(topic))
        wait_for_more(tmp_path, 100, "readings arrive")

        fill(ballast)
        (told, *_) = until(lambda: gateway.lines("intake.unavailable"), "the full disk is named", SETTLE_S)
        assert "No space left" in told.message
        assert "are not acknowledged until this is over" in told.message
        assert gateway.metric("fieldgate_intake_unavailable_total") > 0

        def waiting() -> float:
            top_up(ballast)
            return confirmed(publishers) - gateway.metric("fieldgate_intake_samples_total")

        before = waiting()
        until(lambda: waiting() > before + 500, "readings wait at the broker", SETTLE_S)
        ballast.unlink()
        until(lambda: gateway.lines("intake.available"), "it goes on by itself", SETTLE_S)
        kept = gateway.metric("fieldgate_intake_samples_total")
        until(lambda: gateway.metric("fieldgate_intake_samples_total") > kept + 500, "what waited is kept", SETTLE_S)

        for _ in range(2):
            fill(ballast)
            seen = len(gateway.lines("intake.unavailable"))
            until(lambda seen=seen: len(gateway.lines("intake.unavailable")) > seen or None, "full again", SETTLE_S)
            time.sleep(1.0)
            gateway.kill()
            ballast.unlink()
            gateway.start()
            until(lambda: "floor" in gateway.links_up(), "the sessions are there")
            wait_for_more(tmp_path, publishers.confirmed["twice"], "what waited arrives")

        publishers.stop()
        time.sleep(0.5)
        wanted = dict(publishers.confirmed)
        for topic, count in wanted.items():
            until(lambda topic=topic, count=count: len(set(delivered(tmp_path)[topic])) >= count, "all", SETTLE_S)
        assert gateway.terminate() == 0
    outcome = judge(delivered(tmp_path), wanted, kills=2, starting=0, repeated=0)
    # What fell into the journal's hole comes again from the intake; its records may have left before.
    assert not any(outcome.missing.values()), outcome
