"""`fieldgate tune`: let a loop swing within limits, and propose gains."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from gateway.cli.app import EXIT_FAILED
from gateway.cli.common import load_or_exit
from gateway.control.tuning import TuneAborted
from gateway.core.types import NS_PER_S
from gateway.runtime.statedir import StateInUse, hold_state_dir
from gateway.runtime.terminalplot import panel
from gateway.runtime.tuning import Limits, Tuned, tune
from gateway.settings.problems import did_you_mean
from gateway.settings.schema import PidLoop, Settings
from gateway.settings.units import WrongValueError, duration

TIMEOUT = duration(NS_PER_S, 24 * 3_600 * NS_PER_S)
COLUMNS = 200
LINES = 8


@click.command(name="tune")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("loop")
@click.option(
    "--step", type=click.FloatRange(min=0, min_open=True), required=True, help="Half of a swing, output units."
)
@click.option(
    "--deviation", type=click.FloatRange(min=0, min_open=True), required=True,
    help="How far the input may go from where it is, in its unit; beyond, the test is aborted.",
)  # fmt: skip
@click.option("--swings", type=click.IntRange(2, 20), default=4, show_default=True, help="Swings that count.")
@click.option("--timeout", default="30min", show_default=True, help="How long it may take.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(file: Path, loop: str, step: float, deviation: float, swings: int, timeout: str, as_json: bool) -> None:
    """Find gains for LOOP of the configuration FILE by a relay test. IT MOVES THE ACTUATOR.

    The gateway must not be running with that configuration. Bring the process to rest at its working point first; the
    output is switched by STEP up and down around where it stands, and put back there at the end, on Ctrl-C and when the
    test is aborted. Exit code 1: aborted, nothing is proposed.
    """
    settings = load_or_exit(file)
    found = _loop_of(settings, loop)
    try:
        timeout_s = TIMEOUT(timeout) / NS_PER_S
    except WrongValueError as error:
        raise click.BadParameter(str(error), param_hint="--timeout") from None
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    try:
        with hold_state_dir(settings.state_dir):
            tuned = tune(
                settings, found, Limits(step, deviation, swings, timeout_s), lambda text: click.echo(text, err=True)
            )
    except (TuneAborted, StateInUse) as error:
        click.echo(f"{loop}: {error}", err=True)
        raise SystemExit(EXIT_FAILED) from None
    _show(found, tuned, as_json=as_json)


def _loop_of(settings: Settings, name: str) -> PidLoop:
    loops = {loop.name: loop for loop in settings.loops}
    if name not in loops:
        remedy = did_you_mean(name, loops, f"write one of {', '.join(loops)}" if loops else "it has none")
        raise click.BadParameter(f"{name} is not a loop of this configuration; {remedy}", param_hint="LOOP")
    loop = loops[name]
    if loop.source is not None or loop.is_internal or loop.does_follow or loop.is_shadow:
        raise click.BadParameter(
            f"{name} cannot be tuned: it needs a controller, an input and an output that it reads and writes itself, "
            "and no shadow",
            param_hint="LOOP",
        )
    return loop


def _show(loop: PidLoop, tuned: Tuned, *, as_json: bool) -> None:
    swing, gains = tuned.swing, tuned.swing.gains()
    if as_json:
        click.echo(json.dumps({"loop": loop.name, "swing": asdict(swing), "gains": [asdict(one) for one in gains]}))
        return
    at_s, values, outputs = (np.array(column) for column in zip(*tuned.trend, strict=True))
    column = np.minimum((at_s / max(float(at_s[-1]), 1e-9) * COLUMNS).astype(np.int64), COLUMNS - 1)
    for line in panel("input", column, values, float(values.min()), float(values.max()), LINES):
        click.echo(line)
    for line in panel("output", column, outputs, float(outputs.min()), float(outputs.max()), LINES // 2):
        click.echo(line)
    click.echo(f"{'0 s':>15}{at_s[-1]:>{COLUMNS // 2 - 6}.1f} s\n")
    click.echo(f"critical gain {swing.ku:.4g}, critical period {swing.tu_s:.3g} s, from {swing.swings} swings\n")
    for one in gains:
        ti = "" if one.ti_s is None else f', ti = "{one.ti_s * 1000:.0f}ms"'
        td = "" if one.td_s is None else f', td = "{one.td_s * 1000:.0f}ms"'
        click.echo(f"{one.rule:<28} kp = {one.kp:.4g}{ti}{td}")
    now = f"kp = {loop.kp:.4g}" + ("" if loop.ti_s is None else f', ti = "{loop.ti_s * 1000:.0f}ms"')
    click.echo(f"{'in the file now':<28} {now}")
