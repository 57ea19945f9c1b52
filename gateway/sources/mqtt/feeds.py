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
    return Feed(
        topic=point.topic,
        row=row,
        device=tag.device,
        kind=tag.kind,
        field=point.field,
        time_field=point.time_field,
        sequence_field=point.sequence_field,
        priority=PRIORITY[point.priority],
        qos=point.qos,
        scale=point.scale,
        offset=point.offset,
        form=point.form,
        name=point.name,
        quality_field=point.quality_field,
        at=point.at,
        wire=point.wire,
    )


def keeps_session(feeds: Sequence[Feed]) -> bool:
    assured = [feed for feed in feeds if feed.qos]
    return bool(assured) and all(feed.time_field for feed in assured)
