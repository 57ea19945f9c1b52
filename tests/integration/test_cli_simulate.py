"""`fieldgate simulate`: devices that answer, and a configuration that reads them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.core.types import Quality
from hil.ports import free_port
from tests.support.daemon import Gateway, until

COMMAND = (sys.executable, "-m", "gateway", "simulate")


@contextmanager
def simulated(port: int, file: Path) -> Iterator[subprocess.Popen[str]]:
    devices = subprocess.Popen(
        [*COMMAND, "--port", str(port), "--write", str(file)], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        assert devices.stdout is not None
        assert f"at 127.0.0.1:{port}" in devices.stdout.readline()
        yield devices
    finally:
        devices.terminate()
        assert devices.wait(10) == 0


def test_what_it_writes_reads_what_it_simulates_and_keeps_it(tmp_path: Path) -> None:
    port = free_port()
    written = tmp_path / "trial.toml"
    with simulated(port, written):
        text = written.read_text().replace("127.0.0.1:9464", "127.0.0.1:<http>")
        with Gateway(tmp_path, text) as gateway:
            gateway.start()
            for tag in ("tank.level", "meter.power", "fan.velocity"):
                until(lambda tag=tag: gateway.quality(tag) == Quality.GOOD, f"{tag} is read")  # type: ignore[misc]


def test_a_port_that_is_taken_and_a_file_that_is_there_are_told(tmp_path: Path) -> None:
    port = free_port()
    with simulated(port, tmp_path / "trial.toml"):
        taken = subprocess.run([*COMMAND, "--port", str(port)], capture_output=True, text=True, timeout=60)
        assert taken.returncode == 1
        assert taken.stderr == f"cannot listen on 127.0.0.1:{port}; is it taken (ss -ltnp)? --port says another one\n"
    again = subprocess.run(
        [*COMMAND, "--write", str(tmp_path / "trial.toml")], capture_output=True, text=True, timeout=60
    )
    assert again.returncode == 2
    assert "is there already" in again.stderr
