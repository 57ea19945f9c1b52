"""Loops that live on signals: what the engine hands over, function blocks, cascades, interlocks; on a real socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from gateway.core.types import NS_PER_MS, Quality
from gateway.core.view import LIVE, Mode
from gateway.settings.schema import Block, Signal
from tests.support.control import TAGS, Bench, bench, link, loop, tag, wait_for
from tests.support.plc import plc

SENSOR = Signal(of="tag", name="tank.sensor")
TAGS_TOO = TAGS | {"tank.sensor": (7, tag("tank.sensor", address=50))}
SLOW = {"source": SENSOR, "input": "tank.sensor"}


class View:
    """The engine's view of one tag, as it would stand after each cycle."""

    def __init__(self, b: Bench) -> None:
        self.value = 0.5
        self.quality = Quality.GOOD
        self.arrival_ns = time.monotonic_ns() + 10**15
        self.is_stuck = False
        self._b = b

    def put(self, value: float, quality: Quality = Quality.GOOD) -> None:
        self.value, self.quality = value, quality
        self.arrival_ns = time.monotonic_ns() + 10**15
        self.hand_over()

    def hand_over(self) -> None:
        self._b.control.feed(self, time.monotonic_ns() + 10**15)  # type: ignore[arg-type]

    def live(self, rows: Any) -> Any:
        out = np.zeros(len(rows), LIVE)
        out["value"], out["quality"], out["arrival_ns"] = self.value, self.quality, self.arrival_ns
        return out


@contextmanager
def engine(b: Bench) -> Iterator[View]:
    """Hands over every 10 ms, as the engine's thread does."""
    view = View(b)
    stopping = threading.Event()

    def turn() -> None:
        while not stopping.wait(0.01):
            if not view.is_stuck:
                view.hand_over()

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        yield view
    finally:
        stopping.set()
        thread.join()


def state(b: Bench, index: int) -> Mode:
    return Mode(int(b.control.loops()["mode"][index]))


def test_a_loop_on_a_tag_of_another_link_controls_and_fails_safe_when_that_is_bad_old_or_the_engine_stands_still() -> (
    None
):
    options = SLOW | {"kp": 20.0, "stale_after_ns": 300 * NS_PER_MS}
    with plc(valve=300) as device, bench(device.port, tags=TAGS_TOO, **options) as b, engine(b) as view:
        view.put(0.5)
        b.wait_for_mode(Mode.AUTO)
        assert device.valve == 300
        view.put(0.25)
        wait_for(lambda: device.valve > 340, "the output rising")
        view.put(0.25, Quality.BAD_SENSOR_FAILURE)
        b.wait_for_mode(Mode.FAILSAFE, within_s=0.1)
        wait_for(lambda: device.valve == 100, "the fail-safe output")
        view.put(0.5)
        b.wait_for_mode(Mode.AUTO)
        wait_for(lambda: b.mode is Mode.FAILSAFE, "the fail-safe state, when the sample grows old", within_s=0.6)
        view.put(0.5)
        b.wait_for_mode(Mode.AUTO)
        view.is_stuck = True
        b.wait_for_mode(Mode.FAILSAFE, within_s=0.6)
        ages = next(r for r in b.control.readings() if r.name == "fieldgate_control_input_age_seconds")
        assert ages.counts.sum() > 20  # type: ignore[union-attr]


def test_a_loop_that_acts_on_arrival_answers_at_once_and_not_on_its_period() -> None:
    options = SLOW | {"every_ns": 1_000 * NS_PER_MS, "stale_after_ns": 10**10, "acts_on_arrival": True, "kp": 30.0}
    with plc(valve=300) as device, bench(device.port, tags=TAGS_TOO, **options) as b:
        view = View(b)
        wait_for(lambda: view.put(0.5) or b.mode is Mode.AUTO, "AUTO")
        answered = 0
        for _ in range(10):
            writes = len(device.writes)
            view.put(0.4 if answered % 2 else 0.6)
            try:
                wait_for(lambda writes=writes: len(device.writes) > writes, "the answer", within_s=0.1)  # type: ignore[misc]
            except AssertionError:
                continue
            answered += 1
        assert answered >= 9


def block(name: str, kind: str, *inputs: Signal | float, parameters: tuple[float, ...] = ()) -> Block:
    taken = tuple(Signal(of="number", number=i) if isinstance(i, float) else i for i in inputs)
    return Block(name=name, kind=kind, inputs=taken, parameters=parameters)


def test_an_interlock_overrules_manual_and_control_and_leaves_without_a_jump() -> None:
    interlock = block("stop", "interlock", SENSOR, parameters=(5.0,))
    options: dict[str, Any] = {"interlock": Signal(of="block", name="stop"), "kp": 20.0, "ti_s": 20.0}
    with (
        plc(level_m=0.5, valve=300) as device,
        bench(device.port, tags=TAGS_TOO, blocks=[interlock], **options) as b,
        engine(b) as view,
    ):
        view.put(0.0)
        b.wait_for_mode(Mode.AUTO)
        view.put(1.0)
        b.wait_for_mode(Mode.INTERLOCKED)
        wait_for(lambda: device.valve == 50, "what the interlock demands")
        b.control.write_mode(0, Mode.MANUAL)
        cycles = int(b.now["cycles"])
        wait_for(lambda: b.now["cycles"] > cycles + 10, "cycles in manual")
        assert b.mode is Mode.INTERLOCKED
        b.control.write_mode(0, Mode.AUTO)
        view.put(0.0)
        b.wait_for_mode(Mode.AUTO)
        assert abs(device.valve - 50) <= 2, "it starts from where the interlock left it"
        view.put(0.0, Quality.BAD_COMM_FAILURE)
        b.wait_for_mode(Mode.INTERLOCKED)
        assert b.reading("fieldgate_control_interlocks_total") == 2
        assert "control.loop_interlocked" in b.kinds()


def test_a_reload_trips_no_interlock_that_lives_on_the_engine() -> None:
    interlock = block("stop", "interlock", SENSOR, parameters=(5.0,))
    options: dict[str, Any] = {"interlock": Signal(of="block", name="stop")}
    with plc(level_m=0.5, valve=300) as device, bench(device.port, tags=TAGS_TOO, blocks=[interlock], **options) as b:
        with engine(b) as view:
            view.put(0.0)
            b.wait_for_mode(Mode.AUTO)
            trips = b.reading("fieldgate_control_interlocks_total")
        b.control.take_over(
            loops=[loop(kp=10.0, **options)],
            blocks=[interlock],
            tags=TAGS_TOO,
            links={"tank": link(device.port)},
        )
        cycles = int(b.now["cycles"])
        wait_for(lambda: b.now["cycles"] > cycles + 10, "cycles before the engine hands over again")
        assert b.mode is Mode.AUTO
        assert b.reading("fieldgate_control_interlocks_total") == trips


def test_a_cascade_is_entered_and_left_without_a_jump() -> None:
    outer = loop(
        name="outer",
        source=SENSOR,
        input="tank.sensor",
        output="control.inner.setpoint",
        is_internal=True,
        tracks="inner",
        setpoint=0.6,
        kp=0.5,
        ti_s=5.0,
        output_min=0.0,
        output_max=1.0,
        failsafe_output=None,
        stale_after_ns=10**10,
    )
    from_outer = Signal(of="loop", name="outer", what="output")
    inner = loop(name="inner", kp=20.0, ti_s=20.0, setpoint_from=from_outer)
    with plc(level_m=0.5, valve=300) as device, bench(device.port, tags=TAGS_TOO, loops=[outer, inner]) as b:
        with engine(b) as view:
            view.put(0.5)
            wait_for(lambda: state(b, 1) is Mode.CASCADE, "the inner loop in cascade")
            wait_for(lambda: state(b, 0) is Mode.AUTO, "the outer one in auto")
            b.control.write_mode(1, Mode.AUTO)
            wait_for(lambda: state(b, 0) is Mode.TRACKING, "the outer loop tracking")
            b.control.write_setpoint(1, 0.52)
            wait_for(lambda: abs(b.control.loops()["output"][0] - 0.52) < 1e-9, "its output at the inner setpoint")
            before = device.valve
            b.control.write_mode(1, Mode.CASCADE)
            wait_for(lambda: state(b, 0) is Mode.AUTO, "the outer loop in auto again")
            assert abs(float(b.control.loops()["setpoint"][1]) - 0.52) < 0.01
            assert abs(device.valve - before) < 10
        with pytest.raises(ValueError, match="no setpoint from elsewhere"):
            b.control.write_mode(0, Mode.CASCADE)


def test_a_median_of_three_feeds_one_valve_through_a_split_range() -> None:
    blocks = [
        block("middle", "median", SENSOR, 0.2, 0.9),
        block("half", "curve", Signal(of="block", name="middle"), parameters=(2.0, 0.0, 0.0, 0.5, 100.0)),
    ]
    follower = loop(
        name="follower",
        source=Signal(of="block", name="half"),
        input="blocks.half",
        does_follow=True,
        acts_on_arrival=True,
        stale_after_ns=10**10,
    )
    with (
        plc(valve=300) as device,
        bench(device.port, tags=TAGS_TOO, loops=[follower], blocks=blocks) as b,
        engine(b) as view,
    ):
        for value, valve in ((0.3, 600), (0.05, 400), (2.0, 1000)):
            view.put(value)
            wait_for(lambda valve=valve: device.valve == valve, f"{valve} at {value}")  # type: ignore[misc]
        view.put(0.3, Quality.BAD_COMM_FAILURE)
        wait_for(lambda: device.valve == 1000, "the mean of the two that are left, beyond the curve's end")


def test_a_failsafe_with_a_rate_is_reached_by_a_ramp() -> None:
    with plc(level_m=0.5, valve=600) as device, bench(device.port, failsafe_rate=100.0) as b:
        b.wait_for_mode(Mode.AUTO)
        started_s, writes = time.monotonic(), len(device.writes)
        device.set_level(float("nan"))
        wait_for(lambda: device.valve == 100, "the fail-safe output")
        assert 0.4 <= time.monotonic() - started_s <= 1.5
        steps = [values[0] for _, _, values in device.writes[writes:]]
        assert all(abs(b - a) <= 100 for a, b in pairwise(steps))


def test_an_output_that_somebody_else_changed_is_found_told_and_written_again() -> None:
    with plc(level_m=0.5, valve=300) as device, bench(device.port, reads_back=True) as b:
        b.wait_for_mode(Mode.AUTO)
        device.registers[10] = 900
        wait_for(lambda: device.valve == 300, "what the loop wants again")
        wait_for(lambda: "control.output_recovered" in b.kinds(), "both events")
        assert b.kinds().count("control.output_failed") == 1
        told = next(event for event in b.events if event.kind == "control.output_failed")
        assert "another output than was written" in told.message


def test_without_its_commander_a_loop_fails_safe_in_every_mode_until_it_commands_again() -> None:
    with plc(level_m=0.5, valve=300) as device, bench(device.port, dead_man_ns=300 * NS_PER_MS, ti_s=50.0) as b:
        b.wait_for_mode(Mode.AUTO)
        started_s = time.monotonic()
        while time.monotonic() < started_s + 0.6:
            b.control.write_setpoint(0, 0.5)
            time.sleep(0.02)  # signs of life
        assert b.mode is Mode.AUTO
        b.wait_for_mode(Mode.FAILSAFE, within_s=0.6)
        wait_for(lambda: device.valve == 100, "the fail-safe output")
        b.control.write_setpoint(0, 0.5)
        b.wait_for_mode(Mode.AUTO)
        b.control.write_mode(0, Mode.MANUAL)
        b.wait_for_mode(Mode.MANUAL)
        b.control.write_output(0, 55.0)
        wait_for(lambda: device.valve == 550, "the manual output")
        wait_for(lambda: device.valve == 100, "the fail-safe output in manual too", within_s=0.8)
        b.kinds()
        told = [event.message for event in b.events if event.kind == "control.loop_failsafe"]
        assert any("dead man" in message for message in told)


def test_a_sign_of_life_that_says_nothing_else_keeps_a_loop_from_its_fail_safe() -> None:
    with plc(level_m=0.5, valve=300) as device, bench(device.port, dead_man_ns=300 * NS_PER_MS, ti_s=50.0) as b:
        b.wait_for_mode(Mode.FAILSAFE)
        setpoint = float(b.control.loops()["setpoint"][0])

        def is_kept_alive() -> bool:
            b.control.keep_alive(0)
            return b.mode is Mode.AUTO

        wait_for(is_kept_alive, "the loop in auto again")
        assert float(b.control.loops()["setpoint"][0]) == setpoint
        b.wait_for_mode(Mode.FAILSAFE)


def test_a_counter_is_a_heartbeat_for_the_devices_own_watchdog() -> None:
    beat = Block(name="beat", kind="counter", inputs=(), parameters=(0.02, 5.0))
    follower = loop(source=Signal(of="block", name="beat"), input="blocks.beat", does_follow=True, failsafe_output=None)
    with plc(valve=0) as device, bench(device.port, loops=[follower], blocks=[beat]):
        wait_for(lambda: len({values for _, _, values in device.writes}) == 6, "all counts from 0 to 5")
