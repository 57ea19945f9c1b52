"""Writing to a device through the running daemon: by command, by SCADA, and what is left of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import aiomqtt
import pytest
from pymodbus.client import ModbusTcpClient

from tests.support import brokers
from tests.support.daemon import Gateway, Outside, until
from tests.support.modbus import Asked, pymodbus_server, scripted

CONFIG = """
[gateway]
id = "plant"
[defaults]
every = "50ms"
[devices.pump]
link = {{ modbus_tcp = "127.0.0.1:{plc}" }}
tags.speed = {{ register = "holding 0", write = true, verify = true, valid = {{ low = 0, high = 3000 }} }}
tags.mode = {{ register = "holding 1", bits = "0..2", write = true, labels = {{ 1 = "hand", 2 = "auto" }} }}
tags.torque = {{ register = "holding 2", type = "float32", scale = 0.5, write = true }}
tags.run = {{ register = "coil 3", write = true }}
tags.serial = {{ register = "holding 5" }}
tags.missing = {{ register = "holding 900", write = true }}
[scada]
modbus_tcp = "127.0.0.1:<scada>"
write = ["pump.speed", "pump.torque"]
[http]
listen = "127.0.0.1:<http>"
"""


def write(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", "write", "--config", str(folder / "plant.toml"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_value_is_written_by_command_and_by_scada_and_all_of_it_is_audited(tmp_path: Path) -> None:
    with ExitStack() as stack:
        outside = stack.enter_context(Outside())
        server = pymodbus_server([0] * 20, [False] * 20)
        port = outside.run(server.__aenter__())
        gateway = stack.enter_context(Gateway(tmp_path, CONFIG.format(plc=port)))
        gateway.start()

        def value(tag: str) -> object:
            return {each["name"]: each["value"] for each in gateway.get("/api/tags")["tags"]}[tag]

        until(lambda: value("pump.speed") == 0, "the device is read")

        done = write(tmp_path, "pump.speed", "1450")
        assert (done.returncode, done.stdout) == (0, "pump.speed 0 -> 1450 verified\n"), done.stderr
        until(lambda: value("pump.speed") == 1450, "the value is read back by the polls")
        for tag, text, result, shown in [
            ("pump.mode", "auto", "written", 2),
            ("pump.torque", "12.5", "written", 12.5),
            ("pump.run", "on", "written", 1),
        ]:
            done = write(tmp_path, "--json", tag, text)
            answer = json.loads(done.stdout)
            assert (done.returncode, answer["ok"], answer["result"]["result"]) == (0, True, result)
            until(lambda tag=tag, shown=shown: value(tag) == shown, "it is read")
        for arguments, code, says in [
            (["pump.speed", "3001"], 1, "3001 is not valid for pump.speed: write 0 to 3000"),
            (["pump.serial", "1"], 1, "pump.serial is read only; write = true in that tag allows it"),
            (["pump.sped", "1"], 1, 'pump.sped is not a tag; did you mean "pump.speed"?'),
            (["pump.missing", "1"], 1, "the device refuses it with exception 2, illegal data address"),
        ]:
            done = write(tmp_path, *arguments)
            assert done.returncode == code, done
            assert says in done.stderr

        client = ModbusTcpClient("127.0.0.1", port=gateway.scada_port, retries=0)
        assert client.connect()
        speed = client.convert_to_registers(900, client.DATATYPE.UINT64)
        assert not client.write_registers(5_000, speed).isError()
        until(lambda: value("pump.speed") == 900, "what SCADA wrote is read")
        torque = client.convert_to_registers(7.5, client.DATATYPE.FLOAT32)
        assert not client.write_registers(5_020, torque).isError()
        until(lambda: value("pump.torque") == 7.5, "what SCADA wrote is read")
        too_fast = client.convert_to_registers(3_001, client.DATATYPE.UINT64)
        assert client.write_registers(5_000, too_fast).exception_code == 3
        assert client.write_registers(5_010, speed).exception_code == 1
        assert client.write_registers(5_000, speed[:2]).exception_code == 3
        client.close()
        assert gateway.metric("fieldgate_writes_total", way="local", result="verified") == 1
        assert gateway.metric("fieldgate_writes_total", way="scada", result="verified") == 1
        assert gateway.terminate() == 0
        outside.run(server.__aexit__(None, None, None))
    lines = [json.loads(line) for line in (tmp_path / "state" / "audit.jsonl").read_text(encoding="utf-8").splitlines()]
    told = [(line["way"], line["what"], line["new"], line["result"]) for line in lines if line["result"] != "sent"]
    assert told == [
        ("local", "pump.speed", "1450", "verified"),
        ("local", "pump.mode", "auto", "written"),
        ("local", "pump.torque", "12.5", "written"),
        ("local", "pump.run", "on", "written"),
        ("local", "pump.speed", "3001", "refused"),
        ("local", "pump.serial", "1", "refused"),
        ("local", "pump.sped", "1", "refused"),
        ("local", "pump.missing", "1", "rejected"),
        ("scada", "pump.speed", "900", "verified"),
        ("scada", "pump.torque", "7.5", "written"),
        ("scada", "pump.speed", "3001", "refused"),
    ]
    assert lines[0]["old"] == "0"
    assert {line["who"].split(":")[0] for line in lines if line["way"] == "scada"} == {"127.0.0.1"}


@pytest.mark.slow
def test_a_write_that_the_stop_overtakes_is_on_record(tmp_path: Path) -> None:
    async def deaf_to_writes(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.function < 5:
            writer.write(asked.reply())

    with ExitStack() as stack:
        outside = stack.enter_context(Outside())
        server = scripted({None: deaf_to_writes})
        script = outside.run(server.__aenter__())
        text = CONFIG.format(plc=script.port).replace("link = {", 'link = { response_timeout = "20s",')
        gateway = stack.enter_context(Gateway(tmp_path, text))
        gateway.start()
        until(lambda: gateway.quality("pump.serial") == 192, "the device is read")
        command = [sys.executable, "-m", "gateway", "write", "--config", str(gateway.config), "pump.run", "on"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asking:
            until(lambda: (tmp_path / "state" / "audit.jsonl").exists(), "it is begun")
            assert gateway.terminate() == 0
            assert asking.wait(10) == 1
        outside.run(server.__aexit__(None, None, None))
    lines = [json.loads(line) for line in (tmp_path / "state" / "audit.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["result"] for line in lines] == ["sent", "uncertain"]


BY_MQTT = """
[writes.mqtt]
mqtt = "mqtt://127.0.0.1:{broker}"
version = "{version}"
tags = ["pump.speed", "pump.mode"]
"""


async def order(port: int, tag: str, payload: str) -> dict[str, object]:
    """Publish one order and wait for its result."""
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe("fieldgate/plant/written/#", qos=1)
        await client.publish(f"fieldgate/plant/write/{tag}", payload, qos=1)
        async for message in client.messages:
            assert str(message.topic) == f"fieldgate/plant/written/{tag}"
            answer: dict[str, object] = json.loads(message.payload)  # type: ignore[arg-type]
            if "retained" not in str(answer.get("reason")):
                return answer
    raise AssertionError("no result")


@pytest.mark.parametrize("version", ["3.1.1", pytest.param("5", marks=pytest.mark.slow)])
def test_an_order_by_mqtt_is_carried_out_and_answered(version: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        outside = stack.enter_context(Outside())
        server = pymodbus_server([0] * 20, [False] * 20)
        port = outside.run(server.__aenter__())
        broker = stack.enter_context(brokers.mosquitto(tmp_path))
        text = CONFIG.format(plc=port) + BY_MQTT.format(broker=broker.port, version=version)
        # An order that waits in the broker, from before the gateway came.
        outside.run(retained(broker.port))
        gateway = stack.enter_context(Gateway(tmp_path, text))
        gateway.start()
        until(lambda: gateway.lines("writes.up"), "orders may come")
        until(lambda: gateway.metric("fieldgate_mqtt_orders_total") == 1, "the old order has come")
        until(lambda: gateway.quality("pump.speed") == 192, "the device is read")

        def ordered(tag: str, payload: str) -> dict[str, object]:
            return outside.run(asyncio.wait_for(order(broker.port, tag, payload), 10))

        assert ordered("pump.speed", "1450") == {
            "tag": "pump.speed", "ok": True, "result": "verified", "old": "0", "new": "1450",
        }  # fmt: skip
        assert ordered("pump.mode", '{"value": "auto", "id": "a1", "who": "night shift", "verify": true}') == {
            "tag": "pump.mode", "ok": True, "result": "verified", "id": "a1", "old": "0", "new": "auto",
        }  # fmt: skip
        for tag, payload, says in [
            ("pump.torque", "1", "pump.torque is not among those under [writes.mqtt]"),
            ("pump.speed", "fast", '"fast" is no number'),
            ("pump.speed", '{"vale": 1}', "Object missing required field `value`"),
            ("nosuch", "1", "nosuch is not a tag"),
        ]:
            answer = ordered(tag, payload)
            assert (answer["ok"], answer["result"]) == (False, "refused")
            assert says in str(answer["reason"])
        assert gateway.metric("fieldgate_writes_total", way="mqtt", result="verified") == 2
        assert gateway.terminate() == 0
        outside.run(server.__aexit__(None, None, None))
    lines = [json.loads(line) for line in (tmp_path / "state" / "audit.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["new"] for line in lines if line["result"] == "verified"] == ["1450", "auto"]
    assert "'night shift' as it says" in {line["who"] for line in lines}


async def retained(port: int) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.publish("fieldgate/plant/write/pump.speed", "2999", qos=1, retain=True)
