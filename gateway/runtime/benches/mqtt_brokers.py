"""The brokers of the MQTT benchmark, on loopback and free ports: the NATS server from its wheel, and Mosquitto."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hil.broker import BrokerFailed, NatsServer
from hil.children import ON_ITS_OWN
from hil.ports import free_port

READY_S_MAX = 10.0


@contextmanager
def broker(name: str, folder: Path) -> Iterator[int]:
    """The port of a broker that runs inside. Raises BrokerFailed."""
    if name == "nats":
        server = NatsServer(folder / "nats")
        server.start()
        try:
            yield server.port
        finally:
            server.stop()
    else:
        yield from _mosquitto(folder)


def _mosquitto(folder: Path) -> Iterator[int]:
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if binary is None:
        raise BrokerFailed("mosquitto is not installed: apt-get install mosquitto")
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_type error\n", encoding="utf-8")
    with subprocess.Popen(
        [binary, "-c", str(config)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        **ON_ITS_OWN,
    ) as process:  # fmt: skip
        try:
            _wait_for(process, port)
            yield port
        finally:
            process.terminate()


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    deadline_s = time.monotonic() + READY_S_MAX
    while time.monotonic() < deadline_s and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise BrokerFailed("mosquitto does not listen")
