"""The executive as the rest of the gateway knows it: start, stop, command, look, measure.

All methods may be called from any thread; `take_samples`, `drain_into` and `poll_state_changes` from one thread each.
None can hold the executive up: commands are single words that it looks at, results are copied under sequence locks.
"""

from __future__ import annotations

import ctypes
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from gateway.control import executive, metrics, plan, queue, shared
from gateway.control import layout as at
from gateway.control.changes import Changes
from gateway.control.connect import Connector
from gateway.control.realtime import PRIORITY, become_real_time
from gateway.core.events import Emit, Event, Severity
from gateway.core.inbox import Lane
from gateway.core.kernels.atomics import read_word, write_word
from gateway.core.ports import Clock
from gateway.core.readings import HistogramReading, Reading
from gateway.core.types import SAMPLE, Int64s, Samples
from gateway.core.view import LOOP, Mode
from gateway.native import libc
from gateway.native.clock import set_engine_offset
from gateway.settings.schema import ModbusLink, PidLoop, Tag

REFRESH_PERIODS: Final = 50
DRAIN_SAMPLES: Final = 8_192


class ControlExecutive:
    """All fast loops, their links and their thread.

    `tags` gives row and tag by full name; `links` the Modbus TCP link by device name. Raises ValueError, naming the
    loop, for a loop that cannot run on Modbus TCP registers. An unchanged output is written again every
    `refresh_periods` periods.
    """

    def __init__(
        self,
        *,
        loops: Sequence[PidLoop],
        tags: Mapping[str, tuple[int, Tag]],
        links: Mapping[str, ModbusLink],
        now_ns: Clock,
        emit: Emit,
        refresh_periods: int = REFRESH_PERIODS,
        real_time: bool = True,
    ) -> None:
        made = plan.make(loops, tags, links, refresh_periods)
        self._loops = tuple(loops)
        self._memory = made.memory
        self._blocks = made.memory[0]
        self._now_ns = now_ns
        self._emit = emit
        self._real_time = real_time
        self._refusals: list[str] = []
        self._connectors = tuple(
            Connector(link, self._blocks.link_words, index) for index, link in enumerate(made.links)
        )
        self._changes = Changes(self._loops, self._connectors, self._blocks.published.copy())
        self._commanding = threading.Lock()
        self._drained = np.zeros(DRAIN_SAMPLES, SAMPLE)
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self.rows = frozenset(tags[name][0] for loop in loops for name in (loop.input, loop.output))
        """Rows whose samples come from here."""

    # --- life

    def warm(self) -> None:
        """Compile everything, or load it from the cache; no loop runs and no descriptor is touched."""
        memory = at.allocate(loops=0, links=0, blocks=0)
        one = memory[0]
        one.words[at.STOP] = at.STOP_FOR_GOOD
        executive.run(memory)
        write_word(one.link_words, 0, read_word(one.link_words, 0))
        shared.write_command(one.commands, at.SETPOINT_VERSION, at.SETPOINT_VALUE, 0.0)
        shared.copy_loop(one.sequence, 0, one.published, one.counters, one.published.copy(), one.counters.copy())
        queue.take(one.ring, one.samples, self._drained[:1])

    def start(self) -> None:
        """Compile if need be, start the executive, then let the links connect. Once only, like a thread."""
        self.warm()
        set_engine_offset(self._blocks.words, at.ENGINE_OFFSET, self._now_ns)
        if self._real_time:
            self._lock_memory()
        self._thread.start()
        self._running.wait()
        for refusal in self._refusals:
            self._emit(Event(self._now_ns(), Severity.NOTICE, "control.not_real_time", "control", refusal))
        for loop in self._loops:
            if loop.is_shadow:
                message = f"loop {loop.name} is in shadow: it computes its output and writes nothing to {loop.output}"
                self._emit(Event(self._now_ns(), Severity.NOTICE, "control.loop_shadow", loop.name, message))
        for connector in self._connectors:
            connector.start()

    def stop(self, timeout_s: float = 1.0, *, is_handover: bool = False) -> None:
        """Write the declared fail-safe outputs, hold the others, close the links and end the thread.

        At a handover to another executive all outputs are held: it takes them over as the devices have them. Raises
        TimeoutError when the thread has not ended in time.
        """
        for connector in self._connectors:
            connector.stop()
        write_word(self._blocks.words, at.STOP, at.STOP_FOR_HANDOVER if is_handover else at.STOP_FOR_GOOD)
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
        return int(read_word(self._blocks.words, at.HEARTBEAT))

    # --- ControlView

    def loops(self) -> Samples:
        return self._look()[0]

    def write_setpoint(self, loop: int, value: float) -> None:
        of = self._loops[loop]
        if not (math.isfinite(value) and of.setpoint_min <= value <= of.setpoint_max):
            raise ValueError(f"{of.name}: setpoint {value} is outside {of.setpoint_min} to {of.setpoint_max}")
        self._command(loop, at.SETPOINT_VERSION, at.SETPOINT_VALUE, value)

    def write_mode(self, loop: int, mode: Mode) -> None:
        if mode not in (Mode.AUTO, Mode.MANUAL):
            raise ValueError(f"{self._loops[loop].name}: a loop can be set to AUTO or MANUAL, not to {mode.name}")
        with self._commanding:
            write_word(self._blocks.commands, loop * at.COMMANDS + at.MODE_WANTED, int(mode))

    def write_output(self, loop: int, value: float) -> None:
        of = self._loops[loop]
        if not (math.isfinite(value) and of.output_min <= value <= of.output_max):
            raise ValueError(f"{of.name}: output {value} is outside {of.output_min} to {of.output_max}")
        if of.is_shadow:
            raise ValueError(f"{of.name}: the loop is in shadow, so nothing is written to its output")
        if self._blocks.commands[loop * at.COMMANDS + at.MODE_WANTED] != Mode.MANUAL:
            raise ValueError(f"{of.name}: the output can be written in MANUAL only")
        if int(self.loops()["mode"][loop]) == Mode.INITIALISING:
            raise ValueError(f"{of.name}: the device's output is not known yet; try again when its link is up")
        self._command(loop, at.OUTPUT_VERSION, at.OUTPUT_VALUE, value)

    def _command(self, loop: int, version: int, place: int, value: float) -> None:
        base = loop * at.COMMANDS
        with self._commanding:
            shared.write_command(self._blocks.commands, base + version, base + place, float(value))

    def _look(self) -> tuple[Samples, Int64s]:
        """Copies of all loops' records and counters, each consistent in itself."""
        b = self._blocks
        records = np.zeros(len(self._loops), LOOP)
        counters = np.zeros((len(self._loops), at.COUNTERS), np.int64)
        for loop in range(len(self._loops)):
            while not shared.copy_loop(b.sequence, loop, b.published, b.counters, records, counters):
                time.sleep(0)  # the writer was descheduled in the middle
        return records, counters

    # --- what the daemon calls

    def take_samples(self, out: Samples) -> int:
        """Move samples of what was read and written into `out`; returns how many. Times are those of the replies."""
        return int(queue.take(self._blocks.ring, self._blocks.samples, out))

    def drain_into(self, lane: Lane) -> int:
        """Append all waiting samples to the lane; returns how many were taken. The lane counts what it drops."""
        taken = 0
        while count := self.take_samples(self._drained):
            lane.append(self._drained[:count])
            taken += count
            if count < DRAIN_SAMPLES:
                break
        return taken

    def poll_state_changes(self) -> None:
        """Emit one event for each change of state since the last call. To be called some ten times a second."""
        set_engine_offset(self._blocks.words, at.ENGINE_OFFSET, self._now_ns)
        records, counters = self._look()
        for event in self._changes.since_last(self._now_ns(), records, counters):
            self._emit(event)

    def timing(self) -> tuple[Int64s, Int64s]:
        """Histograms over all loops so far: lateness of wakes, input to output."""
        counts = self._blocks.histograms[:, : len(self._loops)]
        return counts[at.WAKE_LATENESS].sum(axis=0), counts[at.INPUT_TO_OUTPUT].sum(axis=0)

    def readings(self) -> Iterator[Reading | HistogramReading]:
        records, counters = self._look()
        yield from metrics.executive_readings(self._blocks)
        for index, loop in enumerate(self._loops):
            labels = (("loop", loop.name),)
            yield from metrics.loop_readings(self._blocks, index, records[index], counters[index], labels)
        for index, connector in enumerate(self._connectors):
            labels = (("link", connector.link.name),)
            yield Reading("fieldgate_control_link_up", int(connector.is_up), labels)
            yield Reading("fieldgate_control_link_connects_total", connector.connects, labels)
            yield Reading("fieldgate_control_link_connect_failures_total", connector.failures, labels)
            yield from metrics.link_readings(self._blocks, index, labels)
