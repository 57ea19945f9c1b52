"""A reload while loops run: no cycle is lost, no connection is made anew, no output moves by it."""

from __future__ import annotations

import time

from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.core.view import Mode
from gateway.settings.schema import RegisterType
from tests.support.control import OUT_ROW, TAGS, bench, link, loop, tag, wait_for
from tests.support.plc import plc

PERIOD_NS = 10 * NS_PER_MS
SPEED = loop(name="speed", input="pump.level", output="pump.valve", every_ns=PERIOD_NS)
PUMP = {
    "pump.level": (11, tag("pump.level", address=0, type=RegisterType.FLOAT32, device="pump")),
    "pump.valve": (12, tag("pump.valve", address=10, scale=0.1, writable=True, device="pump")),
}


def test_twenty_reloads_lose_no_cycle_and_move_no_output() -> None:
    # A busy machine's device answers late now and then; nothing of this is about that.
    slow = {"response_timeout_ns": NS_PER_S}
    patient = {"every_ns": PERIOD_NS, "stale_after_ns": NS_PER_S}
    with plc(level_m=0.5, valve=300) as device, bench(device.port, link_options=slow, **patient) as b:
        b.wait_for_mode(Mode.AUTO)
        b.control.write_setpoint(0, 0.5)
        first = b.now
        started_s = time.monotonic()
        for turn in range(20):
            rows = {name: (row + turn, of) for name, (row, of) in TAGS.items()}
            b.control.take_over(
                loops=[loop(**patient, kp=100.0 + turn)], tags=rows, links={"tank": link(device.port, **slow)}
            )
            assert b.control.rows == {row for row, _ in rows.values()}
            assert {int(row) for row in b.samples()["row"]} <= b.control.rows
        wait_for(lambda: b.now["cycles"] > first["cycles"] + 100, "a hundred cycles")
        last, elapsed_s = b.now, time.monotonic() - started_s
        due = elapsed_s / (PERIOD_NS * 1e-9)
        assert abs(int(last["cycles"] + last["overruns"] - first["cycles"] - first["overruns"]) - due) <= 2
        assert b.reading("fieldgate_control_link_timeouts_total") == 0
        assert b.reading("fieldgate_control_link_strays_total") == 0
        assert device.accepted == 1, "the connection is still the first"
        assert {values for _, _, values in device.writes} <= {(300,)}
        assert b.mode is Mode.AUTO
        assert b.kinds().count("control.link_up") == 1
        assert "control.loop_failsafe" not in b.kinds()


def test_a_reload_keeps_what_operators_set_and_takes_what_the_file_changed() -> None:
    with plc(level_m=0.5, valve=300) as device, bench(device.port) as b:
        b.wait_for_mode(Mode.AUTO)
        b.control.write_setpoint(0, 0.7)
        wait_for(lambda: device.valve > 320, "the new setpoint at work")
        b.control.take_over(loops=[loop(kp=10.0)], tags=TAGS, links={"tank": link(device.port)})
        assert float(b.now["setpoint"]) == 0.7
        b.control.take_over(loops=[loop(kp=10.0, setpoint=0.4)], tags=TAGS, links={"tank": link(device.port)})
        wait_for(lambda: float(b.now["setpoint"]) == 0.4, "the file's new setpoint")
        b.control.write_mode(0, Mode.MANUAL)
        b.wait_for_mode(Mode.MANUAL)
        held = device.valve
        b.control.take_over(loops=[loop(kp=5.0, setpoint=0.4)], tags=TAGS, links={"tank": link(device.port)})
        cycles = int(b.now["cycles"])
        wait_for(lambda: b.now["cycles"] > cycles + 20, "twenty cycles")
        assert b.mode is Mode.MANUAL
        assert device.valve == held


def test_loops_and_links_come_and_go_beside_one_that_stays() -> None:
    with plc(level_m=0.5, valve=300) as device, plc(level_m=0.5, valve=440) as other, bench(device.port) as b:
        b.wait_for_mode(Mode.AUTO)
        links = {"tank": link(device.port), "pump": link(other.port, name="pump")}
        b.control.take_over(loops=[SPEED, loop()], tags=TAGS | PUMP, links=links)
        wait_for(lambda: Mode(int(b.control.loops()["mode"][0])) is Mode.AUTO, "the new loop in AUTO")
        assert Mode(int(b.control.loops()["mode"][1])) is Mode.AUTO
        assert other.valve == 440
        b.control.take_over(loops=[SPEED], tags=PUMP, links=links)
        wait_for(lambda: not device.is_connected, "the link of the loop that went to be closed")
        assert device.valve == 300, "a loop that is taken out leaves its output as it is"
        b.control.take_over(loops=[loop(), SPEED], tags=TAGS | PUMP, links=links)
        wait_for(lambda: set(b.control.loops()["mode"]) == {Mode.AUTO}, "both in AUTO")
        assert (device.accepted, other.accepted) == (2, 1)


def test_an_output_that_moves_to_another_register_starts_from_what_that_holds() -> None:
    moved = {"tank.valve": (OUT_ROW, tag("tank.valve", address=20, scale=0.1, writable=True))}
    with plc(level_m=0.5, valve=300) as device, bench(device.port) as b:
        b.wait_for_mode(Mode.AUTO)
        device.registers[20] = 550
        b.control.take_over(loops=[loop()], tags=TAGS | moved, links={"tank": link(device.port)})
        b.wait_for_mode(Mode.AUTO)
        cycles = int(b.now["cycles"])
        wait_for(lambda: b.now["cycles"] > cycles + 60, "a refresh")
        assert {(address, values) for _, address, values in device.writes} <= {(10, (300,)), (20, (550,))}
