"""What a client may reach, units of one's own, and SCADA's watchdog."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.core.types import NS_PER_S
from gateway.serving.scada.lock import Entry
from gateway.serving.scada.map import MapError, build_map
from gateway.settings.schema import ScadaRule, Settings
from tests.support.scada import Bench, Caller, boiler_house, points_of, serving, settings_of, tag
from tests.support.settings import HEAD, LOOP, examine_text, problems_of

ALL = ((0, 65_535),)


def settings_of_text(directory: Path, text: str) -> Settings:
    return examine_text(directory, text).settings


class Client(Caller):
    """A connection as the server knows it, from one address."""

    def __init__(self, bench: Bench, host: str = "10.0.0.7") -> None:
        super().__init__(bench, host)

    def read(self, address: int, count: int = 1, unit: int = 1, function: int = 3) -> bytes:
        return self.ask(struct.pack(">BHH", function, address, count), unit)

    def write(self, address: int, value: int, unit: int = 1) -> bytes:
        return self.ask(struct.pack(">BHH", 6, address, value), unit)


def with_scada(settings: Settings, **changes: Any) -> Settings:
    assert settings.scada is not None
    return msgspec.structs.replace(settings, scada=msgspec.structs.replace(settings.scada, **changes))


# --- rules


def rule(*clients: str, **more: Any) -> ScadaRule:
    return ScadaRule(clients=clients, **{"units": ((0, 247),), "read": ALL, "write": ALL, **more})


def test_the_first_rule_that_names_a_client_says_what_it_reads_and_nobody_else_is_touched() -> None:
    rules = (
        rule("10.0.0.7/32", units=((1, 1),), read=((5_000, 5_009), (5_020, 5_029))),
        rule("10.0.0.0/24", read=()),
    )
    bench = Bench(with_scada(boiler_house(), rules=rules))
    seven, eight, far = (Client(bench, host) for host in ("10.0.0.7", "::ffff:10.0.0.8", "192.0.2.1"))
    assert seven.read(5_000, 10)[0] == 3
    assert seven.read(5_004, function=4)[0] == 4
    assert seven.read(5_020, 2)[0] == 3
    assert seven.read(5_005, 10) == b"\x83\x02", "half of it lies outside"
    assert seven.read(5_000, 5, function=2)[0] == 2
    assert seven.read(5_010, 5, function=2) == b"\x82\x02"
    assert seven.read(5_000, unit=2) == b"\x83\x0a", "a unit that is not there for it"
    assert eight.read(5_000) == b"\x83\x02"
    assert far.read(5_000)[0] == 3
    assert bench.counted("denied_requests_total") == 4
    assert [event.subject for event in bench.events] == ["10.0.0.7"] * 3 + ["::ffff:10.0.0.8"]
    told = len(bench.events)
    for _ in range(5):
        seven.read(5_005, 10)
    assert len(bench.events) == told, "a master asks again and again; it is told once"


def test_a_rule_says_where_a_client_may_write() -> None:
    rules = (rule("10.0.0.7/32", write=((104, 104),)), rule("10.0.0.8/32", write=()))
    bench = Bench(with_scada(boiler_house(), rules=rules))
    assert Client(bench).write(104, 0, unit=100) == struct.pack(">BHH", 6, 104, 0)
    assert bench.control.state["mode"][0] == 0
    assert Client(bench).ask(struct.pack(">BHHBf", 16, 100, 2, 4, 60.0), unit=100) == b"\x90\x01"
    assert Client(bench, "10.0.0.8").write(104, 1, unit=100) == b"\x86\x01"
    assert bench.control.state["mode"][0] == 0
    assert bench.counted("writes_total", result="refused") == 2
    assert "is not under write in the rule" in bench.events[-1].message


def test_rules_are_read_from_the_configuration(tmp_path: Path) -> None:
    text = HEAD + '[scada]\nrules = [{ from = ["10.0.0.7", "10.1.0.0/16"], units = [1, "3-5"], write = [] }]'
    scada = settings_of_text(tmp_path, text).scada
    assert scada is not None
    assert scada.rules == (
        ScadaRule(clients=("10.0.0.7/32", "10.1.0.0/16"), units=((1, 1), (3, 5)), read=ALL, write=()),
    )


# --- a unit for each device


def plants(*devices: str) -> Settings:
    return with_scada(settings_of([tag(f"{name}.flow") for name in devices], {}, loops_unit=1), has_unit_each=True)


def units(settings: Settings, locked: tuple[Entry, ...] = ()) -> dict[str, int]:
    assert settings.scada is not None
    registers = build_map(settings, settings.scada, locked)
    return {key.split("/")[0]: unit for unit, key in points_of(registers) if key.endswith(".flow/value")}


def test_each_device_has_a_unit_of_its_own_which_stays_when_others_come_and_go() -> None:
    first = plants("a", "b")
    assert first.scada is not None
    assert units(first) == {"a.flow": 2, "b.flow": 3}
    lock = build_map(first, first.scada, ()).lock
    later = plants("new", "b")
    assert units(later, lock) == {"new.flow": 4, "b.flow": 3}
    assert later.scada is not None
    lock = build_map(later, later.scada, lock).lock
    assert units(plants("x", "a", "new", "b"), lock) == {"x.flow": 5, "a.flow": 2, "new.flow": 4, "b.flow": 3}


def test_whoever_shared_a_unit_gets_another() -> None:
    shared = settings_of([tag("a.flow"), tag("b.flow")], {"a": 2, "b": 2}, loops_unit=1)
    assert shared.scada is not None
    lock = build_map(shared, shared.scada, ()).lock
    assert units(plants("a", "b"), lock) == {"a.flow": 3, "b.flow": 4}


def test_more_devices_than_units_are_refused() -> None:
    with pytest.raises(MapError, match="there is no unit left for `d246`: there are 247"):
        units(plants(*(f"d{number}" for number in range(247))))


def test_each_is_read_from_the_configuration(tmp_path: Path) -> None:
    scada = settings_of_text(tmp_path, HEAD + '[scada]\nunits = "each"').scada
    assert scada is not None
    assert (scada.has_unit_each, scada.units) == (True, {})
    (problem,) = problems_of(tmp_path, HEAD + '[scada]\nunits = "all"')
    assert 'scada.units: "all" is not a table; write units = { ... }' in str(problem)


# --- the watchdog


@pytest.fixture
def watched() -> Bench:
    return Bench(with_scada(boiler_house(), watchdog_ns=10 * NS_PER_S, watchdog_loops=("boiler",)))


def test_every_new_count_is_a_sign_of_life_for_the_loops_and_the_same_one_is_none(watched: Bench) -> None:
    client = Client(watched)
    assert client.read(0, 6, unit=2)[4:6] == b"\0\0"
    assert client.write(1, 7, unit=2) == struct.pack(">BHH", 6, 1, 7)
    assert watched.control.signs_of_life == [1]
    client.write(1, 7, unit=1)
    assert watched.control.signs_of_life == [1], "a driver that repeats what a dead script left behind"
    client.write(1, 8)
    assert watched.control.signs_of_life == [2]
    watched.now_ns += 3 * NS_PER_S
    _, _, _, count, _, _, age_ms = struct.unpack(">BBHHHHI", client.read(0, 6, unit=100))
    assert (count, age_ms) == (8, 3_000)
    assert watched.counted("watchdog_counts_total") == 2
    assert watched.events == [], "a count every second is counted, not audited"


def test_the_first_count_may_be_zero(watched: Bench) -> None:
    Client(watched).write(1, 0)
    assert watched.control.signs_of_life == [1]


def test_silence_is_told_once_and_so_is_its_end(watched: Bench) -> None:
    async def scenario() -> None:
        async with serving(watched):
            watchdog = watched.server._watchdog
            assert watchdog is not None
            watched.now_ns += 10 * NS_PER_S
            watchdog.look()
            assert watched.events == []
            watched.now_ns += 1
            for _ in range(3):
                watchdog.look()
            assert [event.kind for event in watched.events] == ["scada.watchdog.silent"]
            assert "since the start; 1 loops go to their fail-safe" in watched.events[0].message
            assert watched.counted("watchdog_silent") == 1
            Client(watched).write(1, 1)
            assert [event.kind for event in watched.events] == ["scada.watchdog.silent", "scada.watchdog.back"]
            assert watched.counted("watchdog_silent") == 0

    asyncio.run(scenario())


def test_counting_needs_the_right_to_write_and_a_register_that_is_there() -> None:
    without = Bench(boiler_house())
    assert Client(without).write(1, 1) == b"\x86\x01"
    assert without.counted("watchdog_silent") == 0
    guarded = Bench(with_scada(boiler_house(), watchdog_ns=NS_PER_S, write_clients=("192.0.2.0/24",)))
    assert Client(guarded).write(1, 1) == b"\x86\x01"
    assert guarded.events[-1].kind == "scada.write.refused"


def test_the_map_shows_the_register_as_writable_where_there_is_a_watchdog(watched: Bench) -> None:
    assert watched.points[2, "gateway/watchdog"].writable
    assert not Bench(boiler_house()).points[2, "gateway/watchdog"].writable


def test_a_loop_of_the_watchdog_has_its_time_as_dead_man_unless_it_has_its_own(tmp_path: Path) -> None:
    text = HEAD + LOOP + '[scada]\nwatchdog = "5s"\nwatchdog_loops = ["control.*"]\n'
    (loop,) = settings_of_text(tmp_path, text).loops
    assert loop.dead_man_ns == 5 * NS_PER_S
    (loop,) = settings_of_text(tmp_path, text.replace("[control.c]", '[control.c]\ndead_man = "2s"')).loops
    assert loop.dead_man_ns == 2 * NS_PER_S
    (problem,) = problems_of(tmp_path, text.replace('watchdog = "5s"\n', ""))
    assert 'write watchdog = "10s" as well' in str(problem)
