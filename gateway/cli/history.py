"""`fieldgate history TAG`: what a tag was, from the history that the gateway keeps."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from gateway.cli.app import EXIT_FAILED, EXIT_WRONG_INPUT
from gateway.cli.common import load_or_exit, prepare_kernels
from gateway.settings.problems import did_you_mean
from gateway.settings.units import WrongValueError, duration, show_duration

if TYPE_CHECKING:
    from gateway.spool.history import Point

DAY_NS = 86_400 * 10**9
BACK = duration(10**9, 3_660 * DAY_NS)
LINES = 12


@click.command(help="Draw, or print, what a tag was: from the history that the gateway keeps ([history]).")
@click.argument("tag")
@click.option("--config", "config", type=click.Path(path_type=Path), required=True, help="The gateway's configuration.")
@click.option("--from", "from_", default="1d", show_default=True, help="How long back (6h, 30d), or a time (ISO 8601).")
@click.option("--to", "to", default="", help="The same; default: now.")
@click.option("--resolution", default="", help="10s, 1min, 15min or 1d; default: the finest that suits.")
@click.option(
    "--json", "as_json_", is_flag=True, help="Print one JSON object: mean, low, high, good share of each step."
)
def command(tag: str, config: Path, from_: str, to: str, resolution: str, as_json_: bool) -> None:
    settings = load_or_exit(config)
    prepare_kernels()
    from gateway.spool.history import HISTORY_FILE, RESOLUTIONS_NS, as_json, opened
    from gateway.spool.records import StoreDamaged, StoreUnavailable

    now_ns = time.time_ns()
    from_ns, to_ns = _moment(from_, now_ns), _moment(to, now_ns) if to else now_ns
    steps = {show_duration(step): step for step in RESOLUTIONS_NS}
    if resolution and resolution not in steps:
        _leave(f"--resolution {resolution}: write {', '.join(steps)}", EXIT_WRONG_INPUT)
    path = settings.state_dir / HISTORY_FILE
    if not path.exists():
        _leave(
            f"{path}: no history yet; with [history] in the configuration it begins when the gateway is ready",
            EXIT_FAILED,
        )
    try:
        with opened(path) as reader:
            names = reader.names()
            if tag not in names:
                hint = did_you_mean(tag, names, "write a tag as device.tag")
                _leave(f"{tag} is not in the history; {hint}", EXIT_FAILED)
            step_ns, points = reader.points(tag, from_ns, to_ns, steps.get(resolution, 0))
    except (StoreUnavailable, StoreDamaged) as error:
        _leave(str(error), EXIT_FAILED)
    if as_json_:
        told = {"tag": tag, "resolution_s": step_ns / 1e9, "points": [as_json(point) for point in points]}
        click.echo(json.dumps(told))
        return
    if not points:
        click.echo(f"{tag}: nothing in this time at {show_duration(step_ns)}")
        return
    _draw(tag, points, step_ns, from_ns, to_ns)


def _draw(tag: str, points: list[Point], step_ns: int, from_ns: int, to_ns: int) -> None:
    import numpy as np

    from gateway.runtime.terminalplot import WIDTH, panel

    table = np.array(points, np.float64)
    span = max(to_ns - from_ns, 1)
    column = np.clip(((table[:, 0] - from_ns) / span * 2 * WIDTH).astype(np.int64), 0, 2 * WIDTH - 1)
    lows, highs = table[:, 2], table[:, 3]
    known = np.isfinite(lows)
    least, most = (float(lows[known].min()), float(highs[known].max())) if known.any() else (0.0, 1.0)
    both = np.concatenate([column, column, column]), np.concatenate([lows, table[:, 1], highs])
    click.echo(
        f"{tag}, every {show_duration(step_ns)}: mean, least and greatest; good {100 * table[:, 4].mean():.0f} %"
    )
    for line in panel("", *both, least, most, LINES):
        click.echo(line)
    first, last = (datetime.fromtimestamp(at / 1e9, UTC).strftime("%Y-%m-%d %H:%M") for at in (from_ns, to_ns))
    click.echo(" " * 12 + first + " " * (WIDTH - len(first) - len(last)) + last)


def _moment(written: str, now_ns: int) -> int:
    try:
        return now_ns - BACK(written)
    except WrongValueError:
        pass
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        _leave(
            f"--from, --to: {written!r} is no duration like 6h and no time like 2026-01-31T08:00",
            EXIT_WRONG_INPUT,
        )
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * 10**9


def _leave(message: str, code: int) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(code)
