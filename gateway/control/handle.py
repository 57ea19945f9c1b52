"""The executive as the rest of the gateway knows it: start, stop, command, look, measure.

All methods may be called from any thread; `take_samples`, `drain_into` and `poll_state_changes` from one thread each.
None can hold the executive up: commands are single words that it looks at, results are copied under sequence locks.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

import numpy as np

from gateway.control import executive, metrics, queue, shared
from gateway.control import layout as at
from gateway.control.changes import Changes
from gateway.control.courier import Outbox
from gateway.control.feeds import publish
from gateway.control.realtime import PRIORITY, become_real_time
from gateway.control.reasons import Reasons
from gateway.control.wired import Wired, carry, moved, wire
from gateway.core.events import Emit, Event, Severity
from gateway.core.inbox import Lane
from gateway.core.kernels.atomics import read_word, write_word
from gateway.core.ports import Clock
from gateway.core.readings import HistogramReading, Reading
from gateway.core.types import NS_PER_MS, SAMPLE, Int64s, Samples
from gateway.core.view import LOOP, Mode, PlantView
from gateway.native import libc
from gateway.native.clock import set_engine_offset
from gateway.settings.schema import Block, ModbusLink, PidLoop, Tag

DRAIN_SAMPLES: Final = 8_192
SWAP_WITHIN_NS: Final = 200 * NS_PER_MS
"""How long a new configuration waits for a moment with nothing under way."""
SWAP_LOOKS: Final = 1500
SWAP_LOOK_S: Final = 0.001


class ControlExecutive:
    """All fast loops, their links and their thread.

    `tags` gives row and tag by full name; `links` the Modbus TCP link by device name. Raises ValueError, naming the
    loop, for a loop that cannot run on Modbus TCP registers.
    """

    def __init__(
        self,
        *,
        loops: Sequence[PidLoop],
        tags: Mapping[str, tuple[int, Tag]],
        links: Mapping[str, ModbusLink],
        now_ns: Clock,
        emit: Emit,
        blocks: Sequence[Block] = (),
        real_time: bool = True,
    ) -> None:
        self._memory = at.allocate()
        self._place = 0
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.outbox = Outbox(now_ns)
        self._wired = self._wire(self._memory[self._place], loops, tags, links, blocks)
        self.outbox.bind(self._wired.blocks, self._wired.loops)
        self._now_ns = now_ns
        self._emit = emit
        self._real_time = real_time
        self._refusals: list[str] = []
        self._changes = Changes(self._wired.loops, self._wired.connectors, self._wired.blocks.published.copy())
        self._commanding = threading.Lock()
        self._drained = np.zeros(DRAIN_SAMPLES, SAMPLE)
        self._left_over = self._drained[:0]
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def _wire(
        self,
        empty: at.Blocks,
        loops: Sequence[PidLoop],
        tags: Mapping[str, tuple[int, Tag]],
        links: Mapping[str, ModbusLink],
        blocks: Sequence[Block],
    ) -> Wired:
        return wire(empty, loops, tags, links, blocks, self._wake_fd, self.outbox.fd)

    @property
    def rows(self) -> frozenset[int]:
        """Rows whose samples come from here."""
        return self._wired.rows

    # --- life

    def warm(self) -> None:
        """Compile everything, or load it from the cache; no loop runs and no descriptor is touched."""
        memory = at.allocate()
        one = memory[0]
        one.words[at.STOP] = at.STOP_FOR_GOOD
        executive.run(memory)
        write_word(one.link_words, 0, read_word(one.link_words, 0))
        shared.write_command(one.commands, at.SETPOINT_VERSION, at.SETPOINT_VALUE, 0.0)
        shared.copy_loop(one.sequence, 0, one.published, one.counters, one.published.copy(), one.counters.copy())
        queue.take(one.ring, one.samples, self._drained[:1])
        publish(one.feeds, one.words, np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64), 0)

    def start(self) -> None:
        """Compile if need be, start the executive, then let the links connect. Once only, like a thread."""
        self.warm()
        set_engine_offset(self._wired.blocks.words, at.ENGINE_OFFSET, self._now_ns)
        if self._real_time:
            self._lock_memory()
        self._thread.start()
        self._running.wait()
        for refusal in self._refusals:
            self._emit(Event(self._now_ns(), Severity.NOTICE, "control.not_real_time", "control", refusal))
        for loop in self._wired.loops:
            if loop.is_shadow:
                message = f"loop {loop.name} is in shadow: it computes its output and writes nothing to {loop.output}"
                self._emit(Event(self._now_ns(), Severity.NOTICE, "control.loop_shadow", loop.name, message))
        for connector in self._wired.connectors:
            connector.start()

    def take_over(
        self,
        *,
        loops: Sequence[PidLoop],
        tags: Mapping[str, tuple[int, Tag]],
        links: Mapping[str, ModbusLink],
        blocks: Sequence[Block] = (),
    ) -> None:
        """Go on with another configuration, without losing a cycle of the loops that are in both (`control.swap`).

        Not while somebody takes samples: rows may have changed. Samples not taken yet come out with the new rows.
        Raises ValueError as the constructor does, and TimeoutError when the executive does not answer; the old
        configuration is kept then.
        """
        old = self._wired
        place = 1 - self._place
        empty = at.clear(self._memory, place)
        fresh = self._wire(empty, loops, tags, links, blocks)
        with self._commanding, ExitStack() as held:
            for connector in old.connectors:
                held.enter_context(connector.held())
            new = carry(old, fresh)
            set_engine_offset(new.blocks.words, at.ENGINE_OFFSET, self._now_ns)
            self._swap(old)
            for connector in set(old.connectors) - set(new.connectors):
                connector.end()
            for index, connector in enumerate(new.connectors):
                connector.move(new.used[index], new.blocks.link_words, index)
            self._wired, self._place = new, place
            self.outbox.bind(new.blocks, new.loops)
        left_over = np.zeros(at.SAMPLES, SAMPLE)
        count = int(queue.take(old.blocks.ring, old.blocks.samples, left_over))
        self._left_over = moved(np.concatenate([self._left_over, left_over[:count]]), old, new)
        self._changes = self._changes.moved(new.loops, new.connectors, self._look(new))
        for connector in set(new.connectors) - set(old.connectors):
            connector.start()

    def _swap(self, old: Wired) -> None:
        """Have the executive take the other record, and wait until it has."""
        write_word(old.blocks.words, at.SWAP_BY_NS, self.heartbeat_ns() + SWAP_WITHIN_NS)
        for _ in range(SWAP_LOOKS):
            if read_word(old.blocks.words, at.SWAP_BY_NS) == 0:
                return
            time.sleep(SWAP_LOOK_S)
        raise TimeoutError("the control executive does not take the new configuration")

    def stop(self, timeout_s: float = 1.0, *, is_handover: bool = False) -> None:
        """Write the declared fail-safe outputs, hold the others, close the links and end the thread.

        At a handover to another executive all outputs are held: it takes them over as the devices have them. Raises
        TimeoutError when the thread has not ended in time.
        """
        for connector in self._wired.connectors:
            connector.stop()
        write_word(self._wired.blocks.words, at.STOP, at.STOP_FOR_HANDOVER if is_handover else at.STOP_FOR_GOOD)
        if not self._thread.is_alive():
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(
                f"the control executive did not end within {timeout_s} s; outputs may hold their last values"
            )

    def _run(self) -> None:
        """The executive's thread: no signals, real-time priority if permitted, and then no more Python."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        if self._real_time and not become_real_time():
            self._refusals.append(
                "control runs without real-time priority, so other load can delay it; "
                f"grant CAP_SYS_NICE or set LimitRTPRIO={PRIORITY} in the unit"
            )
        self._running.set()
        executive.run(self._memory)

    def _lock_memory(self) -> None:
        """Lock what is mapped now, as it is touched. Later mappings stay free: a limit must not make them fail."""
        if ctypes.CDLL(None).mlockall(libc.MCL_CURRENT | libc.MCL_ONFAULT) != 0:
            self._refusals.append(
                "control's memory is not locked, so paging can delay it; "
                "grant CAP_IPC_LOCK or set LimitMEMLOCK=infinity in the unit"
            )

    def heartbeat_ns(self) -> int:
        """CLOCK_MONOTONIC at the executive's last wake; 0 before the first. It moves at least every 50 ms."""
        return int(read_word(self._wired.blocks.words, at.HEARTBEAT))

    # --- ControlView

    def loops(self) -> Samples:
        return self._look(self._wired)[0]

    def write_setpoint(self, loop: int, value: float) -> None:
        of = self._wired.loops[loop]
        if not (math.isfinite(value) and of.setpoint_min <= value <= of.setpoint_max):
            raise ValueError(f"{of.name}: setpoint {value} is outside {of.setpoint_min} to {of.setpoint_max}")
        self._command(loop, at.SETPOINT_VERSION, at.SETPOINT_VALUE, value)

    def write_mode(self, loop: int, mode: Mode) -> None:
        of = self._wired.loops[loop]
        if mode not in (Mode.AUTO, Mode.MANUAL, Mode.CASCADE):
            raise ValueError(f"{of.name}: a loop can be set to AUTO or MANUAL, not to {mode.name}")
        if mode is Mode.CASCADE and of.setpoint_from is None:
            raise ValueError(f"{of.name}: the loop has no setpoint from elsewhere, so it can be AUTO or MANUAL")
        with self._commanding:
            write_word(self._wired.blocks.commands, loop * at.COMMANDS + at.MODE_WANTED, int(mode))

    def write_output(self, loop: int, value: float) -> None:
        of = self._wired.loops[loop]
        if not (math.isfinite(value) and of.output_min <= value <= of.output_max):
            raise ValueError(f"{of.name}: output {value} is outside {of.output_min} to {of.output_max}")
        if of.is_shadow:
            raise ValueError(f"{of.name}: the loop is in shadow, so nothing is written to its output")
        if self._wired.blocks.commands[loop * at.COMMANDS + at.MODE_WANTED] != Mode.MANUAL:
            raise ValueError(f"{of.name}: the output can be written in MANUAL only")
        if int(self.loops()["mode"][loop]) == Mode.INITIALISING:
            raise ValueError(f"{of.name}: the device's output is not known yet; try again when its link is up")
        self._command(loop, at.OUTPUT_VERSION, at.OUTPUT_VALUE, value)

    def keep_alive(self, loop: int) -> None:
        with self._commanding:
            place = loop * at.COMMANDS + at.ALIVE
            write_word(self._wired.blocks.commands, place, int(self._wired.blocks.commands[place]) + 1)

    def _command(self, loop: int, version: int, place: int, value: float) -> None:
        base = loop * at.COMMANDS
        with self._commanding:
            shared.write_command(self._wired.blocks.commands, base + version, base + place, float(value))

    def _look(self, wired: Wired) -> tuple[Samples, Int64s]:
        """Copies of all loops' records and counters, each consistent in itself."""
        b = wired.blocks
        records = np.zeros(len(wired.loops), LOOP)
        counters = np.zeros((len(wired.loops), at.COUNTERS), np.int64)
        for loop in range(len(wired.loops)):
            while not shared.copy_loop(b.sequence, loop, b.published, b.counters, records, counters):
                time.sleep(0)  # the writer was descheduled in the middle
        return records, counters

    # --- what the daemon calls

    def take_samples(self, out: Samples) -> int:
        """Move samples of what was read and written into `out`; returns how many. Times are those of the replies."""
        if len(self._left_over) > 0:
            count = min(len(self._left_over), len(out))
            out[:count] = self._left_over[:count]
            self._left_over = self._left_over[count:]
            return count
        return int(queue.take(self._wired.blocks.ring, self._wired.blocks.samples, out))

    def drain_into(self, lane: Lane) -> int:
        """Append all waiting samples to the lane; returns how many were taken. The lane counts what it drops."""
        taken = 0
        while (count := self.take_samples(self._drained)) and taken < at.SAMPLES:
            lane.append(self._drained[:count])
            taken += count
        return taken

    def feed(self, view: PlantView, now_ns: int) -> None:
        """Hand the engine's values over to loops and blocks. After each of its cycles, on its thread."""
        self._wired.feeder.feed(view, now_ns)

    def poll_state_changes(self) -> None:
        """Emit one event for each change of state since the last call. To be called some ten times a second."""
        set_engine_offset(self._wired.blocks.words, at.ENGINE_OFFSET, self._now_ns)
        records, counters = self._look(self._wired)
        for event in self._changes.since_last(self._now_ns(), records, counters):
            self._emit(event)

    def reasons(self) -> list[Reasons]:
        """Of each loop: misses in a row, and why it missed, failed safe and was not taken by its device last."""
        _, counters = self._look(self._wired)
        return [Reasons.of(row) for row in counters]

    def timing(self) -> tuple[Int64s, Int64s]:
        """Histograms over all loops so far: lateness of wakes, input to output."""
        counts = self._wired.blocks.histograms[:, : len(self._wired.loops)]
        return counts[at.WAKE_LATENESS].sum(axis=0), counts[at.INPUT_TO_OUTPUT].sum(axis=0)

    def readings(self) -> Iterator[Reading | HistogramReading]:
        wired = self._wired
        records, counters = self._look(wired)
        yield from metrics.executive_readings(wired.blocks)
        for index, loop in enumerate(wired.loops):
            labels = (("loop", loop.name),)
            yield from metrics.loop_readings(wired.blocks, index, records[index], counters[index], labels)
        for index, connector in enumerate(wired.connectors):
            labels = (("link", connector.link.name),)
            yield Reading("fieldgate_control_link_up", int(connector.is_up), labels)
            yield Reading("fieldgate_control_link_connects_total", connector.connects, labels)
            yield Reading("fieldgate_control_link_connect_failures_total", connector.failures, labels)
            yield from metrics.link_readings(wired.blocks, index, labels)
