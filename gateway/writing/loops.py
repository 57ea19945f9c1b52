"""Points of loops, as orders name them: `control.NAME.setpoint`, `.mode`, `.output` and `.hold`.

The executive checks range and mode, and takes what it takes between two cycles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.core.ports import Clock
from gateway.core.view import ControlView, Mode
from gateway.settings.schema import HOLD_POINT, LOOP_POINTS, PidLoop
from gateway.writing.arbiter import HOLDS, RELEASE, TAKE, Arbiter, Commander
from gateway.writing.order import Value

MODES: Final = (Mode.AUTO, Mode.MANUAL, Mode.CASCADE)


class LoopPoints:
    """Of one plant; `control` is None where no loop runs."""

    def __init__(self, loops: Sequence[PidLoop], control: ControlView | None, arbiter: Arbiter, now_ns: Clock) -> None:
        self._control = control
        self._arbiter = arbiter
        self._now_ns = now_ns
        self._places = {
            f"control.{loop.name}.{point}": (index, loop.name, point)
            for index, loop in enumerate(loops)
            for point in (*LOOP_POINTS, HOLD_POINT)
        }

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def shown(self, name: str) -> str:
        """What stands there now."""
        assert self._control is not None
        index, loop, point = self._places[name]
        if point == HOLD_POINT:
            return self._arbiter.shown(loop, self._now_ns())
        record = self._control.loops()[index]
        return Mode(int(record["mode"])).name.lower() if point == "mode" else f"{float(record[point]):g}"

    def check(self, name: str, value: Value, by: Commander) -> None:
        """Whether this commander may say so now. Raises CommandRefusedError."""
        _, loop, point = self._places[name]
        self._arbiter.check(loop, by, self._now_ns(), is_taking=(point, value) == (HOLD_POINT, TAKE))

    def order(self, name: str, value: Value, by: Commander) -> str:
        """What there is to tell of who commands now. Raises ValueError, with what would do, for a value not taken."""
        index, loop, point = self._places[name]
        if point == HOLD_POINT:
            return self._hold(loop, value, by)
        self._put(index, point, value)
        return self._arbiter.took(loop, by, self._now_ns())

    def took(self, name: str, by: Commander) -> str:
        """It was ordered otherwise."""
        return self._arbiter.took(self._places[name][1], by, self._now_ns())

    def loop_of(self, name: str) -> str:
        return self._places[name][1]

    def _hold(self, loop: str, value: Value, by: Commander) -> str:
        if value not in HOLDS:
            raise ValueError(f"{value} is neither of {', '.join(HOLDS)}")
        if not self._arbiter.can_hold(loop):
            raise ValueError(
                f'commands do not hold loop {loop}; write commands = {{ hold = "30s" }} in [control.{loop}]'
            )
        if value == RELEASE:
            return self._arbiter.release(loop, by, self._now_ns())
        return self._arbiter.took(loop, by, self._now_ns())

    def _put(self, index: int, point: str, value: Value) -> None:
        assert self._control is not None
        if point == "mode":
            self._control.write_mode(index, _mode(value))
        elif point == "setpoint":
            self._control.write_setpoint(index, _number(value))
        else:
            self._control.write_output(index, _number(value))


def _mode(value: Value) -> Mode:
    for mode in MODES:
        if str(value).lower() in (mode.name.lower(), str(int(mode))):
            return mode
    raise ValueError(f"{value} is no mode; write auto, manual or cascade")


def _number(value: Value) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{value} is not a number") from None
