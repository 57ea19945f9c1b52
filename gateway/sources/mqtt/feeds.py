"""What a tag is to the ingest lane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.protocol.mqtt.table import NORMAL_PRIORITY, Feed
from gateway.settings.schema import MqttPoint, Priority, Tag

PRIORITY: Final = {Priority.LOW: 0, Priority.NORMAL: NORMAL_PRIORITY, Priority.HIGH: 2}


def feed_of(row: int, tag: Tag) -> Feed:
    point = tag.point
    assert isinstance(point, MqttPoint)
    # By place: named, a hundred thousand of them take five times as long.
    return Feed(
        point.topic, row, tag.device, tag.kind, point.field, point.time_field, point.sequence_field, point.qos,
        PRIORITY[point.priority], point.scale, point.offset, point.form, point.name, point.quality_field, point.at,
        point.wire,
    )  # fmt: skip


def keeps_session(feeds: Sequence[Feed]) -> bool:
    assured = [feed for feed in feeds if feed.qos]
    return bool(assured) and all(feed.time_field for feed in assured)
