"""Reloads on trial: one after which the plant does worse is undone by itself, and what did not change goes on."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.core.types import Quality
from hil.ports import free_port
from tests.integration.test_daemon_operations import HTTP, SCADA, UPLINK, World, all_good, goes_on, world
from tests.support.daemon import ROOT, Gateway, until

__all__ = ["world"]  # a fixture

TRIAL = '\n[reload]\ntrial = "5s"\n'
pytestmark = pytest.mark.timeout(300)


def reload(gateway: Gateway, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", "reload", *options, "--config", str(gateway.config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)


def moved(text: str, plc: int) -> str:
    """The configuration with its Modbus link at a port where nobody listens."""
    return text.replace(f"127.0.0.1:{plc}", f"127.0.0.1:{free_port()}")


def test_a_reload_that_loses_a_device_is_undone_and_what_did_not_change_goes_on(tmp_path: Path, world: World) -> None:
    text = world.text(HTTP, UPLINK, TRIAL)
    with Gateway(tmp_path, text) as gateway:
        gateway.start()
        until(lambda: all_good(gateway), "all are read")
        until(lambda: gateway.status()["uplink"]["is_connected"], "it is connected")
        pid = gateway.pid
        gateway.write(moved(text, world.plc.port).replace('windows = ["2s"]', 'windows = ["2s", "4s"]'))
        answer = reload(gateway)
        assert answer.returncode == 0, answer.stderr
        assert "restarted: the plant" in answer.stdout
        assert "on trial for 5 s" in answer.stdout
        assert gateway.status()["configuration"].startswith("on trial for 5 s")
        assert gateway.metric("fieldgate_config_on_trial") == 1
        [back] = until(lambda: gateway.lines("configuration.rolled_back"), "it is undone", 60)
        assert back.message.startswith("pump was good and is not any more; the configuration before is in force again")
        assert str(gateway.config) in back.message, "the file is named, which still has the other"
        until(lambda: all_good(gateway), "all are read again")
        goes_on(gateway, "pump", "machine")
        assert gateway.metric("fieldgate_uplink_outages_total") == 0, "the uplink's session went on"
        assert (gateway.pid, gateway.exit_code) == (pid, None)
        assert gateway.metric("fieldgate_config_reloads_total", result="rolled back") == 1
        assert gateway.metric("fieldgate_config_on_trial") == 0
        assert "pump was good and is not any more" in gateway.status()["configuration"]

        # The same file again, and this time it stays.
        answer = reload(gateway, "--no-rollback")
        assert answer.returncode == 0, answer.stderr
        assert "on trial" not in answer.stdout
        assert gateway.status()["configuration"] == ""
        until(lambda: gateway.quality("pump.speed") != Quality.GOOD, "the pump is lost, as was asked for")
        assert gateway.metric("fieldgate_config_on_trial") == 0
        assert gateway.terminate() == 0


def test_a_reload_after_which_all_is_well_is_kept_and_a_second_one_has_the_same_way_back(
    tmp_path: Path, world: World
) -> None:
    text = world.text(HTTP, TRIAL)
    with Gateway(tmp_path, text) as gateway:
        gateway.start()
        until(lambda: all_good(gateway), "all are read")
        more = text.replace('windows = ["2s"]', 'windows = ["2s", "4s"]')
        gateway.write(more)
        assert reload(gateway).returncode == 0
        until(lambda: gateway.lines("configuration.kept"), "it is kept", 60)
        assert gateway.status()["configuration"] == ""
        assert gateway.metric("fieldgate_config_reloads_total", result="kept") == 1

        # Two in one trial: the second does not take the first one's loss as what was before.
        lost = moved(more, world.plc.port)
        gateway.write(lost)
        assert reload(gateway).returncode == 0
        gateway.write(lost.replace('["2s", "4s"]', '["2s", "8s"]'))
        assert reload(gateway).returncode == 0
        until(lambda: gateway.lines("configuration.rolled_back"), "it is undone", 60)
        until(lambda: all_good(gateway), "all are read again")
        gateway.write("[gateway]\nid = 3")
        answer = reload(gateway)
        assert answer.returncode == 1
        assert "the running configuration is kept" in answer.stdout + answer.stderr
        assert gateway.metric("fieldgate_config_reloads_total", result="refused") == 1
        assert gateway.terminate() == 0


def test_a_way_back_that_is_barred_is_said_and_the_gateway_goes_on(tmp_path: Path, world: World) -> None:
    text = world.text(HTTP, SCADA, TRIAL)
    with Gateway(tmp_path, text) as gateway:
        gateway.start()
        until(lambda: all_good(gateway), "all are read")
        gateway.write(moved(text, world.plc.port).replace("<scada>", str(free_port())))
        assert reload(gateway).returncode == 0
        with socket.create_server(("127.0.0.1", gateway.scada_port)):
            until(lambda: "does not start again" in gateway.status()["configuration"], "it could not go back", 60)
        [said] = [line for line in gateway.lines("configuration.refused") if "does not start again" in line.message]
        assert said.message.startswith("pump was good and is not any more, but the configuration before does not start")
        assert str(gateway.config) in said.message
        assert gateway.metric("fieldgate_config_reloads_total", result="refused") == 1
        assert gateway.metric("fieldgate_config_reloads_total", result="rolled back") == 0
        goes_on(gateway, "machine")
        gateway.write(text)
        assert reload(gateway).returncode == 0, "nothing is in the way any more"
        until(lambda: all_good(gateway), "all are read again")
        assert gateway.status()["configuration"].startswith("on trial")
        assert gateway.terminate() == 0, "a trial does not hold up the end"
