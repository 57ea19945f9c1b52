"""What a session with a broker does for Sparkplug: the host made from settings, its subscriptions, its counters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from gateway.core.readings import Reading
from gateway.core.symbols import Intern
from gateway.core.types import Int32s
from gateway.protocol.mqtt.codec import Filter
from gateway.protocol.sparkplug.host import Host
from gateway.protocol.sparkplug.nodes import Want
from gateway.protocol.sparkplug.topics import Address, filters_of, state_topic
from gateway.settings.schema import MqttLink, MqttPoint, Tag

METRICS: Final[tuple[tuple[str, str, str], ...]] = (
    ("fieldgate_sparkplug_nodes_alive", "gauge", "Edge nodes whose births are known and whose messages follow."),
    ("fieldgate_sparkplug_births_total", "counter", "NBIRTH and DBIRTH messages taken."),
    ("fieldgate_sparkplug_deaths_total", "counter", "NDEATH and DDEATH messages taken."),
    ("fieldgate_sparkplug_rebirths_asked_total", "counter", "Rebirths asked of edge nodes."),
    ("fieldgate_sparkplug_reordered_messages_total", "counter", "Messages that came late and were put into order."),
    (
        "fieldgate_sparkplug_dropped_messages_total",
        "counter",
        "Messages without a birth, or after a missing one.",
    ),
    ("fieldgate_sparkplug_malformed_messages_total", "counter", "Messages that are no Sparkplug B payload."),
    ("fieldgate_sparkplug_historical_values_total", "counter", "Historical values: into windows, by their own times."),
    (
        "fieldgate_sparkplug_historical_refused_total",
        "counter",
        "Historical values left out: no time of their own, over a year old, or from before the first start.",
    ),
    ("fieldgate_sparkplug_unsupported_values_total", "counter", "Values of types that a tag cannot have."),
    ("fieldgate_sparkplug_unknown_metrics_total", "counter", "Metrics in data messages that no birth has named."),
    ("fieldgate_sparkplug_times_refused_total", "counter", "Values whose own time was too far from their arrival."),
)


def is_sparkplug(tag: Tag) -> bool:
    return isinstance(tag.point, MqttPoint) and bool(tag.point.sparkplug)


def host_of(link: MqttLink, tags: Sequence[tuple[int, Tag]], intern: Intern) -> Host | None:
    """None when the link has nothing to do with Sparkplug."""
    settings = link.session.sparkplug
    if not tags and settings.host_id is None:
        return None
    wants = [_want(row, tag) for row, tag in tags]
    return Host(wants, host_id=settings.host_id, reorder_ns=settings.reorder_ns, intern=intern)


def _want(row: int, tag: Tag) -> Want:
    point = tag.point
    assert isinstance(point, MqttPoint)
    return Want(
        address=Address(*point.sparkplug),
        metric=point.metric,
        row=row,
        tag=tag.name,
        kind=tag.kind,
        scale=point.scale,
        offset=point.offset,
    )


def host_filters(host: Host) -> dict[Filter, tuple[str, Int32s]]:
    """Each subscription with its name and the rows that get nothing without it. Deaths are sent with QoS 1."""
    filters: dict[Filter, tuple[str, Int32s]] = {}
    if host.host_id is not None:
        topic = state_topic(host.host_id)
        filters[Filter(topic, 1)] = topic, np.zeros(0, np.int32)
    for address in host.nodes():
        rows = np.array(host.rows_of(address), np.int32)
        for topic in filters_of(address.group, address.edge):
            filters[Filter(topic, 1 if "/NDEATH/" in topic else 0)] = topic, rows
    return filters


def host_readings(host: Host, labels: tuple[tuple[str, str], ...]) -> Iterator[Reading]:
    values = (
        host.alive,
        host.births,
        host.deaths,
        host.rebirths_asked,
        host.reordered,
        host.dropped,
        host.malformed,
        host.out.historical,
        host.out.historical_refused,
        host.out.unsupported,
        host.unknown_metrics,
        host.out.times_refused,
    )
    for (name, _, _), value in zip(METRICS, values, strict=True):
        yield Reading(name, value, labels)
