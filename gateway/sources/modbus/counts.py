"""What a Modbus link counts, and under which names it is measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from gateway.core.histogram import SIZE
from gateway.core.readings import HistogramReading, Reading, histogram_reading
from gateway.protocol.modbus.polling import Poller

METRICS: tuple[tuple[str, str, str], ...] = (
    ("fieldgate_modbus_requests_total", "counter", "Requests sent."),
    ("fieldgate_modbus_responses_total", "counter", "Replies that answered a request, exceptions among them."),
    ("fieldgate_modbus_timeouts_total", "counter", "Requests without a reply within the response timeout."),
    ("fieldgate_modbus_exceptions_total", "counter", "Exception replies, by code."),
    ("fieldgate_modbus_reply_errors_total", "counter", "Replies that did not fit their request."),
    ("fieldgate_modbus_stray_replies_total", "counter", "Replies to no request under way: late, or never asked for."),
    ("fieldgate_modbus_protocol_errors_total", "counter", "Connections closed because the bytes were not Modbus TCP."),
    ("fieldgate_modbus_late_polls_total", "counter", "Polls left out because the link was busy."),
    ("fieldgate_modbus_skipped_polls_total", "counter", "Polls left out, by reason: inbox full, or block failing."),
    ("fieldgate_modbus_unchanged_samples_total", "counter", "Readings not passed on: report by exception."),
    ("fieldgate_modbus_connects_total", "counter", "Connections made."),
    ("fieldgate_modbus_failed_connects_total", "counter", "Connections not made, or lost."),
    ("fieldgate_modbus_connected", "gauge", "1 while connected."),
    ("fieldgate_modbus_bus_silent", "gauge", "1 while none of the units (two or more) behind the link answers."),
    ("fieldgate_modbus_blocks", "gauge", "Read requests that the link's tags were merged into."),
    ("fieldgate_modbus_device_up", "gauge", "1 while the link is connected and the device's unit answers."),
    ("fieldgate_modbus_discarded_bytes_total", "counter", "Bytes on a serial line that belonged to no frame."),
    ("fieldgate_modbus_errands_total", "counter", "Requests sent out of turn: writes, identification."),
    ("fieldgate_modbus_errands_refused_total", "counter", "Requests out of turn refused: too many waited."),
    ("fieldgate_modbus_round_trip_seconds", "histogram", "From request sent to reply complete."),
)


class Counts:
    """Of one link, over all its connections."""

    def __init__(self) -> None:
        self.requests = 0
        self.responses = 0
        self.errands = 0
        self.reply_errors = 0
        self.protocol_errors = 0
        self.connects = 0
        self.failed_connects = 0
        self.unchanged = 0
        self.exceptions: Counter[int] = Counter()
        self.round_trips = np.zeros(SIZE, np.int64)

    def readings(self, name: str) -> Iterator[Reading | HistogramReading]:
        link = ("link", name)
        labels = (link,)
        yield Reading("fieldgate_modbus_requests_total", self.requests, labels)
        yield Reading("fieldgate_modbus_responses_total", self.responses, labels)
        for code, count in list(self.exceptions.items()):
            yield Reading("fieldgate_modbus_exceptions_total", count, (link, ("code", str(code))))
        yield Reading("fieldgate_modbus_reply_errors_total", self.reply_errors, labels)
        yield Reading("fieldgate_modbus_protocol_errors_total", self.protocol_errors, labels)
        yield Reading("fieldgate_modbus_unchanged_samples_total", self.unchanged, labels)
        yield Reading("fieldgate_modbus_connects_total", self.connects, labels)
        yield Reading("fieldgate_modbus_failed_connects_total", self.failed_connects, labels)
        yield Reading("fieldgate_modbus_errands_total", self.errands, labels)
        yield histogram_reading("fieldgate_modbus_round_trip_seconds", self.round_trips, labels)


def polled(name: str, poller: Poller) -> Iterator[Reading]:
    """What the schedule itself counts."""
    link = ("link", name)
    labels = (link,)
    yield Reading("fieldgate_modbus_timeouts_total", poller.timeouts, labels)
    yield Reading("fieldgate_modbus_stray_replies_total", poller.strays, labels)
    yield Reading("fieldgate_modbus_late_polls_total", poller.late, labels)
    for reason, count in (("inbox full", poller.skipped_held_back), ("failing", poller.skipped_failing)):
        yield Reading("fieldgate_modbus_skipped_polls_total", count, (link, ("reason", reason)))
    yield Reading("fieldgate_modbus_blocks", sum(len(unit.polls) for unit in poller.units.values()), labels)
