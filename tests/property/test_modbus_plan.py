"""Plans: every tag exactly once, within the specification's sizes, gaps bounded, phases even."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.types import Kind
from gateway.protocol.modbus.codes import READ_BITS_MAX, READ_REGISTERS_MAX, Function
from gateway.protocol.modbus.plan import GAP_BITS_MAX, GAP_REGISTERS_MAX, TABLES, Block, Point, halved, plan
from gateway.protocol.modbus.points import WireType


def point(row: int, address: int, wire: WireType, function: Function, device: str, period_ns: int) -> Point:
    return Point(
        row=row, name=f"{device}.{row}", device=device, unit=ord(device), function=function, address=address,
        wire=wire, kind=Kind.F64, period_ns=period_ns,
    )  # fmt: skip


@st.composite
def plants(draw: st.DrawFn) -> list[Point]:
    return [
        point(
            row,
            draw(st.integers(0, 600)),
            draw(st.sampled_from([wire for wire in WireType if wire is not WireType.STRING])),
            draw(st.sampled_from(list(TABLES))),
            draw(st.sampled_from("abc")),
            draw(st.sampled_from([100, 1_000])),
        )
        for row in range(draw(st.integers(1, 40)))
    ]


def check_block(block: Block) -> None:
    start, count = block.request.address, block.request.count
    is_bit = block.points[0].is_bit
    assert 1 <= count <= (READ_BITS_MAX if is_bit else READ_REGISTERS_MAX)
    assert len({(p.device, p.unit, p.function, p.period_ns) for p in block.points}) == 1
    assert start == min(p.address for p in block.points)
    assert start + count == max(p.end for p in block.points)
    end = start
    for p, record in zip(block.points, block.table, strict=True):
        assert p.address - end <= (GAP_BITS_MAX if is_bit else GAP_REGISTERS_MAX)
        end = max(end, p.end)
        assert (record["row"], record["at"], record["is_bit"]) == (p.row, p.address - start, is_bit)
    assert int.from_bytes(block.request.body[-4:-2], "big") == start
    assert int.from_bytes(block.request.body[-2:], "big") == count


@settings(deadline=None)
@given(plants())
def test_every_tag_is_covered_exactly_once_within_the_limits(points: list[Point]) -> None:
    blocks = plan(points)
    assert Counter(p.row for block in blocks for p in block.points) == Counter(range(len(points)))
    for block in blocks:
        check_block(block)


@settings(deadline=None)
@given(plants())
def test_phases_of_a_period_are_spread_evenly(points: list[Point]) -> None:
    blocks = plan(points)
    for period_ns in {block.period_ns for block in blocks}:
        phases = sorted(block.phase_ns for block in blocks if block.period_ns == period_ns)
        assert phases[0] == 0
        steps = [after - before for before, after in pairwise([*phases, period_ns])]
        assert max(steps) - min(steps) <= 1


@settings(deadline=None)
@given(plants())
def test_neighbours_are_not_read_apart_without_need(points: list[Point]) -> None:
    """Two blocks of one group are apart because of the gap or because of the size."""
    groups: dict[object, list[Block]] = {}
    for block in plan(points):
        first = block.points[0]
        groups.setdefault((first.device, first.function, first.period_ns), []).append(block)
    for blocks in groups.values():
        blocks.sort(key=lambda block: block.request.address)
        for one, other in pairwise(blocks):
            is_bit = one.points[0].is_bit
            gap = other.request.address - one.request.address - one.request.count
            joined = other.points[0].end - one.request.address
            assert gap > (GAP_BITS_MAX if is_bit else GAP_REGISTERS_MAX) or joined > (
                READ_BITS_MAX if is_bit else READ_REGISTERS_MAX
            )


@settings(deadline=None)
@given(plants())
def test_halving_keeps_every_tag_and_comes_to_an_end(points: list[Point]) -> None:
    queue = list(plan(points))
    rows: list[int] = []
    while queue:
        block = queue.pop()
        check_block(block)
        if len(block.points) == 1:
            rows.append(block.points[0].row)
        else:
            queue.extend(halved(block))
    assert sorted(rows) == list(range(len(points)))


def test_a_block_is_halved_at_its_widest_gap() -> None:
    function = Function.READ_HOLDING_REGISTERS
    points = [point(row, at, WireType.UINT16, function, "a", 1) for row, at in enumerate([0, 1, 2, 8, 10])]
    (block,) = plan(points)
    first, second = halved(block)
    assert ([p.row for p in first.points], [p.row for p in second.points]) == ([0, 1, 2], [3, 4])
    assert block.place == "holding 0-10"
    assert halved(second)[0].place == "holding 8"
