"""Small plants and batches for tests of the engine."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gateway.core.alarms import KINDS, AlarmDefinition
from gateway.core.engine import Engine
from gateway.core.limits import GRID_NS
from gateway.core.model import DeviceDefinition, Model, TagDefinition
from gateway.core.record import Stream
from gateway.core.types import NS_PER_S, SAMPLE, Kind, Samples

T0 = 1_000 * NS_PER_S
MINUTE_NS = 60 * NS_PER_S


def alarms(**limits: float) -> tuple[AlarmDefinition, ...]:
    """Alarms by the words of their kinds, without deadband or delay."""
    kinds = {row.word: kind for kind, row in KINDS.items()}
    return tuple(AlarmDefinition(kinds[word], limit) for word, limit in limits.items())


def tag(name: str = "pump.flow", device: int = 0, **changes: object) -> TagDefinition:
    known: dict[str, object] = {
        "kind": Kind.F64,
        "unit": "l/s",
        "stale_after_ns": 5 * NS_PER_S,
        "windows_ns": (MINUTE_NS,),
    }
    return TagDefinition(name, device, **(known | changes))  # type: ignore[arg-type]


def model(*tags: TagDefinition, panes: int = 30) -> Model:
    devices = 1 + max(one.device for one in tags)
    return Model(tuple(DeviceDefinition(f"device{d}", "link") for d in range(devices)), tags, panes)


def engine(*tags: TagDefinition, panes: int = 30, streams: Iterable[Stream] = ()) -> Engine:
    return Engine(
        model(*tags, panes=panes),
        aggregates_every_ns=NS_PER_S,
        samples_every_ns=GRID_NS,
        streams=frozenset(streams),
    )


def batch(*samples: tuple[int, int, int, int, float]) -> Samples:
    """Of (row, quality, source_ns, arrival_ns, value)."""
    out: Samples = np.zeros(len(samples), SAMPLE)
    for place, (row, quality, source_ns, arrival_ns, value) in enumerate(samples):
        out[place]["row"] = row
        out[place]["quality"] = quality
        out[place]["source_ns"] = source_ns
        out[place]["arrival_ns"] = arrival_ns
        out[place]["value"] = value
    return out


def one(time_ns: int, value: float, row: int = 0, quality: int = 192) -> Samples:
    return batch((row, quality, time_ns, time_ns, value))
