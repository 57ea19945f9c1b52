"""Which tags of a link are clamped or reported by exception."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gateway.protocol.mqtt.lender import Lender
from gateway.protocol.mqtt.report import Report, Ruled
from gateway.settings.planning import deadband_of
from gateway.settings.schema import MqttPoint, Tag


def report_of(tags: Sequence[tuple[int, Tag]], lenders: Sequence[Lender] = ()) -> Report | None:
    """None when everything is passed on as it is."""
    ruled = [one for row, tag in tags if (one := ruled_of(row, tag)) is not None]
    lent = [each.terms.rows for each in lenders if any(offer.ruled is not None for offer in each.terms.offers)]
    return Report(ruled, lent) if ruled or lent else None


def ruled_of(row: int, tag: Tag) -> Ruled | None:
    """None when all of it is passed on as it is."""
    point = tag.point
    assert isinstance(point, MqttPoint)
    if point.report is None and point.clamp_low is None and point.clamp_high is None:
        return None
    low = -math.inf if point.clamp_low is None else point.clamp_low
    high = math.inf if point.clamp_high is None else point.clamp_high
    return Ruled(row, tag.kind, None if point.report is None else deadband_of(point.report), low, high)
