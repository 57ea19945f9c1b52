"""What the engine says of a change: the wording of its events, one function a kind."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gateway.core.events import Event, Severity
from gateway.core.model import Model
from gateway.core.multivariate import TOLD_TAGS
from gateway.core.state import State
from gateway.core.types import QUALITY_REASONS
from gateway.core.view import ALARM_HIGH, ALARM_LOW, ALARM_PERSISTENT, ALARM_SCORE

CLASSES: tuple[tuple[str, Severity], ...] = (
    ("bad", Severity.WARNING),
    ("uncertain", Severity.NOTICE),
    ("good", Severity.NOTICE),
)

ALARMS: tuple[tuple[int, str, str], ...] = (
    (ALARM_LOW, "low", "alarm_low"),
    (ALARM_HIGH, "high", "alarm_high"),
    (ALARM_SCORE, "score", "alarm_score"),
    (ALARM_PERSISTENT, "persistent", "alarm_persistent"),
)


def device_event(model: Model, state: State, device: int, time_ns: int) -> Event:
    """A device's quality class as just announced: how many tags, and the first with its reason."""
    name = model.devices[device].name
    sums = state.rollup[device]
    word, severity = CLASSES[int(state.announced_class[device])]
    tags = int(sums["tags"])
    if word == "good":
        return Event(time_ns, severity, "device.good", name, f"{name}: all {tags} tags are good")
    count = int(sums["tags_bad"]) if word == "bad" else tags - int(sums["tags_good"])
    row = int(sums["worst_row"])
    quality = int(state.tables.cells[row]["quality"])
    reason = QUALITY_REASONS.get(quality, f"quality {quality}")
    message = f"{name}: {count} of {tags} tags {word}, first {model.tags[row].name}: {reason}"
    return Event(time_ns, severity, f"device.{word}", name, message)


def contributors(record: np.void) -> Iterator[tuple[int, float]]:
    """Row and share of the tags that a MULTIVARIATE record names, the one that disagrees most first."""
    for place in ("first", "second", "third")[:TOLD_TAGS]:
        if record[f"row_{place}"] >= 0:
            yield int(record[f"row_{place}"]), float(record[f"share_{place}"])


def multivariate_event(model: Model, record: np.void, time_ns: int) -> Event:
    """The multivariate alarm of a device as just raised or cleared: how unusual, how rare, and whose tags."""
    name = model.devices[int(record["device"])].name
    if not record["alarm"]:
        return Event(time_ns, Severity.NOTICE, "alarm.multivariate.cleared", name, f"{name}: tags agree again")
    parts = ", ".join(f"{model.tags[row].name} {100 * share:.0f} %" for row, share in contributors(record))
    rare = "" if np.isnan(record["once_h"]) else f", as once in {record['once_h']:.3g} h"
    message = f"{name}: tags disagree, score {record['score']:.2f}{rare}; first {parts}"
    return Event(time_ns, Severity.WARNING, "alarm.multivariate.raised", name, message)


def alarm_events(model: Model, state: State, row: int, before: int, after: int, time_ns: int) -> Iterator[Event]:
    """One event for each alarm bit of a tag that was raised or cleared."""
    tag = model.tags[row]
    for bit, word, limit in ALARMS:
        if not (before ^ after) & bit:
            continue
        at = float(state.tables.limits[row][limit])
        if after & bit:
            message = f"{tag.name}: {word} alarm, beyond {at:g}"
            yield Event(time_ns, Severity.WARNING, f"alarm.{word}.raised", tag.name, message)
        else:
            message = f"{tag.name}: {word} alarm cleared"
            yield Event(time_ns, Severity.NOTICE, f"alarm.{word}.cleared", tag.name, message)
