"""The wall clock steps by an hour and back, or begins in 1970: nothing but the stamps of records knows of it."""

from __future__ import annotations

import json
import time

import pytest

from gateway.core.alarms import AlarmDefinition, AlarmKind
from gateway.core.cycle import Cycle, run_cycle
from gateway.core.encode import Encoder
from gateway.core.record import Stream
from gateway.core.spec import EngineSpec
from gateway.core.symbols import no_texts
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.runtime import clock as clocks
from gateway.runtime.clock import WallStamp, resume_clock
from tests.support.engine import model, one, tag

HOUR_NS = 3_600 * NS_PER_S
STEP_NS = 10 * NS_PER_MS
NOW_NS = 1_790_000_000 * NS_PER_S


class Machine:
    """A machine's clocks, moved by hand: the monotonic one only goes on."""

    def __init__(self, patch: pytest.MonkeyPatch, wall_ns: int) -> None:
        self.monotonic_ns = 5 * NS_PER_S
        self.wall_ns = wall_ns
        self.is_synced = True
        patch.setattr(time, "monotonic_ns", lambda: self.monotonic_ns)
        patch.setattr(time, "time_ns", lambda: self.wall_ns)
        patch.setattr(clocks, "is_clock_synced", lambda: self.is_synced)

    def go_on(self, ns: int) -> None:
        self.monotonic_ns += ns
        self.wall_ns += ns


def records(
    machine: Machine, jumps_ns: dict[int, int], leased_ns: int = 0, synced_at: int = 0
) -> list[dict[str, object]]:
    """What 20 s of a quiet tag give, the wall clock jumping so far at these seconds."""
    alarms = (AlarmDefinition(AlarmKind.HIGH, 60.0), AlarmDefinition(AlarmKind.BAD, 192.0))
    spec = EngineSpec(model(tag(alarms=alarms)), NS_PER_S, NS_PER_S, tuple(sorted(Stream)))
    engine, encoder = spec.build(), Encoder(spec.model, no_texts)
    clock = resume_clock(leased_ns)
    stamp = WallStamp(clock)
    found: list[dict[str, object]] = []
    last_ns = 0
    for number in range(1, 2_001):
        if number % 100 == 0:
            machine.wall_ns += jumps_ns.get(number // 100, 0)
            machine.is_synced = machine.is_synced or 0 < synced_at <= number // 100
        machine.go_on(STEP_NS)
        now_ns = clock()
        assert now_ns == last_ns + STEP_NS or not last_ns, "engine time goes on evenly"
        last_ns = now_ns
        cycle = Cycle(number, now_ns, one(now_ns, 50.0 + number % 5), stamp=stamp(now_ns))
        found += [
            {"stream": draft.stream.value, **json.loads(encoder(draft))} for draft in run_cycle(engine, cycle).drafts
        ]
    return found


def but_for_stamps(found: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{k: v for k, v in each.items() if k not in ("wall_offset_ns", "time_quality")} for each in found]


@pytest.mark.parametrize("jump_ns", [HOUR_NS, -HOUR_NS])
def test_steps_by_an_hour_and_back_move_no_window_and_raise_no_alarm(
    monkeypatch: pytest.MonkeyPatch, jump_ns: int
) -> None:
    steady = records(Machine(monkeypatch, NOW_NS), {})
    stepped = records(Machine(monkeypatch, NOW_NS), {5: jump_ns, 12: -jump_ns})
    assert but_for_stamps(stepped) == but_for_stamps(steady)
    assert not [each for each in stepped if "alarm" in json.dumps(each)]
    offsets = {each["wall_offset_ns"] for each in stepped}
    assert offsets == {0, jump_ns}, "each record is stamped as the wall clock was"


def test_a_clock_that_is_slewed_moves_nothing_but_stamps(monkeypatch: pytest.MonkeyPatch) -> None:
    """500 ppm, the most that a kernel slews by."""
    steady = records(Machine(monkeypatch, NOW_NS), {})
    slewed = records(Machine(monkeypatch, NOW_NS), dict.fromkeys(range(1, 20), NS_PER_S // 2_000))
    assert but_for_stamps(slewed) == but_for_stamps(steady)
    offsets = [each["wall_offset_ns"] for each in slewed if each["stream"] == "samples"]
    assert offsets == sorted(offsets)  # type: ignore[type-var]
    assert len(set(offsets)) > 15, "the stamps follow it"


def test_a_boot_in_1970_goes_on_after_the_last_run_and_is_stamped_right_after_the_first_sync(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch, 30 * NS_PER_S)
    machine.is_synced = False
    found = records(machine, {10: NOW_NS + HOUR_NS}, leased_ns=NOW_NS, synced_at=10)
    samples = [each for each in found if each["stream"] == "samples"]
    times = [time_ns for each in samples for time_ns in each["time_ns"]]  # type: ignore[attr-defined]
    assert times == sorted(times)
    assert times[0] > NOW_NS, "engine time goes on after what the run before may have used"
    quality = [each["time_quality"] for each in samples]
    assert quality == sorted(quality, reverse=True), "unsynced, then synced"
    assert set(quality) == {"unsynced", "synced"}
    for each in samples:
        wall_ns = each["last_ns"] + each["wall_offset_ns"]  # type: ignore[operator]
        is_in_1970 = wall_ns < 365 * 86_400 * NS_PER_S
        assert is_in_1970 == (each["time_quality"] == "unsynced")
    # Engine time never jumped, so the offset of a synced record tells the true time of those before it.
    true_ns = times[0] + samples[-1]["wall_offset_ns"]
    assert abs(true_ns - (NOW_NS + HOUR_NS + 30 * NS_PER_S)) < 2 * NS_PER_S
