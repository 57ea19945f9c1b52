"""Play the service manager for one start of fieldgate: its user, its environment, its notifications.

    service.py COMMAND ...

Starts the program as the unit does, waits for READY=1 and for the watchdog to be fed, then runs COMMAND, then stops it
with SIGTERM and wants STOPPING=1 and exit code 0. What it says while this goes well is not shown.
"""

from __future__ import annotations

import os
import pwd
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

READY_S_MAX = 120.0
"""As the unit's TimeoutStartSec says, unless the program asks for more."""
STOP_S_MAX = 15.0


class Service:
    def __init__(self, folder: Path) -> None:
        user = pwd.getpwnam("fieldgate")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        os.chown(folder, user.pw_uid, user.pw_gid)
        os.chown(folder / "notify", user.pw_uid, user.pw_gid)
        for place in ("/var/lib/fieldgate", "/var/cache/fieldgate"):
            Path(place).mkdir(mode=0o750, exist_ok=True)
            os.chown(place, user.pw_uid, user.pw_gid)
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["/opt/fieldgate/bin/fieldgate", "run", "--config", "/etc/fieldgate/fieldgate.toml"],
                user="fieldgate",
                group="fieldgate",
                extra_groups=[],
                umask=0o077,
                cwd="/",
                stdout=log,
                stderr=log,
                env={
                    "PATH": "/usr/bin:/bin",
                    "NOTIFY_SOCKET": str(folder / "notify"),
                    "WATCHDOG_USEC": "10000000",
                    "STATE_DIRECTORY": "/var/lib/fieldgate",
                    "CACHE_DIRECTORY": "/var/cache/fieldgate",
                    "NUMBA_CACHE_DIR": "/var/cache/fieldgate/numba",
                },
            )

    def wait_for(self, word: str, within_s: float) -> float:
        """Seconds until the program notified this. Leaves when it does not, nor asks for more time."""
        began_s = time.monotonic()
        end_s = began_s + within_s
        said: list[str] = []
        while word not in said:
            left_s = end_s - time.monotonic()
            if select.select([self._socket], [], [], max(0.0, min(left_s, 0.5)))[0]:
                said = self._socket.recv(4_096).decode().splitlines()
                for line in said:
                    if line.startswith("EXTEND_TIMEOUT_USEC="):
                        end_s = max(end_s, time.monotonic() + int(line.partition("=")[2]) / 1e6)
            elif left_s <= 0 or self.process.poll() is not None:
                self.fail(f"no {word} within {within_s:.0f} s")
        return time.monotonic() - began_s

    def fail(self, message: str) -> NoReturn:
        self.process.kill()
        sys.exit(f"service.py: {message}; exit code {self.process.wait()}; it said:\n{self.log.read_text()}")


def main(command: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder))
        ready_s = service.wait_for("READY=1", READY_S_MAX)
        service.wait_for("WATCHDOG=1", 10.0)
        done = subprocess.run(command, check=False)
        if done.returncode:
            service.fail(f"{' '.join(command)}: exit code {done.returncode}")
        service.process.send_signal(signal.SIGTERM)
        service.wait_for("STOPPING=1", STOP_S_MAX)
        if service.process.wait(STOP_S_MAX):
            service.fail("it did not leave cleanly")
        sys.stdout.write(f"  READY after {ready_s:.1f} s, watchdog fed, left cleanly\n")


if __name__ == "__main__":
    main(sys.argv[1:])
