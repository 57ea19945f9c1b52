"""What an engine of another configuration takes over from the one before it.

The plant stands still for it, while its sources go on filling their lanes: so tables are copied as a whole, and only
what few tags have is looked at tag by tag.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gateway.core.engine import Engine
from gateway.core.snapshot import SHAPE_MEMORY, bytes_of, calculated
from gateway.core.state import TAG_MEMORY, WINDOW_MEMORY, Tables
from gateway.core.types import Int32s, Int64s


def adopt(new: Engine, old: Engine) -> int:
    """Have `new`, built of another model, go on where `old` ends; returns how many tags keep what they remember.

    A tag keeps it when it has the same name, kind, unit, windows, panes and formula, and its alarms when they are the
    same. Records go on being counted, and a device of the same name keeps the quality that was told of it.
    Lent rows are given back before.
    """
    new.go_on_after(old)
    new.state.tables.counters[:] = old.state.tables.counters
    new.state.flood[:] = old.state.flood
    _adopt_devices(new, old)
    if old.state.panes != new.state.panes:
        return 0
    _adopt_multivariate(new, old)
    rows, were = _kept(new, old)
    _adopt_memory(new.state.tables, old.state.tables, rows, were)
    _adopt_alarms(new, old, rows, were)
    if new.model.zone == old.model.zone:
        for row, was in zip(rows.tolist(), were.tolist(), strict=True):
            if new.model.tags[row].calculations:
                _adopt_calculations(new, old, row, was)
    new.state.wall[:] = old.state.wall
    return len(rows)


def _kept(new: Engine, old: Engine) -> tuple[Int32s, Int32s]:
    """Rows of the tags that keep what they remember, and those that they had."""
    place_of, tags = old.model.row_of, old.model.tags
    kept = []
    for row, tag in enumerate(new.model.tags):
        was = place_of.get(tag.name)
        if was is None:
            continue
        before = tags[was]
        is_alike = tag.kind == before.kind and tag.unit == before.unit and tag.windows_ns == before.windows_ns
        if is_alike and _adopt_virtual(new, old, row, was):
            kept.append((row, was))
    rows, were = np.array(kept, np.int32).reshape(-1, 2).T
    return rows, were


def _adopt_memory(new: Tables, old: Tables, rows: Int32s, were: Int32s) -> None:
    """Scores, live cells, windows and courses: a copy of each table as a whole, since the plant stands still for it."""
    if not len(rows):
        return  # a table that has no rows has no columns either
    for name in TAG_MEMORY:
        into, saved = (bytes_of(getattr(tables, name), len(tables.cells)) for tables in (new, old))
        into[rows] = saved[were]
    here, there = (_places(t.limits[r], "window") for t, r in ((new, rows), (old, were)))
    for name in WINDOW_MEMORY:
        into, saved = (bytes_of(getattr(tables, name), len(tables.windows)) for tables in (new, old))
        into[here] = saved[there]
    shape, shape_was = new.limits["shape"][rows], old.limits["shape"][were]
    both = (shape >= 0) & (shape_was >= 0)
    for name in SHAPE_MEMORY:
        into, saved = (bytes_of(getattr(tables, name), len(tables.shapes)) for tables in (new, old))
        into[shape[both]] = saved[shape_was[both]]


def _adopt_alarms(new: Engine, old: Engine, rows: Int32s, were: Int32s) -> None:
    """Those of a tag, when all of them are as they were."""
    tags, before = new.model.tags, old.model.tags
    pairs = zip(rows.tolist(), were.tolist(), strict=True)
    is_same = np.array([tags[row].alarms == before[was].alarms for row, was in pairs], bool)
    here = _places(new.state.tables.limits[rows[is_same]], "alarm")
    there = _places(old.state.tables.limits[were[is_same]], "alarm")
    new.state.tables.alarms[here] = old.state.tables.alarms[there]
    new.state.tables.cells["alarms"][rows[~is_same]] = 0


def _places(limits: npt.NDArray[np.void], what: str) -> Int64s:
    """Where the windows, or the alarms, of these rows stand, one row's after the other's."""
    counts = limits[f"{what}_count"].astype(np.int64)
    firsts = limits[f"{what}_first"] - (np.cumsum(counts) - counts)
    places: Int64s = np.repeat(firsts, counts) + np.arange(counts.sum())
    return places


def _adopt_calculations(new: Engine, old: Engine, row: int, was: int) -> None:
    """Those of a tag that are the same go on."""
    first, old_first = (
        int(engine.state.tables.limits[place]["calculation_first"]) for engine, place in ((new, row), (old, was))
    )
    theirs = {one: old_first + place for place, one in enumerate(old.model.tags[was].calculations)}
    for place, one in enumerate(new.model.tags[row].calculations, start=first):
        if one in theirs:
            parts = zip(
                calculated(new.state, place, place + 1),
                calculated(old.state, theirs[one], theirs[one] + 1),
                strict=True,
            )
            for into, saved in parts:
                into[:] = saved


def _adopt_virtual(new: Engine, old: Engine, row: int, was: int) -> bool:
    """Whether a tag is computed as before, if it is; one of the same inputs has seen what it had seen of them."""
    here, there = new.model.tags[row].formula, old.model.tags[was].formula
    if here is None or there is None:
        return here is there
    if here.text != there.text:
        return False
    program, before = row - new.model.virtual_rows.start, was - old.model.virtual_rows.start
    new.state.virtual.states[program] = old.state.virtual.states[before]
    if here.inputs == there.inputs:
        parts = (
            engine.state.virtual.seen[first : first + len(here.inputs)]
            for engine, place in ((new, program), (old, before))
            for first in (int(engine.state.virtual.programs[place]["input_first"]),)
        )
        into, saved = parts
        into[:] = saved
    return True


def _adopt_devices(new: Engine, old: Engine) -> None:
    places = {device.name: place for place, device in enumerate(old.model.devices)}
    for place, device in enumerate(new.model.devices):
        was = places.get(device.name)
        if was is not None:
            new.state.announced_class[place] = old.state.announced_class[was]
            new.state.not_better_ns[place] = old.state.not_better_ns[was]


def _adopt_multivariate(new: Engine, old: Engine) -> None:
    """A device whose tags are seen together as before goes on knowing how they belong together."""
    there = {_seen_together(old, number): place for place, number in enumerate(old.model.multivariate_devices)}
    for place, number in enumerate(new.model.multivariate_devices):
        was = there.get(_seen_together(new, number))
        if was is None:
            continue
        for name, table in new.state.multivariate._asdict().items():
            if name != "rows":
                table[place] = getattr(old.state.multivariate, name)[was]
        record = new.state.multivariate.records[place]
        record["device"] = number
        # Rows that may be others by now: told again with the next step.
        record["row_first"] = record["row_second"] = record["row_third"] = -1


def _seen_together(engine: Engine, number: int) -> tuple[str, ...]:
    device = engine.model.devices[number]
    return (device.name, *(engine.model.tags[row].name for row in device.together))
