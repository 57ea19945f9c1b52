"""What the engine says of a change: the wording of its events, one function a kind."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gateway.core.alarms import KINDS, UNSHELVED, AlarmDefinition, AlarmKind, AlarmState, Priority
from gateway.core.directory import Directory
from gateway.core.events import Event, Severity
from gateway.core.model import Model, TagDefinition
from gateway.core.state import State
from gateway.core.types import NS_PER_S, QUALITY_REASONS, Samples

CLASSES: tuple[tuple[str, Severity], ...] = (
    ("bad", Severity.WARNING),
    ("uncertain", Severity.NOTICE),
    ("good", Severity.NOTICE),
)

CLASS_GOOD = 2
"""Place in CLASSES."""

NORMAL, ACTIVE, ACKNOWLEDGED, RETURNED = (int(state) for state in AlarmState)
OUTCOMES: dict[tuple[int, int], tuple[str, str]] = {
    (NORMAL, ACTIVE): ("raised", ""),
    (ACKNOWLEDGED, ACTIVE): ("raised", ""),
    (RETURNED, ACTIVE): ("raised", ""),
    (ACTIVE, NORMAL): ("cleared", "cleared"),
    (ACKNOWLEDGED, NORMAL): ("cleared", "cleared"),
    (RETURNED, NORMAL): ("cleared", "acknowledged, and cleared"),
    (NORMAL, ACKNOWLEDGED): ("acknowledged", "is shown again, acknowledged"),
    (ACTIVE, ACKNOWLEDGED): ("acknowledged", "acknowledged"),
    (RETURNED, ACKNOWLEDGED): ("acknowledged", "is back, and acknowledged"),
    (NORMAL, RETURNED): ("returned", "is shown again, over and not acknowledged"),
    (ACTIVE, RETURNED): ("returned", "is over, and waits to be acknowledged"),
    (ACKNOWLEDGED, RETURNED): ("returned", "is over, and waits to be acknowledged"),
}
"""What a change of an alarm's announced state is called, and what is said."""

SEVERITIES: dict[Priority, Severity] = {
    Priority.CRITICAL: Severity.ERROR,
    Priority.HIGH: Severity.WARNING,
    Priority.MEDIUM: Severity.WARNING,
    Priority.LOW: Severity.NOTICE,
}


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


def contributors(record: np.void) -> Iterator[tuple[int, float]]:
    """Row and share of the tags that a MULTIVARIATE record names, the one that explains most first."""
    for place in ("first", "second", "third"):
        if record[f"row_{place}"] >= 0:
            yield int(record[f"row_{place}"]), float(record[f"share_{place}"])


def disagreement(model: Model, record: np.void) -> str:
    """Whose tags explain what is off at a device, and how rare that is."""
    parts = ", ".join(f"{model.tags[row].name} {100 * share:.0f} %" for row, share in contributors(record))
    rare = "" if math.isnan(float(record["once_h"])) else f"; so unusual once in {record['once_h']:.3g} h"
    return f"; first {parts}{rare}"


def alarm_event(
    tag: TagDefinition, alarm: AlarmDefinition, change: Samples, time_ns: int, why: str = ""
) -> Event:  # fmt: skip
    """What became of one alarm of a tag, from an ALARM_CHANGE record; `why` is said of one that was raised."""
    before, after = int(change["before"]), int(change["after"])
    word, says = OUTCOMES[before, after] if after != UNSHELVED else ("unshelved", "is shown again")
    name = f"{tag.name}: {alarm.word} alarm"
    if word == "raised":
        message = f"{name}, {condition(alarm, tag.unit)}"
        if math.isfinite(float(change["value"])):
            message += f": {float(change['value']):g}"
        message += why + whereabouts(tag)
        return Event(time_ns, SEVERITIES[alarm.priority], f"alarm.{alarm.word}.raised", tag.name, message)
    return Event(time_ns, Severity.NOTICE, f"alarm.{alarm.word}.{word}", tag.name, f"{name} {says}")


def whereabouts(tag: TagDefinition) -> str:
    """What is behind a tag and how much it matters, as far as reference tables say."""
    known = dict(tag.context)
    parts = [known[key] for key in ("asset", "path") if key in known]
    parts += [f"criticality {known['criticality']}"] if "criticality" in known else []
    return f" [{', '.join(parts)}]" if parts else ""


def condition(alarm: AlarmDefinition, unit: str) -> str:
    """What an alarm is about, in words."""
    limit = f"{alarm.limit:g} {unit}".rstrip()
    reference = alarm.reference if isinstance(alarm.reference, str) else f"{alarm.reference:g}"
    phrase = KINDS[alarm.kind].phrase.format(limit=limit, reference=reference)
    if alarm.window_ns is not None and alarm.kind is not AlarmKind.RATE:
        return f"{alarm.statistic.name.lower()} of {alarm.window_ns / NS_PER_S:g} s {phrase}"
    return phrase


def flood_event(is_on: bool, count: int, time_ns: int) -> Event:
    if is_on:
        message = f"alarm flood: {count} alarms within a minute; those of lesser priority are not told"
        return Event(time_ns, Severity.WARNING, "alarm.flood.begun", "", message)
    return Event(time_ns, Severity.NOTICE, "alarm.flood.ended", "", f"alarm flood over: {count} alarms were not told")
