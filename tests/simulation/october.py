"""October 2026 in a plant in Berlin, written down before it happens: what every tag says, and what goes wrong when.

All of it follows from a seed and the hour alone, so an hour that a crash cuts off is played again the same. Each hour
has one fault, over before the hour is, so that what it must give (`Hour.expected`) does not depend on its neighbours.
Times are engine time: it begins at BOOT_NS, when the machine, whose clock then shows 1970, starts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from gateway.core.alarms import AlarmAction, AlarmCommand, AlarmDefinition, AlarmKind
from gateway.core.calculations import CalculationDefinition, Function, Output, Span
from gateway.core.cycle import Influence, Operated, Taught
from gateway.core.model import DeviceDefinition, Model, Pool, TagDefinition
from gateway.core.record import Stamp, Stream
from gateway.core.spec import EngineSpec
from gateway.core.teaching import Maintain
from gateway.core.types import NS_PER_S, RAW_SAMPLE, SAMPLE, Kind, Quality, Samples
from gateway.settings.zones import TimeZone
from tests.support.engine import MINUTE_NS, tag

BERLIN = ZoneInfo("Europe/Berlin")
BOOT_NS = 1_000 * NS_PER_S
HOUR_S = 3_600
HOUR_NS = HOUR_S * NS_PER_S
STALE_NS = 90 * NS_PER_S
DEVICES, TAGS_EACH = 19, 10
"""Those that are always there, which faults are of."""
FAULTED = DEVICES * TAGS_EACH
TOTALLED = range(0, FAULTED, TAGS_EACH)
"""The first tag of each device, of which the oracle knows days and month."""
HIGH = AlarmDefinition(AlarmKind.HIGH, 80.0, deadband=2.0)
BELIEVED = 1e6
GLITCH = 1e12
SET_AFTER_H = 1
"""When the clock of the machine is set, hours after the start."""
GUESTS, ROOMS, MOVING = 24, 10, 4
"""Tags that appear, the rows there are for them, and how many of them change places each hour."""
WORDS = 40

FUNCTIONS = ("count", "sum", "min", "max", "integral")
OUTPUTS = tuple(Output(word, Function[word.upper()]) for word in FUNCTIONS)
CALENDARS = tuple(CalculationDefinition(word, Span.CALENDAR, OUTPUTS, calendar=word) for word in ("day", "month"))
INCREASE = CalculationDefinition("day", Span.CALENDAR, (Output("increase", Function.INCREASE),), calendar="day")


def device_tags(name: str, device: int, count: int) -> list[TagDefinition]:
    """Power with totals, a counter, a value that no range protects, a text or a value, and more values."""
    made = [
        tag(f"{name}.power", device, valid_high=BELIEVED, alarms=(HIGH,), calculations=CALENDARS),
        tag(f"{name}.energy", device, kind=Kind.I64, calculations=(INCREASE,)),
        tag(f"{name}.level", device, alarms=(HIGH,)),
        tag(f"{name}.batch", device, kind=Kind.SYMBOL, windows_ns=()) if device % 5 == 0 else tag(f"{name}.t3", device),
        *(tag(f"{name}.t{k}", device) for k in range(4, 10)),
    ]
    windows = {True: (5 * MINUTE_NS,), False: ()}
    return [
        TagDefinition(
            one.name, device, one.kind, one.unit, STALE_NS, windows[bool(one.windows_ns)], one.alarms, one.calculations,
            valid_high=one.valid_high,
        )
        for one in made[:count]
    ]  # fmt: skip


@lru_cache
def spec(variant: int) -> EngineSpec:
    """0 as built, 1 with two devices more, 2 with one device less."""
    more = (("d19", TAGS_EACH), ("x0", 5), ("x1", 5))[: (1, 3, 0)[variant]]
    names = [*((f"d{number}", TAGS_EACH) for number in range(DEVICES)), *more]
    tags = [one for place, (name, count) in enumerate(names) for one in device_tags(name, place, count)]
    shape = tag("*", windows_ns=(5 * MINUTE_NS,), stale_after_ns=STALE_NS)
    model = Model(
        tuple(DeviceDefinition(name, "plc") for name, _ in names), tuple(tags), 10,
        zone=TimeZone("Europe/Berlin").data(), pools=(Pool("floor", "broker", ROOMS, ROOMS, (shape,)),),
    )  # fmt: skip
    return EngineSpec(model, 5 * MINUTE_NS, MINUTE_NS, tuple(sorted(Stream)))


@dataclass
class Fault:
    """One of an hour: what is done to the device's samples in [begin, end), or to something else."""

    kind: str
    device: int
    begin_ns: int
    end_ns: int


@dataclass
class Hour:
    """`samples` in the order in which they come; those of tick t of the hour are [starts[t], starts[t + 1])."""

    number: int
    begin_ns: int
    samples: Samples
    starts: list[int]
    fault: Fault
    influences: dict[int, tuple[Influence, ...]] = field(default_factory=dict)
    expected: Counter[str] = field(default_factory=Counter)
    """Events of the engine, by kind."""


FAULTS: dict[str, dict[str, int]] = {
    "silent": {"device.uncertain": 1, "device.good": 1},
    "bad": {"device.bad": 1, "device.good": 1},
    "glitch": {"device.uncertain": 1, "device.good": 1, "alarm.high.raised": 2, "alarm.high.cleared": 2},
    "frozen": {},
    "clock an hour ahead": {},
    "clock nearly an hour behind": {},
    "clock more than an hour behind": {},
    "late": {},
    "excursion": {"alarm.high.raised": 1, "alarm.high.cleared": 1},
    "chatter": {"alarm.high.raised": 1, "alarm.high.cleared": 1},
    "shelved": {"alarm.high.shelved": 1, "alarm.high.unshelved": 1},
    "maintenance": {"maintenance.begun": 1, "maintenance.ended": 1},
    "wall clock set": {},
    "unsynchronised": {},
}
"""What an hour may bring, and the events that follow."""


class October:
    """The script. `begin` is local; hours count from the start of the machine."""

    def __init__(self, seed: int, begin: datetime, cycle_s: int) -> None:
        assert begin.minute == begin.second == 0
        self.seed = seed
        self.ticks = HOUR_S // cycle_s
        self.cycle_ns = cycle_s * NS_PER_S
        self._begin_s = int(begin.replace(tzinfo=BERLIN).timestamp())
        self.true_ns = self._begin_s * NS_PER_S - BOOT_NS
        """Wall minus engine time, were the clock right."""
        self._steps: list[tuple[int, int]] = []
        """By hour, in order: when the clock was set, and by how much it is wrong since."""

    def local(self, hour: int) -> datetime:
        return datetime.fromtimestamp(self._begin_s + hour * HOUR_S, BERLIN)

    def variant(self, hour: int) -> int:
        """Which plant it is: another one each Tuesday, Thursday and Sunday at four."""
        reloads = sum(self.is_reload(h) for h in range(hour + 1))
        return (0, 1, 0, 2)[reloads % 4]

    def is_reload(self, hour: int) -> bool:
        now = self.local(hour)
        return hour > 0 and now.hour == 4 and now.weekday() in (1, 3, 6)

    def fault(self, hour: int) -> Fault:
        """All kinds in turn, in another order every time."""
        turn, place = divmod(hour, len(FAULTS))
        order = np.random.default_rng((self.seed, 1, turn)).permutation(len(FAULTS))
        rng = np.random.default_rng((self.seed, 2, hour))
        kind = [*FAULTS][int(order[place])]
        if kind.startswith("clock") and self.local(hour).hour in (0, 1):
            # What is an hour old would be of the day before, which is over.
            kind = "frozen"
        begin_ns = BOOT_NS + hour * HOUR_NS + int(rng.integers(5, 15)) * MINUTE_NS
        return Fault(kind, int(rng.integers(DEVICES)), begin_ns, begin_ns + int(rng.integers(5, 30)) * MINUTE_NS)

    def stamp(self, now_ns: int) -> Stamp:
        """What the machine knows of the time of day."""
        hour = (now_ns - BOOT_NS) // HOUR_NS
        if hour < SET_AFTER_H:
            return Stamp(0, False)
        fault = self.fault_now(hour)
        is_synced = not (fault.kind == "unsynchronised" and fault.begin_ns <= now_ns < fault.end_ns)
        return Stamp(self.true_ns + self._wrong_ns(now_ns, hour, fault), is_synced)

    @lru_cache(maxsize=4)  # noqa: B019  one script a run
    def fault_now(self, hour: int) -> Fault:
        return self.fault(hour)

    def _wrong_ns(self, now_ns: int, hour: int, fault: Fault) -> int:
        while len(self._steps) <= hour:
            past = self.fault(len(self._steps))
            before = self._steps[-1][1] if self._steps else 0
            error_s = int(np.random.default_rng((self.seed, 3, len(self._steps))).integers(-90, 91))
            is_set = past.kind == "wall clock set"
            self._steps.append((past.begin_ns, error_s * NS_PER_S if is_set else before))
        if fault.kind == "wall clock set" and now_ns < fault.begin_ns:
            return self._steps[hour - 1][1] if hour else 0
        return self._steps[hour][1]

    def hour(self, number: int, symbol: Callable[[str], int]) -> Hour:
        """`symbol` gives the number of a text."""
        begin_ns = BOOT_NS + number * HOUR_NS
        fault = self.fault(number)
        of = spec(self.variant(number)).model
        rng = np.random.default_rng((self.seed, 4, number))
        samples = self._well(of, begin_ns, rng, symbol)
        samples = _spoilt(samples, fault, rng)
        if number == 0:
            # The first value of all is there at once, so that days begin with the machine.
            samples = samples[samples["arrival_ns"] > begin_ns]
        ticks = -(-(samples["arrival_ns"] - begin_ns) // self.cycle_ns) - 1
        order = np.argsort(np.maximum(ticks, 0), kind="stable")
        samples, ticks = samples[order], np.maximum(ticks, 0)[order]
        starts = np.searchsorted(ticks, np.arange(self.ticks + 1)).tolist()
        found = Hour(number, begin_ns, samples, starts, fault, self._operated(fault, begin_ns))
        found.expected.update(FAULTS[fault.kind])
        found.expected["device.good"] += self.appearing(number)
        return found

    def appearing(self, hour: int) -> int:
        """Devices that a plant has for the first time, or again."""
        now = {device.name for device in spec(self.variant(hour)).model.devices}
        before = {device.name for device in spec(self.variant(hour - 1)).model.devices} if hour else set()
        return len(now - before)

    def _well(self, of: Model, begin_ns: int, rng: np.random.Generator, symbol: Callable[[str], int]) -> Samples:
        """What all tags say while nothing is wrong."""
        parts = []
        for row, one in enumerate(of.tags):
            period_ns = (10 if row % TAGS_EACH == 0 else 20 if row % TAGS_EACH == 1 else 30) * NS_PER_S
            times = begin_ns + row % 7 * NS_PER_S + np.arange(HOUR_NS // period_ns) * period_ns
            part: Samples = np.zeros(len(times), SAMPLE)
            part["row"], part["quality"] = row, Quality.GOOD
            part["source_ns"] = part["arrival_ns"] = times
            if one.kind is Kind.I64:
                part["bits"] = times // (10 * NS_PER_S) * (row % 5 + 1)
            elif one.kind is Kind.SYMBOL:
                numbers = times // (10 * MINUTE_NS) % WORDS
                known = {int(number): symbol(f"batch {number}") for number in np.unique(numbers)}
                part["bits"] = [known[number] for number in numbers.tolist()]
            else:
                day = 2 * math.pi * (times % (24 * HOUR_NS)) / (24 * HOUR_NS)
                part["value"] = 50 + 6 * np.sin(day + row) + rng.normal(0, 0.5, len(times))
            parts.append(part)
        return joined(parts)

    def _operated(self, fault: Fault, begin_ns: int) -> dict[int, tuple[Influence, ...]]:
        def tick(at_ns: int) -> int:
            return (at_ns - begin_ns) // self.cycle_ns

        name = f"d{fault.device}"
        if fault.kind == "shelved":
            until_ns = fault.end_ns + 2 * MINUTE_NS
            command = AlarmCommand(AlarmAction.SHELVE, f"{name}.level/high", "anna", until_ns)
            return {tick(fault.begin_ns - MINUTE_NS): (Operated(command),)}
        if fault.kind == "maintenance":
            begun, ended = (Taught((Maintain(name, is_on, "anna"),)) for is_on in (True, False))
            return {tick(fault.begin_ns): (begun,), tick(fault.end_ns): (ended,)}
        return {}


def _spoilt(samples: Samples, fault: Fault, rng: np.random.Generator) -> Samples:
    """What becomes of an hour's samples by its fault."""
    rows, times = samples["row"], samples["source_ns"].copy()
    first = fault.device * TAGS_EACH
    during = (rows >= first) & (rows < first + TAGS_EACH) & (times >= fault.begin_ns) & (times < fault.end_ns)
    shifts_s = {
        "clock an hour ahead": 3_600,
        "clock nearly an hour behind": -3_540,
        "clock more than an hour behind": -3_660,
    }
    match fault.kind:
        case "silent":
            return samples[~during]
        case "bad":
            samples["quality"][during] = Quality.BAD_COMM_FAILURE
        case "glitch":
            for row in (first, first + 2):
                samples["value"][np.flatnonzero(during & (rows == row))[3]] = GLITCH
        case "frozen":
            still = np.flatnonzero(during & (rows == first + 4))
            samples["value"][still] = samples["value"][still[0]]
        case "excursion":
            samples["value"][during & (rows == first)] += 40.0
        case "shelved":
            samples["value"][during & (rows == first + 2)] += 40.0
        case "chatter":
            at = np.flatnonzero(during & (rows == first + 2))
            samples["value"][at] = np.where(np.arange(len(at)) % 2, 79.0, 81.0)
        case "late":
            # Also behind one another.
            samples["arrival_ns"][during] += rng.integers(0, 45 * NS_PER_S, int(during.sum()))
            samples = samples[np.argsort(samples["arrival_ns"], kind="stable")]
        case kind if kind in shifts_s:
            samples["source_ns"][during] += shifts_s[kind] * NS_PER_S
    return samples


def joined(parts: Sequence[Samples]) -> Samples:
    """One behind the other; as fields, which share their bytes, NumPy would lay them out anew."""
    return np.concatenate([part.view(RAW_SAMPLE) for part in parts]).view(SAMPLE)
