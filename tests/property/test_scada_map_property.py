"""Whatever is edited, in whatever order: no address moves, and none is given twice."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.types import NS_PER_S
from gateway.serving.scada.layout import AREAS
from gateway.serving.scada.lock import Entry, parse, render
from tests.support.scada import map_of, settings_of, tag

names = st.tuples(st.sampled_from("ab"), st.sampled_from("stuvwxyz")).map(".".join)
configurations = st.lists(
    st.tuples(names, st.lists(st.sampled_from([1, 10, 60]), max_size=3, unique=True)),
    min_size=1,
    max_size=8,
    unique_by=lambda item: item[0],
)


@settings(max_examples=150, deadline=None)
@given(st.lists(configurations, min_size=1, max_size=6))
def test_no_edit_moves_an_address_or_gives_one_twice(history: list[list[tuple[str, list[int]]]]) -> None:
    lock: tuple[Entry, ...] = ()
    ever: dict[tuple[int, str, str], int] = {}
    for configuration in history:
        tags = [tag(name, windows_ns=tuple(s * NS_PER_S for s in windows)) for name, windows in configuration]
        registers = map_of(settings_of(tags, {"a": 1, "b": 2}), lock)
        lock = parse(render(registers.lock), "lock")
        assert lock == registers.lock
        for entry in lock:
            assert ever.setdefault((entry.unit, entry.area, entry.key), entry.address) == entry.address
        taken = [
            (entry.unit, address)
            for entry in lock
            for address in range(entry.address, entry.address + AREAS[entry.area].pitch)
        ]
        assert len(taken) == len(set(taken))
        live = {(entry.unit, entry.area, entry.key) for entry in lock if not entry.reserved}
        shown = {(b.unit, b.area, b.key) for unit in registers.units for b in registers.blocks[unit]}
        assert live == {block for block in shown if block[1] != "gateway"}
