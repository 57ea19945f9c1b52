"""What operators may do to the running gateway: the actions behind the operator's socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from gateway.core.alarms import SHELVE_NS_MAX, AlarmAction, AlarmCommand
from gateway.core.cycle import Influence, Operated
from gateway.core.events import Emit
from gateway.core.ports import Clock
from gateway.core.types import NS_PER_S
from gateway.runtime.clock import EngineClock
from gateway.runtime.plant import Plant
from gateway.runtime.schooling import Schooling
from gateway.serving.operator.messages import Answered, socket_path
from gateway.serving.operator.server import Action, Asker, OperatorServer, Refused
from gateway.settings.problems import did_you_mean


class OneAlarm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`device.tag/kind`."""

    alarm: str


class Shelving(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alarm: str
    for_s: float


class Writing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`verify` None: as the tag says."""

    tag: str
    value: bool | int | float | str
    verify: bool | None = None


def operators(
    state_dir: Path,
    plant: Callable[[], Plant | None],
    clock: EngineClock,
    emit: Emit,
    more: Mapping[str, Action],
) -> tuple[OperatorServer, Schooling]:
    """The operator's socket with all that may be done by it, and what of that goes on by itself."""
    schooling = Schooling(state_dir, plant, now_ns=clock, wall_offset_ns=clock.wall_offset_ns, emit=emit)
    actions = {**Operating(plant, clock).actions(), **schooling.actions(), **more}
    return OperatorServer(socket_path(state_dir), actions, now_ns=clock, emit=emit), schooling


class Operating:
    """`plant` gives the one that runs now, None while there is none."""

    def __init__(self, plant: Callable[[], Plant | None], now_ns: Clock) -> None:
        self._plant = plant
        self._now_ns = now_ns

    def actions(self) -> Mapping[str, Action]:
        return {
            "alarm.acknowledge": Action(OneAlarm, self._acknowledge),
            "alarm.shelve": Action(Shelving, self._shelve),
            "alarm.unshelve": Action(OneAlarm, self._unshelve),
            "tag.write": Action(Writing, self._write),
        }

    async def _acknowledge(self, asker: Asker, one: OneAlarm) -> str:
        self._operate(AlarmAction.ACKNOWLEDGE, one.alarm, asker)
        return f"{one.alarm} acknowledged"

    async def _shelve(self, asker: Asker, shelving: Shelving) -> str:
        if not 0 < shelving.for_s * NS_PER_S <= SHELVE_NS_MAX:
            raise Refused(
                f"an alarm can be shelved for up to {SHELVE_NS_MAX // NS_PER_S // 3600} h, and for no less than 1 s"
            )
        self._operate(AlarmAction.SHELVE, shelving.alarm, asker, self._now_ns() + round(shelving.for_s * NS_PER_S))
        return f"{shelving.alarm} shelved for {shelving.for_s / 60:g} min"

    async def _unshelve(self, asker: Asker, one: OneAlarm) -> str:
        self._operate(AlarmAction.UNSHELVE, one.alarm, asker)
        return f"{one.alarm} is shown again"

    async def _write(self, asker: Asker, writing: Writing) -> Answered:
        writer = self._running().writer
        outcome = await writer.write(writing.tag, writing.value, way=asker.way, who=asker.name, verify=writing.verify)
        change = f"{outcome.old or '?'} -> {outcome.new}" if outcome.is_ok else outcome.new
        reason = f": {outcome.reason}" if outcome.reason else ""
        return Answered(outcome.is_ok, f"{outcome.tag} {change} {outcome.result}{reason}", outcome)

    def _operate(self, action: AlarmAction, alarm: str, asker: Asker, until_ns: int = 0) -> None:
        directory = self._running().engine.directory
        if directory.find_alarm(alarm) is None:
            remedy = did_you_mean(
                alarm, tuple(directory.alarm_names()), "`fieldgate alarms list --all` lists them, as device.tag/kind"
            )
            raise Refused(f"there is no alarm {alarm}; {remedy}")
        self._ask(Operated(AlarmCommand(action, alarm, asker.name, until_ns)))

    def _ask(self, influence: Influence) -> None:
        if not self._running().thread.ask(influence):
            raise Refused("too many actions wait for the engine; try again")

    def _running(self) -> Plant:
        plant = self._plant()
        if plant is None:
            raise Refused("the gateway is starting; try again when it is ready")
        return plant
