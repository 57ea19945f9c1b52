"""The plant in a handful of numbers, for alerts that hold whatever the plant's size: one series a quality, not a tag.

Links tell their own state; what no link tells is that a device has gone stale (an MQTT sensor that stopped) and that
the clock which stamps the records cannot be believed. Of scores there are sums, and by name only the few highest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from gateway.core.directory import Directory
from gateway.core.readings import Reading
from gateway.core.state import FLAG_MAINTENANCE
from gateway.core.types import QUALITY_GOOD_MIN, QUALITY_UNCERTAIN_MIN, Float64s, Samples
from gateway.core.view import REASONS
from gateway.serving.http.metrics import MetricTable
from gateway.serving.http.status import StatusSource

METRICS: MetricTable = (
    ("fieldgate_plant_devices", "gauge", "Devices by quality: good, uncertain (stale tags among them) or bad."),
    ("fieldgate_plant_tags", "gauge", "Tags by whether their quality is good."),
    ("fieldgate_plant_alarms", "gauge", "Devices with a tag in alarm."),
    ("fieldgate_plant_scores_high", "gauge", "Devices whose score is 0.5 or more: event, persistent or multivariate."),
    ("fieldgate_plant_score_reasons", "gauge", "Devices with a tag whose scores tell this reason."),
    ("fieldgate_plant_devices_in_maintenance", "gauge", "Devices whose scores learn and raise no alarm."),
    ("fieldgate_device_score", "gauge", "The highest scores of 0.5 or more, at most 20 of each kind, by device."),
    ("fieldgate_clock_synchronised", "gauge", "1 while the kernel says that the wall clock is disciplined."),
)

HIGH_AT: Final = 0.5
NAMED_MAX: Final = 20
"""Devices named for each kind of score. Overflow: the lower ones are in the sum only."""


class Overview:
    def __init__(self, source: StatusSource) -> None:
        self._source = source

    def readings(self) -> Iterator[Reading]:
        yield Reading("fieldgate_clock_synchronised", int(self._source.health().wall_is_synchronised))
        plant = self._source.plant()
        if plant is None:
            return
        devices = plant.plant_view.devices()
        levels = np.digitize(devices["quality"], (QUALITY_UNCERTAIN_MIN, QUALITY_GOOD_MIN))
        for level, count in enumerate(np.bincount(levels, minlength=3)):
            yield Reading("fieldgate_plant_devices", int(count), (("quality", ("bad", "uncertain", "good")[level]),))
        good, tags = int(devices["tags_good"].sum()), int(devices["tags"].sum())
        yield Reading("fieldgate_plant_tags", good, (("good", "yes"),))
        yield Reading("fieldgate_plant_tags", tags - good, (("good", "no"),))
        yield Reading("fieldgate_plant_alarms", int(np.count_nonzero(devices["alarms"])))
        yield from of_scores(plant.directory, devices, plant.plant_view.multivariate())


def of_scores(directory: Directory, devices: Samples, together: Samples) -> Iterator[Reading]:
    """Sums, reasons, and the highest scores by name. `devices` are DEVICE records, `together` MULTIVARIATE ones."""
    multivariate = np.full(len(devices), np.nan)
    multivariate[together["device"]] = together["score"]
    scores = {"event": devices["score"], "persistent": devices["persistent"], "multivariate": multivariate}
    for kind, score in scores.items():
        yield Reading("fieldgate_plant_scores_high", int(np.count_nonzero(score >= HIGH_AT)), (("score", kind),))
    for bit, word in REASONS.items():
        count = int(np.count_nonzero(devices["reasons"] & bit))
        yield Reading("fieldgate_plant_score_reasons", count, (("reason", word),))
    maintained = int(np.count_nonzero(devices["flags"] & FLAG_MAINTENANCE))
    yield Reading("fieldgate_plant_devices_in_maintenance", maintained)
    for kind, score in scores.items():
        for number in highest(score):
            if (device := directory.devices[number]) is not None:
                labels = (("device", device.name), ("score", kind))
                yield Reading("fieldgate_device_score", float(score[number]), labels)


def highest(score: Float64s) -> list[int]:
    """The places of the highest scores."""
    high = np.flatnonzero(score >= HIGH_AT)
    order = np.argsort(-score[high], kind="stable")
    found: list[int] = high[order[:NAMED_MAX]].tolist()
    return found
