"""Fifty bad files in a row, under a plant that controls: each is refused with its reasons, and nothing stops."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.core.types import Quality
from gateway.settings.load import load
from gateway.settings.problems import ConfigurationError
from hil.devices.instruments import MeterUnit, TankUnit
from hil.devices.modbus import Endpoint, Unit
from tests.fuzz.test_settings_fuzz import VALUES, WORDS, edited
from tests.integration.test_daemon_scada import CONFIG
from tests.support.daemon import Gateway, Outside, until

pytestmark = pytest.mark.slow

MUTATIONS = 50
KINDS = ("insert", "delete", "value", "value", "drop line", "swap")


def mutated(text: str, rng: random.Random) -> str:
    kind, place = rng.choice(KINDS), rng.random()
    if kind == "swap":
        lines = text.splitlines(keepends=True)
        one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        lines[one], lines[other] = lines[other], lines[one]
        return "".join(lines)
    what = rng.choice(WORDS) if kind == "insert" else rng.choice(VALUES) if kind == "value" else rng.randint(1, 12)
    return edited(text, kind, place, what)


def bad(text: str, seed: int, folder: Path) -> str:
    """A mutation of the text that cannot be run."""
    rng = random.Random(seed)
    path = folder / "mutated.toml"
    changed = text
    while True:
        changed = mutated(changed, rng)
        path.write_text(changed, encoding="utf-8")
        try:
            load(path)
        except ConfigurationError:
            return changed


@pytest.mark.timeout(300)
def test_each_of_fifty_mutations_is_refused_with_its_reasons_and_all_goes_on(tmp_path: Path) -> None:
    with Outside() as outside:
        endpoint = Endpoint(Unit(1, TankUnit()), Unit(2, MeterUnit(1)))
        outside.run(endpoint.start())
        with Gateway(tmp_path, CONFIG.format(plc=endpoint.port, inserted="")) as gateway:
            gateway.start()
            until(lambda: gateway.quality("tank.outflow") == Quality.GOOD, "the tank is read")
            sound = gateway.config.read_text(encoding="utf-8")
            connects = gateway.metric("fieldgate_modbus_connects_total")
            pid, (samples, cycles) = gateway.pid, _at_work(gateway)
            for seed in range(MUTATIONS):
                gateway.config.write_text(bad(sound, seed, tmp_path), encoding="utf-8")
                gateway.signal(signal.SIGHUP)
                until(lambda: len(_refusals(gateway)) == seed + 1, f"mutation {seed} is refused")  # noqa: B023
                if seed % 10 == 0:
                    assert diff(gateway).returncode == 1
                before = len(gateway.lines("configuration.refused"))
                assert before >= 2 * (seed + 1), f"mutation {seed} is refused without a reason"
            now_samples, now_cycles = _at_work(gateway)
            assert now_samples > samples
            assert now_cycles > cycles
            assert gateway.pid == pid
            assert gateway.exit_code is None
            assert gateway.lines("configuration.applied") == []
            assert gateway.metric("fieldgate_modbus_connects_total") == connects, "no session was made anew"
            assert gateway.lines("control.loop_failsafe") == []
            # And the sound file is taken as before.
            gateway.config.write_text(sound.replace("setpoint = 30.0", "setpoint = 31.0"), encoding="utf-8")
            foreseen = diff(gateway)
            assert foreseen.stdout.splitlines()[:2] == [
                "changed loop tank: setpoint",
                "would restart: the plant (links, devices, loops, registers)",
            ], foreseen
            gateway.signal(signal.SIGHUP)
            until(lambda: gateway.lines("configuration.applied"), "the sound file is applied")
            assert diff(gateway).stdout.splitlines()[0] == "would restart: nothing"
        outside.run(endpoint.stop())


def diff(gateway: Gateway) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", "diff", str(gateway.config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def _refusals(gateway: Gateway) -> list[str]:
    """The last line of each refusal."""
    said = [line.message for line in gateway.lines("configuration.refused")]
    return [message for message in said if message.endswith("the running configuration is kept")]


def _at_work(gateway: Gateway) -> tuple[int, float]:
    return gateway.device_samples()["meter"], gateway.metric("fieldgate_control_cycles_total")
