"""How settings become requests, and which loops are refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.control import layout, plan
from gateway.control.handle import ControlExecutive
from gateway.control.metrics import METRICS
from gateway.core.types import NS_PER_MS
from gateway.settings.schema import PidLoop, RegisterType, Table
from tests.support.control import TAGS, link, loop, tag, wait_for
from tests.support.plc import plc

LINKS = {"tank": link(502)}


def span(address: int, registers: int = 1, **changed: Any) -> plan.Span:
    whole: dict[str, Any] = {"link": 0, "unit": 1, "table": Table.HOLDING, "period_ns": 20 * NS_PER_MS}
    return plan.Span(**(whole | changed), address=address, registers=registers)


def test_inputs_that_touch_become_one_request_and_others_do_not() -> None:
    wanted = [span(10, 2), span(0, 2), span(2), span(4), span(10), span(3, unit=2), span(5, period_ns=5 * NS_PER_MS)]
    merged = plan.merge(wanted)
    assert span(0, 3) in merged
    assert span(4) in merged
    assert span(10, 2) in merged
    assert len(merged) == 5
    assert all(any(block.holds(one) for block in merged) for one in wanted)


def test_no_request_is_longer_than_the_protocol_permits() -> None:
    merged = plan.merge([span(address) for address in range(300)])
    assert [block.registers for block in merged] == [125, 125, 50]


def loops_named(n: int, **options: Any) -> list[PidLoop]:
    return [loop(name=f"loop{i}", **options) for i in range(n)]


@pytest.mark.parametrize(
    ("loops", "tags", "words"),
    [
        (loops_named(65), TAGS, "at most 64"),
        ([loop(input="tank.nothing")], TAGS, "not a tag"),
        ([loop(output="tank.level")], TAGS, "write = true"),
        ([loop(every_ns=1000)], TAGS, "1 ms"),
        ([loop()], TAGS | {"tank.level": (1, tag("tank.level", address=0, type=RegisterType.BOOL))}, "not a number"),
        ([loop()], TAGS | {"tank.level": (1, tag("tank.level", address=0, table=Table.COIL))}, "not a register"),
    ],
)
def test_a_loop_that_cannot_run_is_refused_with_its_name(loops: Any, tags: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        plan.fill(layout.allocate()[0], loops, tags, LINKS)
    assert "control" in str(refused.value)


def test_loops_with_touching_inputs_share_one_read_and_run_on_it() -> None:
    tags = {
        "tank.a": (0, tag("tank.a", address=0)),
        "tank.b": (1, tag("tank.b", address=1)),
        "tank.va": (2, tag("tank.va", address=20, writable=True)),
        "tank.vb": (3, tag("tank.vb", address=30, writable=True)),
    }
    common: dict[str, Any] = {
        "every_ns": 20 * NS_PER_MS,
        "setpoint": 10.0,
        "setpoint_max": 100.0,
        "kp": 1.0,
        "ti_s": 0.5,
    }
    loops = [
        loop(name="a", input="tank.a", output="tank.va", **common),
        loop(name="b", input="tank.b", output="tank.vb", reverse_acting=False, **common),
    ]
    with plc() as device:
        device.registers[0:2] = [4, 17]
        control = executive(loops, tags, device.port)
        control.start()
        wait_for(lambda: device.registers[20] > 5 and device.registers[30] > 5, "both outputs rising")
        looks = control.loops()
        requests, writes = device.requests, len(device.writes)
        cycles = int(looks["cycles"][0])
        wait_for(lambda: control.loops()["cycles"][0] >= cycles + 20, "twenty cycles")
        reads = device.requests - requests - (len(device.writes) - writes)
        assert reads <= 25, "one read a cycle for both loops"
        assert list(looks["process_value"]) == [4.0, 17.0]
        names = {reading.name for reading in control.readings()}
        assert names == {name for name, _, _ in METRICS}
        control.stop(5.0)


def executive(loops: Any, tags: Any, port: int, emit: Callable[[Any], None] = lambda _: None) -> ControlExecutive:
    return ControlExecutive(
        loops=loops,
        tags=tags,
        links={"tank": link(port)},
        now_ns=time.monotonic_ns,
        emit=emit,
        real_time=False,
    )


def test_stopping_with_nothing_to_say_takes_no_time() -> None:
    control = executive([loop()], TAGS, 9)
    control.start()
    started = time.monotonic()
    control.stop()
    assert time.monotonic() - started < 0.4


def test_nothing_is_asked_of_a_device_while_warming_up() -> None:
    with plc() as device:
        control = executive([loop()], TAGS, device.port)
        control.warm()
        assert device.accepted == 0
        assert control.heartbeat_ns() == 0
