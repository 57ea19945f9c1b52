"""How long a gateway that was killed under load takes until it is ready again: the whole daemon, as systemd sees it.

A broker, a daemon with a journal, and a publisher that gives each tag a sample a second, one message each. In the
midst of it the daemon is killed. Then it is started again and again, each time from a copy of what the kill left, until
it says READY=1, which it does when windows, loops and buffers stand and all is served. The kernel cache is warm.

Seconds depend on what else the machine does; the processor time of the daemon until then less so.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.core.types import NS_PER_S
from gateway.protocol.mqtt import codec
from gateway.protocol.mqtt.codes import V311
from gateway.runtime.benches.environment import environment
from gateway.runtime.benches.mqtt_brokers import broker
from hil.children import ON_ITS_OWN

TAGS_PER_DEVICE: Final = 100
TICK_S: Final = 0.002
READY_S_MAX: Final = 600.0
"""The first start may have to compile."""
REPLAYED: Final = re.compile(r"gateway\.recovered .* ([0-9]+) cycles with ([0-9]+) samples replayed.*; (.*)")
EXACT: Final = "records go on in their segments"

CONFIG: Final = """
version = 2
[gateway]
id = "bench"
state_dir = "state"
[defaults]
windows = ["60s"]
[links.floor]
mqtt = "mqtt://127.0.0.1:{broker}"
[tag_lists.sensors]
{tags}
[devices."d{{n}}"]
each = {{ n = "1..{devices}" }}
link = "floor"
topic = "bench/{{device}}/{{tag}}"
tag_list = "sensors"
[uplink.far]
mqtt = "mqtt://127.0.0.1:{broker}"
[journal]
"""


class NotReady(Exception):
    """The daemon ended, or took too long."""


@dataclass(frozen=True, slots=True)
class Start:
    ready_s: float
    cpu_s: float
    samples: int
    is_exact: bool


class Daemon:
    """One over a folder, started again and again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "daemon.log"
        self._notify = folder / "notify"

    @contextmanager
    def running(self) -> Iterator[Start]:
        """It is ready inside, and killed at the end."""
        self._notify.unlink(missing_ok=True)
        command = [sys.executable, "-m", "gateway", "run", "--config", str(self._folder / "bench.toml")]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, self._log.open("wb") as log:
            manager.bind(str(self._notify))
            began_s = time.monotonic()
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": str(self._notify)}, **ON_ITS_OWN,
            )  # fmt: skip
            try:
                self._wait_ready(manager, process)
                ready_s, cpu_s = time.monotonic() - began_s, _cpu_s(process.pid)
                found = REPLAYED.search(self._log.read_text(errors="replace"))
                samples, how = (int(found[2]), found[3]) if found else (0, "")
                yield Start(round(ready_s, 2), round(cpu_s, 2), samples, how == EXACT)
            finally:
                process.kill()
                process.wait()

    def _wait_ready(self, manager: socket.socket, process: subprocess.Popen[bytes]) -> None:
        manager.settimeout(1.0)
        end_s = time.monotonic() + READY_S_MAX
        while time.monotonic() < end_s and process.poll() is None:
            try:
                if b"READY=1" in manager.recv(65_536).split(b"\n"):
                    return
            except TimeoutError:
                continue
        raise NotReady(f"the daemon is not ready: {self._log.read_text(errors='replace')[-2_000:]}")


def _cpu_s(pid: int) -> float:
    of = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(of[11]) + int(of[12])) / os.sysconf("SC_CLK_TCK")


class Publisher:
    """Gives each tag a sample a second, device by device."""

    def __init__(self, port: int, devices: int) -> None:
        self._frames = [
            b"".join(
                codec.encode_publish(f"bench/d{device}/t{tag}", b"%d.%02d" % (device, tag), V311)
                for tag in range(TAGS_PER_DEVICE)
            )
            for device in range(1, devices + 1)
        ]
        self._over = threading.Event()
        self._link = socket.create_connection(("127.0.0.1", port), 10.0)
        self._link.sendall(
            codec.encode_connect(version=V311, client_id="bench-publisher", clean_start=True, keep_alive_s=0)
        )
        self._link.recv(4, socket.MSG_WAITALL)
        self._thread = threading.Thread(target=self._run, daemon=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()
            self._link.close()

    def _run(self) -> None:
        began_ns, sent = time.monotonic_ns(), 0
        while not self._over.wait(TICK_S):
            due = (time.monotonic_ns() - began_ns) * len(self._frames) // NS_PER_S
            for number in range(sent, due):
                self._link.sendall(self._frames[number % len(self._frames)])
            sent = due


def run(
    *, tags: int, load_s: float, starts: int, broker_name: str, folder: Path | None, progress: Callable[[str], None]
) -> dict[str, object]:
    where = environment()
    devices = max(1, tags // TAGS_PER_DEVICE)
    with (
        tempfile.TemporaryDirectory(prefix="fieldgate-ready-", dir=folder) as made,
        broker(broker_name, Path(made)) as port,
    ):
        path = Path(made)
        lines = "\n".join(f"t{tag} = {{}}" for tag in range(TAGS_PER_DEVICE))
        (path / "bench.toml").write_text(CONFIG.format(broker=port, tags=lines, devices=devices), encoding="utf-8")
        daemon = Daemon(path)
        progress(f"{devices * TAGS_PER_DEVICE:,} tags get a sample a second for {load_s:g} s")
        with Publisher(port, devices).running(), daemon.running():
            time.sleep(load_s)
        (path / "state").rename(path / "left")
        found = []
        for _ in range(starts):
            shutil.rmtree(path / "state", ignore_errors=True)
            shutil.copytree(path / "left", path / "state", ignore=shutil.ignore_patterns("*.sock"))
            os.sync()
            with daemon.running() as start:
                found.append(start)
            progress(
                f"ready after {start.ready_s:.2f} s, {start.cpu_s:.2f} s of processor time, "
                f"{start.samples:,} samples replayed{'' if start.is_exact else ', not exactly'}"
            )
    figures = {
        "tags": devices * TAGS_PER_DEVICE,
        "load_s": load_s,
        "ready_s": sorted(start.ready_s for start in found),
        "cpu_s": sorted(start.cpu_s for start in found),
        "samples_replayed": found[0].samples,
        "is_exact": all(start.is_exact for start in found),
    }
    return {"bench": "ready", "environment": where, "figures": figures, "peers": {}, "ratios": {}}
