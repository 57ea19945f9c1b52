"""What the engine says of a change: the wording of its events, one function a kind."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.core.directory import Directory
from gateway.core.events import Event, Severity
from gateway.core.model import TagDefinition
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


CLASS_GOOD = 2
"""Place in CLASSES."""


def device_event(directory: Directory, state: State, device: int, time_ns: int) -> Event:
    """A device's quality class as just announced: how many tags, and the first with its reason."""
    name = directory.device_name(device)
    sums = state.rollup[device]
    word, severity = CLASSES[int(state.announced_class[device])]
    tags = int(sums["tags"])
    if word == "good":
        return Event(time_ns, severity, "device.good", name, f"{name}: all {tags} tags are good")
    count = int(sums["tags_bad"]) if word == "bad" else tags - int(sums["tags_good"])
    row = int(sums["worst_row"])
    quality = int(state.tables.cells[row]["quality"])
    reason = QUALITY_REASONS.get(quality, f"quality {quality}")
    message = f"{name}: {count} of {tags} tags {word}, first {directory.tag_name(row)}: {reason}"
    return Event(time_ns, severity, f"device.{word}", name, message)


def alarm_events(tag: TagDefinition, state: State, row: int, before: int, after: int, time_ns: int) -> Iterator[Event]:
    """One event for each alarm bit of a tag that was raised or cleared."""
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
