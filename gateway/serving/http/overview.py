"""The plant in a handful of numbers, for alerts that hold whatever the plant's size: one series a quality, not a tag.

Links tell their own state; what no link tells is that a device has gone stale (an MQTT sensor that stopped) and that
the clock which stamps the records cannot be believed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gateway.core.readings import Reading
from gateway.core.types import QUALITY_GOOD_MIN, QUALITY_UNCERTAIN_MIN
from gateway.serving.http.metrics import MetricTable
from gateway.serving.http.status import StatusSource

METRICS: MetricTable = (
    ("fieldgate_plant_devices", "gauge", "Devices by quality: good, uncertain (stale tags among them) or bad."),
    ("fieldgate_plant_tags", "gauge", "Tags by whether their quality is good."),
    ("fieldgate_plant_alarms", "gauge", "Devices with a tag in alarm."),
    ("fieldgate_clock_synchronised", "gauge", "1 while the kernel says that the wall clock is disciplined."),
)


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
