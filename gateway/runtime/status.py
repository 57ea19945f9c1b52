"""What the runtime tells the page and the health checks: the few facts that only it knows.

The state of links is read off the events: a session says `link.up`, `link.down` and `bus.silent` once per change of
state anyway, so nobody has to keep it a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from gateway import __version__
from gateway.core.events import Event
from gateway.core.readings import Measured
from gateway.core.types import NS_PER_MS, NS_PER_S, Samples
from gateway.core.view import LOOP, ControlView, Mode
from gateway.core.wear import Wear
from gateway.runtime.clock import EngineClock, is_clock_synced
from gateway.runtime.eventbook import EventBook
from gateway.runtime.intakes import durable_name
from gateway.runtime.plant import Plant
from gateway.serving.http import status as http

HEARTBEAT_STALE_NS = 5 * NS_PER_S

STAGES = (
    http.Stage(title="sample → aggregate", metric="fieldgate_sample_to_aggregate_seconds", budget_ns=50 * NS_PER_MS),
    http.Stage(title="sample → score", metric="fieldgate_sample_to_score_seconds", budget_ns=100 * NS_PER_MS),
    http.Stage(
        title="control input → output", metric="fieldgate_control_input_to_output_seconds", budget_ns=10 * NS_PER_MS
    ),
    http.Stage(title="control wake lateness", metric="fieldgate_control_wake_lateness_seconds", budget_ns=None),
)


class NoLoops:
    """The control view of a plant without loops."""

    def loops(self) -> Samples:
        return np.zeros(0, LOOP)

    def write_setpoint(self, loop: int, value: float) -> None:
        raise ValueError("this gateway has no control loops")

    def write_mode(self, loop: int, mode: Mode) -> None:
        raise ValueError("this gateway has no control loops")

    def write_output(self, loop: int, value: float) -> None:
        raise ValueError("this gateway has no control loops")

    def keep_alive(self, loop: int) -> None:
        raise ValueError("this gateway has no control loops")


@dataclass(slots=True)
class Progress:
    """How far the daemon is; its main task writes, the http thread reads."""

    phase: http.Phase = http.Phase.STARTING
    detail: str = "starting"
    configuration: str = ""
    """What is to be said of the last reload."""
    kernels_warm: bool = False
    plant: Plant | None = None


class LinkStates:
    """The last word of each session on each link: the source's, that of durable tags, and the executive's own."""

    KINDS: Final = {
        "link.up": ("source", True),
        "link.down": ("source", False),
        "bus.silent": ("source", False),
        "bus.answers": ("source", True),
        "durable.link_up": ("durable", True),
        "durable.link_down": ("durable", False),
        "control.link_up": ("control", True),
        "control.link_down": ("control", False),
    }

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], Event] = {}

    def note(self, event: Event) -> None:
        if event.kind in self.KINDS:
            self._last[self.KINDS[event.kind][0], event.subject] = event

    def of(self, plant: Plant, started_ns: int) -> Sequence[http.LinkState]:
        states = []
        for link in plant.settings.links:
            sessions = ["source"] if link.name in plant.sources else []
            sessions += ["durable"] if durable_name(link.name) in plant.sources else []
            sessions += ["control"] if link.name in plant.fast_links else []
            if not sessions:
                continue
            events = [self._last.get((session, link.name)) for session in sessions]
            down = [event for event in events if event is None or not self.KINDS[event.kind][1]]
            told = down[0] if down else events[0]
            states.append(
                http.LinkState(
                    name=link.name,
                    kind=link.kind,
                    is_up=not down,
                    since_ns=told.time_ns if told else started_ns,
                    detail=told.message if told else "connecting",
                )
            )
        return states


class RuntimeStatus:
    """Implements `gateway.serving.http.status.StatusSource`."""

    def __init__(
        self,
        *,
        gateway_id: str,
        clock: EngineClock,
        book: EventBook,
        progress: Progress,
        link_states: LinkStates,
        uplinks: Callable[[], tuple[http.UplinkState, ...]],
        wear: Wear,
        measured: Callable[[], Iterable[Measured]],
    ) -> None:
        self.gateway_id = gateway_id
        self.version = __version__
        self._clock = clock
        self._book = book
        self._progress = progress
        self._link_states = link_states
        self._uplinks = uplinks
        self._wear = wear
        self._measured = measured
        self._started_ns = clock()
        self._shown: tuple[Plant, http.Plant] | None = None

    def health(self) -> http.Health:
        plant = self._progress.plant
        return http.Health(
            phase=self._progress.phase,
            detail=self._progress.detail,
            configuration=self._progress.configuration,
            started_ns=self._started_ns,
            configuration_loaded=True,
            kernels_warm=self._progress.kernels_warm,
            first_cycle_done=plant is not None and plant.thread.cycles > 0,
            heartbeats=tuple(
                http.Heartbeat(name=name, last_ns=beat_ns, stale_after_ns=HEARTBEAT_STALE_NS)
                for name, beat_ns in (plant.heartbeats() if plant else {}).items()
                if beat_ns
            ),
            wall_offset_ns=self._clock.wall_offset_ns(),
            wall_is_synchronised=is_clock_synced(),
        )

    def plant(self) -> http.Plant | None:
        plant = self._progress.plant
        if plant is None:
            return None
        # The page's recorder tells a new plant from the old one by identity.
        if self._shown is None or self._shown[0] is not plant:
            view: ControlView = plant.executive if plant.executive is not None else NoLoops()
            shown = http.Plant(
                model=plant.model,
                directory=plant.engine.directory,
                plant_view=plant.engine.view,
                text_of=plant.symbols.text_of,
                loops=plant.settings.loops,
                control_view=view,
                calculations=plant.engine.calculations.view,
                outputs=plant.model.output_names,
                alarms=plant.engine.alarms.view,
                stages=STAGES if plant.executive is not None else STAGES[:2],
                details=partial(_details, plant),
                writable=frozenset(() if plant.settings.inhibit_writes else plant.settings.writes.page),
            )
            self._shown = (plant, shown)
        return self._shown[1]

    def links(self) -> Sequence[http.LinkState]:
        plant = self._progress.plant
        return self._link_states.of(plant, self._started_ns) if plant else ()

    def uplinks(self) -> tuple[http.UplinkState, ...]:
        return self._uplinks()

    def wear(self) -> Wear:
        return self._wear

    def events(self) -> Sequence[Event]:
        return self._book.kept()

    def measured(self) -> Sequence[Measured]:
        return tuple(self._measured())


def _details(plant: Plant) -> list[http.LoopDetail]:
    """Of its loops, for the page."""
    if plant.executive is None:
        return []
    now_ns = plant.now_ns()
    held = [plant.writer.arbiter.holder(loop.name, now_ns) for loop in plant.settings.loops]
    return [
        http.LoopDetail(*reasons, "" if by is None else str(by.by))
        for reasons, by in zip(plant.executive.reasons(), held, strict=True)
    ]
