"""The control executive against a PLC on real sockets."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from gateway.control.verdicts import GOOD
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.core.view import Mode
from gateway.settings.schema import RegisterType
from hil.plants.tank import Tank
from tests.support.control import IN_ROW, OUT_ROW, TAGS, bench, tag, wait_for
from tests.support.plc import VALVE, plc


def test_the_loop_brings_the_tank_to_its_setpoint_and_follows_a_new_one() -> None:
    # Nothing of this is about a device that answers late, which on a busy machine it does now and then.
    patient = {"stale_after_ns": NS_PER_S, "link_options": {"response_timeout_ns": NS_PER_S}}
    with plc(Tank(level_m=0.2), speed=3.0, valve=250) as device, bench(device.port, **patient) as b:
        for setpoint in (0.5, 0.7):
            b.control.write_setpoint(0, setpoint)
            since = [time.monotonic()]

            def settled(setpoint: float = setpoint, since: list[float] = since) -> bool:
                if abs(device.level_m - setpoint) > 0.02 * setpoint:
                    since[0] = time.monotonic()
                return time.monotonic() - since[0] > 0.5

            wait_for(settled, f"level within 2 % of {setpoint}", within_s=10.0)
            assert float(b.now["setpoint"]) == setpoint
        assert b.mode is Mode.AUTO
        assert b.kinds().count("control.loop_failsafe") == 0


def test_no_output_moves_at_the_start() -> None:
    with plc(level_m=0.5, valve=437) as device, bench(device.port) as b:
        b.wait_for_mode(Mode.AUTO)
        wait_for(lambda: b.now["cycles"] > 80, "a refresh or two")
        assert {values for _, _, values in device.writes} <= {(437,)}
        assert device.valve == 437


def test_going_to_manual_and_back_moves_nothing_by_itself() -> None:
    with plc(level_m=0.5, valve=300) as device, bench(device.port, kp=50.0, ti_s=20.0) as b:
        b.wait_for_mode(Mode.AUTO)
        device.set_level(0.45)
        wait_for(lambda: device.valve >= 325, "the proportional action")
        b.control.write_mode(0, Mode.MANUAL)
        b.wait_for_mode(Mode.MANUAL)
        held = device.valve
        device.set_level(0.2)
        wait_for(lambda: abs(b.now["process_value"] - 0.2) < 1e-6, "the new level")
        assert device.valve == held
        b.control.write_output(0, 62.5)
        wait_for(lambda: device.valve == 625, "the manual output on the wire")
        b.control.write_mode(0, Mode.AUTO)
        writes_before = len(device.writes)
        b.wait_for_mode(Mode.AUTO)
        wait_for(lambda: len(device.writes) > writes_before, "the first write in AUTO")
        first = device.writes[writes_before][2][0]
        assert abs(first - 625) <= 5, "the first output in AUTO starts from the manual one"


def test_commands_outside_their_range_or_mode_are_refused_with_the_range() -> None:
    with plc(level_m=0.5) as device, bench(device.port) as b:
        b.wait_for_mode(Mode.AUTO)
        with pytest.raises(ValueError, match=r"0\.0 to 1\.0"):
            b.control.write_setpoint(0, 1.5)
        with pytest.raises(ValueError, match="AUTO or MANUAL"):
            b.control.write_mode(0, Mode.FAILSAFE)
        with pytest.raises(ValueError, match="MANUAL only"):
            b.control.write_output(0, 50.0)
        b.control.write_mode(0, Mode.MANUAL)
        with pytest.raises(ValueError, match=r"0\.0 to 100\.0"):
            b.control.write_output(0, 101.0)


def test_stopping_leaves_the_declared_output_in_the_device() -> None:
    with plc(level_m=0.3, valve=300) as device:
        with bench(device.port) as b:
            wait_for(lambda: device.valve == 1000, "full inflow")
            started = time.monotonic()
            b.control.stop(1.0)
            assert time.monotonic() - started < 1.0
        assert device.valve == 100
        wait_for(lambda: not device.is_connected, "the connection to be closed")


def test_a_handover_to_another_executive_holds_every_output() -> None:
    with plc(level_m=0.3, valve=300) as device, bench(device.port) as b:
        wait_for(lambda: device.valve == 1000, "full inflow")
        b.control.stop(1.0, is_handover=True)
        assert device.valve == 1000


def test_an_input_that_arrives_while_stopping_is_not_followed_any_more() -> None:
    with plc(level_m=0.3, valve=300) as device:
        with bench(device.port, link_options={"response_timeout_ns": 400 * NS_PER_MS}) as b:
            wait_for(lambda: device.valve == 1000, "full inflow")

            def slowly(reply: bytes) -> list[bytes]:
                time.sleep(0.05)
                return [reply]

            device.mangle = slowly
            cycles = int(b.now["cycles"])
            wait_for(lambda: b.now["cycles"] > cycles + 20, "reads under way all the time")
        assert device.valve == 100
        assert device.writes[-1][2] == (100,)


def test_stopping_a_loop_without_failsafe_holds_the_output() -> None:
    with plc(level_m=0.3, valve=300) as device:
        with bench(device.port, failsafe_output=None):
            wait_for(lambda: device.valve == 1000, "full inflow")
        assert device.valve == 1000


def test_an_unchanged_output_is_written_again_after_the_refresh_periods_only() -> None:
    with plc(level_m=0.5, valve=300) as device, bench(device.port) as b:
        b.wait_for_mode(Mode.AUTO)
        cycles, writes = int(b.now["cycles"]), len(device.writes)
        wait_for(lambda: b.now["cycles"] > cycles + 220, "220 cycles")
        assert 2 <= len(device.writes) - writes <= 8


def test_what_is_read_and_written_comes_out_as_samples_with_the_times_of_the_replies() -> None:
    with plc(level_m=0.25, valve=300) as device, bench(device.port) as b:
        wait_for(lambda: device.valve == 1000, "full inflow")
        samples = b.samples()
        samples = samples[int(np.argmax(samples["quality"] == GOOD)) :]  # a cycle may have begun before the link was up
        level = samples[samples["row"] == IN_ROW]
        valve = samples[samples["row"] == OUT_ROW]
        assert set(level["value"]) == {0.25}
        assert valve["value"][0] == pytest.approx(30.0)
        assert valve["value"][-1] >= 99.0, "the acknowledgement of the last write may still be under way"
        assert set(samples["quality"]) == {GOOD}
        assert (level["source_ns"][1:] > level["source_ns"][:-1]).all()
        age_ns = time.monotonic_ns() + 10**15 - level["arrival_ns"][-1]
        assert 0 <= age_ns < 2_000 * NS_PER_MS


def test_wide_registers_are_written_whole_in_their_word_order() -> None:
    tags = TAGS | {
        "tank.valve": (
            OUT_ROW,
            tag("tank.valve", address=VALVE, type=RegisterType.FLOAT32, big_endian_words=False, writable=True),
        )
    }
    with plc(level_m=0.1) as device, bench(device.port, tags=tags) as b:
        wait_for(lambda: any(values == (0x0000, 0x42C8) for _, _, values in device.writes), "100.0, low word first")
        assert b.reading("fieldgate_control_write_errors_total") == 0


def test_the_executive_keeps_its_periods_while_python_holds_the_gil() -> None:
    command = [sys.executable, "-m", "tests.support.plc"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as device:
        assert device.stdout is not None
        with bench(int(device.stdout.readline()), every_ns=10 * NS_PER_MS) as b:
            b.wait_for_mode(Mode.AUTO)
            stop = threading.Event()

            def hog() -> None:
                while not stop.is_set():
                    sum(range(3_000_000))

            threads = [threading.Thread(target=hog) for _ in range(2)]
            inputs_before = b.reading("fieldgate_control_inputs_total")
            started_first = time.monotonic()
            before = b.now
            started_last = time.monotonic()
            for thread in threads:
                thread.start()
            time.sleep(1.0)  # what is measured is how much gets done meanwhile
            # Between any two lines the other threads may hold the GIL: both looks are bracketed by the clock.
            ended_first = time.monotonic()
            after = b.now
            ended_last = time.monotonic()
            inputs = b.reading("fieldgate_control_inputs_total") - inputs_before
            stop.set()
            for thread in threads:
                thread.join()
            fewest = (ended_first - started_last) / 0.01
            most = (ended_last - started_first) / 0.01
            done = int(after["cycles"] - before["cycles"] + after["overruns"] - before["overruns"])
            assert 0.9 * fewest <= done <= 1.1 * most
            assert inputs > 0.5 * fewest
        device.communicate("")


def test_the_heartbeat_moves_even_with_nothing_connected() -> None:
    with plc() as device:
        port = device.port
    with bench(port, every_ns=1_000 * NS_PER_MS) as b:
        seen = b.control.heartbeat_ns()
        wait_for(lambda: b.control.heartbeat_ns() > seen + 100 * NS_PER_MS, "three wakes", within_s=2.0)
        wait_for(lambda: "control.link_down" in b.kinds(), "the event that the device cannot be reached")
        assert b.kinds().count("control.link_down") == 1
        assert b.mode is Mode.INITIALISING


WITHOUT_JIT = """
from gateway.core.view import Mode
from tests.support.control import bench, wait_for
from tests.support.plc import plc

with plc(level_m=0.4, valve=300) as device:
    with bench(device.port, every_ns=20_000_000, stale_after_ns=1_000_000_000) as b:
        b.wait_for_mode(Mode.AUTO)
        wait_for(lambda: device.valve > 500, "the output rising")
        device.cut()
        b.wait_for_mode(Mode.INITIALISING)
        b.wait_for_mode(Mode.AUTO)
    assert device.valve == 100, device.valve
"""


def test_the_same_executive_runs_as_plain_python_for_debugging() -> None:
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", WITHOUT_JIT], env=environment, check=True, timeout=60)
