"""What messages of Sparkplug ask for, collected until somebody takes it: samples, messages to publish, events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gateway.core.events import Event, Severity
from gateway.core.symbols import NO_SYMBOL, Intern, no_symbols
from gateway.core.types import HISTORICAL, NS_PER_MS, SAMPLE, Kind, Quality, Samples
from gateway.protocol.sparkplug import wire
from gateway.protocol.sparkplug.datatypes import name_of
from gateway.protocol.sparkplug.nodes import Command, Member, Message, Want
from gateway.protocol.sparkplug.topics import Address
from gateway.protocol.sparkplug.values import NoValue, cell, is_supported, number, quality_of, text
from gateway.protocol.times import HISTORICAL_AGE_NS_MAX, MS_MAX, REFUSED, TIME_AGE_NS_MAX, believed_ns


class Outbox:
    """In the order in which it came. The counters are of values that did not become good samples of their own time."""

    def __init__(self, intern: Intern = no_symbols) -> None:
        self._intern = intern
        self.commands: list[Command] = []
        self.events: list[Event] = []
        self.historical = self.historical_refused = self.unsupported = self.times_refused = 0
        self._samples: list[tuple[int, int, int, int, float | int]] = []
        """(row, quality, source time, arrival, value)"""

    def take_samples(self) -> Samples:
        """What has come together since the last call, as SAMPLE records."""
        out: Samples = np.zeros(len(self._samples), SAMPLE)
        for i, (row, quality, source_ns, arrival_ns, value) in enumerate(self._samples):
            out[i] = (row, quality, source_ns, arrival_ns, 0.0, 0)
            if isinstance(value, float):
                out[i]["value"] = value
            elif value:
                out[i]["bits"] = value - (1 << 64) if value >= 1 << 63 else value
        self._samples.clear()
        return out

    def take_commands(self, wall_ms: int) -> list[Command]:
        """What to publish, since the last call."""
        found = [
            command if command.payload else replace(command, payload=wire.encode_rebirth(wall_ms))
            for command in self.commands
        ]
        self.commands.clear()
        return found

    def value(self, want: Want, metric: wire.Metric, datatype: int, message: Message, if_null: Quality) -> None:
        """A metric's value as a sample, or why it is none as a bad one."""
        arrival_ns = message.arrival_ns
        told = 0
        if metric.is_historical:
            self.historical += 1
            source_ns = self._historical_ns(metric, message)
            if source_ns == REFUSED:
                # Without a time it is of no use: it must not pass for a value of now.
                self.historical_refused += 1
                return
            told, if_null = HISTORICAL, Quality.BAD
        else:
            source_ns = self._source_ns(metric, message)
        if metric.is_null:
            self.put(want, if_null | told, source_ns, arrival_ns, 0)
            return
        try:
            value: float | int
            if want.kind is Kind.SYMBOL:
                value = self._intern(text(metric, datatype))
            else:
                value = cell(number(metric, datatype), want.kind, want.scale, want.offset)
        except NoValue as why:
            self.unsupported += not is_supported(datatype, want.kind)
            bad = Quality.BAD_SENSOR_FAILURE if is_supported(datatype, want.kind) else Quality.BAD_CONFIG
            self.put(want, bad | told, source_ns, arrival_ns, 0)
            if if_null is Quality.BAD_NOT_INITIALISED:
                reason = f"metric {want.metric!r} ({name_of(datatype)}): {why}"
                self.say(arrival_ns, Severity.WARNING, "sparkplug.value", want.address, reason)
            return
        is_lost = want.kind is Kind.SYMBOL and value == NO_SYMBOL
        quality = Quality.BAD if is_lost else quality_of(metric)
        self.put(want, quality | told, source_ns, arrival_ns, value)

    def _historical_ns(self, metric: wire.Metric, message: Message) -> int:
        """Engine time of a value of the past, or REFUSED: the message's own time is not the value's."""
        wall_ms = metric.timestamp_ms
        if wall_ms is None or wall_ms >= MS_MAX:
            return REFUSED
        wall_ns = message.arrival_ns + message.wall_offset_ns
        return int(believed_ns(wall_ms * NS_PER_MS, message.arrival_ns, wall_ns, HISTORICAL_AGE_NS_MAX))

    def _source_ns(self, metric: wire.Metric, message: Message) -> int:
        has_own = metric.timestamp_ms is not None
        return self.time_of(metric.timestamp_ms if has_own else message.payload.timestamp_ms, message)

    def time_of(self, wall_ms: int | None, message: Message) -> int:
        """Engine time of what a message says of itself; its arrival where it says none that can be believed."""
        if wall_ms is None:
            return message.arrival_ns
        # What is beyond any time there is must not reach int64 arithmetic.
        wall_ns = wall_ms * NS_PER_MS if wall_ms < MS_MAX else 0
        arrival_wall_ns = message.arrival_ns + message.wall_offset_ns
        source_ns = int(believed_ns(wall_ns, message.arrival_ns, arrival_wall_ns, TIME_AGE_NS_MAX))
        self.times_refused += source_ns == REFUSED
        return message.arrival_ns if source_ns == REFUSED else source_ns

    def put(self, want: Want, quality: int, source_ns: int, arrival_ns: int, value: float | int) -> None:
        self._samples.append((want.row, quality, source_ns, arrival_ns, value))

    def mark(self, member: Member, quality: Quality, now_ns: int, source_ns: int | None = None) -> None:
        for want in member.wants.values():
            self.put(want, quality, now_ns if source_ns is None else source_ns, now_ns, 0)

    def say(self, now_ns: int, severity: Severity, kind: str, address: Address, message: str) -> None:
        self.events.append(Event(now_ns, severity, kind, str(address), message))
