"""The devices' page of the API: rolled up, those that need attention first, with what their tags say together."""

from __future__ import annotations

import numpy as np

from gateway.core.announce import contributors
from gateway.core.cells import number
from gateway.core.directory import Directory
from gateway.core.state import FLAG_MAINTENANCE
from gateway.core.types import QUALITY_GOOD_MIN
from gateway.serving.http.search import Finder
from gateway.serving.http.status import DevicePage, DeviceStatus, Plant
from gateway.serving.http.together import Contributor, MultivariateStatus
from gateway.serving.http.values import alarm_words, quality_status


def device_page(plant: Plant | None, finder: Finder, *, search: str, offset: int, limit: int) -> DevicePage:
    """Worst quality first, then those in alarm, then in the file's order, those that appeared last."""
    if plant is None:
        return DevicePage(total=0, offset=offset, good=0, devices=())
    rolled = plant.plant_view.devices()
    matching = finder.devices(plant.directory, search)
    part = rolled[matching]
    order = np.lexsort((matching, part["alarms"] == 0, part["quality"]))
    chosen = matching[order[offset : offset + limit]]
    scores = {int(record["device"]): record for record in plant.plant_view.multivariate()}
    return DevicePage(
        total=len(matching),
        offset=offset,
        good=int((part["quality"] >= QUALITY_GOOD_MIN).sum()),
        devices=tuple(
            status
            for index in chosen.tolist()
            if (status := _device_status(plant.directory, index, rolled[index], scores.get(index))) is not None
        ),
    )


def _device_status(directory: Directory, index: int, rolled: np.void, together: np.void | None) -> DeviceStatus | None:
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
        multivariate=None if together is None else _multivariate_status(directory, device.name, together),
        in_maintenance=bool(int(rolled["flags"]) & FLAG_MAINTENANCE),
        alarms=alarm_words(int(rolled["alarms"])),
    )


def _multivariate_status(directory: Directory, device: str, record: np.void) -> MultivariateStatus:
    return MultivariateStatus(
        score=number(record["score"]),
        score_once_h=number(record["once_h"]),
        contributors=tuple(
            Contributor(tag=directory.tag_name(row).removeprefix(f"{device}."), share=share)
            for row, share in contributors(record)
        ),
    )
