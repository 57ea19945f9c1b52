"""Real brokers for the uplink's tests: started, killed, frozen and started again on the same port and store."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from hil.ports import free_port
from tests.support.spool import wait_until


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.2).close()
    except OSError:
        return False
    return True


def _is_stopped(task: Path) -> bool:
    """Of a thread: on a busy machine it runs on for a while after the signal."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"


class Broker:
    """A broker process with a configuration file; a context manager. `start` returns when its port answers."""

    def __init__(self, command: list[str], port: int) -> None:
        self.port = port
        self._command = command

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: _answers(self.port))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """The sockets stay open, and nothing comes any more once this returns."""
        self._process.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self._process.pid}/task")
        wait_until(lambda: all(_is_stopped(task) for task in tasks.iterdir()))

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)


def nats(folder: Path) -> Broker:
    """`sync_interval: always`, or JetStream acknowledges what a kill may lose; redelivers after a second."""
    port, client_port = free_port(), free_port()
    configuration = folder / "nats.conf"
    configuration.write_text(
        f"""server_name: far_end
host: "127.0.0.1"
port: {client_port}
jetstream {{ store_dir: "{folder / "jetstream"}", sync_interval: always }}
mqtt {{ host: "127.0.0.1", port: {port}, ack_wait: "1s" }}
"""
    )
    return nats_server(configuration, port)


def nats_server(configuration: Path, port: int) -> Broker:
    """The server of a configuration file; `port` is where it answers when it is ready."""
    return Broker([str(Path(sys.executable).with_name("nats-server")), "-c", str(configuration)], port)


def mosquitto(folder: Path, *lines: str) -> Broker:
    port = free_port()
    configuration = folder / "mosquitto.conf"
    configuration.write_text("\n".join(["user root", f"listener {port} 127.0.0.1", *lines, ""]))
    found = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    return Broker([found, "-c", str(configuration)], port)
