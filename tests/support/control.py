"""A control executive with settings for the tests' PLC, and waiting for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gateway.control.handle import ControlExecutive
from gateway.core.events import Event
from gateway.core.types import NS_PER_MS, SAMPLE, Kind, Samples
from gateway.core.view import Mode
from gateway.settings.schema import Block, ModbusLink, ModbusPoint, PidLoop, RegisterType, Table, Tag
from tests.support.plc import VALVE

IN_ROW, OUT_ROW = 3, 5


def wait_for(condition: Callable[[], Any], what: str, within_s: float = 5.0) -> None:
    """Until the condition holds; fails by name when it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(0.002)


def tag(name: str, **point: Any) -> Tag:
    whole: dict[str, Any] = {
        "unit": 1,
        "table": Table.HOLDING,
        "type": RegisterType.UINT16,
        "every_ns": 100 * NS_PER_MS,
    }
    limits = {key: point.pop(key) for key in ("valid_low", "valid_high", "kind") if key in point}
    device = point.pop("device", "tank")
    return Tag(
        name=name,
        device=device,
        point=ModbusPoint(**(whole | point)),
        windows_ns=(),
        stale_after_ns=NS_PER_MS,
        **({"kind": Kind.F64} | limits),
    )


def link(port: int, name: str = "plc", **options: Any) -> ModbusLink:
    defaults = {"connect_timeout_ns": 500 * NS_PER_MS, "response_timeout_ns": 100 * NS_PER_MS}
    return ModbusLink(name=name, host="127.0.0.1", port=port, **(defaults | options))


def loop(**options: Any) -> PidLoop:
    defaults: dict[str, Any] = {
        "name": "level",
        "input": "tank.level",
        "output": "tank.valve",
        "setpoint": 0.5,
        "setpoint_min": 0.0,
        "setpoint_max": 1.0,
        "kp": 200.0,
        "ti_s": 1.0,
        "every_ns": 5 * NS_PER_MS,
        "output_min": 0.0,
        "output_max": 100.0,
        "failsafe_output": 10.0,
        "stale_after_ns": 150 * NS_PER_MS,
    }
    return PidLoop(**(defaults | options))


TAGS = {
    "tank.level": (IN_ROW, tag("tank.level", address=0, type=RegisterType.FLOAT32)),
    "tank.valve": (OUT_ROW, tag("tank.valve", address=VALVE, scale=0.1, writable=True)),
}


@dataclass
class Bench:
    control: ControlExecutive
    events: list[Event] = field(default_factory=list)

    @property
    def now(self) -> Any:
        return self.control.loops()[0]

    @property
    def mode(self) -> Mode:
        return Mode(int(self.now["mode"]))

    def wait_for_mode(self, mode: Mode, within_s: float = 5.0) -> None:
        wait_for(lambda: self.mode is mode, f"mode {mode.name}", within_s)

    def kinds(self) -> list[str]:
        """Kinds of the events about links and loops since the start."""
        self.control.poll_state_changes()
        return [event.kind for event in self.events if event.kind != "control.not_real_time"]

    def samples(self) -> Samples:
        out = np.zeros(4096, SAMPLE)
        return out[: self.control.take_samples(out)].copy()

    def reading(self, name: str) -> float:
        return next(r.value for r in self.control.readings() if r.name == name)


@contextmanager
def bench(
    port: int,
    *,
    tags: Any = TAGS,
    link_options: Any = None,
    loops: Sequence[PidLoop] = (),
    blocks: Sequence[Block] = (),
    **options: Any,
) -> Iterator[Bench]:
    """A started executive with one loop, or these."""
    events: list[Event] = []
    control = ControlExecutive(
        loops=loops or [loop(**options)],
        blocks=blocks,
        tags=tags,
        links={"tank": link(port, **(link_options or {}))},
        now_ns=lambda: time.monotonic_ns() + 10**15,
        emit=events.append,
        real_time=False,
    )
    control.start()
    try:
        yield Bench(control, events)
    finally:
        control.stop(5.0)
