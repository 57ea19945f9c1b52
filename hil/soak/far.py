"""The soak's far end: a receiver that counts the readings of the floor and keeps records without their columns.

An hour's columns would be 26 GB; what the books need is who a record is and what it accounts for.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from gateway.protocol.records.form import read
from gateway.receiver import Offer, Receiver

FLOOR = "floor-"
COLUMNS = frozenset(("tag", "time_ns", "value", "quality", "integer", "labels", "context"))


class Far(Receiver):
    """`readings` are those of the floor in records that were new."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.readings = 0

    def accept(self, payload: bytes, content_type: str = "", content_coding: str = "") -> Offer:
        record = read(payload, content_type, content_coding)
        offer = super().accept(msgspec.json.encode({key: one for key, one in record.items() if key not in COLUMNS}))
        if offer is not Offer.DUPLICATE and record["stream"] == "samples" and "tag" in record:
            is_floor = np.array([name.startswith(FLOOR) for name in record["tags"]])
            self.readings += int(is_floor[record["tag"]].sum())
        return offer
