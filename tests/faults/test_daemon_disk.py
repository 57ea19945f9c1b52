"""The daemon on a disk that is full, then has room, is read-only, then is not (a small tmpfs; needs root)."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hil.devices.instruments import MeterUnit
from hil.devices.modbus import Endpoint, Unit
from tests.support.daemon import Gateway, Outside, until

CONFIG = """
[gateway]
id = "plant"
state_dir = "disk/state"

[journal]

[links.plc]
modbus_tcp = "127.0.0.1:{plc}"

[devices.meter]
link = "plc"
unit = 1
tags.voltage = {{ register = "holding 0", type = "float32", unit = "V", every = "50ms", windows = ["2s"] }}

[uplink.cloud]
file = "records.jsonl"
streams = ["events", "aggregates", "samples"]
aggregates_every = "200ms"
samples_every = "100ms"

[http]
listen = "127.0.0.1:<http>"
"""
DAMAGE = ("journal.damaged", "checkpoint.damaged", "spool.damaged", "spool.salvaged")


@pytest.fixture
def plc() -> Iterator[int]:
    with Outside() as outside:
        endpoint = Endpoint(Unit(1, MeterUnit(1)))
        outside.run(endpoint.start())
        yield endpoint.port
        outside.run(endpoint.stop())


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


def fill(ballast: Path) -> None:
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def identities(records: Path) -> Counter[tuple[str, int, int]]:
    """What arrived, each by its identity; the last line may be half written."""
    found: Counter[tuple[str, int, int]] = Counter()
    for line in records.read_text(encoding="utf-8").splitlines() if records.exists() else ():
        with suppress(json.JSONDecodeError):
            record = json.loads(line)
            found[record["stream"], record["segment"], record["sequence"]] += 1
    return found


@pytest.mark.slow
def test_a_full_and_a_read_only_disk_are_named_and_cost_no_start_and_nothing_arrives_twice(
    tmp_path: Path, small_disk: Path, plc: int
) -> None:
    remount(small_disk, "size=12m")
    records, ballast = tmp_path / "records.jsonl", small_disk / "ballast"
    with Gateway(tmp_path, CONFIG.format(plc=plc)) as gateway:
        gateway.start()
        until(lambda: len(identities(records)) > 5, "records arrive")
        fill(ballast)
        until(lambda: gateway.lines("journal.unavailable"), "the full disk is named")
        assert "No space left" in gateway.lines("journal.unavailable")[0].message
        before = gateway.metric("fieldgate_engine_cycles_total")
        until(lambda: gateway.metric("fieldgate_engine_cycles_total") > before + 50, "the plant goes on")
        assert gateway.quality("meter.voltage") == 192
        assert gateway.metric("fieldgate_journal_available") == 0
        assert gateway.metric("fieldgate_journal_uncovered_cycles_total") > 0
        ballast.unlink()
        until(lambda: gateway.lines("journal.available"), "and goes on when there is room")
        until(lambda: gateway.metric("fieldgate_spool_available") == 1, "the spool as well")
        arrived = len(identities(records))
        until(lambda: len(identities(records)) > arrived + 5, "records arrive again")
        gateway.kill()

        # What was not covered is a hole, unless a checkpoint stands beyond it: told, and never guessed over.
        gateway.start()
        assert len(gateway.lines("gateway.recovered")) == 1
        assert not [line for line in gateway.lines() if line.kind in DAMAGE]
        assert gateway.terminate() == 0

        remount(small_disk, "ro")
        gateway.launch()
        assert gateway.wait_exit(60.0) == 1
        assert "read-only" in gateway.text().lower() or "readonly" in gateway.text().lower(), gateway.text()
        assert "Traceback" not in gateway.text()

        remount(small_disk, "rw")
        gateway.start()
        assert len(gateway.lines("gateway.recovered")) == 1
        assert not [line for line in gateway.lines() if line.kind in DAMAGE]
        arrived = len(identities(records))
        until(lambda: len(identities(records)) > arrived + 5, "records arrive after all of it")
        assert gateway.terminate() == 0
    assert set(identities(records).values()) == {1}, "nothing came twice"
