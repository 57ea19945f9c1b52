"""Faults that no tag shows by itself: a simulated pump under changing load, seen by its device's multivariate score.

A history is five tags at one sample a second. After `FAULT_AT_S` either nothing goes wrong, or the flow meter begins to
read less, or the pump begins to lose efficiency, by a tenth within ten minutes. The engine plays it as it would live.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gateway.core.alarms import AlarmDefinition, AlarmKind
from gateway.core.engine import Engine
from gateway.core.model import DeviceDefinition, Model, TagDefinition
from gateway.core.types import NS_PER_S, SAMPLE, Float64s, Kind, Samples
from hil.plants.pump import Pump

TAGS = ("speed", "flow", "head", "power", "motor")
NOISE = np.array([2.0, 0.4, 0.08, 0.05, 0.15])
"""Standard deviations of the meters: 1/min, m³/h, m, kW, K."""

FAULTS: dict[str, tuple[float, str]] = {"flow_error": (-0.1, "flow"), "wear": (0.1, "power")}
"""What goes wrong by how much, and the tag that should be named."""

ALARM_AT = 0.8
FAULT_AT_S = 20_000
FAULT_GROWS_S = 600
PLAYED_S = 24_000


class Played(NamedTuple):
    """By second: multivariate score, place of the tag named first (-1 for none), and each tag's own highest score."""

    score: Float64s
    first: Float64s
    single: Float64s


def history(seed: int, fault: str | None, seconds: int = PLAYED_S) -> Float64s:
    """[seconds, tags]: speed and valves move to new places every few minutes."""
    rng = np.random.default_rng(seed)
    pump = Pump(speed=0.85)
    valves, valves_to, speed, speed_to = 0.7, 0.7, 0.85, 0.85
    out = np.zeros((seconds, len(TAGS)))
    for second in range(seconds):
        if second % 60 == 0:
            valves_to = rng.uniform(0.4, 1.0) if rng.random() < 0.2 else valves_to
            speed_to = rng.uniform(0.7, 1.0) if rng.random() < 0.2 else speed_to
        valves = min(max(valves + 0.02 * (valves_to - valves) + 0.003 * rng.normal(), 0.3), 1.0)
        speed += 0.02 * (speed_to - speed)
        if fault is not None and second >= FAULT_AT_S:
            size = FAULTS[fault][0] * min(1.0, (second - FAULT_AT_S) / FAULT_GROWS_S)
            pump = replace(pump, **{fault: size})
        pump = pump.step(1.0, speed, valves)
        out[second] = np.array(pump.measured) + NOISE * rng.normal(size=len(TAGS))
    return out


def pump_engine() -> Engine:
    alarm = AlarmDefinition(AlarmKind.MULTIVARIATE, ALARM_AT, deadband=0.2 * ALARM_AT)
    tags = tuple(
        TagDefinition(f"pump.{name}", 0, Kind.F64, "", 5 * NS_PER_S, (60 * NS_PER_S,), (alarm,) if place == 0 else ())
        for place, name in enumerate(TAGS)
    )
    device = DeviceDefinition("pump", "", tuple(range(len(TAGS))))
    return Engine(Model((device,), tags), aggregates_every_ns=0, samples_every_ns=0, streams=frozenset())


def play(values: Float64s, engine: Engine) -> Played:
    """The engine over a history, with what it told each second."""
    rows = np.arange(len(TAGS), dtype=np.int32)
    batch: Samples = np.zeros(len(TAGS), SAMPLE)
    batch["row"], batch["quality"] = rows, 192
    score, first = np.full(len(values), np.nan), np.full(len(values), -1.0)
    single = np.zeros((len(values), len(TAGS)))
    for second, now in enumerate(values):
        now_ns = (1_000 + second) * NS_PER_S
        batch["source_ns"] = batch["arrival_ns"] = now_ns
        batch["value"] = now
        engine.step(now_ns, batch)
        record = engine.state.multivariate.records[0]
        live = engine.view.live(rows)
        score[second], first[second] = record["score"], record["row_first"]
        single[second] = np.fmax(live["score"], live["persistent"])
    return Played(score, first, single)
