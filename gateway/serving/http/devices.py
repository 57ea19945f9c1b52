"""The list of devices, worst first."""

from __future__ import annotations

import numpy as np

from gateway.core.directory import Directory
from gateway.core.types import QUALITY_GOOD_MIN
from gateway.serving.http.search import Finder
from gateway.serving.http.status import DevicePage, DeviceStatus, Plant
from gateway.serving.http.values import alarm_words, number, quality_status


def device_page(plant: Plant | None, finder: Finder, *, search: str, offset: int, limit: int) -> DevicePage:
    """Worst quality first, then those in alarm, then in the file's order, those that appeared last."""
    if plant is None:
        return DevicePage(total=0, offset=offset, good=0, devices=())
    rolled = plant.plant_view.devices()
    matching = finder.devices(plant.directory, search)
    part = rolled[matching]
    order = np.lexsort((matching, part["alarms"] == 0, part["quality"]))
    chosen = matching[order[offset : offset + limit]]
    return DevicePage(
        total=len(matching),
        offset=offset,
        good=int((part["quality"] >= QUALITY_GOOD_MIN).sum()),
        devices=tuple(
            status
            for index in chosen.tolist()
            if (status := _device_status(plant.directory, index, rolled[index])) is not None
        ),
    )


def _device_status(directory: Directory, index: int, rolled: np.void) -> DeviceStatus | None:
    """None when the device is gone meanwhile."""
    device = directory.devices[index]
    if device is None:
        return None
    score = number(rolled["score"])
    score_tag = directory.tag_name(int(rolled["score_row"]))
    has_score = score is not None and score_tag != ""
    return DeviceStatus(
        name=device.name,
        link=device.link,
        quality=quality_status(int(rolled["quality"])),
        tags_good=int(rolled["tags_good"]),
        tags=int(rolled["tags"]),
        samples=int(rolled["samples"]),
        score=score if has_score else None,
        score_tag=score_tag if has_score else None,
        alarms=alarm_words(int(rolled["alarms"])),
    )
