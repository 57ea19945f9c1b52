"""One turn of the engine with everything that influences it, and what comes of it.

The engine is deterministic: the same cycles in the same order give the same outputs and the same state, live, after a
restart or in a replay. So a cycle holds all there is: the time, the wall clock's stamp, what came from outside beside
the samples (influences, in their order), and the samples. Whatever is to change the engine from now on becomes an
influence here, never a call beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias

import msgspec

from gateway.core.alarms import AlarmCommand
from gateway.core.engine import NO_SAMPLES, Engine, StepResult
from gateway.core.events import Event
from gateway.core.lending import Lending
from gateway.core.record import NO_STAMP, Stamp
from gateway.core.teaching import Lesson
from gateway.core.types import Samples


class Noted(msgspec.Struct, frozen=True, tag="noted"):
    """An event of another part of the gateway, for the next record of events."""

    event: Event


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The run ends after this cycle: what is under way is recorded."""


class Operated(msgspec.Struct, frozen=True, tag="operated"):
    """What an operator did to an alarm."""

    command: AlarmCommand


class Taught(msgspec.Struct, frozen=True, tag="taught"):
    """What operators teach the scores; with `afresh` nothing else holds (`gateway.core.teaching`)."""

    lessons: tuple[Lesson, ...]
    afresh: bool = False


class Named(msgspec.Struct, frozen=True, tag="named"):
    """Texts that got the next symbols (`gateway.core.symbols`) since the cycle before."""

    texts: tuple[str, ...]


class Lent(msgspec.Struct, frozen=True, tag="lent"):
    """What goes with commands of this cycle's samples, or of later ones (`gateway.core.lending`)."""

    lendings: tuple[Lending, ...]


Influence: TypeAlias = Noted | Operated | Taught | Named | Lent | Finished


@dataclass(frozen=True, slots=True)
class Cycle:
    """`number` counts cycles from 1 over restarts. `positions` are those of the lanes' last samples drained."""

    number: int
    now_ns: int
    samples: Samples = field(default_factory=lambda: NO_SAMPLES)
    influences: tuple[Influence, ...] = ()
    stamp: Stamp = NO_STAMP
    positions: dict[str, int] = field(default_factory=dict)


def run_cycle(engine: Engine, cycle: Cycle) -> StepResult:
    """The influences in their order, then the step; drafts come with their stamp.

    Symbols are the decoders' table: live they are there already, a replay gives `Named` to it.
    """
    is_last = False
    done: tuple[Event, ...] = ()
    for influence in cycle.influences:
        if isinstance(influence, Noted):
            engine.note(influence.event)
        elif isinstance(influence, Operated):
            done += engine.command(influence.command, cycle.now_ns)
        elif isinstance(influence, Taught):
            done += engine.teach(influence.lessons, cycle.now_ns, afresh=influence.afresh)
        elif isinstance(influence, Lent):
            engine.expect(influence.lendings)
        elif isinstance(influence, Finished):
            is_last = True
    engine.calculations.align(cycle.stamp.wall_offset_ns, cycle.now_ns)
    result = engine.step(cycle.now_ns, cycle.samples)
    drafts = result.drafts
    if is_last:
        drafts += engine.finish(cycle.now_ns).drafts
    stamped = tuple(replace(draft, stamp=cycle.stamp) for draft in drafts)
    return StepResult(stamped, done + result.events, result.parked)
