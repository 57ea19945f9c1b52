"""Loops, function blocks and the signals between them, as frozen types."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

import msgspec


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """Where a number comes from.

    A tag's `value`, `score`, `persistent`, or what of a window ("10s/mean"); a block's output; a loop's `output`,
    `setpoint` or `input`; or a number that stands in the file.
    """

    of: Literal["number", "tag", "block", "loop"]
    name: str = ""
    what: str = "value"
    number: float = 0.0


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A function block: kind, inputs and parameters are those of `gateway.control.blocks`."""

    name: str
    kind: str
    inputs: tuple[Signal, ...]
    parameters: tuple[float, ...] = ()


class OutputBy(StrEnum):
    """Who brings a loop's output to its device."""

    EXECUTIVE = "executive"
    """By a Modbus TCP connection of its own."""
    LINE = "line"
    """The loop thread, by the session of the device's link: serial lines, RTU over TCP, TLS."""
    MQTT = "mqtt"
    """The loop thread, by a session of the loop's own with the broker."""


LOOP_POINTS: Final = ("setpoint", "mode", "output")
"""What may be written of a loop, where the configuration allows it: `control.NAME.setpoint`, and so on."""
HOLD_POINT: Final = "hold"
"""Written by take and release, by everybody but SCADA clients: they take a loop by commanding it."""


class Commands(StrEnum):
    """The ways in which a loop may be commanded, the most important first unless a loop says otherwise."""

    LOCAL = "local"
    PAGE = "page"
    SCADA = "scada"
    MQTT = "mqtt"


class PidLoop(msgspec.Struct, frozen=True, kw_only=True):
    """A loop. PID in ISA form: u = kp · (e + ∫e/ti + td · de/dt); or its output follows its input."""

    name: str
    input: str
    """The full name of the tag that is read, or what `source` is called."""
    output: str
    """The full name of the tag that is written, or what an output without a register is called."""
    setpoint: float
    setpoint_min: float
    setpoint_max: float
    kp: float
    ti_s: float | None = None
    td_s: float | None = None
    setpoint_weight: float = 1.0
    """How much of a setpoint step the proportional part passes on, 0 to 1."""
    derivative_filter: float = 8.0
    """The derivative's filter has the time constant td / derivative_filter."""
    back_calculation_s: float | None = None
    """Time constant with which an output that was held back corrects the integral; None: conditional integration."""
    reverse_acting: bool = True
    every_ns: int
    output_min: float
    output_max: float
    output_rate_max: float | None = None
    starts_in_auto: bool = True
    starts_in_cascade: bool = True
    """Where it has a setpoint from elsewhere."""
    failsafe_output: float | None = None
    """None: hold the last output."""
    failsafe_rate: float | None = None
    """How fast the output goes to the fail-safe one, in units a second; None: at once."""
    stale_after_ns: int
    is_shadow: bool = False
    """Computes its output and writes nothing."""
    does_follow: bool = False
    """The output is the input, within limits and rate: there is no controller."""
    source: Signal | None = None
    """The input, where the executive does not read it from its register itself."""
    is_internal: bool = False
    """The output is a signal for blocks and other loops; no register is written."""
    setpoint_from: Signal | None = None
    """The setpoint in cascade."""
    tracks: str = ""
    """The loop whose setpoint this one's output is; outside of its cascade mode the output is that setpoint."""
    feed_forward: Signal | None = None
    gains: tuple[Signal, Signal, Signal] | None = None
    """kp, ti and td in seconds, by signals; infinite and 0 for none."""
    interlock: Signal | None = None
    """The output that is demanded whatever else is wanted; NaN: none."""
    reads_back: bool = False
    """What was written is read again a few periods later; what is not there is written again, and told."""
    dead_man_ns: int = 0
    """Without a command for so long it goes to its fail-safe, in every mode; 0: it needs none."""
    commanders: tuple[str, ...] = tuple(way.value for way in Commands)
    """Who may command it, the most important first."""
    command_hold_ns: int = 0
    """For how long a command holds the loop for whom it came from; 0: the last command wins."""
    output_by: OutputBy = OutputBy.EXECUTIVE
    output_budget_ns: int = 10_000_000
    """From a complete input to the output handed to the socket, or confirmed where the loop thread carries it."""
    setpoint_rate_max: float | None = None
    """How fast a setpoint that was written is approached, in units a second; None: at once."""
    acts_on_arrival: bool = False
    """It acts when its input comes, and not only on its period."""


def registers_of(loop: PidLoop) -> tuple[str, ...]:
    """Full names of the tags that the executive reads and writes by itself."""
    has_register = not loop.is_internal and loop.output_by is OutputBy.EXECUTIVE
    return (() if loop.source is not None else (loop.input,)) + ((loop.output,) if has_register else ())


def driven_by(loop: PidLoop) -> tuple[str, ...]:
    """Full names of the tags that are the loop's: nobody else writes them."""
    return tuple(dict.fromkeys((*registers_of(loop), *(() if loop.is_internal else (loop.output,)))))
