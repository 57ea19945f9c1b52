"""October 2026 played: `python -m tests.simulation.month [--seed N] [--hours N]` prints a line a day.

The gateway is made of its real parts (`life`), the plant and its misfortunes follow from a seed (`october`). After each
local midnight all is looked at: what arrived against what was made, totals against NumPy, events against what the
script implies, the bytes on the disk against their caps, and what the process takes.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np

from gateway.core.cycle import Cycle, Influence, Lent, Named, Noted
from gateway.core.encode import Encoder
from gateway.core.events import Event
from gateway.core.lending import Command, Lending, command, commands
from gateway.core.record import Stream
from gateway.core.types import NS_PER_S, SAMPLE, Quality, Samples
from gateway.runtime import garbage
from gateway.runtime.receivers import read_files
from gateway.runtime.reconcile import reconcile
from gateway.spool.history import HISTORY_FILE, opened
from tests.simulation.farends import FarEnd
from tests.simulation.figures import Figures, Outputs
from tests.simulation.life import Caps, Life, Loop, SimulatedClock
from tests.simulation.october import (
    BOOT_NS,
    DEVICES,
    FUNCTIONS,
    GUESTS,
    HOUR_NS,
    HOUR_S,
    MOVING,
    SET_AFTER_H,
    TAGS_EACH,
    TOTALLED,
    Hour,
    October,
    joined,
    spec,
)
from tests.simulation.totals import Total, Totals, together

MONTH = datetime(2026, 9, 30, 20)
"""The start, so that October is whole."""
MONTH_HOURS = 4 + 31 * 24 + 1 + 2
"""To one o'clock of the first of November; one day has 25 hours."""
SLOTS = 3
"""Of an hour: in each the first far end is there, or away, or refuses aggregates."""
TOLD_BY_ENGINE = ("device.", "alarm.", "maintenance.")


class Played:
    """A script, played on a gateway in `folder` from its hour 0 on."""

    def __init__(
        self, folder: Path, seed: int, begin: datetime, *, cycle_s: int, caps: Caps, outage: range, crashes: bool = True
    ) -> None:
        self.seed = seed
        self.script = October(seed, begin, cycle_s)
        self.figures: list[Figures] = []
        self.outputs = Outputs()
        self.digests: list[str] = []
        """Of all outputs up to the end of each hour."""
        self.crashes = self.reloads = 0
        self.findings: Counter[str] = Counter()
        """Events by kind, of all parts of the gateway."""
        self._folder, self._caps = folder, caps
        self._outage, self._may_crash = outage, crashes
        self._begun_s = time.monotonic()
        self._loop, self._clock = Loop(), SimulatedClock()
        self._clock.now_ns = BOOT_NS
        self.cloud, self.archive = (
            self._loop.call(lambda name=name: FarEnd(name, folder / f"received-{name}.db"))
            for name in ("cloud", "archive")
        )
        self._totals = Totals(TOTALLED)
        self._month: dict[int, Total | None] = dict.fromkeys(TOTALLED)
        self.expected: Counter[str] = Counter()
        self.made: Counter[str] = Counter()
        """Events of the engine by kind: by the script, and those that it made."""
        self._beside = 0
        """Cycles that are no tick: the last ones of plants that were replaced."""
        self._done = 0
        """Ticks that were played, the first time."""
        self.life = self._live(0)

    def play(self, hours: int) -> None:
        try:
            for number in range(hours):
                self._hour(number)
                self.digests.append(self.outputs.hexdigest())
                now = self.script.local(number + 1)
                if now.hour == 1 and self.script.local(number).hour == 0:
                    self._look(number, now)
            self.life.end()
        finally:
            self._loop.close()

    # -- an hour -------------------------------------------------------------------------------------------------

    def _live(self, hour: int) -> Life:
        return Life(
            self._folder, spec(self.script.variant(hour)), clock=self._clock, loop=self._loop,
            ends=(self.cloud, self.archive), caps=self._caps, told=self._tell,
        )  # fmt: skip

    def _tell(self, event: Event) -> None:
        self.findings[event.kind] += 1

    def _hour(self, number: int) -> None:
        if self.script.is_reload(number):
            self._reload(number)
        dying = self._dying(number)
        hour, named, encoder = self._read(number)
        tick = 0
        while tick < self.script.ticks:
            if tick == dying:
                self._crash(number)
                dying = -1
                hour, named, encoder = self._read(number)
                tick = self.life.number - self._beside - number * self.script.ticks
                continue
            if tick % (self.script.ticks // SLOTS) == 0:
                self._slot(number, tick * SLOTS // self.script.ticks)
            self._tick(hour, tick, named, encoder)
            named = ()
            tick += 1
            if tick % 200 == 0:
                self.life.wait_for_room()
        self.life.flush()
        self._totals.take(hour.samples)
        self.expected.update(hour.expected)

    def _read(self, number: int) -> tuple[Hour, tuple[Influence, ...], Encoder]:
        """The script of an hour, the texts that are new in it, and what writes down its outputs."""
        before = len(self.life.symbols)
        hour = self.script.hour(number, self.life.symbols.intern)
        texts = self.life.symbols.texts_since(before)
        return hour, (Named(texts),) if texts else (), Encoder(self.life.spec.model, self.life.symbols.text_of)

    def _tick(self, hour: Hour, tick: int, named: tuple[Influence, ...], encoder: Encoder) -> None:
        now_ns = hour.begin_ns + (tick + 1) * self.script.cycle_ns
        stamp = self.script.stamp(now_ns)
        self._clock.now_ns, self._clock.stamp = now_ns, stamp
        samples = hour.samples[hour.starts[tick] : hour.starts[tick + 1]]
        lent, more = self._guests(hour.number, tick, now_ns)
        if len(more):
            samples = joined([samples, more])
        noted = tuple(Noted(event) for event in self.life.book.take_outgoing())
        influences = named + lent + hour.influences.get(tick, ()) + noted
        number = self.life.number + 1
        result = self.life.take(Cycle(number, now_ns, samples, influences, stamp, {"plc": number}))
        self.outputs.take(result.drafts, encoder)
        if number - self._beside > self._done:
            self._done = number - self._beside
            self.made.update(event.kind for event in result.events)

    def _guests(self, number: int, tick: int, now_ns: int) -> tuple[tuple[Influence, ...], Samples]:
        """Tags that appear: all there are speak once a minute; each hour some leave, and others come."""
        second = tick * HOUR_S // self.script.ticks
        engine, draw = self.life.engine, random.Random(f"{self.seed} {number}")
        lendings = engine.directory.lendings
        if second == 50 * 60:
            leaving = draw.sample(sorted(lendings), min(MOVING, len(lendings)))
            if self.script.is_reload(number + 1):
                leaving = sorted(lendings)
            generations = engine.state.generations
            return (), commands([command(Command.EVICT, row, int(generations[row]), now_ns) for row in leaving])
        if second == 52 * 60 and not self.script.is_reload(number + 1):
            there = {lending.name for lending in lendings.values()}
            coming = draw.sample([name for name in (f"g{n}.x" for n in range(GUESTS)) if name not in there], MOVING)
            free = [row for row in engine.model.pool_rows[0] if row not in lendings][:MOVING]
            made = []
            for row, name, state in zip(free, coming, self.life.remembered(tuple(coming)), strict=False):
                device = engine.model.pool_devices[0][row - engine.model.pool_rows[0].start]
                generation = int(engine.state.generations[row]) + 1
                made.append(Lending(row, generation, name, name[:-2], device, 0, f"plant/{name}", state))
            told = commands([command(Command.LEND, one.row, one.generation, now_ns) for one in made])
            # What they were noticed by follows at once.
            return (Lent(tuple(made)),), joined([told, _said(made, now_ns)])
        return (), _said([] if second % 60 else [lendings[row] for row in sorted(lendings)], now_ns)

    # -- what befalls the gateway --------------------------------------------------------------------------------

    def _dying(self, number: int) -> int:
        """The tick of this hour at which the gateway crashes: once a day, and now and then once more."""
        draw = random.Random(f"{self.seed} crash {self.script.local(number).date()}")
        hours = {draw.randrange(2, 24), draw.randrange(2, 24 * 4)} if self._may_crash else set()
        return draw.randrange(1, self.script.ticks) if self.script.local(number).hour in hours and number else -1

    def _crash(self, number: int) -> None:
        self.crashes += 1
        before = self.life.number
        self.life.crash()
        self.life = self._live(number)
        assert self.life.continuity.recovered.is_exact, f"seed {self.seed}: {self.life.continuity.recovered.why_not}"
        # A crash right behind a reload: the old plant is the one that is known, and ends once more.
        self._beside += self.life.number - self.life.continuity.recovered.number
        assert 0 <= before - self.life.number <= self.script.ticks, f"seed {self.seed}: a crash took too much"

    def _reload(self, number: int) -> None:
        self.reloads += 1
        self._beside += 1
        self.life.reload(spec(self.script.variant(number)), self._clock.now_ns)

    def _slot(self, number: int, slot: int) -> None:
        """Of the first far end: it is away twice a day, for once so long that the spool is full, and refuses."""
        day = self.script.local(number).date()
        draw = random.Random(f"{self.seed} outage {day}")
        place = self.script.local(number).hour * SLOTS + slot
        away = [(draw.randrange(6, 40), draw.choice((1, 1, 2, 9))), (draw.randrange(50, 66), draw.choice((1, 2, 5)))]
        is_away = any(first <= place < first + length for first, length in away)
        refusing = draw.randrange(6, 70) if day.toordinal() % 3 == 0 else -1
        refuses = frozenset({Stream.AGGREGATES.value}) if place == refusing else frozenset()

        def set_so() -> None:
            self.cloud.is_up, self.cloud.refuses = not is_away and number not in self._outage, refuses

        self._loop.call(set_so)

    # -- what is looked at ---------------------------------------------------------------------------------------

    def _look(self, number: int, now: datetime) -> None:
        """At one o'clock, at the day that is over."""
        self._arrived()
        produced, ledgered, waiting = self._accounts()
        self._day(number, now - timedelta(hours=1))
        assert self.made == self.expected, self._says("events of the engine", self.made, self.expected)
        heard = Counter({kind: n for kind, n in self.archive.events.items() if kind.startswith(TOLD_BY_ENGINE)})
        assert heard == self.made, self._says("events that arrived", heard, self.made)
        self._recovered(number)
        disk = self._disk()
        self._history(number)
        self._loop.call(lambda: [end.forget_bodies() for end in (self.cloud, self.archive)])
        took_s = time.monotonic() - self._begun_s
        self.figures.append(
            Figures.now(
                f"{now - timedelta(hours=1):%a %d %b}", took_s, self.life.engine.state.memory_bytes(), disk,
                {"produced": produced, "ledgered": ledgered, "waiting": waiting, "crashes": self.crashes,
                 "reloads": self.reloads},
            )
        )  # fmt: skip
        print(self.figures[-1], flush=True)

    def _says(self, what: str, found: object, expected: object) -> str:
        return (
            f"seed {self.seed}, {self.figures[-1].day if self.figures else 'first day'}: {what}: {found} not {expected}"
        )

    def _arrived(self) -> None:
        """All that was made is with who is there."""
        until_s = time.monotonic() + 60
        branches = self.life.way._branches
        while any(branches[end.name].worker.depth() for end in (self.cloud, self.archive) if end.is_up):
            assert time.monotonic() < until_s, f"seed {self.seed}: records wait though the far end is there"
            time.sleep(0.002)

    def _accounts(self) -> tuple[int, int, int]:
        """Produced, ledgered and waiting at the first far end; at both nothing is lost, twice or strange."""
        found = []
        for end, path in ((self.cloud, "spool.db"), (self.archive, "spool-archive.db")):
            read = partial(read_files, [end.path], "plant")
            verdict = reconcile(self._folder / path, read, pause=lambda: time.sleep(0.1))
            told = verdict.received + verdict.waiting + verdict.ledgered + verdict.unexamined
            assert verdict.is_whole, self._says(end.name, verdict, "whole")
            assert told == verdict.produced, self._says(end.name, told, verdict.produced)
            found.append((verdict.produced, verdict.ledgered, verdict.waiting))
        assert found[1][1:] == (0, 0), self._says("archive", found[1], "all received")
        assert not self.archive.twice, self._says("results", self.archive.twice, "each once")
        return found[0]

    def _day(self, number: int, midnight: datetime) -> None:
        """Totals of the day that ended then, as the clock was then, and of the month if one did."""
        offset_ns = self.script.stamp(BOOT_NS + number * HOUR_NS - 1).wall_offset_ns
        end_ns = int(midnight.timestamp()) * NS_PER_S - offset_ns
        is_month = midnight.day == 1
        checked = 0
        for row in TOTALLED:
            name = f"d{row // TAGS_EACH}.power"
            day = self._totals.day(row, end_ns)
            self._month[row] = month = together(self._month[row], day)
            for calendar, total in (("day", day), *((("month", month),) if is_month else ())):
                for word in FUNCTIONS:
                    found = self.archive.results.pop((name, f"{calendar}.{word}", end_ns), float("nan"))
                    room = 1e-9 * max(abs(total["sum"]), 1.0)
                    assert abs(found - total[word]) <= room, self._says(f"{name} {calendar}.{word}", found, total[word])
                    checked += 1
            if is_month:
                self._month[row] = None
        assert checked >= len(TOTALLED) * len(FUNCTIONS)
        self.archive.results.clear()

    def _recovered(self, number: int) -> None:
        """Whatever was wrong with it, a tag has its last value again; and those that appear have their own."""
        cells, hour = self.life.engine.state.tables.cells, self.script.hour(number, self.life.symbols.intern)
        for row in range(DEVICES * TAGS_EACH):
            last = hour.samples[hour.samples["row"] == row][-1]
            assert cells[row]["quality"] == Quality.GOOD, self._says(f"row {row}", cells[row]["quality"], "good")
            assert cells[row]["bits"] == last["bits"], self._says(f"row {row}", cells[row]["bits"], last["bits"])
        for name, row in self.life.engine.directory.rows():
            if name.startswith("g"):
                window = self.life.engine.view.aggregates_at(np.array([row], np.int32), self._clock.now_ns)[-1]
                values = {window["min"], window["mean"], window["max"]} if window["count"] else set()
                assert values <= {float(name[1:-2])}, self._says(name, values, "its own")

    def _disk(self) -> dict[str, int]:
        """Bytes by what has a cap of its own."""
        file = self._folder / "spool.db"
        said = {r.name: r.value for part in (self.life.parking, self.life.historian) for r in part.readings()}
        found = {
            "spool": self.life.way._branches["cloud"].worker.snapshot().bytes,
            "spool.db": file.stat().st_size,
            "journal": sum(path.stat().st_size for path in (self._folder / "journal").iterdir()),
            "parking": int(said["fieldgate_parking_bytes"]),
            "history": int(said["fieldgate_history_bytes"]),
        }
        caps = self._caps
        allowed = {"spool": caps.spool, "journal": caps.journal, "parking": caps.parking, "history": caps.history}
        for name, most in allowed.items():
            assert found[name] <= 1.02 * most, self._says(name, found[name], f"at most {most}")
        return found

    def _history(self, number: int) -> None:
        """The day is there at some resolution, and its values are the plant's."""
        end_ns = BOOT_NS + number * HOUR_NS + self.script.true_ns
        with opened(self._folder / HISTORY_FILE) as reader:
            _, points = reader.points("d3.level", end_ns - min(number - SET_AFTER_H, 20) * HOUR_NS, end_ns)
        means = [point.mean for point in points if point.mean == point.mean]
        assert len(means) >= 10, self._says("history", len(points), "some points")
        # One glitch in a window of five minutes moves its mean for as long.
        assert 40 < float(np.median(means)) < 60, self._says("history", float(np.median(means)), "about 50")


def _said(lent: Sequence[Lending], now_ns: int) -> Samples:
    """Each of those that appear always says the same, its own number."""
    said: Samples = np.zeros(len(lent), SAMPLE)
    said["row"], said["quality"] = [one.row for one in lent], Quality.GOOD
    said["source_ns"] = said["arrival_ns"] = now_ns
    said["value"] = [float(one.name[1:-2]) for one in lent]
    return said


def seed_of_run() -> int:
    """Another one each time, or that of MONTH_SEED."""
    return int(os.environ.get("MONTH_SEED") or random.randrange(1 << 32))


def month(folder: Path, seed: int, *, hours: int = MONTH_HOURS, cycle_s: int = 2) -> Played:
    garbage.share_heaps()  # as the gateway: threads come and go with each crash, and each would bring a heap of its own
    played = Played(folder, seed, MONTH, cycle_s=cycle_s, caps=Caps(), outage=range(200, 230))
    played.play(hours)
    return played


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.month", description=__doc__)
    parser.add_argument("--seed", type=int, default=seed_of_run())
    parser.add_argument("--hours", type=int, default=MONTH_HOURS)
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        played = month(Path(folder), asked.seed, hours=asked.hours)
    print(dict(sorted(played.findings.items())))
    print(f"digest {played.digests[-1]}")


if __name__ == "__main__":
    main()
