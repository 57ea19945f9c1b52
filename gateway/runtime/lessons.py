"""What operators taught the scores, kept in the state folder: `scores.json`, written whole or not at all.

The file is the truth: at a start, and after a reload, all that holds is told to the engine afresh.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from gateway.core.teaching import Excuse, Hold, Learn, Lesson, Maintain, Reference
from gateway.disk import replace_whole

FILE_NAME: Final = "scores.json"
FEEDBACK_MAX: Final = 1_000
"""Feedback kept. Overflow: refused until some is undone."""

SLACK_MAX: Final = 1e3
"""No tag is excused of more, however often."""


class Maintenance(msgspec.Struct, frozen=True, kw_only=True):
    since_ms: int
    who: str


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """One "this was normal": by what the odds of the tag's scores are divided."""

    number: int
    tag: str
    time_ms: int
    who: str
    event_factor: float
    persistent_factor: float


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """`until_ns` is the engine time at which learning ends, 0 when it has; then there is a `reference`."""

    who: str
    from_ms: int
    to_ms: int
    until_ns: int = 0
    reference: Reference | None = None
    is_applied: bool = False


class Lessons(msgspec.Struct, kw_only=True):
    """All that was taught, by name."""

    maintenance: dict[str, Maintenance] = {}
    feedback: list[Feedback] = []
    baselines: dict[str, Baseline] = {}
    last_number: int = 0

    def all(self) -> Iterator[Lesson]:
        """What holds, for an engine that knows nothing of it."""
        for device, one in self.maintenance.items():
            yield Maintain(device, True, one.who)
        for tag in dict.fromkeys(one.tag for one in self.feedback):
            yield self.excuse(tag, "the feedback kept")
        for tag, baseline in self.baselines.items():
            if baseline.until_ns:
                yield Learn(tag, True, baseline.who)
            elif baseline.is_applied:
                yield Hold(tag, baseline.reference, baseline.who)

    def excuse(self, tag: str, who: str) -> Excuse:
        """All feedback of a tag together."""
        event = persistent = 1.0
        for one in self.feedback:
            if one.tag == tag:
                event *= one.event_factor
                persistent *= one.persistent_factor
        return Excuse(tag, min(event, SLACK_MAX) - 1.0, min(persistent, SLACK_MAX) - 1.0, who)


class LessonsUnreadable(Exception):
    """The file is damaged; the message says where and what to do."""


def load(state_dir: Path) -> Lessons:
    """Nothing when there is no file. Raises LessonsUnreadable."""
    path = state_dir / FILE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Lessons)
    except FileNotFoundError:
        return Lessons()
    except (OSError, msgspec.DecodeError) as error:
        raise LessonsUnreadable(
            f"{path}: cannot be read ({error}); it is put aside as {path.name}.damaged, and nothing holds"
        ) from error


def put_aside(state_dir: Path) -> None:
    path = state_dir / FILE_NAME
    if path.exists():
        path.replace(path.with_name(f"{FILE_NAME}.damaged"))


def save(state_dir: Path, lessons: Lessons) -> None:
    """Replace the file at once. Raises OSError."""
    replace_whole(state_dir / FILE_NAME, msgspec.json.format(msgspec.json.encode(lessons), indent=1))
