"""The devices' page of the API: rolled up, those that need attention first, with what their tags say together."""

from __future__ import annotations

import numpy as np

from gateway.core.announce import contributors
from gateway.core.model import Model
from gateway.core.state import FLAG_MAINTENANCE
from gateway.core.types import QUALITY_GOOD_MIN
from gateway.serving.http.search import Finder
from gateway.serving.http.status import Contributor, DevicePage, DeviceStatus, MultivariateStatus, Plant
from gateway.serving.http.values import alarm_words, number, quality_status


def device_page(plant: Plant | None, finder: Finder, *, search: str, offset: int, limit: int) -> DevicePage:
    """Worst quality first, then those in alarm, then in the file's order."""
    if plant is None:
        return DevicePage(total=0, offset=offset, good=0, devices=())
    rolled = plant.plant_view.devices()
    matching = finder.devices(plant.model, search)
    part = rolled[matching]
    order = np.lexsort((matching, part["alarms"] == 0, part["quality"]))
    chosen = matching[order[offset : offset + limit]]
    scores = {int(record["device"]): record for record in plant.plant_view.multivariate()}
    return DevicePage(
        total=len(matching),
        offset=offset,
        good=int((part["quality"] >= QUALITY_GOOD_MIN).sum()),
        devices=tuple(
            _device_status(plant.model, int(index), rolled[index], scores.get(int(index))) for index in chosen
        ),
    )


def _device_status(model: Model, index: int, rolled: np.void, together: np.void | None) -> DeviceStatus:
    score = number(rolled["score"])
    row = int(rolled["score_row"])
    has_score = score is not None and 0 <= row < len(model.tags)
    return DeviceStatus(
        name=model.devices[index].name,
        link=model.devices[index].link,
        quality=quality_status(int(rolled["quality"])),
        tags_good=int(rolled["tags_good"]),
        tags=int(rolled["tags"]),
        samples=int(rolled["samples"]),
        score=score if has_score else None,
        score_tag=model.tags[row].name if has_score else None,
        multivariate=None if together is None else _multivariate_status(model, together),
        in_maintenance=bool(int(rolled["flags"]) & FLAG_MAINTENANCE),
        alarms=alarm_words(int(rolled["alarms"])),
    )


def _multivariate_status(model: Model, record: np.void) -> MultivariateStatus:
    device = model.devices[int(record["device"])].name
    return MultivariateStatus(
        score=number(record["score"]),
        score_once_h=number(record["once_h"]),
        contributors=tuple(
            Contributor(tag=model.tags[row].name.removeprefix(f"{device}."), share=share)
            for row, share in contributors(record)
        ),
    )
