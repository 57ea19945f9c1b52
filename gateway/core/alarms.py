"""Alarms after ISA-18.2 (IEC 62682): what may be alarmed, the states of an alarm, and its two records.

A tag has any number of alarms, one a kind. Each is two records: an ALARM_RULE, which is never written after
construction, and an ALARM, which is all that changes. A rule compares a source (the value, a score, a statistic of a
window, the quality) with a limit in one of five forms; every kind is a row of KINDS.

    state           condition  told     ISA-18.2
    NORMAL          off                 A  normal
    ACTIVE          on         no       B  unacknowledged
    ACKNOWLEDGED    on         yes      C  acknowledged
    RETURNED        off        no       D  returned to normal, unacknowledged (only an alarm that latches stays there)

An alarm that does not latch is normal again by itself when its condition ends. Shelved (by an operator, for a time) and
suppressed (by design, while another tag says so) alarms go on following their condition, and neither show nor tell it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

import numpy as np

from gateway.core.types import NS_PER_S, QUALITY_UNCERTAIN_MIN
from gateway.core.view import (
    ALARM_HIGH,
    ALARM_HIGH_HIGH,
    ALARM_LOW,
    ALARM_LOW_LOW,
    ALARM_OTHER,
    ALARM_PERSISTENT,
    ALARM_SCORE,
)


class AlarmKind(IntEnum):
    """What is alarmed. A number keeps its meaning for ever: checkpoints and SCADA have it."""

    LOW_LOW = 0
    LOW = 1
    HIGH = 2
    HIGH_HIGH = 3
    DEVIATION = 4
    RATE = 5
    STATE = 6
    BAD = 7
    SCORE = 8
    PERSISTENT = 9
    MULTIVARIATE = 10
    """Of a device: it stands with the first of the tags that are seen together."""


class AlarmState(IntEnum):
    NORMAL = 0
    ACTIVE = 1
    ACKNOWLEDGED = 2
    RETURNED = 3


class Priority(IntEnum):
    """ISA-18.2 recommends three or four; the lower the number, the more urgent."""

    CRITICAL = 1
    HIGH = 2
    MEDIUM = 3
    LOW = 4


class Form(IntEnum):
    """How a source is compared with the limit. Between limit and clear the condition stays as it was."""

    BELOW = 0
    ABOVE = 1
    AT_LEAST = 2
    APART = 3
    """|source - reference| > limit."""
    EQUAL = 4


class From(IntEnum):
    """What is compared. The first three are there with each sample, the rest is looked at on the grid."""

    VALUE = 0
    SCORE = 1
    PERSISTENT = 2
    WINDOW = 3
    QUALITY = 4
    MULTIVARIATE = 5


class Statistic(IntEnum):
    """Of a window: places in what `gateway.core.kernels.read.read_window` gives."""

    MEAN = 0
    SD = 1
    MIN = 2
    MAX = 3
    RATE = 4
    EWMA = 5


class KindRow(NamedTuple):
    word: str
    form: Form
    source: From
    bit: int
    """In a row's alarm bits (`gateway.core.view`)."""
    phrase: str
    """What the condition is, with {limit} and {unit}."""


KINDS: Final[dict[AlarmKind, KindRow]] = {
    AlarmKind.LOW_LOW: KindRow("low_low", Form.BELOW, From.VALUE, ALARM_LOW_LOW, "below {limit}"),
    AlarmKind.LOW: KindRow("low", Form.BELOW, From.VALUE, ALARM_LOW, "below {limit}"),
    AlarmKind.HIGH: KindRow("high", Form.ABOVE, From.VALUE, ALARM_HIGH, "above {limit}"),
    AlarmKind.HIGH_HIGH: KindRow("high_high", Form.ABOVE, From.VALUE, ALARM_HIGH_HIGH, "above {limit}"),
    AlarmKind.DEVIATION: KindRow("deviation", Form.APART, From.VALUE, ALARM_OTHER, "over {limit} from {reference}"),
    AlarmKind.RATE: KindRow("rate", Form.APART, From.WINDOW, ALARM_OTHER, "changes faster than {limit} a second"),
    AlarmKind.STATE: KindRow("state", Form.EQUAL, From.VALUE, ALARM_OTHER, "is {limit}"),
    AlarmKind.BAD: KindRow("bad", Form.BELOW, From.QUALITY, ALARM_OTHER, "bad"),
    AlarmKind.SCORE: KindRow("score", Form.AT_LEAST, From.SCORE, ALARM_SCORE, "score {limit} or more"),
    AlarmKind.PERSISTENT: KindRow(
        "persistent", Form.AT_LEAST, From.PERSISTENT, ALARM_PERSISTENT, "persistent score {limit} or more"
    ),
    AlarmKind.MULTIVARIATE: KindRow(
        "multivariate", Form.AT_LEAST, From.MULTIVARIATE, ALARM_OTHER, "tags disagree, score {limit} or more"
    ),
}


@dataclass(frozen=True, slots=True)
class AlarmDefinition:
    """One alarm of one tag. Limits and deadband are in the unit of what is compared; delays are engine time.

    `window_ns` and `statistic` name the window that is compared instead of the value. `reference` is the full name of
    the tag or the number that a deviation is from; `unless` the tag that suppresses the alarm while it is not zero.
    """

    kind: AlarmKind
    limit: float
    deadband: float = 0.0
    on_delay_ns: int = 0
    off_delay_ns: int = 0
    latches: bool = False
    priority: Priority = Priority.MEDIUM
    window_ns: int | None = None
    statistic: Statistic = Statistic.MEAN
    reference: str | float = 0.0
    unless: str | None = None

    @property
    def word(self) -> str:
        return KINDS[self.kind].word

    @property
    def source(self) -> From:
        return From.WINDOW if self.window_ns is not None else KINDS[self.kind].source

    @property
    def clears_at(self) -> float:
        """Where the condition ends: the limit, less the deadband on its own side."""
        return self.limit + self.deadband if KINDS[self.kind].form is Form.BELOW else self.limit - self.deadband


ALARM_RULE = np.dtype(
    [
        ("row", "<i4"),
        ("window", "<i4"),
        ("reference_row", "<i4"),
        ("unless_row", "<i4"),
        ("kind", "u1"),
        ("form", "u1"),
        ("source", "u1"),
        ("statistic", "u1"),
        ("bit", "u1"),
        ("priority", "u1"),
        ("latches", "u1"),
        ("is_on_grid", "u1"),
        ("limit", "<f8"),
        ("clear", "<f8"),
        ("reference", "<f8"),
        ("on_delay_ns", "<i8"),
        ("off_delay_ns", "<i8"),
    ],
    align=True,
)
"""-1 where there is no window, reference or suppressing tag; `window` of a multivariate alarm is its score's place.
`is_on_grid`: judged on the grid, not by sample."""

ALARM = np.dtype(
    [
        ("state", "u1"),
        ("announced", "u1"),
        ("is_beyond", "u1"),
        ("was_beyond", "u1"),
        ("was_within", "u1"),
        ("is_suppressed", "u1"),
        ("is_untold", "u1"),
        ("raises", "<i4"),
        ("since_ns", "<i8"),
        ("raised_ns", "<i8"),
        ("shelved_until_ns", "<i8"),
        ("value", "<f8"),
    ],
    align=True,
)
"""`announced`: the state that was told, NORMAL while hidden. `is_beyond`: the condition as of the newest sample;
`was_beyond`, `was_within`: it was, or was not, at any moment since the last grid point. `since_ns`: when the condition
began that a delay waits for, -1 when none does. `raised_ns`, `value`: when it was raised, and what by. `is_untold`: it
was raised in a flood, without an event."""

ALARM_CHANGE = np.dtype([("alarm", "<i4"), ("before", "u1"), ("after", "u1"), ("value", "<f8")], align=True)
"""One alarm whose announced state changed at a grid point. `after` is UNSHELVED where a shelving ran out."""

UNSHELVED: Final = 16

SHELVE_NS_MAX: Final = 24 * 3_600 * NS_PER_S
"""Nobody forgets an alarm for longer than a day without being asked again (ISA-18.2, 11.7)."""

BAD_BELOW: Final = float(QUALITY_UNCERTAIN_MIN)
"""The limit of an alarm of bad quality."""


class AlarmAction(StrEnum):
    ACKNOWLEDGE = "acknowledge"
    SHELVE = "shelve"
    UNSHELVE = "unshelve"


@dataclass(frozen=True, slots=True)
class AlarmCommand:
    """What an operator did. `alarm` is `device.tag/kind`; `until_ns` the engine time at which a shelving runs out."""

    action: AlarmAction
    alarm: str
    who: str
    until_ns: int = 0


def rule_of(
    definition: AlarmDefinition, row: int, window: int, reference_row: int, unless_row: int
) -> tuple[int | float, ...]:
    """The ALARM_RULE record; rows and window are places in the state's arrays, -1 for none."""
    kind = KINDS[definition.kind]
    is_on_grid = definition.source in (From.WINDOW, From.QUALITY, From.MULTIVARIATE) or reference_row >= 0
    reference = definition.reference if isinstance(definition.reference, float | int) else math.nan
    return (
        row,
        window,
        reference_row,
        unless_row,
        int(definition.kind),
        int(kind.form),
        int(definition.source),
        int(definition.statistic),
        kind.bit,
        int(definition.priority),
        int(definition.latches),
        int(is_on_grid),
        definition.limit,
        definition.clears_at,
        float(reference),
        definition.on_delay_ns,
        definition.off_delay_ns,
    )
