"""What control tells about itself: every metric, and how it is read out of the executive's memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.control import layout as at
from gateway.core.readings import HistogramReading, Labels, Reading, histogram_reading
from gateway.core.types import NS_PER_S, Int64s, Samples

METRICS: Final[tuple[tuple[str, str, str], ...]] = (
    ("fieldgate_control_wake_lateness_seconds", "histogram", "Time from a loop's deadline to the start of its cycle."),
    (
        "fieldgate_control_input_to_output_seconds",
        "histogram",
        "Time from a complete input to the output handed to the socket, for cycles that wrote; where the event loop "
        "carries it: to its confirmation.",
    ),
    ("fieldgate_control_cycle_seconds", "histogram", "Time from a loop's deadline to the end of its cycle."),
    (
        "fieldgate_control_input_age_seconds",
        "histogram",
        "Age of the input when a loop acted on it, for inputs that are tags of other links, scores, windows or blocks.",
    ),
    ("fieldgate_control_cycles_total", "counter", "Cycles begun."),
    (
        "fieldgate_control_misses_total",
        "counter",
        "Cycles with input to output over 10 ms (or `output_within`), or not done with a good input in time.",
    ),
    ("fieldgate_control_budget_seconds", "gauge", "Longest time from input to output that is no miss."),
    ("fieldgate_control_misses_in_row", "gauge", "Misses since the last cycle that was none."),
    ("fieldgate_control_overruns_total", "counter", "Periods skipped because the executive woke too late."),
    ("fieldgate_control_inputs_total", "counter", "Good inputs."),
    (
        "fieldgate_control_input_errors_total",
        "counter",
        "Inputs that failed, were unusable or could not be asked for.",
    ),
    ("fieldgate_control_failsafes_total", "counter", "Times the loop entered its fail-safe state."),
    ("fieldgate_control_interlocks_total", "counter", "Times an interlock took the loop's output over."),
    ("fieldgate_control_writes_total", "counter", "Outputs handed to the socket."),
    ("fieldgate_control_write_errors_total", "counter", "Outputs refused or not acknowledged by the device."),
    (
        "fieldgate_control_mode",
        "gauge",
        "0 manual, 1 auto, 2 fail-safe, 3 initialising, 4 cascade, 5 tracking, 6 interlocked.",
    ),
    ("fieldgate_control_shadow", "gauge", "Whether the loop only computes its output and writes nothing."),
    ("fieldgate_control_setpoint", "gauge", "Setpoint in the input's unit."),
    ("fieldgate_control_process_value", "gauge", "Last input in its unit."),
    ("fieldgate_control_output", "gauge", "Last output in its unit."),
    ("fieldgate_control_link_up", "gauge", "Whether the executive holds a connection."),
    ("fieldgate_control_link_connects_total", "counter", "Connections made."),
    ("fieldgate_control_link_connect_failures_total", "counter", "Attempts to connect that failed."),
    ("fieldgate_control_link_requests_total", "counter", "Requests sent."),
    ("fieldgate_control_link_replies_total", "counter", "Replies that matched their request, exceptions included."),
    ("fieldgate_control_link_timeouts_total", "counter", "Requests without a reply in time."),
    ("fieldgate_control_link_strays_total", "counter", "Replies that came too late or were never asked for; not used."),
    ("fieldgate_control_link_bad_frames_total", "counter", "Replies that did not match their request; not used."),
    ("fieldgate_control_link_exceptions_total", "counter", "Modbus exceptions."),
    ("fieldgate_control_samples_dropped_total", "counter", "Samples the engine did not take in time."),
    ("fieldgate_control_wakes_total", "counter", "Turns of the executive."),
)

HISTOGRAMS: Final = (
    ("fieldgate_control_wake_lateness_seconds", at.WAKE_LATENESS),
    ("fieldgate_control_input_to_output_seconds", at.INPUT_TO_OUTPUT),
    ("fieldgate_control_cycle_seconds", at.FULL_CYCLE),
    ("fieldgate_control_input_age_seconds", at.INPUT_AGE),
)
LOOP_RECORD: Final = (
    ("fieldgate_control_cycles_total", "cycles"),
    ("fieldgate_control_misses_total", "misses"),
    ("fieldgate_control_overruns_total", "overruns"),
    ("fieldgate_control_mode", "mode"),
    ("fieldgate_control_setpoint", "setpoint"),
    ("fieldgate_control_process_value", "process_value"),
    ("fieldgate_control_output", "output"),
)
LOOP_COUNTERS: Final = (
    ("fieldgate_control_misses_in_row", at.MISSES_IN_ROW),
    ("fieldgate_control_inputs_total", at.INPUTS),
    ("fieldgate_control_input_errors_total", at.INPUT_ERRORS),
    ("fieldgate_control_failsafes_total", at.FAILSAFES),
    ("fieldgate_control_interlocks_total", at.INTERLOCKS),
    ("fieldgate_control_writes_total", at.WRITES),
    ("fieldgate_control_write_errors_total", at.WRITE_ERRORS),
)
LINK_COUNTERS: Final = (
    ("fieldgate_control_link_requests_total", at.SENT),
    ("fieldgate_control_link_replies_total", at.ANSWERED),
    ("fieldgate_control_link_timeouts_total", at.TIMEOUTS),
    ("fieldgate_control_link_strays_total", at.STRAYS),
    ("fieldgate_control_link_bad_frames_total", at.BAD_FRAMES),
    ("fieldgate_control_link_exceptions_total", at.EXCEPTIONS),
)


def executive_readings(b: at.Blocks) -> Iterator[Reading]:
    yield Reading("fieldgate_control_samples_dropped_total", int(b.ring[at.RING_OVERFLOW]))
    yield Reading("fieldgate_control_wakes_total", int(b.words[at.WAKES]))


def loop_readings(
    b: at.Blocks, loop: int, record: Samples, counters: Int64s, labels: Labels
) -> Iterator[Reading | HistogramReading]:
    """`record` and `counters` are a consistent copy; the histograms are copied here, word by word."""
    for name, which in HISTOGRAMS:
        yield histogram_reading(name, b.histograms[which, loop], labels)
    for name, field in LOOP_RECORD:
        yield Reading(name, float(record[field]), labels)
    yield Reading("fieldgate_control_budget_seconds", int(b.loops[loop, at.BUDGET_NS]) / NS_PER_S, labels)
    yield Reading("fieldgate_control_shadow", int(b.loops[loop, at.SHADOW]), labels)
    for name, field_index in LOOP_COUNTERS:
        yield Reading(name, int(counters[field_index - at.COUNTERS_FROM]), labels)


def link_readings(b: at.Blocks, link: int, labels: Labels) -> Iterator[Reading]:
    for name, field in LINK_COUNTERS:
        yield Reading(name, int(b.links[link, field]), labels)
