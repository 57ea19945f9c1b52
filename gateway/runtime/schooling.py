"""What operators may teach the scores of the running gateway: maintenance, feedback, baselines.

Each action is kept on disk first (`lessons`), then told to the engine. `plant` gives the one that runs now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from gateway.core.cycle import Taught
from gateway.core.events import Emit, Event, Severity
from gateway.core.kernels.tail import odds_of
from gateway.core.ports import Clock
from gateway.core.teaching import Hold, Learn, Lesson, Maintain, reference_of
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.runtime import lessons
from gateway.runtime.lessons import Baseline, Feedback, Lessons, LessonsUnreadable, Maintenance
from gateway.runtime.plant import Plant
from gateway.serving.operator.messages import Answered
from gateway.serving.operator.server import Action, Asker, Refused
from gateway.settings.problems import did_you_mean

FACTOR_MIN: Final = 1.5
"""Each "this was normal" divides a score's odds by at least so much."""

NORMAL_AT: Final = 0.4
"""What is called normal would score this from now on."""

HIGH_AT: Final = 0.5
LEARN_S_MAX: Final = 400 * 86_400.0
LOOK_EVERY_S: Final = 1.0


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class OneDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    device: str


class OneTag(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tag: str


class OneNumber(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int


class OneName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tag, or a device for all of its tags."""

    name: str


class Learning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """0: what the tag has learned so far is taken at once."""

    name: str
    for_s: float = 0.0


class Schooling:
    def __init__(
        self,
        state_dir: Path,
        plant: Callable[[], Plant | None],
        *,
        now_ns: Clock,
        wall_offset_ns: Callable[[], int],
        emit: Emit,
    ) -> None:
        self._state_dir = state_dir
        self._plant = plant
        self._now_ns = now_ns
        self._wall_offset_ns = wall_offset_ns
        self._emit = emit
        self._lessons = Lessons()
        self._is_open = False

    def actions(self) -> Mapping[str, Action]:
        return {
            "maintenance.on": Action(OneDevice, self._maintenance_on),
            "maintenance.off": Action(OneDevice, self._maintenance_off),
            "maintenance.list": Action(Nothing, self._maintenance_list),
            "feedback.normal": Action(OneTag, self._normal),
            "feedback.list": Action(Nothing, self._feedback_list),
            "feedback.undo": Action(OneNumber, self._undo),
            "baseline.learn": Action(Learning, self._learn),
            "baseline.show": Action(Nothing, self._show),
            "baseline.apply": Action(OneName, self._apply),
            "baseline.lift": Action(OneName, self._lift),
        }

    def begin(self, plant: Plant) -> None:
        """Have all that is kept be the first that a new plant's engine is told. A file that cannot be read is told and
        put aside: nothing holds then."""
        if not self._is_open:
            self._is_open = True
            try:
                self._lessons = lessons.load(self._state_dir)
            except LessonsUnreadable as error:
                lessons.put_aside(self._state_dir)
                self._emit(Event(self._now_ns(), Severity.ERROR, "scores.unreadable", "scores", str(error)))
        plant.thread.ask(Taught(tuple(self._lessons.all()), afresh=True))

    async def run(self) -> None:
        """End what has been learned for as long as was asked for."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now_ns = self._now_ns()
            due = [tag for tag, one in self._lessons.baselines.items() if 0 < one.until_ns <= now_ns]
            plant = self._plant()
            if due and plant is not None:
                for tag in due:
                    if tag in plant.model.row_of:
                        self._lessons.baselines[tag] = self._taken(plant, tag, self._lessons.baselines[tag])
                    else:
                        del self._lessons.baselines[tag]
                self._keep(*(Learn(tag, False, "its time") for tag in due))

    # Maintenance

    async def _maintenance_on(self, asker: Asker, one: OneDevice) -> str:
        self._known_device(one.device)
        self._lessons.maintenance[one.device] = Maintenance(since_ms=self._wall_ms(), who=asker.name)
        self._keep(Maintain(one.device, True, asker.name))
        return f"{one.device} is under maintenance: its scores learn, and raise no alarm"

    async def _maintenance_off(self, asker: Asker, one: OneDevice) -> str:
        if self._lessons.maintenance.pop(one.device, None) is None:
            raise Refused(f"{one.device} is not under maintenance; {self._maintained()}")
        self._keep(Maintain(one.device, False, asker.name))
        return f"maintenance of {one.device} is over"

    async def _maintenance_list(self, asker: Asker, nothing: Nothing) -> Answered:
        return Answered(True, self._maintained(), self._lessons.maintenance)

    def _maintained(self) -> str:
        return f"under maintenance: {', '.join(self._lessons.maintenance) or 'no device'}"

    # Feedback

    async def _normal(self, asker: Asker, one: OneTag) -> str:
        plant = self._running()
        self._known_tag(plant, one.tag)
        if len(self._lessons.feedback) >= lessons.FEEDBACK_MAX:
            raise Refused(f"{lessons.FEEDBACK_MAX} are kept; undo some: `fieldgate feedback list`")
        event, persistent = self._scores(plant, one.tag)
        factors = [factor_of(score) if score >= HIGH_AT else 1.0 for score in (event, persistent)]
        if factors == [1.0, 1.0]:
            factors[0] = FACTOR_MIN
        self._lessons.last_number += 1
        number = self._lessons.last_number
        self._lessons.feedback.append(
            Feedback(
                number=number,
                tag=one.tag,
                time_ms=self._wall_ms(),
                who=asker.name,
                event_factor=factors[0],
                persistent_factor=factors[1],
            )
        )
        self._keep(self._lessons.excuse(one.tag, asker.name))
        says = (
            f"the odds of its event score are divided by {factors[0]:.3g}, of its persistent score by {factors[1]:.3g}"
        )
        return f"number {number}: {one.tag} was normal; {says}; `fieldgate feedback undo {number}` takes it back"

    async def _feedback_list(self, asker: Asker, nothing: Nothing) -> Answered:
        lines = [f"{one.number}: {one.tag} by {one.who}" for one in self._lessons.feedback]
        return Answered(True, "\n".join(lines) or "no feedback is kept", self._lessons.feedback)

    async def _undo(self, asker: Asker, one: OneNumber) -> str:
        found = next((kept for kept in self._lessons.feedback if kept.number == one.number), None)
        if found is None:
            raise Refused(f"there is no feedback {one.number}; `fieldgate feedback list` shows what is kept")
        self._lessons.feedback.remove(found)
        self._keep(self._lessons.excuse(found.tag, asker.name))
        return f"{found.tag}: feedback {one.number} is undone"

    def _scores(self, plant: Plant, tag: str) -> tuple[float, float]:
        live = plant.engine.view.live(np.array([plant.model.row_of[tag]], np.int32))[0]
        return float(live["score"]), float(live["persistent"])

    # Baselines

    async def _learn(self, asker: Asker, learning: Learning) -> str:
        plant = self._running()
        if not 0 <= learning.for_s <= LEARN_S_MAX:
            raise Refused(f"a baseline is learned for up to {LEARN_S_MAX / 86_400:.0f} days")
        tags = self._tags_of(plant, learning.name)
        now_ms = self._wall_ms()
        until_ns = self._now_ns() + round(learning.for_s * NS_PER_S)
        taught: list[Lesson] = []
        for tag in tags:
            begun = Baseline(who=asker.name, from_ms=now_ms, to_ms=now_ms, until_ns=until_ns)
            if learning.for_s > 0:
                self._lessons.baselines[tag] = begun
                taught.append(Learn(tag, True, asker.name))
            else:
                self._lessons.baselines[tag] = self._taken(plant, tag, begun)
        self._keep(*taught)
        if learning.for_s > 0:
            hours = learning.for_s / 3_600
            return f"{len(tags)} tags learn a baseline for {hours:.3g} h; after that: `fieldgate baseline apply`"
        return (
            f"the present reference of {len(tags)} tags is their baseline; `fieldgate baseline apply` puts it in force"
        )

    async def _show(self, asker: Asker, nothing: Nothing) -> Answered:
        lines = [f"{tag}: {state_of(one)}, by {one.who}" for tag, one in self._lessons.baselines.items()]
        return Answered(True, "\n".join(lines) or "no baseline is kept", self._lessons.baselines)

    async def _apply(self, asker: Asker, one: OneName) -> str:
        tags = [tag for tag in self._tags_of(self._running(), one.name) if tag in self._lessons.baselines]
        ready = [tag for tag in tags if self._lessons.baselines[tag].reference is not None]
        if not ready:
            why = "is being learned" if tags else "has no baseline; `fieldgate baseline learn` makes one"
            raise Refused(f"{one.name} {why}")
        for tag in ready:
            self._lessons.baselines[tag] = msgspec.structs.replace(self._lessons.baselines[tag], is_applied=True)
        self._keep(*(Hold(tag, self._lessons.baselines[tag].reference, asker.name) for tag in ready))
        return f"the baseline of {len(ready)} tags is in force"

    async def _lift(self, asker: Asker, one: OneName) -> str:
        tags = [tag for tag in self._tags_of(self._running(), one.name) if tag in self._lessons.baselines]
        if not tags:
            raise Refused(f"{one.name} has no baseline")
        taught: list[Lesson] = []
        for tag in tags:
            gone = self._lessons.baselines.pop(tag)
            taught.append(Learn(tag, False, asker.name) if gone.until_ns else Hold(tag, None, asker.name))
        self._keep(*taught)
        return f"the baseline of {len(tags)} tags is lifted: the running reference learns again"

    def _taken(self, plant: Plant, tag: str, begun: Baseline) -> Baseline:
        reference = reference_of(*plant.engine.view.memory(plant.model.row_of[tag]))
        return msgspec.structs.replace(begun, until_ns=0, to_ms=self._wall_ms(), reference=reference)

    # What all of them need

    def _keep(self, *taught: Lesson) -> None:
        try:
            lessons.save(self._state_dir, self._lessons)
        except OSError as error:
            raise Refused(f"{self._state_dir}: cannot be written ({error.strerror})") from error
        plant = self._plant()
        if taught and plant is not None and not plant.thread.ask(Taught(taught)):
            raise Refused("too many actions wait for the engine; it is kept, and holds after the next start")

    def _tags_of(self, plant: Plant, name: str) -> list[str]:
        """The tag of that name, or all tags of the device."""
        if name in plant.model.row_of:
            return [name]
        for device, rows in zip(plant.model.devices, plant.model.rows_of_device, strict=True):
            if device.name == name:
                return [plant.model.tags[row].name for row in rows]
        raise Refused(f"there is no tag or device {name}; {did_you_mean(name, plant.model.row_of, 'write device.tag')}")

    def _known_tag(self, plant: Plant, tag: str) -> None:
        if tag not in plant.model.row_of:
            raise Refused(f"there is no tag {tag}; {did_you_mean(tag, plant.model.row_of, 'write device.tag')}")

    def _known_device(self, device: str) -> None:
        names = [one.name for one in self._running().model.devices]
        if device not in names:
            raise Refused(f"there is no device {device}; {did_you_mean(device, names, '`fieldgate tags` lists tags')}")

    def _running(self) -> Plant:
        plant = self._plant()
        if plant is None:
            raise Refused("the gateway is starting; try again when it is ready")
        return plant

    def _wall_ms(self) -> int:
        return (self._now_ns() + self._wall_offset_ns()) // NS_PER_MS


def factor_of(score: float) -> float:
    """By what the odds of a score are divided so that it would be NORMAL_AT."""
    return max(FACTOR_MIN, float(odds_of(score)) / float(odds_of(NORMAL_AT)))


def state_of(baseline: Baseline) -> str:
    if baseline.until_ns:
        return "being learned"
    return "in force" if baseline.is_applied else "learned, not applied"
