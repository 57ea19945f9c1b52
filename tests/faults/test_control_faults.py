"""What the control executive does when device, link or network misbehave."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time

import pytest

from gateway.control import connect
from gateway.core.types import NS_PER_MS, Quality
from gateway.core.view import Mode
from gateway.settings.schema import RegisterType
from tests.support.control import IN_ROW, OUT_ROW, TAGS, Bench, bench, tag, wait_for
from tests.support.plc import Plc, plc

FAILSAFE_VALVE = 100
"""10 % in the device's unit."""


def reach_auto(b: Bench, device: Plc) -> None:
    b.wait_for_mode(Mode.AUTO)
    wait_for(lambda: b.now["cycles"] > 20, "twenty cycles")


def test_a_silent_device_gets_the_failsafe_output_within_stale_after_and_one_period() -> None:
    with plc(level_m=0.5, valve=300) as device, bench(device.port, every_ns=20 * NS_PER_MS) as b:
        reach_auto(b, device)
        writes = len(device.writes)
        silent_since_ns = time.monotonic_ns()
        device.is_silent = True
        wait_for(lambda: device.valve == FAILSAFE_VALVE, "the fail-safe output on the wire")
        when_s = next(at_s for at_s, _, values in device.writes[writes:] if values == (FAILSAFE_VALVE,))
        late_s = when_s - silent_since_ns * 1e-9
        assert late_s >= 0.150 - 0.020, "not before the input is stale"
        assert late_s <= 0.150 + 0.020 + 0.100, "stale_after, one period, and what a busy test machine adds"
        device.is_silent = False
        b.wait_for_mode(Mode.AUTO)
        kinds = b.kinds()
        assert kinds.count("control.loop_failsafe") == 1


@pytest.mark.parametrize("level_m", [float("nan"), float("inf")])
def test_an_input_that_is_no_number_is_never_followed(level_m: float) -> None:
    with plc(level_m=0.5, valve=300) as device, bench(device.port) as b:
        reach_auto(b, device)
        device.set_level(level_m)
        wait_for(lambda: device.valve == FAILSAFE_VALVE, "the fail-safe output")
        assert Quality(int(b.now["quality"])) is Quality.BAD_SENSOR_FAILURE
        assert b.mode is Mode.FAILSAFE
        wait_for(lambda: b.now["cycles"] % 30 == 0, "some more cycles")
        bad = [s for s in b.samples() if s["row"] == IN_ROW and s["quality"] == Quality.BAD_SENSOR_FAILURE]
        assert len(bad) == 1, "one sample for the change, not one a cycle"
        writes = len(device.writes)
        device.set_level(0.5)
        b.wait_for_mode(Mode.AUTO)
        wait_for(lambda: len(device.writes) > writes + 1, "writes after the return")
        assert all(abs(values[0] - FAILSAFE_VALVE) <= 20 for _, _, values in device.writes[writes : writes + 2])
        assert [k for k in b.kinds() if "loop" in k] == ["control.loop_failsafe", "control.loop_recovered"]


def test_a_refused_read_and_a_value_out_of_range_lead_to_failsafe_and_back() -> None:
    tags = TAGS | {
        "tank.level": (IN_ROW, tag("tank.level", address=0, type=RegisterType.FLOAT32, valid_low=0.0, valid_high=2.0))
    }
    with plc(level_m=0.5, valve=300) as device, bench(device.port, tags=tags) as b:
        reach_auto(b, device)
        device.refuses_reads_with = 4
        b.wait_for_mode(Mode.FAILSAFE)
        assert Quality(int(b.now["quality"])) is Quality.BAD_DEVICE_FAILURE
        device.refuses_reads_with = 0
        b.wait_for_mode(Mode.AUTO)
        device.set_level(3.0)
        b.wait_for_mode(Mode.FAILSAFE)
        assert Quality(int(b.now["quality"])) is Quality.UNCERTAIN_OUT_OF_RANGE
        device.set_level(0.5)
        b.wait_for_mode(Mode.AUTO)


def test_a_loop_without_failsafe_output_holds_what_the_device_has() -> None:
    with plc(level_m=0.5, valve=300) as device, bench(device.port, failsafe_output=None) as b:
        reach_auto(b, device)
        held = device.valve
        device.set_level(float("nan"))
        b.wait_for_mode(Mode.FAILSAFE)
        wait_for(lambda: b.now["cycles"] % 40 == 0, "some more cycles")
        assert device.valve == held


def test_manual_does_not_care_for_a_bad_input() -> None:
    with plc(level_m=0.5, valve=300) as device, bench(device.port, starts_in_auto=False) as b:
        b.wait_for_mode(Mode.MANUAL)
        device.set_level(float("nan"))
        wait_for(lambda: int(b.now["quality"]) == Quality.BAD_SENSOR_FAILURE, "the bad input")
        b.control.write_output(0, 55.0)
        wait_for(lambda: device.valve == 550, "the manual output")
        assert b.mode is Mode.MANUAL


def test_a_refused_write_is_told_once_tried_again_and_told_when_it_works() -> None:
    with plc(level_m=0.5, valve=300) as device, bench(device.port) as b:
        reach_auto(b, device)
        device.refuses_writes_with = 2
        device.set_level(0.4)
        wait_for(lambda: b.reading("fieldgate_control_write_errors_total") > 10, "ten refusals")
        assert b.kinds().count("control.output_failed") == 1
        device.refuses_writes_with = 0
        wait_for(lambda: "control.output_recovered" in b.kinds(), "the recovery")
        assert b.kinds().count("control.output_failed") == 1


FALSE_LEVEL = struct.pack(">f", 0.9)


def wrong_transaction(reply: bytes) -> list[bytes]:
    return [struct.pack(">H", (struct.unpack(">H", reply[:2])[0] - 1) & 0xFFFF) + reply[2:9] + FALSE_LEVEL]


def wrong_unit(reply: bytes) -> list[bytes]:
    return [reply[:6] + b"\x09" + reply[7:9] + FALSE_LEVEL]


def wrong_function(reply: bytes) -> list[bytes]:
    return [reply[:7] + b"\x04" + reply[8:9] + FALSE_LEVEL]


def too_long(reply: bytes) -> list[bytes]:
    return [reply[:4] + struct.pack(">H", 9) + reply[6:8] + b"\x06" + FALSE_LEVEL + b"\0\0"]


def not_modbus(reply: bytes) -> list[bytes]:
    return [reply[:2] + b"\xff\xff" + reply[4:9] + FALSE_LEVEL]


def noise(reply: bytes) -> list[bytes]:
    return [os.urandom(40)]


@pytest.mark.parametrize("mangle", [wrong_transaction, wrong_unit, wrong_function, too_long, not_modbus, noise])
def test_a_reply_that_is_not_the_one_asked_for_is_never_used(mangle) -> None:  # type: ignore[no-untyped-def]
    quick = {"response_timeout_ns": 30_000_000}
    with plc(level_m=0.5, valve=300) as device, bench(device.port, link_options=quick) as b:
        reach_auto(b, device)
        device.mangle = lambda reply: mangle(reply) if len(reply) == 13 else [reply]
        good = b.reading("fieldgate_control_inputs_total")
        wait_for(lambda: int(b.now["quality"]) != Quality.GOOD, "the fault")
        wait_for(lambda: device.valve == FAILSAFE_VALVE, "the fail-safe output")
        assert b.reading("fieldgate_control_inputs_total") <= good + 1, "one good reply may have been under way"
        assert float(b.now["process_value"]) == 0.5
        device.mangle = lambda reply: [reply]
        b.wait_for_mode(Mode.AUTO)


def test_a_reply_that_comes_after_its_timeout_is_never_taken_for_the_present_one() -> None:
    patient = {"stale_after_ns": 2_000 * NS_PER_MS, "link_options": {"response_timeout_ns": 40_000_000}}
    with plc(level_m=0.5, valve=300) as device, bench(device.port, **patient) as b:
        reach_auto(b, device)
        kept: list[bytes] = []

        def keep(reply: bytes) -> list[bytes]:
            kept.append(reply[:9] + FALSE_LEVEL)
            device.mangle = late
            return []

        def late(reply: bytes) -> list[bytes]:
            """The old reply first, then the present one."""
            device.mangle = lambda present: [present]
            return [kept[0], reply]

        device.mangle = keep
        wait_for(lambda: b.reading("fieldgate_control_link_strays_total") == 1, "the late reply to be counted")
        wait_for(lambda: b.now["cycles"] % 20 == 0, "some more cycles")
        assert 0.9 not in b.samples()["value"].round(6)
        assert b.mode is Mode.AUTO


def test_frames_split_and_glued_anywhere_are_understood() -> None:
    with plc(level_m=0.5, valve=300) as device, bench(device.port) as b:
        reach_auto(b, device)
        for cut in range(1, 13):
            device.mangle = lambda reply, cut=cut: [reply[:cut], reply[cut:]]  # type: ignore[misc]
            good = b.reading("fieldgate_control_inputs_total")
            wait_for(lambda good=good: b.reading("fieldgate_control_inputs_total") > good + 3, "split replies")  # type: ignore[misc]
        assert b.reading("fieldgate_control_link_bad_frames_total") == 0
        assert device.accepted == 1


@pytest.mark.parametrize("cuts", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_cuts_of_the_link_move_no_output_and_no_byte_goes_to_another_descriptor(
    cuts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sockets are opened all the time while descriptors are being closed, so that numbers are reused at once."""
    for delay in ("DELAY_FIRST_S", "LOOK_EVERY_S"):
        monkeypatch.setattr(connect, delay, 0.005)
    with plc(level_m=0.5, valve=300) as device, bench(device.port, failsafe_output=None) as b:
        stop = threading.Event()
        strange: list[object] = []

        def canary() -> None:
            while not stop.is_set():
                ends = [end for _ in range(4) for end in socket.socketpair()]
                time.sleep(0.004)
                for end in ends:
                    end.setblocking(False)
                    try:
                        strange.append(end.recv(64))
                    except BlockingIOError:
                        continue  # nothing came, as it should be
                    except OSError as error:
                        strange.append(error)
                for end in ends:
                    try:
                        end.close()
                    except OSError as error:
                        strange.append(error)

        thread = threading.Thread(target=canary)
        thread.start()
        for _ in range(cuts):
            b.wait_for_mode(Mode.AUTO)
            accepted = device.accepted
            device.cut()
            wait_for(lambda accepted=accepted: device.accepted > accepted, "the reconnection")  # type: ignore[misc]
        b.wait_for_mode(Mode.AUTO)
        stop.set()
        thread.join()
        assert strange == []
        assert {values for _, _, values in device.writes} <= {(300,)}, "each return starts from what the device holds"
        assert b.reading("fieldgate_control_link_connects_total") == cuts + 1


def test_losing_and_regaining_the_link_is_told_once_each_and_shown_in_the_samples() -> None:
    device = Plc(valve=300)
    device.set_level(0.5)
    with bench(device.port) as b:
        reach_auto(b, device)
        assert b.kinds().count("control.link_up") == 1
        b.samples()
        device.close()
        b.wait_for_mode(Mode.INITIALISING)
        wait_for(lambda: b.reading("fieldgate_control_link_connect_failures_total") >= 3, "three attempts")
        assert b.kinds().count("control.link_down") == 1
        samples = b.samples()
        bad = samples[samples["quality"] == Quality.BAD_NOT_CONNECTED]
        assert sorted(bad["row"]) == [IN_ROW, OUT_ROW]
        assert Quality(int(b.now["quality"])) is Quality.BAD_NOT_CONNECTED


def test_samples_that_nobody_takes_are_dropped_and_counted_and_hold_nothing_up() -> None:
    with plc(level_m=0.5, valve=300) as device, bench(device.port, every_ns=2 * NS_PER_MS) as b:
        reach_auto(b, device)
        ring = b.control._wired.blocks.ring
        ring[0] = ring[8] + len(b.control._wired.blocks.samples) - 3  # as if a second's worth lay there
        wait_for(lambda: b.reading("fieldgate_control_samples_dropped_total") > 3, "the overflow")
        cycles = int(b.now["cycles"])
        wait_for(lambda: b.now["cycles"] > cycles + 20, "cycles going on")
