"""A plant with some of everything, and cycles for it that follow from a seed alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from gateway.core.alarms import AlarmDefinition, AlarmKind
from gateway.core.calculations import CalculationDefinition, Function, Output, Span
from gateway.core.cycle import Cycle, Influence, Noted, Taught
from gateway.core.events import Event, Severity
from gateway.core.formulaparser import parse_formula
from gateway.core.record import Stamp, Stream
from gateway.core.spec import EngineSpec
from gateway.core.teaching import Excuse, Hold, Learn, Lesson, Maintain, Reference
from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Kind, Samples
from tests.support.engine import T0, model, tag

CYCLE_NS = 10 * NS_PER_MS
FORMULAS = {
    "v.sum": ("'d0.t0' + 'd0.t1' / ('d0.t3' - 50)", 0),
    "v.mean": ("mean('d0.t6', 1min) - default('d0.t2', 40)", 0),
    "v.all": ("max('*') - min('*')", 500 * NS_PER_MS),
    "v.power": ("if('v.sum' > 60, 'v.sum' * 'v.mean', 'v.all')", 0),
}
MINUTE_NS = 60 * NS_PER_S
OUTPUTS = tuple(
    Output(of.name.lower(), of) for of in (Function.MEAN, Function.TIME_MEAN, Function.INTEGRAL, Function.SLOPE)
)
CALCULATIONS = (
    CalculationDefinition("second", Span.TUMBLING, OUTPUTS, length_ns=NS_PER_S, late_ns=20 * NS_PER_MS, corrects=True),
    CalculationDefinition("hop", Span.HOPPING, OUTPUTS, length_ns=2 * NS_PER_S, hop_ns=500 * NS_PER_MS, corrects=True),
    CalculationDefinition(
        "median", Span.TUMBLING, (Output("p50", Function.QUANTILE, 0.5),), length_ns=NS_PER_S, ring_samples=64
    ),
    CalculationDefinition("burst", Span.SESSION, OUTPUTS, gap_ns=200 * NS_PER_MS, corrects=True),
    CalculationDefinition("day", Span.CALENDAR, OUTPUTS, calendar="day"),
)
REFERENCE = Reference(
    anchor=50.0, base=0.1, level_spread=0.3, drift_spread=0.1, noise_base=1.0, noise_spread=0.2, still_ns_max=1e9,
    hours=(None, *(0.5,) * 23),
)  # fmt: skip


def plant(tags: int = 40, *, streams: tuple[Stream, ...] = tuple(sorted(Stream)), limit: float = 52.5) -> EngineSpec:
    """Several kinds, windows and alarms; each tenth tag has an alarm that the last one suppresses, each tenth from the
    sixth on a shape score, and alarms of its scores, each tenth from the third on calculations, each tenth from the
    ninth on what reference tables say. Some are virtual."""
    definitions = []
    last = f"d{(tags - 1) // 10}.t{tags - 1}"
    for row in range(tags):
        name = f"d{row // 10}.t{row}"
        alarms: tuple[AlarmDefinition, ...] = (AlarmDefinition(AlarmKind.HIGH, limit, deadband=0.5),)
        if row % 10 == 0:
            alarms += (AlarmDefinition(AlarmKind.LOW, 47.0, on_delay_ns=200 * NS_PER_MS, unless=last),)
        if has_shape := row % 10 == 5:
            of_scores = (AlarmKind.SCORE, AlarmKind.PERSISTENT)
            alarms += tuple(AlarmDefinition(of, 0.5, deadband=0.1) for of in of_scores)
        windows = ((2 * NS_PER_S, MINUTE_NS), (MINUTE_NS,), ())[row % 3]
        kind = Kind.I64 if row % 7 == 3 else Kind.F64
        definitions.append(
            tag(
                name, row // 10, kind=kind, windows_ns=windows, alarms=alarms, stale_after_ns=NS_PER_S, valid_high=80.0,
                has_shape=has_shape, calculations=CALCULATIONS if row % 10 == 2 else (),
                context=(("asset", f"P-{row}"),) if row % 10 == 8 else (),
                curve=((0.0, 0.2), (50.0, 49.1), (100.0, 100.4)) if row % 10 == 8 else (),
            )
        )  # fmt: skip
    names = [one.name for one in definitions]
    for name, (text, every_ns) in FORMULAS.items():
        formula = parse_formula(text, lambda word, is_pattern: names[:9] if is_pattern else (word,), every_ns)
        definitions.append(
            tag(name, 0, windows_ns=(2 * NS_PER_S,), formula=formula, alarms=(AlarmDefinition(AlarmKind.HIGH, limit),))
        )
    of = model(*definitions, panes=12)
    # Every second device's first tags are scored together; they lie across the border of two shares.
    devices = tuple(
        dataclasses.replace(device, together=tuple(range(10 * number + 4, 10 * number + 8)) if number % 2 else ())
        for number, device in enumerate(of.devices)
    )
    of = dataclasses.replace(of, devices=devices)
    return EngineSpec(of, aggregates_every_ns=NS_PER_S, samples_every_ns=100 * NS_PER_MS, streams=streams)


def lessons_of(number: int) -> tuple[Lesson, ...]:
    """What operators teach in this cycle."""
    if number in (300, 900):
        return (Maintain("device1", number == 300, "anna"), Excuse("d0.t5", number / 100, 1.5, "anna"))
    if number in (320, 940):
        return (Learn("d0.t6", number == 320, "anna"),)
    if number in (350, 1_200):
        return (Hold("d0.t4", REFERENCE if number == 350 else None, "anna"), Hold("d2.t22", REFERENCE, "anna"))
    return ()


def cycle_of(seed: int, number: int, tags: int = 40, samples_max: int = 60) -> Cycle:
    """Cycle `number`: samples in no order, some late, bad, out of range or silent, and now and then an event."""
    rng = np.random.default_rng((seed, number))
    now_ns = T0 + number * CYCLE_NS
    # A third of the tags is silent for two seconds out of ten.
    speaking = np.arange(tags)
    if number // 200 % 5 == 0:
        speaking = speaking[speaking % 3 != 0]
    count = int(rng.integers(0, samples_max + 1)) if number % 17 else 0
    batch: Samples = np.zeros(count, SAMPLE)
    batch["row"] = rng.choice(speaking, count)
    batch["quality"] = rng.choice([192, 192, 192, 192, 192, 192, 24, 64], count)
    batch["arrival_ns"] = now_ns - rng.integers(0, CYCLE_NS, count)
    batch["source_ns"] = batch["arrival_ns"] - rng.integers(0, 50 * NS_PER_MS, count)
    values = rng.normal(50.0, 1.0, count) + 4.0 * np.sin(number / 300.0)
    values[rng.random(count) < 0.01] = rng.choice([np.nan, np.inf, 1e12, 90.0])
    whole = batch["row"] % 7 == 3
    batch["value"] = values
    batch["bits"][whole] = np.nan_to_num(values[whole], nan=0.0, posinf=0.0).astype(np.int64)
    influences: tuple[Influence, ...] = ()
    if lessons := lessons_of(number):
        influences = (Taught(lessons, afresh=False),)
    if rng.random() < 0.02:
        event = Event(now_ns, Severity.NOTICE, "link.up", "plc", f"connected for the {number}th time")
        influences += (Noted(event),)
    stamp = Stamp(10**18 + number * 1_000, number % 1000 > 100)
    return Cycle(number, now_ns, batch, influences, stamp, {"plc": number})


def cycles(seed: int, first: int, last: int, tags: int = 40) -> Iterator[Cycle]:
    for number in range(first, last + 1):
        yield cycle_of(seed, number, tags)
