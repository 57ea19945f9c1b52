"""Faults that no tag shows by itself: a simulated pump under changing load, seen by its device's multivariate score.

A history is five tags at one sample a second. After `FAULT_AT_S` either nothing goes wrong, or the flow meter begins to
read less, or the pump begins to lose efficiency, by a tenth within ten minutes. The engine plays it as it would live.

Flow and head hang on one another by the pump's curve, and only power tells which of the two is wrong. Where power
hardly changes with flow it tells neither: `observer` says how often it does not.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gateway.core.alarms import AlarmDefinition, AlarmKind
from gateway.core.engine import Engine
from gateway.core.model import DeviceDefinition, Model, TagDefinition
from gateway.core.types import NS_PER_S, SAMPLE, Float64s, Kind, Samples
from gateway.runtime.benches.observer import whose_error
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
    """By second: multivariate score, places of the tags named first and second (-1 for none), and each tag's own
    highest score."""

    score: Float64s
    first: Float64s
    second: Float64s
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
    score, first, second = np.full(len(values), np.nan), np.full(len(values), -1.0), np.full(len(values), -1.0)
    single = np.zeros((len(values), len(TAGS)))
    for at_s, now in enumerate(values):
        now_ns = (1_000 + at_s) * NS_PER_S
        batch["source_ns"] = batch["arrival_ns"] = now_ns
        batch["value"] = now
        engine.step(now_ns, batch)
        record = engine.state.multivariate.records[0]
        live = engine.view.live(rows)
        score[at_s], first[at_s], second[at_s] = record["score"], record["row_first"], record["row_second"]
        single[at_s] = np.fmax(live["score"], live["persistent"])
    return Played(score, first, second, single)


def disagreement_figures(seeds: Sequence[int]) -> list[dict[str, object]]:
    """Alarms while nothing is wrong; how soon a fault that no tag shows is told, and of whom."""
    rows: list[dict[str, object]] = []
    for fault in (None, *FAULTS):
        histories = [history(seed, fault) for seed in seeds]
        played = [play(values, pump_engine()) for values in histories]
        on = [np.nan_to_num(one.score) >= ALARM_AT for one in played]
        before = [part[:FAULT_AT_S] if fault else part for part in on]
        scored_s = sum(int((~np.isnan(one.score[: len(part)])).sum()) for one, part in zip(played, before, strict=True))
        row: dict[str, object] = {
            "fault": fault or "none",
            "seeds": len(seeds),
            "hours_without_fault": round(scored_s / 3_600, 1),
            "false_alarms": sum(int((part[1:] & ~part[:-1]).sum()) for part in before),
        }
        if fault is not None:
            row |= told_of(fault, histories, played)
        rows.append(row)
    return rows


def told_of(fault: str, histories: Sequence[Float64s], played: Sequence[Played]) -> dict[str, object]:
    """How soon the fault was told, and whose it was said to be; beside it what the pump's equations say just then."""
    right = FAULTS[fault][1]
    delays, first, in_two, by_equations, named = [], 0, 0, 0, []
    for values, one in zip(histories, played, strict=True):
        on = np.nan_to_num(one.score[FAULT_AT_S:]) >= ALARM_AT
        if not on.any():
            continue
        delays.append(int(np.argmax(on)))
        at_s = FAULT_AT_S + delays[-1]
        two = [TAGS[int(one.first[at_s])], TAGS[int(one.second[at_s])]]
        first += two[0] == right
        in_two += right in two
        by_equations += whose_error(values[: at_s + 1], NOISE) == right
        named.append(one.first[FAULT_AT_S:][on])
    return {
        "recall": round(len(delays) / len(histories), 3),
        "delay_s_median": statistics.median(delays) if delays else None,
        "delay_s_max": max(delays, default=None),
        "right_tag_first_at_the_alarm": first,
        "right_tag_by_the_pumps_equations": by_equations,
        "right_tag_in_first_two": in_two,
        "right_tag_first_share_of_time": round(float(np.mean(np.concatenate(named) == TAGS.index(right))), 3),
    }
