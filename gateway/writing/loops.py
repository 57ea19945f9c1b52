"""Points of loops, as orders name them: `control.NAME.setpoint`, `.mode` and `.output`.

The executive checks range and mode, and takes what it takes between two cycles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.core.view import ControlView, Mode
from gateway.settings.schema import LOOP_POINTS, PidLoop
from gateway.writing.order import Value

MODES: Final = (Mode.AUTO, Mode.MANUAL, Mode.CASCADE)


class LoopPoints:
    """Of one plant; `control` is None where no loop runs."""

    def __init__(self, loops: Sequence[PidLoop], control: ControlView | None) -> None:
        self._control = control
        self._places = {
            f"control.{loop.name}.{point}": (index, point) for index, loop in enumerate(loops) for point in LOOP_POINTS
        }

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def shown(self, name: str) -> str:
        """What stands there now."""
        assert self._control is not None
        index, point = self._places[name]
        record = self._control.loops()[index]
        return Mode(int(record["mode"])).name.lower() if point == "mode" else f"{float(record[point]):g}"

    def order(self, name: str, value: Value) -> None:
        """Raises ValueError, with what would do, for a value that is not taken."""
        assert self._control is not None
        index, point = self._places[name]
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
