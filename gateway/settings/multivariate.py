"""The multivariate score of a device: `multivariate = { tags = ["speed", "flow", "power"], alarm = 0.8 }`."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from gateway.core.alarms import AlarmDefinition
from gateway.core.limits import MULTIVARIATE_DEVICES_MAX, MULTIVARIATE_TAGS_MAX
from gateway.settings.alarms import read_multivariate_alarm
from gateway.settings.problems import did_you_mean
from gateway.settings.section import Section
from gateway.settings.units import array_of, show, text

TAGS_MIN = 2
TAGS = array_of(text, '["speed", "flow", "power"]', MULTIVARIATE_TAGS_MAX, count_min=TAGS_MIN)


class Multivariate(NamedTuple):
    """`tags` are full names; the alarm stands with the first of them."""

    tags: tuple[str, ...] = ()
    alarm: AlarmDefinition | None = None


def read_multivariate(section: Section, device: str, tags: Collection[str], devices_before: int) -> Multivariate:
    """What is written of a device whose numeric tags have these short names. `devices_before` have it already."""
    table = section.table("multivariate")
    if table is None:
        return Multivariate()
    chosen = table.get("tags", TAGS, None)
    alarm = read_multivariate_alarm(table)
    table.finish()
    if devices_before >= MULTIVARIATE_DEVICES_MAX:
        section.wrong("multivariate", f"{MULTIVARIATE_DEVICES_MAX} devices have it already; take it out of some")
    if not table.is_sound("tags"):
        return Multivariate()
    if chosen is None:
        chosen = tuple(tags)
        if not TAGS_MIN <= len(chosen) <= MULTIVARIATE_TAGS_MAX:
            message = f"the device has {len(chosen)} numeric tags; name {TAGS_MIN} to {MULTIVARIATE_TAGS_MAX} of them"
            section.wrong("multivariate", message + ' like { tags = ["speed", "flow"] }')
            return Multivariate()
    for name in chosen:
        if name not in tags:
            table.wrong(
                "tags", f"{show(name)} is no numeric tag of {device}; {did_you_mean(name, tags, 'name its tags')}"
            )
    if len(set(chosen)) < len(chosen):
        table.wrong("tags", "names a tag twice; take it out once")
    if not table.is_sound("tags"):
        return Multivariate()
    return Multivariate(tuple(f"{device}.{name}" for name in chosen), alarm)
