"""A thread that ends by itself ends the daemon, and the start after it sets right what can be set right."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from hil.devices.instruments import MeterUnit
from hil.devices.modbus import Endpoint, Unit
from tests.support.daemon import Gateway, Outside, until

CONFIG = """
[gateway]
id = "plant"
state_dir = "state"

[journal]

[links.plc]
modbus_tcp = "127.0.0.1:{plc}"

[devices.meter]
link = "plc"
unit = 1
tags.voltage = {{ register = "holding 0", type = "float32", unit = "V", every = "50ms", windows = ["2s"] }}

[uplink.cloud]
file = "records.jsonl"
streams = ["events", "samples"]
samples_every = "100ms"

[http]
listen = "127.0.0.1:<http>"
"""
EXIT_S_MAX = 60.0


class Dying(Gateway):
    module = "tests.support.dying_daemon"


@pytest.fixture
def plc() -> Iterator[int]:
    with Outside() as outside:
        endpoint = Endpoint(Unit(1, MeterUnit(1)))
        outside.run(endpoint.start())
        yield endpoint.port
        outside.run(endpoint.stop())


def arrived(folder: Path) -> list[dict[str, Any]]:
    """Records as the other end has them; the last line may be half written."""
    path, records = folder / "records.jsonl", []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return records


def samples(folder: Path) -> Counter[int]:
    """How often each reading of the meter arrived, by its time."""
    found: Counter[int] = Counter()
    for record in arrived(folder):
        if record["stream"] == "samples":
            found.update(record.get("time_ns", ()))  # the end of a segment has none
    return found


def contradict(spool: Path) -> None:
    """Have the index of the records begin at a page that is no index's, as a page that went bad does."""
    with closing(sqlite3.connect(spool, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA schema_version").fetchone()
        connection.execute("PRAGMA writable_schema = ON")
        changed = connection.execute(
            "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'meta')"
            " WHERE type = 'index' AND tbl_name = 'records' AND sql LIKE '%sequence%'"
        )
        assert changed.rowcount == 1
        connection.execute(f"PRAGMA schema_version = {version + 1}")
        connection.execute("COMMIT")


def goes_on_and_nothing_came_twice(gateway: Gateway, folder: Path) -> None:
    before = len(samples(folder))
    until(lambda: len(samples(folder)) > before + 20, "records arrive again")
    assert gateway.terminate() == 0
    assert set(samples(folder).values()) == {1}


@pytest.mark.slow
def test_a_spool_found_damaged_while_it_runs_ends_the_daemon_and_the_next_start_salvages_it(
    tmp_path: Path, plc: int
) -> None:
    with Gateway(tmp_path, CONFIG.format(plc=plc)) as gateway:
        gateway.start()
        until(lambda: len(samples(tmp_path)) > 20, "records arrive")
        contradict(tmp_path / "state" / "spool.db")
        assert gateway.wait_exit(EXIT_S_MAX) == 1
        (failed,) = gateway.lines("gateway.failed")
        assert failed.message.startswith("the spool thread died: "), failed
        assert "malformed" in failed.message
        assert "start again to salvage" in failed.message
        assert not gateway.lines("component.failed"), "one thing went wrong, and is told once"

        gateway.start()
        (salvaged,) = gateway.lines("spool.salvaged")
        assert "spool.db.damaged-1" in salvaged.message
        goes_on_and_nothing_came_twice(gateway, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "thread"), [(signal.SIGUSR1, "spool"), (signal.SIGUSR2, "journal")])
def test_an_error_that_nobody_foresaw_in_a_thread_ends_the_daemon_and_records_go_on(
    tmp_path: Path, plc: int, number: signal.Signals, thread: str
) -> None:
    with Dying(tmp_path, CONFIG.format(plc=plc)) as gateway:
        gateway.start()
        until(lambda: len(samples(tmp_path)) > 20, "records arrive")
        gateway.signal(number)
        assert gateway.wait_exit(EXIT_S_MAX) == 1
        (failed,) = gateway.lines("gateway.failed")
        assert failed.message.startswith(f"the {thread} thread died: ZeroDivisionError: nobody foresaw this")
        assert not gateway.lines("component.failed")

        gateway.start()
        assert not gateway.lines("spool.salvaged"), "nothing is wrong with the file"
        assert gateway.metric("fieldgate_recovery_exact") == 1
        goes_on_and_nothing_came_twice(gateway, tmp_path)
