"""The relay test against a real loop: an executive of its own with that loop alone, in manual.

The output is put back to where it stood before the test, however that ends; nothing else is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.control.handle import ControlExecutive
from gateway.control.tuning import Relay, Swing, TuneAborted
from gateway.core.types import NS_PER_S, Quality
from gateway.core.view import Mode
from gateway.settings.schema import PidLoop, Settings

UP_WITHIN_S: Final = 15.0
NOISE_S: Final = 1.0
NOISE_PERIODS_MIN: Final = 20


@dataclass(frozen=True)
class Limits:
    """`step` in output units, `deviation` in input units; None: 5 % of the setpoint's range, or it must be given."""

    step: float
    deviation: float
    swings: int
    timeout_s: float


@dataclass(frozen=True)
class Tuned:
    swing: Swing
    trend: list[tuple[float, float, float]]
    """Seconds, input, output."""


def executive_of(settings: Settings, loop: PidLoop) -> ControlExecutive:
    """With this loop alone, in manual; at its stop it holds the output."""
    alone = msgspec.structs.replace(
        loop, starts_in_auto=False, failsafe_output=None, setpoint_from=None, feed_forward=None, gains=None,
        interlock=None, tracks="", output_rate_max=None,
    )  # fmt: skip
    return ControlExecutive(
        loops=[alone],
        tags={tag.name: (row, tag) for row, tag in enumerate(settings.tags)},
        links=settings.modbus_links,
        now_ns=time.monotonic_ns,
        emit=lambda event: None,
        real_time=False,
    )


def tune(settings: Settings, loop: PidLoop, limits: Limits, progress: Callable[[str], None]) -> Tuned:
    """Raises TuneAborted; the output is back where it was by then."""
    control = executive_of(settings, loop)
    control.start()
    try:
        wait_until_manual(control, loop)
        output = float(control.loops()[0]["output"])
        low, high = output - limits.step, output + limits.step
        if low < loop.output_min or high > loop.output_max:
            raise TuneAborted(
                f"the output stands at {output:g}, and {low:g} to {high:g} is not within {loop.output_min:g} to "
                f"{loop.output_max:g}; bring it to its working point first, or take a smaller step"
            )
        try:
            return swing(control, loop, limits, output, progress)
        finally:
            control.write_output(0, output)
            time.sleep(3 * loop.every_ns / NS_PER_S)  # for the write to be on its way before the links close
    finally:
        control.stop(5.0)


def wait_until_manual(control: ControlExecutive, loop: PidLoop) -> None:
    deadline_s = time.monotonic() + UP_WITHIN_S
    while True:
        record = control.loops()[0]
        if int(record["mode"]) == Mode.MANUAL and int(record["quality"]) == Quality.GOOD:
            return
        if time.monotonic() > deadline_s:
            raise TuneAborted(f"{loop.input} and {loop.output} were not read within {UP_WITHIN_S:g} s")
        time.sleep(0.02)


def swing(
    control: ControlExecutive, loop: PidLoop, limits: Limits, output: float, progress: Callable[[str], None]
) -> Tuned:
    every_s = loop.every_ns / NS_PER_S
    progress("listening to the noise")
    noise = [float(control.loops()[0]["process_value"])]
    end_s = time.monotonic() + max(NOISE_S, NOISE_PERIODS_MIN * every_s)
    while time.monotonic() < end_s:
        time.sleep(every_s)
        noise.append(float(control.loops()[0]["process_value"]))
    rest = sum(noise, 0.0) / len(noise)
    band = max(2.0 * (max(noise) - min(noise)), 1e-3 * limits.deviation)
    relay = Relay(
        rest, output, limits.step, band, limits.deviation, limits.swings, limits.timeout_s, loop.reverse_acting
    )
    progress(f"input {rest:g}, output {output:g}: swinging by {limits.step:g}")
    start_s, told, wanted = time.monotonic(), 0, output
    trend: list[tuple[float, float, float]] = []
    while not relay.is_done:
        record = control.loops()[0]
        at_s = time.monotonic() - start_s
        good = int(record["quality"]) == Quality.GOOD
        next_output = relay.next_output(float(record["process_value"]) if good else float("nan"), at_s)
        if next_output != wanted:
            wanted = next_output
            control.write_output(0, wanted)
            told += 1
            progress(f"{at_s:8.1f} s: switch {told}, input {float(record['process_value']):g}, output {wanted:g}")
        trend.append((at_s, float(record["process_value"]), float(record["output"])))
        time.sleep(every_s)
    return Tuned(relay.result(), trend)
