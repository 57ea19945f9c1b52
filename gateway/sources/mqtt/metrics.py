"""What MQTT sessions count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.core.readings import Reading
from gateway.protocol.mqtt.ingest import Ingest
from gateway.settings.schema import Priority
from gateway.sources.mqtt import sparkplug

OWN_METRICS: Final[tuple[tuple[str, str, str], ...]] = (
    ("fieldgate_mqtt_messages_total", "counter", "Messages received from the broker."),
    ("fieldgate_mqtt_fast_messages_total", "counter", "Messages decoded on the fast path."),
    ("fieldgate_mqtt_slow_messages_total", "counter", "Messages that needed the slow path."),
    ("fieldgate_mqtt_samples_total", "counter", "Samples put into the lane."),
    ("fieldgate_mqtt_received_bytes_total", "counter", "Bytes received from the broker."),
    ("fieldgate_mqtt_unusable_messages_total", "counter", "Messages with at least one wanted value that is unusable."),
    ("fieldgate_mqtt_unknown_topic_messages_total", "counter", "Messages of topics that no tag names."),
    ("fieldgate_mqtt_duplicate_messages_total", "counter", "QoS 2 messages received again before their release."),
    ("fieldgate_mqtt_repeated_messages_total", "counter", "Durable messages of QoS 1 that came again, left out."),
    (
        "fieldgate_mqtt_unidentified_messages_total",
        "counter",
        "Durable messages of QoS 1 without a time or sequence: taken at least once, as they came.",
    ),
    ("fieldgate_mqtt_times_refused_total", "counter", "Messages whose own time was too far from their arrival."),
    ("fieldgate_mqtt_unknown_readings_total", "counter", "Readings in arrays and SenML whose name no tag has."),
    ("fieldgate_mqtt_unchanged_samples_total", "counter", "Samples not passed on: report by exception."),
    ("fieldgate_mqtt_sums_ignored_total", "counter", "Sums of SenML records, which nothing is made of."),
    ("fieldgate_mqtt_reconnects_total", "counter", "Connections made after the first one."),
    ("fieldgate_mqtt_connected", "gauge", "1 while the session with the broker is up."),
    ("fieldgate_mqtt_paused_seconds_total", "counter", "Time for which reading was held back for want of room."),
)
SHED: Final = "fieldgate_mqtt_shed_messages_total"
METRICS: Final = (
    *OWN_METRICS,
    (SHED, "counter", "Messages of QoS 0 left out because they came too fast, by priority."),
    *sparkplug.METRICS,
)


def of_ingest(ingest: Ingest, unchanged: int, own: tuple[float, float, float], link: str) -> Iterator[Reading]:
    """`own` are what the source itself knows: connections after the first, whether it is up, seconds paused."""
    labels = (("link", link),)
    values = (
        ingest.messages,
        ingest.fast_messages,
        ingest.slow_messages,
        ingest.samples,
        ingest.received_bytes,
        ingest.unusable_messages,
        ingest.unknown_topic_messages,
        ingest.duplicate_messages,
        ingest.repeated_messages,
        ingest.unidentified_messages,
        ingest.times_refused,
        ingest.unknown_readings,
        unchanged,
        ingest.sums_ignored,
        *own,
    )
    for (name, _, _), value in zip(OWN_METRICS, values, strict=True):
        yield Reading(name, value, labels)
    for priority, count in zip(Priority, ingest.shed_of, strict=True):
        yield Reading(SHED, count, (*labels, ("priority", priority)))
