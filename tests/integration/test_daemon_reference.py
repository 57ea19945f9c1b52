"""Virtual tags and reference tables in the whole daemon: where what they say is seen, and a table that changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gateway.core.types import Quality
from hil.devices.instruments import MeterUnit
from hil.devices.modbus import Endpoint, Unit
from tests.integration.test_daemon_scada import Scada
from tests.support.daemon import Gateway, Outside, until

CONFIG = """
[gateway]
id = "plant"
[defaults]
every = "50ms"
windows = ["30s"]
[devices.meter]
link = {{ modbus_tcp = "127.0.0.1:{plc}" }}
tags.voltage = {{ register = "holding 0", type = "float32", unit = "V", alarm = {{ high = 100 }} }}
tags.zero = {{ formula = "voltage / (voltage - voltage)" }}
[devices.all]
tags.kilovolts = {{ formula = "mean('*.voltage') / 1000", unit = "kV" }}
[reference.assets]
file = "assets.csv"
[uplink.file]
file = "records.jsonl"
aggregates_every = "200ms"
[scada]
modbus_tcp = "127.0.0.1:<scada>"
[history]
[http]
listen = "127.0.0.1:<http>"
"""


def test_a_virtual_tag_is_a_tag_and_a_changed_table_is_read_again(tmp_path: Path) -> None:
    table = tmp_path / "assets.csv"
    table.write_text("device,tag,asset,criticality\nmeter,,M-1,high\nmeter,voltage,,wrong\n")
    endpoint = Endpoint(Unit(1, MeterUnit(1)))
    with Outside() as outside:
        outside.run(endpoint.start())
        with Gateway(tmp_path, CONFIG.format(plc=endpoint.port)) as gateway:
            gateway.start()

            def tags() -> dict[str, dict[str, Any]]:
                return {tag["name"]: tag for tag in gateway.get("/api/tags")["tags"]}

            until(lambda: gateway.quality("all.kilovolts") == Quality.GOOD, "the formula has a value")
            shown = tags()
            assert 0.3 < shown["all.kilovolts"]["value"] < 0.5
            assert shown["all.kilovolts"]["formula"] == "mean('*.voltage') / 1000"
            assert 0.3 < Scada(gateway).read(1, "all.kilovolts/value") < 0.5
            assert shown["meter.zero"]["quality"]["level"] == "bad"

            def faults() -> list[str]:
                """Before the first reading it is another one."""
                return [line.message for line in gateway.lines("virtual.fault", "meter.zero")]

            until(lambda: any("division by zero in voltage" in fault for fault in faults()), "it is told")
            assert gateway.metric("fieldgate_virtual_without_result") == 1

            assert shown["meter.voltage"]["context"] == {"asset": "M-1", "criticality": "high"}
            (told,) = gateway.lines("reference.left_out")
            assert f"{table}:3: criticality" in told.message
            assert gateway.metric("fieldgate_tag_info", tag="meter.voltage", asset="M-1") == 1
            (alarm,) = until(lambda: gateway.get("/api/alarms")["alarms"], "the alarm is raised")
            assert alarm["context"]["asset"] == "M-1"
            (raised,) = until(lambda: gateway.lines("alarm.high.raised"), "the alarm is told")
            assert raised.message.endswith("[M-1, criticality high]")

            counted = shown["meter.voltage"]["windows"][0]["count"]
            table.write_text("tag,asset,curve\nmeter.voltage,M-2,0:0 1000:500\n")
            until(lambda: tags()["meter.voltage"]["context"] == {"asset": "M-2"}, "the table is read again")
            until(lambda: (tags()["meter.voltage"]["value"] or 999) < 300, "the curve is in force")
            assert tags()["meter.voltage"]["windows"][0]["count"] > counted, "the window went on"
            assert gateway.metric("fieldgate_reference_reads_total") == 1
            table.unlink()
            until(lambda: len(gateway.lines("reference.left_out")) > 1, "the vanished table is told")
            assert tags()["meter.voltage"]["context"] == {"asset": "M-2"}
            assert gateway.terminate() == 0
        outside.run(endpoint.stop())
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    told_of = [record for record in records if record["stream"] == "aggregates" and "context" in record]
    assert {record["context"]["meter.voltage"]["asset"] for record in told_of} == {"M-1", "M-2"}
    assert len({record["context_version"] for record in told_of}) == 2
    assert any("all.kilovolts" in record["tags"] for record in told_of)
