"""Which tags of a link are clamped or reported by exception."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gateway.protocol.mqtt.report import Report, Ruled
from gateway.settings.planning import deadband_of
from gateway.settings.schema import MqttPoint, Tag


def report_of(tags: Sequence[tuple[int, Tag]]) -> Report | None:
    """None when everything is passed on as it is."""
    ruled = []
    for row, tag in tags:
        point = tag.point
        assert isinstance(point, MqttPoint)
        if point.report is not None or point.clamp_low is not None or point.clamp_high is not None:
            low = -math.inf if point.clamp_low is None else point.clamp_low
            high = math.inf if point.clamp_high is None else point.clamp_high
            deadband = None if point.report is None else deadband_of(point.report)
            ruled.append(Ruled(row, tag.kind, deadband, low, high))
    return Report(ruled) if ruled else None
