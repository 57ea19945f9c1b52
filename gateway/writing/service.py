"""The one way to write to a device on somebody's order: command line, MQTT and SCADA all come here.

Asked in this order, and the first no is the answer: is writing inhibited, is there such a tag, may it be written, may
it be written this way, does a loop drive it, is the value one that it can take, is the trail kept. Then one request
goes out, before reads that are due; a device that says that it is busy is asked again a few times; what was written is
read back where that was asked. Writes to one link go one after the other, so that no two read back each other's.

A write that was sent and not answered may have been carried out: it is never sent again, and the result says so.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Final

import msgspec
import numpy as np

from gateway.core.events import Emit, Event, Severity
from gateway.core.limits import WRITES_UNDER_WAY_MAX
from gateway.core.model import Model
from gateway.core.ports import Clock
from gateway.core.readings import Reading
from gateway.core.symbols import TextOf
from gateway.core.types import NS_PER_S, Kind, Quality
from gateway.core.view import ControlView, PlantView
from gateway.protocol.modbus.errands import Requester
from gateway.settings.problems import did_you_mean
from gateway.settings.schema import ModbusPoint, Settings, Tag, driven_by
from gateway.writing.arbiter import Arbiter, Commander, CommandRefusedError, Held
from gateway.writing.audit import Line, Trail, TrailError
from gateway.writing.loops import LoopPoints
from gateway.writing.order import Order, Value, ValueRefusedError, order_of
from gateway.writing.sending import OK, Result, Why, send

WRITE_S_MAX: Final = 10.0
"""From the order to its result, the wait for others on the link included."""
EVENTS_PER_PERIOD_MAX: Final = 20
PERIOD_NS: Final = 10_000_000_000

METRICS = (
    ("fieldgate_writes_total", "counter", "Writes to tags, by way (local, mqtt, scada) and result."),
    ("fieldgate_writes_under_way", "gauge", "Writes that are under way."),
    ("fieldgate_control_held_seconds", "gauge", "For how long a loop is still held by who commanded it, by way."),
    (
        "fieldgate_write_refusals_suppressed_total",
        "counter",
        "Refused writes that were counted only: beyond the budget of events and lines of the trail.",
    ),
)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an order. `old` and `new` are texts as they are shown; `reason` says what went wrong."""

    tag: str
    result: Result
    old: str
    new: str
    reason: str = ""
    why: Why = Why.NONE

    @property
    def is_ok(self) -> bool:
        return self.result in OK


class _Refused(Exception):
    def __init__(self, result: Result, why: Why, reason: str) -> None:
        super().__init__(reason)
        self.result = result
        self.why = why


class Writer:
    """Of one plant. `requesters` gives a link's session by the link's name."""

    def __init__(
        self,
        settings: Settings,
        *,
        model: Model,
        view: PlantView,
        requesters: Callable[[str], Requester | None],
        trail: Trail,
        text_of: TextOf,
        now_ns: Clock,
        emit: Emit,
        control: ControlView | None = None,
        held: Mapping[str, Held] | None = None,
    ) -> None:
        """`held`: who held which loop in the plant before."""
        self._text_of = text_of
        self._is_inhibited = settings.inhibit_writes
        self._tags: Mapping[str, Tag] = {tag.name: tag for tag in settings.tags}
        self._link_of = settings.link_of
        self._loop_of = {tag: loop.name for loop in settings.loops for tag in driven_by(loop)}
        self.arbiter = Arbiter(settings.loops, held or {})
        self._loops = LoopPoints(settings.loops, control, self.arbiter, now_ns)
        self._has_local = settings.writes.local
        self._tasks: set[asyncio.Task[Outcome]] = set()
        self._allowed: dict[str, frozenset[str]] = {"page": frozenset(settings.writes.page)}
        if settings.writes.mqtt is not None:
            self._allowed["mqtt"] = frozenset((*settings.writes.mqtt.tags, *settings.writes.mqtt.loops))
        self._model = model
        self._view = view
        self._requesters = requesters
        self._trail = trail
        self._now_ns = now_ns
        self._emit = emit
        self._locks: dict[str, asyncio.Lock] = {}
        self._numbers = count(now_ns())
        self._under_way = 0
        self._results: Counter[tuple[str, str]] = Counter()
        self._period_ends_ns = 0
        self._left = EVENTS_PER_PERIOD_MAX
        self._suppressed = 0

    async def write(self, name: str, value: Value, *, way: str, who: str, verify: bool | None = None) -> Outcome:
        """Carry out an order, whatever comes of it. `verify` None: as the tag says.

        What was begun is brought to its end, also when nobody waits for it any more.
        """
        task = asyncio.create_task(self._write(name, value, way, who, verify))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def refuse(self, name: str, *, way: str, who: str, reason: str) -> Outcome:
        """An order that is none, on record all the same."""
        outcome = Outcome(tag=name, result=Result.REFUSED, old="", new="", reason=reason, why=Why.VALUE)
        number = f"{next(self._numbers):x}"
        line = Line(id=number, way=way, who=who, what=name, new="", result=outcome.result, reason=reason)
        await self._remember(line, outcome)
        return outcome

    async def finish(self, within_s: float) -> None:
        """Bring what is under way to its end, or to record that nobody knows how it ended."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def check_loop(self, point: str, by: Commander) -> None:
        """Whether this commander may command the loop of this point now. Raises CommandRefusedError."""
        self._loops.check(point, "", by)

    def _tell_holder(self, name: str, said: str) -> None:
        if said:
            loop = self._loops.loop_of(name)
            self._emit(Event(self._now_ns(), Severity.NOTICE, "control.commander", loop, said))

    def note_loop(self, who: str, by: Commander, point: str, old: str, new: str) -> None:
        """What SCADA wrote to a loop: its executive has taken it already."""
        line = Line(
            id=f"{next(self._numbers):x}", way=by.way, who=who, what=point, old=old, new=new, result=Result.WRITTEN
        )
        self._tell_holder(point, self._loops.took(point, by))
        self._results[line.way, Result.WRITTEN] += 1
        try:
            self._trail.post(line)
        except TrailError as error:
            self._emit(Event(self._now_ns(), Severity.ERROR, "audit.lost", point, str(error)))

    async def _write(self, name: str, value: Value, way: str, who: str, verify: bool | None) -> Outcome:
        new = value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
        old = ""
        self._under_way += 1
        try:
            if self._under_way > WRITES_UNDER_WAY_MAX:
                raise _Refused(Result.FAILED, Why.BUSY, f"{WRITES_UNDER_WAY_MAX} writes are under way; try again later")
            self._check_way(name, way)
            line = Line(id=f"{next(self._numbers):x}", way=way, who=who, what=name, new=new, result="sent")
            if name in self._loops:
                old = self._loops.shown(name)
                line = msgspec.structs.replace(line, old=old)
                outcome = await self._ordered(name, value, line)
            else:
                tag, order = self._admitted(name, value)
                old = self._shown(tag)
                line = msgspec.structs.replace(line, old=old)
                outcome = await self._carried_out(tag, order, line, verify)
        except _Refused as refusal:
            outcome = Outcome(tag=name, result=refusal.result, old=old, new=new, reason=str(refusal), why=refusal.why)
            line = Line(
                id=f"{next(self._numbers):x}", way=way, who=who, what=name, new=new, result=outcome.result,
                reason=outcome.reason,
            )  # fmt: skip
        finally:
            self._under_way -= 1
        await self._remember(line, outcome)
        return outcome

    def _check_way(self, name: str, way: str) -> None:
        """Raises _Refused."""
        if self._is_inhibited:
            raise _Refused(Result.REFUSED, Why.FORBIDDEN, "writing is inhibited: inhibit_writes is on under [gateway]")
        if way == "local" and not self._has_local:
            raise _Refused(Result.REFUSED, Why.FORBIDDEN, "local = false under [writes] forbids it")
        is_known = name in self._loops or (name in self._tags and self._tags[name].is_writable)
        if is_known and way in self._allowed and name not in self._allowed[way]:
            where = "page under [writes]" if way == "page" else f"those under [writes.{way}]"
            raise _Refused(Result.REFUSED, Why.FORBIDDEN, f"{name} is not among {where}")

    async def _ordered(self, name: str, value: Value, line: Line) -> Outcome:
        """To a loop. Raises _Refused."""
        by = Commander(line.way, line.who)
        try:
            self._loops.check(name, value, by)
            await self._note_before(line)
            self._loops.check(name, value, by)
            self._tell_holder(name, self._loops.order(name, value, by))
        except CommandRefusedError as error:
            why = Why.BUSY if error.is_held else Why.FORBIDDEN
            raise _Refused(Result.REFUSED, why, str(error)) from None
        except ValueError as error:
            raise _Refused(Result.REFUSED, Why.VALUE, str(error)) from None
        return Outcome(tag=name, result=Result.WRITTEN, old=line.old, new=line.new)

    async def _note_before(self, line: Line) -> None:
        """On the disk before anything is sent. Raises _Refused."""
        try:
            await self._trail.note(line)
        except TrailError as error:
            raise _Refused(Result.FAILED, Why.FAULT, str(error)) from error
        except asyncio.CancelledError:
            raise _Refused(Result.FAILED, Why.AWAY, "the gateway was stopped before it was sent") from None

    def _admitted(self, name: str, value: Value) -> tuple[Tag, Order]:
        """Raises _Refused."""
        tag = self._tags.get(name)
        if tag is None:
            remedy = did_you_mean(name, self._tags, "write a tag as device.tag")
            raise _Refused(Result.REFUSED, Why.UNKNOWN, f"{name} is not a tag; {remedy}")
        if not isinstance(tag.point, ModbusPoint):
            raise _Refused(Result.REFUSED, Why.FORBIDDEN, f"{name} {tag.point.comes}, and only Modbus tags are written")
        if not tag.point.writable:
            raise _Refused(Result.REFUSED, Why.FORBIDDEN, f"{name} is read only; write = true in that tag allows it")
        if name in self._loop_of:
            loop = self._loop_of[name]
            raise _Refused(
                Result.REFUSED, Why.FORBIDDEN, f"loop {loop} has {name}: write its setpoint, or its output in manual"
            )
        try:
            return tag, order_of(tag, value)
        except ValueRefusedError as error:
            raise _Refused(Result.REFUSED, Why.VALUE, str(error)) from None

    async def _carried_out(self, tag: Tag, order: Order, line: Line, verify: bool | None) -> Outcome:
        """Raises _Refused while nothing was sent."""
        point = tag.point
        assert isinstance(point, ModbusPoint)
        link = self._link_of[tag.device]
        requester = self._requesters(link)
        if requester is None:
            raise _Refused(Result.FAILED, Why.AWAY, f"link {link} is not polled, so nothing can be sent by it")
        await self._note_before(line)
        is_verified = point.verify if verify is None else verify
        result, why, reason = Result.UNCERTAIN, Why.AWAY, f"no result within {WRITE_S_MAX:g} s"
        try:
            async with asyncio.timeout(WRITE_S_MAX), self._locks.setdefault(link, asyncio.Lock()):
                result, why, reason = await send(requester, order, is_verified)
        except TimeoutError:
            pass  # it may have been sent: what was set before says so
        except asyncio.CancelledError:
            reason = "the gateway was stopped before the device answered"
        return Outcome(tag=tag.name, result=result, old=line.old, new=line.new, reason=reason, why=why)

    async def _remember(self, line: Line, outcome: Outcome) -> None:
        self._results[line.way, outcome.result] += 1
        if not self._is_told(outcome):
            return
        self._say(line, outcome)
        try:
            await self._trail.note(msgspec.structs.replace(line, result=outcome.result, reason=outcome.reason))
        except TrailError as error:
            # The line before the write is there; that the result is not is told.
            self._emit(Event(self._now_ns(), Severity.ERROR, "audit.lost", outcome.tag, str(error)))

    def _is_told(self, outcome: Outcome) -> bool:
        """Anybody can cause refusals: they have a budget, in events and in the trail. Others have a trace already."""
        if outcome.result is not Result.REFUSED:
            return True
        now_ns = self._now_ns()
        if now_ns >= self._period_ends_ns:
            self._period_ends_ns, self._left = now_ns + PERIOD_NS, EVENTS_PER_PERIOD_MAX
        if self._left == 0:
            self._suppressed += 1
            return False
        self._left -= 1
        return True

    def _say(self, line: Line, outcome: Outcome) -> None:
        now_ns = self._now_ns()
        what = f"{line.who} by {line.way}: {outcome.tag} {outcome.old or '?'} -> {outcome.new}: {outcome.result}"
        severity = Severity.NOTICE if outcome.is_ok else Severity.WARNING
        message = f"{what} ({outcome.reason})" if outcome.reason else what
        self._emit(Event(now_ns, severity, f"write.{outcome.result}", outcome.tag, message))

    def _shown(self, tag: Tag) -> str:
        """The tag's present value as a text; empty when there is none."""
        live = self._view.live(np.array([self._model.row_of[tag.name]], np.int32))[0]
        if live["quality"] == Quality.BAD_NOT_INITIALISED:
            return ""
        if tag.kind is Kind.F64:
            return f"{float(live['value']):g}"
        if tag.kind is Kind.SYMBOL:
            return self._text_of(int(live["bits"])) or ""
        return str(int(live["bits"]) & (1 << 64) - 1 if tag.kind is Kind.U64 else int(live["bits"]))

    def readings(self) -> Iterator[Reading]:
        for (way, result), number in list(self._results.items()):
            yield Reading("fieldgate_writes_total", number, (("result", result), ("way", way)))
        yield Reading("fieldgate_writes_under_way", self._under_way)
        yield Reading("fieldgate_write_refusals_suppressed_total", self._suppressed)
        now_ns = self._now_ns()
        for loop in self.arbiter.held:
            if (held := self.arbiter.holder(loop, now_ns)) is not None:
                labels = (("loop", loop), ("way", held.by.way))
                yield Reading("fieldgate_control_held_seconds", (held.until_ns - now_ns) / NS_PER_S, labels)
