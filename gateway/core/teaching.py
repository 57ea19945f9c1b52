"""What operators teach the scores: maintenance, feedback and baselines. Lessons are influences of the engine.

    Maintain   a device is worked on: its scores learn, and raise no alarm
    Excuse     "this was normal": the odds of a tag's scores are divided by 1 + slack from now on
    Learn      a baseline is learned: from now on every sample has the same weight in the tag's reference
    Hold       a baseline is in force (or no more): the tag is held against it, and it learns nothing

A lesson says how it is to be, not what to change, so that it may be told again: after a start all that holds is told at
once, and what is not among it holds no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import msgspec
import numpy as np

from gateway.core.events import Event, Severity
from gateway.core.kernels.atomics import begin_writes, end_writes
from gateway.core.model import Model
from gateway.core.state import FLAG_BASELINE, FLAG_LEARNING, FLAG_MAINTENANCE, HOURS, State
from gateway.core.types import Float32s, Int64s

REFERENCE_FIELDS = ("anchor", "base", "level_spread", "drift_spread", "noise_base", "noise_spread", "still_ns_max")


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """What a tag is held against: the fields of NOVELTY (`gateway.core.state`), and each hour's mean from the anchor.
    An hour that was never seen is None."""

    anchor: float
    base: float
    level_spread: float
    drift_spread: float
    noise_base: float
    noise_spread: float
    still_ns_max: float
    hours: tuple[float | None, ...]


class Maintain(msgspec.Struct, frozen=True, tag="maintain"):
    device: str
    is_on: bool
    who: str


class Excuse(msgspec.Struct, frozen=True, tag="excuse"):
    tag: str
    event_slack: float
    persistent_slack: float
    who: str


class Learn(msgspec.Struct, frozen=True, tag="learn"):
    tag: str
    is_on: bool
    who: str


class Hold(msgspec.Struct, frozen=True, tag="hold"):
    """`reference` is None when the baseline is lifted."""

    tag: str
    reference: Reference | None
    who: str


Lesson: TypeAlias = Maintain | Excuse | Learn | Hold


class Teacher:
    """Applies lessons to the engine's state; belongs to the engine's thread."""

    def __init__(self, model: Model, state: State) -> None:
        self._model = model
        self._state = state
        self._device_of = {device.name: number for number, device in enumerate(model.devices)}

    def teach(self, lessons: Iterable[Lesson], now_ns: int, *, afresh: bool) -> list[Event]:
        """Have them hold; with `afresh` nothing else does any more. What changes nothing gives no event."""
        lessons = tuple(lessons)
        if afresh:
            self._forget(lessons)
        return [event for lesson in lessons if (event := self._apply(lesson, now_ns)) is not None]

    def _apply(self, lesson: Lesson, now_ns: int) -> Event | None:
        if isinstance(lesson, Maintain):
            changed = lesson.device in self._device_of and self._maintain(self._device_of[lesson.device], lesson.is_on)
            subject, word = lesson.device, "begun" if lesson.is_on else "ended"
            message = f"{subject}: maintenance {word} by {lesson.who}" + (
                "; its scores learn and raise no alarm" if lesson.is_on else ""
            )
            kind = f"maintenance.{word}"
        elif lesson.tag not in self._model.row_of:
            return None
        elif isinstance(lesson, Excuse):
            changed = self._excuse(self._model.row_of[lesson.tag], lesson.event_slack, lesson.persistent_slack)
            subject, kind = lesson.tag, "score.eased"
            message = (
                f"{subject}: by {lesson.who} the odds of its event score count 1/{1 + lesson.event_slack:.3g}, of its "
                f"persistent score 1/{1 + lesson.persistent_slack:.3g}"
            )
        elif isinstance(lesson, Learn):
            changed = self._learn(self._model.row_of[lesson.tag], lesson.is_on)
            subject, word = lesson.tag, "begun" if lesson.is_on else "ended"
            kind, message = f"baseline.learning.{word}", f"{subject}: learning of a baseline {word} by {lesson.who}"
        else:
            changed = self._hold(self._model.row_of[lesson.tag], lesson.reference)
            subject, word = lesson.tag, "lifted" if lesson.reference is None else "applied"
            kind, message = f"baseline.{word}", f"{subject}: baseline {word} by {lesson.who}"
        return Event(now_ns, Severity.NOTICE, kind, subject, message) if changed else None

    def _forget(self, lessons: Iterable[Lesson]) -> None:
        """Undo all that is not among the lessons."""
        tables = self._state.tables
        maintained = {one.device for one in lessons if isinstance(one, Maintain) and one.is_on}
        kept = {(type(one), one.tag) for one in lessons if not isinstance(one, Maintain)}
        for number, device in enumerate(self._model.devices):
            if device.name not in maintained:
                self._maintain(number, False)
        for row, tag in enumerate(self._model.tags):
            memory = tables.novelty[row]
            if (memory["event_slack"] or memory["persistent_slack"]) and (Excuse, tag.name) not in kept:
                self._excuse(row, 0.0, 0.0)
            if memory["flags"] & FLAG_LEARNING and (Learn, tag.name) not in kept:
                self._learn(row, False)
            if memory["flags"] & FLAG_BASELINE and (Hold, tag.name) not in kept:
                self._hold(row, None)

    def _maintain(self, device: int, is_on: bool) -> bool:
        state = self._state
        rows = np.array(self._model.rows_of_device[device], np.int64)
        # A checkpoint has the rows' flags, and not the device's.
        flags = np.append(state.tables.novelty["flags"][rows], state.devices[device]["flags"])
        if (((flags & FLAG_MAINTENANCE) != 0) == is_on).all():
            return False
        self._flag(rows, FLAG_MAINTENANCE, is_on)
        number = np.array([device], np.int64)
        begin_writes(state.device_words, number)
        state.devices["flags"][device] = FLAG_MAINTENANCE if is_on else 0
        of_device = state.multivariate.records["device"] == device
        state.multivariate.records["flags"][of_device] = FLAG_MAINTENANCE if is_on else 0
        end_writes(state.device_words, number)
        return True

    def _excuse(self, row: int, event_slack: float, persistent_slack: float) -> bool:
        memory = self._state.tables.novelty[row]
        before = float(memory["event_slack"]), float(memory["persistent_slack"])
        with_rows = np.array([row], np.int64)
        begin_writes(self._state.tables.words, with_rows)
        memory["event_slack"], memory["persistent_slack"] = event_slack, persistent_slack
        end_writes(self._state.tables.words, with_rows)
        return before != (float(memory["event_slack"]), float(memory["persistent_slack"]))

    def _learn(self, row: int, is_on: bool) -> bool:
        memory = self._state.tables.novelty[row]
        if bool(memory["flags"] & FLAG_LEARNING) == is_on:
            return False
        rows = np.array([row], np.int64)
        if is_on:
            self._flag(rows, FLAG_BASELINE, False)
            memory["learned"] = 0.0
        self._flag(rows, FLAG_LEARNING, is_on)
        return True

    def _hold(self, row: int, reference: Reference | None) -> bool:
        tables = self._state.tables
        memory = tables.novelty[row]
        rows = np.array([row], np.int64)
        if reference is None:
            changed = bool(memory["flags"] & FLAG_BASELINE)
            self._flag(rows, FLAG_BASELINE, False)
            return changed
        hours = tables.hours[row * HOURS : (row + 1) * HOURS]
        before = memory.tobytes(), hours.tobytes()
        known = [one for one in reference.hours if one is not None]
        usual = sum(known) / len(known) if known else 0.0
        begin_writes(tables.words, rows)
        for name in REFERENCE_FIELDS:
            memory[name] = getattr(reference, name)
        hours[:] = [usual if one is None else one for one in reference.hours]
        if not memory["flags"] & FLAG_BASELINE:
            memory["level"] = memory["drift"] = reference.base
            memory["noise"] = reference.noise_base
        memory["flags"] = int(memory["flags"]) & ~FLAG_LEARNING | FLAG_BASELINE
        end_writes(tables.words, rows)
        return before != (memory.tobytes(), hours.tobytes())

    def _flag(self, rows: Int64s, flag: int, is_on: bool) -> None:
        tables = self._state.tables
        begin_writes(tables.words, rows)
        flags = tables.novelty["flags"]
        flags[rows] = flags[rows] | flag if is_on else flags[rows] & ~np.uint16(flag)
        end_writes(tables.words, rows)


def reference_of(memory: np.void, hours: Float32s) -> Reference:
    """A tag's present reference, from a copy of its NOVELTY record and hours."""
    return Reference(
        **{name: float(memory[name]) for name in REFERENCE_FIELDS},
        hours=tuple(None if hour != hour else hour for hour in hours.tolist()),
    )
