"""Texts and named values on their whole way: from a device's registers to page, SCADA and the records upstream."""

from __future__ import annotations

import json
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pymodbus.client import ModbusTcpClient

from tests.support.daemon import Gateway, Outside, until
from tests.support.modbus import pymodbus_server

CONFIG = """
[gateway]
id = "plant"
[defaults]
every = "50ms"
[devices.pump]
link = {{ modbus_tcp = "127.0.0.1:{plc}" }}
tags.state = {{ register = "holding 0", labels = {{ 0 = "off", 1 = "run" }} }}
tags.model = {{ register = "holding 1", type = "string", registers = 16, encoding = "latin-1" }}
tags.broken = {{ register = "holding 30", type = "string", registers = 1 }}
[uplink.file]
file = "records.jsonl"
streams = ["samples"]
samples_every = "200ms"
[uplink.cloud]
file = "elsewhere/records.jsonl"
streams = ["samples", "events"]
samples_every = "200ms"
[scada]
modbus_tcp = "127.0.0.1:<scada>"
[http]
listen = "127.0.0.1:<http>"
"""
MODEL = "Süd 2, Kreiselpumpe"


def test_a_text_and_a_named_value_arrive_everywhere_as_what_they_say(tmp_path: Path) -> None:
    registers = [1, *struct.unpack(">16H", MODEL.encode("latin-1").ljust(32, b"\0")), *[0] * 20]
    registers[30] = 0xC3FF  # no UTF-8
    with ExitStack() as stack:
        outside = stack.enter_context(Outside())
        server = pymodbus_server(registers, [False] * 8)
        port = outside.run(server.__aenter__())
        gateway = stack.enter_context(Gateway(tmp_path, CONFIG.format(plc=port)))
        gateway.start()

        def tags() -> dict[str, Any]:
            return {tag["name"]: tag for tag in gateway.get("/api/tags")["tags"]}

        until(lambda: tags()["pump.model"]["text"] is not None, "the model is known")
        shown = tags()
        assert (shown["pump.model"]["value"], shown["pump.model"]["text"]) == (MODEL, MODEL)
        assert (shown["pump.state"]["value"], shown["pump.state"]["text"]) == (1, "run")
        assert (shown["pump.broken"]["value"], shown["pump.broken"]["quality"]["reason"]) == (None, "sensor fault")
        assert shown["pump.model"]["windows"] == []
        assert gateway.metric("fieldgate_symbols") == 1

        client = ModbusTcpClient("127.0.0.1", port=gateway.scada_port)
        assert client.connect()
        read = client.read_holding_registers(30_020, count=20)
        client.close()
        assert client.convert_from_registers(read.registers, client.DATATYPE.STRING) == MODEL

        # The other uplink cannot be reached (there is no such folder), which is nothing to this one.
        until(lambda: (tmp_path / "records.jsonl").exists(), "records are written")
        ups = {up["name"]: up for up in gateway.status()["uplinks"]}
        assert (ups["file"]["is_connected"], ups["cloud"]["is_connected"]) == (True, False)
        until(lambda: gateway.metric("fieldgate_spool_records", uplink="cloud") > 3, "records wait for the other")
        assert gateway.metric("fieldgate_spool_available", uplink="file") == 1
        assert gateway.terminate() == 0
        outside.run(server.__aexit__(None, None, None))
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    found = {
        (record["tags"][tag], value)
        for record in records
        if "tag" in record
        for tag, value in zip(record["tag"], record["value"], strict=True)
    }
    assert {("pump.model", MODEL), ("pump.state", 1), ("pump.broken", None)} <= found
    assert next(record["labels"] for record in records if "labels" in record) == {
        "pump.state": {"0": "off", "1": "run"}
    }
