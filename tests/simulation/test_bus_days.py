"""Days of a bus with scripted faults, in seconds: the same trace for the same seed, and live units get their reads."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.protocol.modbus.polled import PROBES, Line
from tests.simulation.bus import Bus, Mood, Spell, Trace, UnitScript, blocks_of, reads_in

ROOT = Path(__file__).parents[2]
HOUR_NS = 3_600 * NS_PER_S
MINUTE_NS = 60 * NS_PER_S
DAY_NS = 24 * HOUR_NS
BAUD_9600 = Line(byte_ns=11 * NS_PER_S // 9_600)
SETTLED_NS = 60 * NS_PER_S
"""After a change for the worse or the better a unit is looked at only after so long."""


def a_life(random_: random.Random, end_ns: int) -> list[Spell]:
    """Well for an hour or so, then something for some minutes, over and over."""
    spells = []
    now_ns = 0
    while now_ns < end_ns:
        now_ns += round(random_.expovariate(1) * HOUR_NS) + 5 * MINUTE_NS
        spells.append(Spell(now_ns, random_.choice([mood for mood in Mood if mood is not Mood.WELL])))
        now_ns += round(random_.expovariate(1) * 10 * MINUTE_NS) + MINUTE_NS
        spells.append(Spell(now_ns, Mood.WELL))
    return spells


def a_day(seed: int, *, line: Line | None, units: int, period_ns: int, end_ns: int = DAY_NS) -> tuple[Bus, Trace]:
    random_ = random.Random(seed)
    scripts = {unit: UnitScript(a_life(random_, end_ns)) for unit in range(1, units + 1)}
    scripts[units].refused = 1
    cuts = []
    for _ in range(0 if line else 6):
        begin_ns = random_.randrange(end_ns)
        cuts.append((begin_ns, begin_ns + random_.randrange(NS_PER_S, 5 * MINUTE_NS)))
    blocks = blocks_of(scripts, period_ns, registers=3)
    bus = Bus(seed, blocks, scripts, cuts=cuts, line=line, response_timeout_ns=NS_PER_S)
    bus.scripts_of_test = (scripts, cuts)  # type: ignore[attr-defined]
    return bus, bus.run(end_ns)


def check_accounts(bus: Bus, trace: Trace) -> None:
    """Every request came to exactly one end; the scheduler's own counters say the same."""
    counts = trace.counts
    ended = counts["read"] + counts["garbled"] + counts["timeout"] + counts["lost"]
    ended += sum(count for what, count in counts.items() if what.startswith("exception"))
    assert counts["sent"] - ended == len(list(bus.poller.under_way))
    assert bus.poller.timeouts == counts["timeout"]
    assert bus.poller.strays == counts["stray"]


def slow_ns(scripts: dict[int, UnitScript], begin_ns: int, end_ns: int) -> int:
    """How long, together, units in this stretch took their time-out to answer: bus time that nobody can give back."""
    total_ns = 0
    for script in scripts.values():
        for spell, after in pairwise([*script.spells, Spell(DAY_NS, Mood.WELL)]):
            if spell.mood is Mood.SLOW:
                total_ns += max(0, min(after.begin_ns, end_ns) - max(spell.begin_ns, begin_ns))
    return total_ns


def check_service(bus: Bus, trace: Trace, period_ns: int) -> None:
    """In each stretch in which a unit is well, the link is up and nothing changed lately, its reads are on time."""
    scripts, cuts = bus.scripts_of_test  # type: ignore[attr-defined]
    looked_at = 0
    for unit, script in scripts.items():
        spells = [Spell(0, Mood.WELL), *script.spells, Spell(DAY_NS, Mood.DEAD)]
        for spell, after in pairwise(spells):
            if spell.mood is not Mood.WELL:
                continue
            begin_ns, end_ns = spell.begin_ns + SETTLED_NS, min(after.begin_ns, DAY_NS)
            if any(begin < end_ns and end + SETTLED_NS > begin_ns for begin, end in cuts) or end_ns < begin_ns:
                continue
            blocks = len(bus.poller.units[unit].polls) - (1 if script.refused is not None else 0)
            due = blocks * max(0, end_ns - begin_ns - slow_ns(scripts, begin_ns, end_ns)) // period_ns
            assert reads_in(trace, unit, begin_ns, end_ns) >= 0.95 * due - 2 * blocks, (unit, begin_ns / HOUR_NS)
            looked_at += 1
    assert looked_at > 10 * len(scripts) // 2


@pytest.mark.parametrize("line", [None, BAUD_9600], ids=["tcp", "serial"])
def test_a_day_leaves_the_same_trace_for_the_same_seed_and_serves_the_living(line: Line | None) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    period_ns = 20 * NS_PER_S
    bus, trace = a_day(seed, line=line, units=6, period_ns=period_ns)
    check_accounts(bus, trace)
    check_service(bus, trace, period_ns)
    assert trace.lines > 20_000
    assert {"read", "timeout", "garbled", "exception 4", "exception 6", "split"} <= trace.counts.keys()
    again = a_day(seed, line=line, units=6, period_ns=period_ns)[1]
    assert (again.digest(), again.counts) == (trace.digest(), trace.counts)
    other = a_day(seed + 1, line=line, units=6, period_ns=period_ns, end_ns=HOUR_NS)[1]
    assert other.digest() != trace.digest()


@pytest.mark.slow
@pytest.mark.parametrize("line", [None, BAUD_9600], ids=["tcp", "serial"])
def test_a_busy_day_of_ten_units_serves_the_living(line: Line | None) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    bus, trace = a_day(seed, line=line, units=10, period_ns=NS_PER_S)
    check_accounts(bus, trace)
    check_service(bus, trace, NS_PER_S)


@pytest.mark.parametrize("line", [None, BAUD_9600, Line(byte_ns=11 * NS_PER_S // 4_800)], ids=["tcp", "9600", "4800"])
def test_ten_units_three_of_them_dead_the_living_get_their_reads_from_the_onset_on(line: Line | None) -> None:
    """1 s poll, 3 s time-out, ten minutes. On a line the living get what its time carries without the dead."""
    dead_ns = 30 * NS_PER_S
    end_ns = dead_ns + 10 * MINUTE_NS
    dying = {3, 6, 9}
    blocks = blocks_of(range(1, 11), NS_PER_S, registers=10)

    def run(dead: set[int]) -> Trace:
        spells = [Spell(dead_ns, Mood.DEAD)]
        scripts = {unit: UnitScript(spells if unit in dead else ()) for unit in range(1, 11)}
        return Bus(1, blocks, scripts, line=line).run(end_ns)

    whole, trace = run(set()), run(dying)
    shares = {}
    for unit in set(range(1, 11)) - dying:
        carried = reads_in(whole, unit, dead_ns, end_ns)
        shares[unit] = reads_in(trace, unit, dead_ns, end_ns) / carried
    print(f"reads of live units beside a bus where all live: {min(shares.values()):.3f} at worst")
    assert min(shares.values()) >= 0.95, shares


def test_a_unit_that_comes_back_is_read_again_soon() -> None:
    """Within the longest back-off of its probes and their share of the link's time."""
    back_ns = 2 * HOUR_NS
    scripts = {unit: UnitScript() for unit in range(1, 6)}
    for unit in (2, 4):
        scripts[unit].spells = [Spell(NS_PER_S, Mood.DEAD), Spell(back_ns, Mood.WELL)]
    bus = Bus(1, blocks_of(scripts, NS_PER_S), scripts, response_timeout_ns=500 * NS_PER_MS)
    trace = bus.run(back_ns + 2 * MINUTE_NS)
    for unit in (2, 4):
        first_ns = next(at for at in trace.read_ns[unit] if at >= back_ns)
        assert first_ns - back_ns <= PROBES.cap_ns + 2 * NS_PER_S


def test_a_late_reply_long_after_a_probe_keeps_no_other_unit_from_being_probed() -> None:
    """The cost of a probe was once counted from the last one, however long ago: hours without any probe followed."""
    slow_ns, back_ns = HOUR_NS, HOUR_NS + 10 * MINUTE_NS
    scripts = {
        1: UnitScript([Spell(10 * NS_PER_S, Mood.DEAD), Spell(60 * NS_PER_S, Mood.WELL)]),
        2: UnitScript([Spell(slow_ns, Mood.SLOW), Spell(slow_ns + 5 * MINUTE_NS, Mood.WELL)]),
        3: UnitScript([Spell(slow_ns + MINUTE_NS, Mood.DEAD), Spell(back_ns, Mood.WELL)]),
    }
    bus = Bus(1, blocks_of(scripts, NS_PER_S), scripts, response_timeout_ns=NS_PER_S)
    trace = bus.run(back_ns + 2 * MINUTE_NS)
    assert trace.counts["read"] > 10_000
    first_ns = next(at for at in trace.read_ns[3] if at >= back_ns)
    assert first_ns - back_ns <= PROBES.cap_ns + 2 * NS_PER_S


def test_the_compiled_schedule_asks_the_same_at_the_same_nanosecond() -> None:
    """Through two hours of faults, splits and lost connections; where the kernels are plain functions."""
    seed = random.randrange(1 << 32)
    words = [sys.executable, "-m", "tests.simulation.compiled", str(seed), "2"]
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"seed {seed}: {done.stderr[-2000:]}"
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["lines"][0] > 20_000
    assert told["poller"] == told["compiled"], f"seed {seed}: {told}"
