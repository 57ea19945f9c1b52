"""The reference's keys of alarms."""

from __future__ import annotations

from gateway.core.alarms import KINDS, AlarmKind
from gateway.settings import alarms, multivariate
from gateway.settings.forms import form_of
from gateway.settings.reference_key import NOTHING, REQUIRED, Key
from gateway.settings.units import flag, score_limit, text

_HELP: dict[AlarmKind, str] = {
    AlarmKind.LOW_LOW: "Below it the tag is in alarm; the second, more urgent limit.",
    AlarmKind.LOW: "Below it the tag is in alarm.",
    AlarmKind.HIGH: "Above it the tag is in alarm.",
    AlarmKind.HIGH_HIGH: "Above it the tag is in alarm; the second, more urgent limit.",
    AlarmKind.DEVIATION: "How far the value may be from `from` before it is an alarm.",
    AlarmKind.RATE: "How fast the value may rise or fall, in units a second over its first window.",
    AlarmKind.STATE: "While the value is this number, the tag is in alarm.",
    AlarmKind.BAD: "true: bad quality is an alarm.",
    AlarmKind.SCORE: "Anomaly score from which it is in alarm: 0 as ever, 1 as never.",
    AlarmKind.PERSISTENT: "The same, of the score of faults that stay.",
}


def alarm_keys(at: str) -> tuple[Key, ...]:
    """The alarms of a tag, what holds for all of them, and what a table of one of them (KIND) may have."""
    kinds = tuple(
        Key(f"{at}.{KINDS[kind].word}", alarms.form_of_kind(kind), NOTHING, _HELP[kind]) for kind in alarms.LIMITS
    )
    one = f"{at}.KIND"
    return (
        *kinds,
        *_shared(at, "(1 % of the span or the limit; of scores 20 %)", "0s", "false", "medium", NOTHING),
        Key(f"{one}.limit", form_of(alarms.LIMITS[AlarmKind.HIGH]), REQUIRED, "Where the alarm is raised."),
        Key(f"{one}.of", alarms.source, "(the value)", "A statistic of a window, to be compared instead of the value."),
        Key(f"{one}.from", alarms.reference, "0", "Of deviation: the number or the tag that the value should be near."),
        *_shared(one, *["(as beside the kinds)"] * 5),
    )


def multivariate_keys(at: str) -> tuple[Key, ...]:
    """The multivariate score of a device and its alarm."""
    return (
        Key(f"{at}.tags", multivariate.TAGS, "(all of the device's)", "Which tags are seen together: 2 to 8."),
        Key(
            f"{at}.alarm",
            score_limit,
            NOTHING,
            "Score from which it is an alarm, named after the first of the tags; 0.8 is a good start.",
        ),
        *_shared(at, "(20 % of the limit)", "0s", "false", "medium", NOTHING),
    )


def _shared(at: str, deadband: str, on_delay: str, latch: str, priority: str, unless: str) -> tuple[Key, ...]:
    return (
        Key(f"{at}.deadband", alarms.deadband, deadband, "How far back inside the limit the alarm ends, in its unit."),
        Key(f"{at}.on_delay", alarms.DELAY, on_delay, "How long it must be beyond the limit before it is raised."),
        Key(f"{at}.off_delay", alarms.DELAY, on_delay, "How long it must be back before the alarm ends."),
        Key(f"{at}.latch", flag, latch, "true: an alarm stays, also when it is over, until somebody acknowledges it."),
        Key(f"{at}.priority", alarms.PRIORITY, priority, "How urgent it is; the last two are not told in a flood."),
        Key(f"{at}.unless", text, unless, "A tag that suppresses the alarm while it is not zero, like pump.stopped."),
    )
