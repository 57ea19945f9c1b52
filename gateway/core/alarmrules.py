"""The ALARM_RULE records of a plant: names of tags and windows become places in the state's arrays."""

from __future__ import annotations

import numpy as np

from gateway.core.alarms import ALARM_RULE, AlarmDefinition, AlarmKind, rule_of
from gateway.core.model import Model, TagDefinition
from gateway.core.types import Int64s, Samples


def rule_in(
    model: Model, row: int, tag: TagDefinition, definition: AlarmDefinition, window_first: int
) -> tuple[int | float, ...]:
    """An alarm's rule, with names and windows as places. The settings made sure that they are there."""
    window = -1
    if definition.kind is AlarmKind.MULTIVARIATE:
        window = model.multivariate_devices.index(tag.device)
    if definition.window_ns is not None:
        window = window_first + tag.windows_ns.index(definition.window_ns)
    reference_row = model.row_of[definition.reference] if isinstance(definition.reference, str) else -1
    unless_row = -1 if definition.unless is None else model.row_of[definition.unless]
    return rule_of(definition, row, window, reference_row, unless_row)


def free_rules(rows: Int64s) -> Samples:
    """Rules that nothing moves, for places of these rows that no alarm has."""
    rules: Samples = np.zeros(len(rows), ALARM_RULE)
    rules["row"] = rows
    for name in ("window", "reference_row", "unless_row"):
        rules[name] = -1
    rules["limit"] = rules["clear"] = rules["reference"] = np.nan
    return rules
