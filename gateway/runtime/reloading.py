"""What becomes of reloads: each is on record, and one that was applied is on trial before it is kept.

The verdict is `core.trial`'s; here the plant is looked at, once a second, and the configuration to go back to is
kept. A reload during a trial begins another one with the same way back: to the last configuration that was kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from gateway.core.events import Emit, Event, Severity
from gateway.core.ports import Clock
from gateway.core.readings import HistogramReading, Reading
from gateway.core.trial import Trial, Vitals, told
from gateway.core.types import NS_PER_S, QUALITY_GOOD_MIN
from gateway.core.view import Mode
from gateway.runtime.plant import Plant
from gateway.runtime.reload import Changes, compare
from gateway.runtime.reloads import Reloads
from gateway.runtime.status import STAGES, Progress
from gateway.serving.http.status import UplinkState
from gateway.serving.operator.messages import Answered
from gateway.serving.operator.server import Action, Asker
from gateway.settings.problems import Problem
from gateway.settings.schema import Settings
from gateway.writing.audit import Line, Trail, TrailError

LOOK_EVERY_S: Final = 1.0
PROBLEMS_TOLD: Final = 20
"""To whoever asked for the reload; the log has all."""
UNKNOWN: Final = "unknown"
"""Who sent the signal, or changed a reference table."""

METRICS: Final[tuple[tuple[str, str, str], ...]] = (
    ("fieldgate_config_on_trial", "gauge", "1 while a configuration that was reloaded is on trial."),
)


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reload by an operator. Without `rollback` it is kept whatever comes of it."""

    rollback: bool = True


class Reloading:
    """`due` asks for a reload. `progress` is told what the page and `fieldgate status` say of it."""

    def __init__(
        self,
        path: Path,
        progress: Progress,
        *,
        uplinks: Callable[[], tuple[UplinkState, ...]],
        trail: Trail,
        reloads: Reloads,
        due: Callable[[], None],
        now_ns: Clock,
        emit: Emit,
    ) -> None:
        self._path = path
        self._progress = progress
        self._uplinks = uplinks
        self._trail = trail
        self._due = due
        self._now_ns = now_ns
        self._emit = emit
        self._reloads = reloads
        self._trial: Trial | None = None
        self._base: Settings | None = None
        self._before: Vitals | None = None
        self._astray = ""
        """What is said until the file is in force again that is not."""
        self._asked: list[tuple[Asker, Asked, asyncio.Future[Answered]]] = []
        self._served: list[tuple[Asker, Asked, asyncio.Future[Answered]]] = []
        """Of the reload that is under way; who asks meanwhile has the next one."""

    def actions(self) -> Mapping[str, Action]:
        return {"configuration.reload": Action(Asked, self._ask)}

    async def _ask(self, asker: Asker, asked: Asked) -> Answered:
        answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._asked.append((asker, asked, answer))
        self._due()
        return await answer

    async def wait(self, due: Callable[[], Awaitable[None]]) -> tuple[Settings, str] | None:
        """Until a reload is due; or the configuration to go back to, and why."""
        while True:
            try:
                async with asyncio.timeout(LOOK_EVERY_S if self._trial is not None else None):
                    await due()
            except TimeoutError:
                if self._trial is not None and (back := await self._look(self._trial)) is not None:
                    return back
            else:
                self._served, self._asked = self._asked, []
                return None

    async def _look(self, trial: Trial) -> tuple[Settings, str] | None:
        if not trial.wants_look(self._now_ns()) or (vitals := await self._vitals()) is None:
            return None
        trial.look(vitals, self._now_ns())
        if not trial.is_over:
            return None
        base, reasons = self._base, trial.reasons
        self._end_trial()
        if not reasons:
            self._reloads.note("kept")
            self._say(Severity.NOTICE, "configuration.kept", "nothing got worse on trial; the configuration is kept")
            return None
        assert base is not None
        return base, told(reasons)

    async def begin(self) -> None:
        """A reload begins: how the plant is before it."""
        if self._trial is None:
            self._before = await self._vitals()

    def applied(self, old: Settings, new: Settings, changes: Changes, *, is_whole: bool) -> None:
        """`is_whole`: the file was read, not reference tables alone."""
        self._reloads.note("applied")
        base, what = self._base or old, f"restarted: {changes.describe()}"
        if is_whole:
            self._astray = ""
        who, wants_trial = self._who(), all(asked.rollback for _, asked, _ in self._served)
        self._say(Severity.NOTICE, "configuration.applied", what)
        if new == base or not wants_trial or not new.reload_trial_ns:
            self._end_trial()
        elif not changes.is_empty and self._before is not None:
            from_base = compare(base, new)
            before = self._before.of(plant=from_base.plant or bool(from_base.links), uplinks=from_base.uplink)
            self._base, self._trial = base, Trial(before, self._now_ns(), new.reload_trial_ns)
            trial = f"on trial for {new.reload_trial_ns / NS_PER_S:g} s; if the plant does worse, the old one returns"
            self._progress.configuration = trial
            self._say(Severity.INFO, "configuration.on_trial", f"the configuration is {trial}")
            what += f"; {trial}"
        self._note(who, "applied", what)
        self._answer(is_ok=True, says=what)

    def refused(self, why: str, problems: Sequence[Problem] = ()) -> None:
        """Whoever asked is told each of the `problems`; in the log and the events they stand already."""
        self._reloads.note("refused")
        self._say(Severity.ERROR, "configuration.refused", why)
        self._note(self._who(), "refused", why)
        self._answer(is_ok=False, says="\n".join((*map(str, problems[:PROBLEMS_TOLD]), why)))

    def rolled_back(self, why: str, changes: Changes) -> None:
        self._reloads.note("rolled back")
        self._progress.configuration = self._astray = f"rolled back, and not that of {self._path}: {why}"
        message = (
            f"{why}; the configuration before is in force again (restarted: {changes.describe()})."
            f" {self._path} still has the other: mend it and reload, or `fieldgate reload --no-rollback` to keep it"
        )
        self._say(Severity.ERROR, "configuration.rolled_back", message)
        self._note("fieldgate", "rolled back", why)

    def failed_back(self, why: str, error: Exception) -> None:
        """The way back is barred: what is in force is what was on trial, or as much of either as there could be."""
        self._reloads.note("refused")
        barred = f"{why}, but the configuration before does not start again: {error}"
        self._progress.configuration = self._astray = f"not rolled back: {barred}"
        self._say(Severity.ERROR, "configuration.refused", f"{barred}; mend {self._path} and reload")
        self._note("fieldgate", "refused", barred)

    def readings(self) -> Iterator[Reading]:
        yield Reading("fieldgate_config_on_trial", int(self._trial is not None))

    def _end_trial(self) -> None:
        self._trial = self._base = None
        self._progress.configuration = self._astray

    def _who(self) -> str:
        return self._served[0][0].name if self._served else UNKNOWN

    def _answer(self, *, is_ok: bool, says: str) -> None:
        for _, _, answer in self._served:
            if not answer.done():
                answer.set_result(Answered(is_ok, says))
        self._served = []

    def _note(self, who: str, result: str, reason: str) -> None:
        """On record."""
        line = Line(
            id=f"{self._now_ns():x}", way="reload", who=who, what=str(self._path), new="", result=result, reason=reason
        )
        try:
            self._trail.post(line)
        except TrailError as error:
            self._say(Severity.ERROR, "audit.lost", str(error))

    def _say(self, severity: Severity, kind: str, message: str) -> None:
        self._emit(Event(self._now_ns(), severity, kind, "gateway", message))

    async def _vitals(self) -> Vitals | None:
        """None while there is no plant: it did not start again, and the daemon ends."""
        plant = self._progress.plant
        return None if plant is None else await asyncio.to_thread(vitals_of, plant, self._uplinks())


def vitals_of(plant: Plant, uplinks: tuple[UplinkState, ...]) -> Vitals:
    """How it is now. Any thread."""
    tags = plant.model.tags
    quality = plant.engine.view.live(np.arange(len(tags), dtype=np.int32))["quality"]
    known: dict[str, set[str]] = {}
    good: dict[str, set[str]] = {}
    for tag, is_good in zip(tags, (quality >= QUALITY_GOOD_MIN).tolist(), strict=True):
        device = plant.model.devices[tag.device].name
        known.setdefault(device, set()).add(tag.name)
        if is_good:
            good.setdefault(device, set()).add(tag.name)
    readings = [reading for part in plant.measured() for reading in part.readings()]
    names = {stage.metric: stage for stage in STAGES if stage.budget_ns is not None}
    modes = plant.executive.loops()["mode"].tolist() if plant.executive is not None else []
    return Vitals(
        known={device: frozenset(names) for device, names in known.items()},
        good={device: frozenset(names) for device, names in good.items()},
        upstream={uplink.name: uplink.is_connected for uplink in uplinks},
        loops={loop.name: mode == Mode.FAILSAFE for loop, mode in zip(plant.settings.loops, modes, strict=True)},
        cycles=_sum(readings, "fieldgate_control_cycles_total"),
        misses=_sum(readings, "fieldgate_control_misses_total"),
        latencies={
            names[each.name].title: each.counts
            for each in readings
            if isinstance(each, HistogramReading) and each.name in names
        },
        budgets_ns={stage.title: stage.budget_ns for stage in STAGES if stage.budget_ns is not None},
    )


def _sum(readings: list[Reading | HistogramReading], name: str) -> int:
    return sum(int(each.value) for each in readings if isinstance(each, Reading) and each.name == name)
