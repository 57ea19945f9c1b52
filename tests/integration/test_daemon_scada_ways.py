"""The whole daemon with all ways into its Modbus server at once: plain TCP, TLS and a serial line."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import time
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.protocol.modbus.rtuserver import rtu_frame
from hil.devices.instruments import TankUnit
from hil.devices.modbus import Endpoint, Unit
from hil.ports import free_port
from tests.support.certificates import Authority, role
from tests.support.daemon import Gateway, Outside, until
from tests.support.lines import Line, plugged
from tests.support.scada import request

CONFIG = """
[gateway]
id = "plant"
state_dir = "state"

[links.plc]
modbus_tcp = "127.0.0.1:{plc}"
[devices.tank]
link = "plc"
tags.level = {{ register = "holding 0", type = "float32", unit = "%" }}
tags.valve = {{ register = "holding 10", type = "uint16", scale = 0.1, unit = "%", write = true }}

[control.tank]
pid = {{ input = "tank.level", output = "tank.valve", setpoint = 30.0, kp = 8.0, ti = "3s", every = "20ms" }}
limits = {{ min = 0, max = 100 }}
setpoint_limits = {{ min = 20, max = 90 }}
failsafe = {{ output = 0, when_older_than = "500ms" }}
commands = {{ hold = "2min" }}

[scada]
modbus_tcp = "127.0.0.1:<scada>"
loops_unit = 9
write = ["control.tank.setpoint"]
modbus_rtu = {{ port = "{port}", baud = 115200, units = [9] }}
[scada.modbus_tls]
listen = "127.0.0.1:{tls}"
ca_file = "{ca}"
cert_file = "{certificate}"
key_file = "{key}"
allow = ["hmi-1"]
roles = {{ Operator = "write" }}

[http]
listen = "127.0.0.1:<http>"
"""


def setpoint(value: float) -> bytes:
    return struct.pack(">BHHBf", 16, 100, 2, 4, value)


def read_of() -> bytes:
    return struct.pack(">BHH", 3, 100, 2)


def by_socket(plain: socket.socket, pdu: bytes) -> bytes:
    plain.sendall(request(pdu, unit=9))
    return plain.recv(260)[7:]


def by_line(line: Line, pdu: bytes) -> bytes:
    os.write(line.master, rtu_frame(9, pdu))
    answer = b""
    end_s = time.monotonic() + 5
    while time.monotonic() < end_s and not (answer and rtu_frame(9, answer[1:-2]) == answer):
        time.sleep(0.01)
        with suppress(BlockingIOError):
            answer += os.read(line.master, 260)
    return answer[1:-2]


@pytest.mark.slow
def test_one_loop_has_one_commander_whichever_way_scada_comes(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "plant")
    certificate, key = authority.issue("gateway")
    operator = authority.issue("hmi-1", role("Operator"))
    tls_port = free_port()
    with Outside() as outside, plugged(tmp_path / "port") as line:
        endpoint = Endpoint(Unit(1, TankUnit()))
        outside.run(endpoint.start())
        text = CONFIG.format(
            plc=endpoint.port, port=line.path, tls=tls_port, ca=authority.certificate, certificate=certificate, key=key
        )
        with Gateway(tmp_path, text) as gateway:
            gateway.start()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(authority.certificate)
            context.load_cert_chain(*operator)
            with (
                socket.create_connection(("127.0.0.1", gateway.scada_port), 10) as plain,
                socket.create_connection(("127.0.0.1", tls_port), 10) as below,
                context.wrap_socket(below, server_hostname="127.0.0.1") as secure,
            ):
                for value, ask in ((30.0, plain), (30.0, secure)):
                    assert by_socket(ask, read_of()) == b"\x03\x04" + struct.pack(">f", value)
                assert by_line(line, read_of()) == b"\x03\x04" + struct.pack(">f", 30.0)
                assert by_socket(secure, setpoint(41.0)) == setpoint(41.0)[:5]
                assert by_socket(plain, setpoint(55.0)) == b"\x90\x06", "busy: somebody else has the loop"
                assert by_line(line, setpoint(56.0)) == b"\x90\x06"
                assert by_socket(secure, setpoint(42.0)) == setpoint(42.0)[:5]
                now = b"\x03\x04" + struct.pack(">f", 42.0)
                until(lambda: by_line(line, read_of()) == now, "the executive has taken it")
            refused = [each.message for each in gateway.lines("scada.write.refused")]
            assert len(refused) == 2
            assert all("held by hmi-1 by scada" in message for message in refused), refused
            assert f"{line.path} may not write control.tank/setpoint" in refused[1]
            accepted = [each.message for each in gateway.lines("scada.write.accepted")]
            assert [message.startswith("hmi-1 at 127.0.0.1:") for message in accepted] == [True, True]
            assert gateway.metric("fieldgate_scada_line_up") == 1
            assert gateway.metric("fieldgate_scada_tls_refused_total") == 0
            assert gateway.metric("fieldgate_scada_writes_total", result="refused") == 2
            assert gateway.terminate() == 0, gateway.text()
        trail = (tmp_path / "state" / "audit.jsonl").read_text(encoding="utf-8")
        assert trail.count('"hmi-1 at 127.0.0.1:') == 2, trail
