"""The register map and its lock: where things are, and that they stay there."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.core.limits import LOOPS_MAX, WINDOWS_PER_TAG_MAX
from gateway.core.types import NS_PER_S, Kind
from gateway.serving.scada.layout import AREAS, REGISTERS, Area, Type, area_at, modicon
from gateway.serving.scada.lock import Entry, LockError, load, parse, render, save
from gateway.serving.scada.map import MapError, duration_text
from tests.support.scada import boiler_house, map_of, points_of, settings_of, tag


def test_areas_fields_and_bits_do_not_overlap() -> None:
    last_end = 0
    for area, blocks in AREAS.items():
        assert blocks.start >= last_end
        last_end = blocks.end
        assert (blocks.end - blocks.start) % blocks.pitch == 0
        for is_bit in (False, True):
            taken: set[int] = set()
            for field in blocks.fields:
                if (field.type is Type.BOOL) is is_bit and (field.name, field.type) not in (
                    ("value", Type.INT64),
                    ("value", Type.FLOAT32),
                    ("value", Type.STRING),
                    ("text", Type.TEXT),
                ):
                    places = set(range(field.offset, field.offset + REGISTERS[field.type]))
                    assert not places & taken
                    assert max(places) < blocks.pitch
                    taken |= places
        assert area_at(blocks.start) is area
        assert area_at(blocks.end - 1) is area
    assert last_end <= 65_536
    assert AREAS[Area.LOOP].capacity >= LOOPS_MAX


def test_the_addresses_that_integrators_learn_by_heart() -> None:
    points = points_of(map_of(boiler_house()))
    for unit in (1, 2, 100):
        assert points[unit, "gateway/heartbeat"].address == 0
        assert points[unit, "gateway/uptime_s"].address == 2
    assert points[1, "boiler/quality"].address == 1_000
    assert points[1, "boiler.temperature/value"].address == 5_000
    assert points[1, "boiler.valve/quality"].address == 5_014
    assert points[1, "boiler.starts/value"].type == "int64"
    assert points[2, "meter.energy/value"].type == "uint64"
    assert points[2, "meter.power/value"].address == 5_010
    assert points[1, "boiler.temperature/10s/mean"].address == 30_000
    assert points[1, "boiler.temperature/1min/rate"].address == 30_028
    assert points[1, "boiler.temperature/1min/rate"].engineering_unit == "°C/s"
    assert points[100, "control.boiler/setpoint"].address == 100
    assert points[100, "control.boiler/setpoint"].writable
    assert not points[100, "control.boiler/process_value"].writable
    assert points[1, "boiler.temperature/value"].modicon == "45001"


def test_modicon_notation_grows_a_digit_where_five_end() -> None:
    assert modicon(0, is_bit=False) == "40001"
    assert modicon(9_998, is_bit=False) == "49999"
    assert modicon(9_999, is_bit=False) == "410000"
    assert modicon(65_535, is_bit=False) == "465536"
    assert modicon(0, is_bit=True) == "10001"


def test_a_tag_in_the_middle_of_the_file_moves_nobody() -> None:
    names = ["boiler.a", "boiler.b", "boiler.c"]
    before = map_of(settings_of([tag(name) for name in names], {"boiler": 1}))
    names.insert(1, "boiler.new")
    longer = [tag(name, windows_ns=(10 * NS_PER_S, 60 * NS_PER_S)) for name in names]
    after = map_of(settings_of(longer, {"boiler": 1}), before.lock)
    assert after.lock_changed
    old, new = points_of(before), points_of(after)
    assert {place: new[place] for place in old} == old
    assert new[1, "boiler.new/value"].address == 5_030


def test_a_removed_tag_is_reserved_and_comes_back_to_its_place() -> None:
    three = settings_of([tag("boiler.a"), tag("boiler.b"), tag("boiler.c")], {"boiler": 1})
    first = map_of(three)
    without = map_of(settings_of([tag("boiler.a"), tag("boiler.c"), tag("boiler.d")], {"boiler": 1}), first.lock)
    points = points_of(without)
    assert points[1, "boiler.c/value"].address == 5_020
    assert points[1, "boiler.d/value"].address == 5_030, "the place of boiler.b is not given away"
    assert [(entry.key, entry.reserved) for entry in without.lock if entry.address == 5_010] == [("boiler.b", True)]
    again = map_of(three, without.lock)
    assert points_of(again) == points_of(first)


def test_even_the_last_place_given_is_not_given_twice() -> None:
    first = map_of(settings_of([tag("boiler.a"), tag("boiler.b")], {"boiler": 1}))
    shorter = map_of(settings_of([tag("boiler.a")], {"boiler": 1}), first.lock)
    other = map_of(settings_of([tag("boiler.a"), tag("boiler.x")], {"boiler": 1}), shorter.lock)
    assert points_of(other)[1, "boiler.x/value"].address == 5_020


def test_the_same_configuration_does_not_change_its_lock() -> None:
    first = map_of(boiler_house())
    assert first.lock_changed
    assert not map_of(boiler_house(), first.lock).lock_changed


def test_devices_may_share_a_unit() -> None:
    points = points_of(map_of(settings_of([tag("a.x"), tag("b.x")], {"a": 7, "b": 7})))
    assert (points[7, "a.x/value"].address, points[7, "b.x/value"].address) == (5_000, 5_010)
    assert (points[7, "a/quality"].address, points[7, "b/quality"].address) == (1_000, 1_010)


def test_a_unit_that_is_full_says_so_with_a_remedy() -> None:
    tags = [tag(f"big.t{number}", windows_ns=()) for number in range(AREAS[Area.TAG].capacity + 1)]
    with pytest.raises(MapError, match=r"unit 1 has no room for `big\.t2500`.*give some devices another unit"):
        map_of(settings_of(tags, {"big": 1}))
    assert len(map_of(settings_of(tags[:-1], {"big": 1})).blocks[1]) == 2_500 + 2


@pytest.mark.parametrize(
    "name", ["control.boiler.process_value", "control.other.setpoint", "boiler.nothing", "setpoint"]
)
def test_only_tags_and_setpoint_output_and_mode_of_a_loop_can_be_writable(name: str) -> None:
    settings = boiler_house()
    assert settings.scada is not None
    scada = msgspec.structs.replace(settings.scada, writable=(name,))
    with pytest.raises(MapError, match=name):
        map_of(msgspec.structs.replace(settings, scada=scada))


def test_a_shown_tag_whose_device_has_no_unit_is_refused() -> None:
    with pytest.raises(MapError, match="name `pump` under"):
        map_of(settings_of([tag("pump.speed")], {}))


def test_a_device_of_which_nothing_is_shown_takes_no_block() -> None:
    points = points_of(map_of(settings_of([tag("a.x", scada=False), tag("b.x")], {"a": 1, "b": 1})))
    assert points[1, "b/quality"].address == 1_000
    assert (1, "a/quality") not in points


def test_durations_are_written_in_the_largest_unit_that_fits() -> None:
    texts = [duration_text(ns) for ns in (500_000_000, 10 * 10**9, 90 * 10**9, 60 * 10**9, 3_600 * 10**9, 1_500)]
    assert texts == ["500ms", "10s", "90s", "1min", "1h", "1500ns"]


def test_a_tag_with_every_window_fits() -> None:
    windows = tuple(number * NS_PER_S for number in range(1, WINDOWS_PER_TAG_MAX + 1))
    points = points_of(map_of(settings_of([tag("a.x", Kind.F64, windows_ns=windows)], {"a": 1})))
    assert points[1, "a.x/8s/mean"].address == 30_140


# The lock file.


def test_a_lock_file_survives_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "registers.lock"
    lock = (*map_of(boiler_house()).lock, Entry(200, 5_000, Area.TAG, True, 'odd, "quoted".ü'))
    save(path, lock)
    assert load(path) == tuple(sorted(lock))
    assert path.read_text(encoding="utf-8") == render(lock)
    assert [child.name for child in tmp_path.iterdir()] == ["registers.lock"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_no_lock_file_yet_is_an_empty_one(tmp_path: Path) -> None:
    assert load(tmp_path / "registers.lock") == ()


TITLE = "# fieldgate register addresses, layout 1\nunit,address,area,state,key\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", r"lock:1: the first line"),
        ("# fieldgate register addresses, layout 2\n", r"lock:1: the first line"),
        (TITLE + "1,5000,tag,live\n", r"lock:3: 4 cells"),
        (TITLE + "300,5000,tag,live,a.x\n", r"lock:3: unit `300`"),
        (TITLE + "1,5000,tags,live,a.x\n", r"lock:3: area `tags`"),
        (TITLE + "1,0,gateway,live,gateway\n", r"lock:3: area `gateway`"),
        (TITLE + "1,5000,tag,gone,a.x\n", r"lock:3: state `gone`"),
        (TITLE + "1,5001,tag,live,a.x\n", r"lock:3: no tag block begins at `5001`"),
        (TITLE + "1,30000,tag,live,a.x\n", r"lock:3: no tag block begins at `30000`"),
        (TITLE + "1,-5,tag,live,a.x\n", r"lock:3: no tag block begins at `-5`"),
        (TITLE + "1,5000,tag,live,a.x\n1,5000,tag,live,a.y\n", r"lock:4: .* line 3"),
        (TITLE + "1,5000,tag,live,a.x\n1,5010,tag,live,a.x\n", r"lock:4: .* line 3"),
    ],
)
def test_a_damaged_lock_is_named_by_line_and_never_guessed_at(text: str, complaint: str) -> None:
    with pytest.raises(LockError, match=complaint):
        parse(text, "lock")


def test_a_lock_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "registers.lock"
    target.mkdir()
    with pytest.raises(LockError, match="--write-lock"):
        save(target, ())
    assert list(tmp_path.iterdir()) == [target]
