"""Changes of state, told once each: the executive only counts and numbers, here that becomes events.

Counters of entries, not the present mode alone, are compared, so that a fail-safe state that came and went between two
looks is told as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.control import layout as at
from gateway.control.connect import Connector
from gateway.control.reasons import TEXTS, Reason
from gateway.core.events import Event, Severity
from gateway.core.types import Int64s, Samples
from gateway.core.view import Mode
from gateway.settings.schema import PidLoop

TOLD_MODES = (Mode.AUTO, Mode.MANUAL, Mode.CASCADE, Mode.TRACKING)


class Changes:
    """What was told last, and what is to be told now."""

    def __init__(self, loops: Sequence[PidLoop], connectors: Sequence[Connector], records: Samples) -> None:
        self._loops = tuple(loops)
        self._links = tuple(_LinkTold(connector) for connector in connectors)
        self._modes = [int(mode) for mode in records["mode"]]
        self._failsafes = [0] * len(loops)
        self._in_failsafe = [False] * len(loops)
        self._write_failing = [False] * len(loops)
        self._interlocks = [0] * len(loops)

    def moved(self, loops: Sequence[PidLoop], connectors: Sequence[Connector], now: tuple[Samples, Int64s]) -> Changes:
        """For another configuration: what was told of a loop or link that is in both is not told again."""
        new = Changes(loops, connectors, now[0])
        told = {link.connector: link for link in self._links}
        new._links = tuple(told.get(link.connector, link) for link in new._links)
        places = {loop.name: place for place, loop in enumerate(self._loops)}
        for index, loop in enumerate(loops):
            place = places.get(loop.name)
            if place is not None and _counter(now[1][index], at.FAILSAFES) >= self._failsafes[place]:
                new._modes[index] = self._modes[place]
                new._failsafes[index] = self._failsafes[place]
                new._in_failsafe[index] = self._in_failsafe[place]
                new._write_failing[index] = self._write_failing[place]
                new._interlocks[index] = self._interlocks[place]
        return new

    def since_last(self, now_ns: int, records: Samples, counters: Int64s) -> Iterator[Event]:
        for link in self._links:
            yield from link.since_last(now_ns)
        for index in range(len(self._loops)):
            row = counters[index]
            yield from self._mode_changes(now_ns, index, int(records["mode"][index]), row)
            yield from self._write_changes(now_ns, index, _counter(row, at.WRITE_REASON))

    def _mode_changes(self, now_ns: int, index: int, mode: int, row: Int64s) -> Iterator[Event]:
        loop = self._loops[index]
        entries = _counter(row, at.FAILSAFES)
        recovered = Event(
            now_ns,
            Severity.NOTICE,
            "control.loop_recovered",
            loop.name,
            f"loop {loop.name} left its fail-safe state: {Mode(mode).name.lower()}",
        )
        if entries > self._failsafes[index]:
            if self._in_failsafe[index]:
                yield recovered
            reason = TEXTS[_counter(row, at.FAILSAFE_REASON)]
            action = "holds its output"
            if loop.failsafe_output is not None:
                action = f"writes {loop.failsafe_output}"
            message = f"loop {loop.name} entered its fail-safe state and {action}: {reason}"
            yield Event(now_ns, Severity.WARNING, "control.loop_failsafe", loop.name, message)
            self._failsafes[index] = entries
            self._in_failsafe[index] = True
        if _counter(row, at.INTERLOCKS) > self._interlocks[index]:
            self._interlocks[index] = _counter(row, at.INTERLOCKS)
            message = f"an interlock demands the output of loop {loop.name}: {loop.output} goes where it says"
            yield Event(now_ns, Severity.WARNING, "control.loop_interlocked", loop.name, message)
        if self._in_failsafe[index] and mode in TOLD_MODES:
            yield recovered
            self._in_failsafe[index] = False
        elif mode != self._modes[index] and mode in TOLD_MODES:
            message = f"loop {loop.name} is in {Mode(mode).name.lower()}"
            yield Event(now_ns, Severity.INFO, "control.loop_mode", loop.name, message)
        self._modes[index] = mode

    def _write_changes(self, now_ns: int, index: int, reason: int) -> Iterator[Event]:
        loop = self._loops[index]
        failing = reason != Reason.NONE
        if failing and not self._write_failing[index]:
            message = f"output {loop.output} of loop {loop.name} is not taken by its device: {TEXTS[reason]}"
            if reason == Reason.NOT_KNOWN:
                message = f"loop {loop.name} waits to know the present output of {loop.output}: {TEXTS[reason]}"
            yield Event(now_ns, Severity.ERROR, "control.output_failed", loop.name, message)
        elif self._write_failing[index] and not failing:
            message = f"output {loop.output} of loop {loop.name} is taken by its device"
            yield Event(now_ns, Severity.NOTICE, "control.output_recovered", loop.name, message)
        self._write_failing[index] = failing


class _LinkTold:
    """One link: told up (with which connection), told down, or nothing told yet."""

    def __init__(self, connector: Connector) -> None:
        self.connector = connector
        self._told_up = False
        self._told_down = False
        self._generation = 0

    def since_last(self, now_ns: int) -> Iterator[Event]:
        connector = self.connector
        name = connector.link.name
        place = f"{connector.link.host}:{connector.link.port}"
        is_up = connector.is_up
        generation = connector.generation
        if self._told_up and (not is_up or generation != self._generation):
            reason = TEXTS[connector.closed_reason]
            yield Event(now_ns, Severity.WARNING, "control.link_down", name, f"control lost {name} ({place}): {reason}")
            self._told_up, self._told_down = False, True
        if is_up and not self._told_up:
            yield Event(now_ns, Severity.INFO, "control.link_up", name, f"control is connected to {name} ({place})")
            self._told_up, self._told_down = True, False
            self._generation = generation
        if not is_up and not self._told_down and connector.error:
            message = f"control cannot reach {name} ({place}): {connector.error}; it keeps trying"
            yield Event(now_ns, Severity.WARNING, "control.link_down", name, message)
            self._told_down = True


def _counter(row: Int64s, field: int) -> int:
    return int(row[field - at.COUNTERS_FROM])
