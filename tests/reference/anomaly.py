"""The scores' oracle: the words of `gateway.core.kernels.novelty`, `.persistence`, `.tail` once more, in plain Python.

It keeps lists and dictionaries, in float64 throughout, and shares no code with the kernels, not even the horizons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

HOUR = 3600e9


class Mean:
    """An exponential mean whose weight of a step u is u / (u + horizon)."""

    def __init__(self, horizon: float, value: float = 0.0) -> None:
        self.horizon, self.value = horizon, value

    def add(self, x: float, u: float, least: float = 0.0) -> None:
        self.value += max(least, u / (u + self.horizon)) * (x - self.value)


class Interval:
    def __init__(self, x: float) -> None:
        self.low = self.high = x

    def novelty(self, x: float, floor: float) -> float:
        return max(x - self.high, self.low - x, 0.0) / max(self.high - self.low, floor)

    def learn(self, x: float, u: float) -> None:
        width = min(u / 3333.0, 0.25) * (self.high - self.low)
        self.low, self.high = min(self.low + width, x), max(self.high - width, x)


def grade(z: float) -> float:
    z = min(z, 1e6)
    return z * z / (z * z + 1.0)


def between(x: float, limit: float) -> float:
    return max(-limit, min(limit, x))


class Rarity:
    """How often a score is reached: the tops of blocks of one scale, and an exponential tail of their log-odds."""

    def __init__(self, warm_up: float, is_long: bool) -> None:
        """A score that is long has one top for all blocks in a row in which it is high."""
        self.is_long = is_long
        self.warm_up, self.top, self.is_known = warm_up, 0.0, False
        self.begins: float | None = None
        self.excess = 1.0

    def add(self, score: float) -> None:
        if score > 0:
            self.top = max(self.top, score / max(1 - score, 1e-6))

    def close(self, score: float, age: float) -> None:
        if math.isnan(score) or (self.is_long and score >= 0.5):
            self.top = self.top if self.is_long else 0.0
            return
        top, self.top = math.log(between(max(self.top, 1e-6), 1e6)), 0.0
        self.is_known = self.is_known or age - self.warm_up >= 10
        if self.begins is None:
            self.begins = top
            return
        blocks = max(age - self.warm_up, 1.0)
        step = max(self.excess, 0.2) * max(blocks**-0.5, 0.3)
        if top > self.begins:
            self.excess += min(1 / (0.3 * min(blocks, 100.0)), 1.0) * (top - self.begins - self.excess)
            self.begins += 0.7 * step
        else:
            self.begins -= 0.3 * step
        self.excess = min(max(self.excess, 0.05), 10.0)

    def blocks(self, score: float, age: float) -> float:
        past = age - self.warm_up
        if math.isnan(score) or self.begins is None or not self.is_known:
            return math.nan
        y = math.log(min(max(score / max(1 - score, 1e-6) if score > 0 else 0.0, 1e-6), 1e6))
        share = 0.3 * math.exp(min((self.begins - y) / self.excess, 50.0))
        return min(1 / min(max(share, 1e-12), 1.0), 10 * max(past, 10.0))


@dataclass
class AnomalyOracle:
    window_ns: float
    score: float = math.nan
    persistent: float = math.nan
    faults: set[str] = field(default_factory=set)
    last_ns: int | None = None

    @property
    def reasons(self) -> set[str]:
        return self.faults | ({"spike"} if self.score >= 0.5 else set())

    def add(self, time_ns: int, value: float) -> None:
        if self.last_ns is None:
            self.begin(time_ns, value)
        elif time_ns > self.last_ns:
            self.learn(time_ns, value)

    def begin(self, time_ns: int, value: float) -> None:
        self.last_ns, self.value = time_ns, value
        self.interval = self.age = self.quiet_until = self.peak = self.heat = 0.0
        self.fast, self.slow = Mean(0.5, value), Mean(20.0, value)
        self.variance, self.covariance = Mean(20.0), Mean(20.0)
        self.signals = [Interval(value), Interval(0.0), Interval(0.0), Interval(0.0)]
        self.hours: dict[int, float] = {}
        self.near, self.far, self.far_variance = Mean(0.5), 0.0, 0.0
        self.level, self.drift, self.noise = Mean(0.5), Mean(10.0), Mean(2.0)
        self.base = self.usual_level = self.usual_drift = self.usual_noise = self.usual_factor = 0.0
        self.still = self.longest_still = 0.0
        self.has_event = self.has_persistent = False
        self.event_rarity, self.persistent_rarity, self.block_left = Rarity(5.0, False), Rarity(30.0, True), 0.0

    def once_h(self) -> tuple[float, float]:
        """In how many hours event and persistent score are reached once."""
        if self.last_ns is None or self.age == 0:
            return math.nan, math.nan
        age, hours = self.age / self.scale, self.scale / HOUR
        event, persistent = self.event_rarity, self.persistent_rarity
        return hours * event.blocks(self.score, age), hours * persistent.blocks(self.persistent, age)

    def learn(self, time_ns: int, value: float) -> None:
        assert self.last_ns is not None
        elapsed = float(time_ns - self.last_ns)
        self.last_ns = time_ns
        self.interval = self.interval * (1.02 if elapsed > self.interval else 1 / 1.02) if self.interval else elapsed
        step = min(elapsed, 2 * self.interval)
        self.age += step
        self.scale = max(self.window_ns, 30 * self.interval)
        u = step / self.scale
        floor = 1e-9 * max(abs(value), 1e-280)

        frozen = self.stand_still(value, step)
        residual = self.of_the_hour(time_ns, value, step)
        error = self.of_the_prediction(value, u)
        novelty = self.novelty_of((value, residual, self.fast.value - self.slow.value, error), u, floor)
        self.persist(residual, error, frozen, u, floor)
        shift = self.shift(residual, u, floor)
        event = self.event(novelty, shift, u)
        self.event_rarity.add(event)
        self.persistent_rarity.add(self.persistent)
        self.block_left -= u
        if self.block_left <= 0:
            self.block_left = 1.0 if self.block_left < -1 else self.block_left + 1
            self.event_rarity.close(event, self.age / self.scale)
            self.persistent_rarity.close(self.persistent, self.age / self.scale)
        held = self.score / (1 + u)
        self.score = held if held > event else event

    def stand_still(self, value: float, step: float) -> float:
        if value != self.value:
            self.longest_still, self.still = max(self.longest_still, self.still), 0.0
            return 0.0
        self.still += step
        return 0.0 if 2 * self.still > self.age else grade(self.still / max(4 * self.longest_still, self.scale))

    def of_the_hour(self, time_ns: int, value: float, step: float) -> float:
        hour = int(time_ns // HOUR) % 24
        mean = self.hours.get(hour, self.fast.value - self.near.value)
        horizon = min(max(HOUR, 12 * self.interval) + self.age / 24, max(4 * HOUR, 50 * self.interval))
        self.hours[hour] = mean + step / (step + horizon) * (value - mean)
        return value - mean

    def of_the_prediction(self, value: float, u: float) -> float:
        before, now = self.value - self.slow.value, value - self.slow.value
        slope = between(self.covariance.value / self.variance.value, 1.0) if self.variance.value > 0 else 0.0
        self.variance.add(before**2, u)
        self.covariance.add(before * now, u)
        self.slow.add(value, u)
        self.fast.add(value, u)
        self.value = value
        return now - slope * before

    def novelty_of(self, signals: tuple[float, ...], u: float, floor: float) -> float:
        weights = (1.0, 1.0, 0.3, 1.0)
        found = [w * i.novelty(s, floor) for w, i, s in zip(weights, self.signals, signals, strict=True)]
        for interval, signal in zip(self.signals, signals, strict=True):
            interval.learn(signal, u)
        return min(max(found), 1e9)

    def shift(self, residual: float, u: float, floor: float) -> float:
        self.near.add(residual, u)
        sds = abs(self.near.value - self.far) / (1.5 * max(math.sqrt(self.far_variance), floor))
        weight = u / (u + min(7.0, self.age / self.scale))
        distance = residual - self.far
        self.far += weight * distance
        self.far_variance += weight * ((1 - weight) * distance**2 - self.far_variance)
        return min(sds, 1e4) ** 4 / (1 + min(sds, 1e4) ** 4)

    def event(self, novelty: float, shift: float, u: float) -> float:
        self.heat *= 160 / (160 + u)
        self.has_event = self.has_event or self.age >= 5 * self.scale
        if not self.has_event:
            return math.nan
        record = novelty / (novelty + 1 + 0.8 * self.heat)
        self.heat += novelty / (novelty + 1)
        raw = 0.8 * record + 0.2 * shift * (0.25 + 0.75 * record)
        if self.age < self.quiet_until and raw <= 1.5 * self.peak:
            return 0.0
        if raw > 0:
            self.peak, self.quiet_until = raw, self.age + 2 * self.scale
        return raw / (raw + 0.03)

    def persist(self, residual: float, error: float, frozen: float, u: float, floor: float) -> None:
        scales = self.age / self.scale
        weight = u / (u + min(100.0, scales)) * (0.5 if self.persistent >= 0.5 else 1.0)
        limit = max(4 * math.sqrt(self.far_variance), floor)
        for mean in (self.level, self.drift):
            mean.add(mean.value + between(residual - mean.value, limit), u, weight)
        off_level, off_drift = (abs(mean.value - self.base) for mean in (self.level, self.drift))
        level = grade(off_level / (6 * max(self.usual_level, floor)))
        drift = grade(off_drift / (6 * max(self.usual_drift, floor)))
        self.base += weight * between(residual - self.base, limit)
        self.usual_level += weight * (off_level - self.usual_level)
        self.usual_drift += weight * (off_drift - self.usual_drift)
        noise = self.change_of_noise(abs(error), u, weight, floor)
        self.has_persistent = self.has_persistent or scales >= 30
        if not self.has_persistent:
            self.persistent = math.nan
            return
        self.persistent = max(level, drift, noise, frozen)
        before, self.faults = self.faults, set()
        if frozen >= 0.5:
            self.faults.add("frozen")
        elif noise >= 0.5:
            self.faults.add("noise")
        first = next((name for name in ("level", "drift") if name in before), None)
        shifts = {"level": level >= 0.5, "drift": drift >= 0.5}
        if first == "level" and any(shifts.values()):
            self.faults.add("level")
        elif first == "drift" and shifts["drift"]:
            self.faults.add("drift")
        elif any(shifts.values()):
            self.faults.add("level" if shifts["level"] else "drift")

    def change_of_noise(self, size: float, u: float, weight: float, floor: float) -> float:
        usual = max(self.usual_noise, floor)
        if self.usual_noise > 0:
            size = min(size, 8 * usual)
        self.noise.add(size, u, weight)
        now = max(self.noise.value, floor)
        factor = min(max(now / usual, usual / now) - 1, 100.0)
        z = factor / max(6 * self.usual_factor, 0.5)
        self.usual_noise += weight * (size - self.usual_noise)
        self.usual_factor += weight * (factor - self.usual_factor)
        return grade(z)
