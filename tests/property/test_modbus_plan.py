"""Plans: every tag exactly once, within the specification's sizes, gaps bounded, phases even."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.types import Kind
from gateway.protocol.modbus.codes import READ_BITS_MAX, READ_REGISTERS_MAX, Function
from gateway.protocol.modbus.plan import ANY_READ, TABLES, Block, Hole, Point, ReadLimits, halved, plan
from gateway.protocol.modbus.points import WireType

DEVICES = {
    "a": ANY_READ,
    "b": ReadLimits(registers_max=20, bits_max=100, gap_registers_max=0),
    "c": ReadLimits(
        gap_registers_max=100,
        holes=tuple(Hole(function, first, first + 5) for function in TABLES for first in (100, 300)),
    ),
}


def point(
    row: int, address: int, wire: WireType, function: Function, device: str, period_ns: int,
    phase_ns: int | None = None, jitter_ns: int = 0,
) -> Point:  # fmt: skip
    return Point(
        row=row, name=f"{device}.{row}", device=device, unit=ord(device), function=function, address=address,
        wire=wire, kind=Kind.F64, period_ns=period_ns, phase_ns=phase_ns, jitter_ns=jitter_ns, limits=DEVICES[device],
    )  # fmt: skip


def most(point: Point) -> tuple[int, int]:
    """The longest read and the widest gap of its device and table."""
    limits = point.limits
    if point.is_bit:
        return limits.bits_max, 16 * limits.gap_registers_max
    return limits.registers_max, limits.gap_registers_max


def are_parted(one: Point | Block, first: int, last: int) -> bool:
    """Whether a hole of the device lies in these addresses."""
    point = one if isinstance(one, Point) else one.points[0]
    return any(
        hole.function == point.function and hole.first <= last and first <= hole.last for hole in point.limits.holes
    )


@st.composite
def plants(draw: st.DrawFn) -> list[Point]:
    drawn = [
        point(
            row,
            draw(st.integers(0, 600)),
            draw(st.sampled_from([wire for wire in WireType if wire is not WireType.STRING])),
            draw(st.sampled_from(list(TABLES))),
            draw(st.sampled_from("abc")),
            draw(st.sampled_from([100, 1_000])),
            draw(st.sampled_from([None, None, 0, 70])),
            draw(st.sampled_from([0, 0, 9])),
        )
        for row in range(draw(st.integers(1, 40)))
    ]
    # What lies in a hole is refused when the configuration is read.
    sound = [one for one in drawn if not are_parted(one, one.address, one.end - 1)]
    return [replace(one, row=row) for row, one in enumerate(sound)]


def check_block(block: Block) -> None:
    start, count = block.request.address, block.request.count
    is_bit = block.points[0].is_bit
    longest, widest = most(block.points[0])
    assert 1 <= count <= longest
    assert count <= (READ_BITS_MAX if is_bit else READ_REGISTERS_MAX)
    assert len({(p.device, p.unit, p.function, p.period_ns, p.phase_ns, p.jitter_ns) for p in block.points}) == 1
    assert (block.period_ns, block.jitter_ns) == (block.points[0].period_ns, block.points[0].jitter_ns)
    assert 0 <= block.phase_ns < block.period_ns
    assert not are_parted(block, start, start + count - 1)
    assert start == min(p.address for p in block.points)
    assert start + count == max(p.end for p in block.points)
    end = start
    for p, record in zip(block.points, block.table, strict=True):
        assert p.address - end <= widest
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
def test_phases_that_nobody_chose_are_spread_evenly_and_the_others_are_as_chosen(points: list[Point]) -> None:
    blocks = plan(points)
    for period_ns in {block.period_ns for block in blocks}:
        of_period = [block for block in blocks if block.period_ns == period_ns]
        phases = sorted(block.phase_ns for block in of_period if block.points[0].phase_ns is None)
        if phases:
            steps = [after - before for before, after in pairwise([*phases, phases[0] + period_ns])]
            assert max(steps) - min(steps) <= 1
        for block in of_period:
            if (chosen := block.points[0].phase_ns) is not None:
                assert block.phase_ns == chosen % period_ns


def test_reads_of_several_periods_and_links_do_not_meet_at_one_moment() -> None:
    function = Function.READ_HOLDING_REGISTERS
    second = 1_000_000_000
    links = [
        plan(
            point(k, 100 * k, WireType.UINT16, function, device, period * second) for k, period in enumerate((1, 2, 5))
        )
        for device in "abc"
    ]
    phases = [block.phase_ns % second for blocks in links for block in blocks]
    assert min(abs(a - b) for k, a in enumerate(phases) for b in phases[:k]) > 10_000_000


def test_a_jitter_moves_each_read_by_less_than_itself_and_always_by_the_same() -> None:
    (block,) = plan([point(0, 7, WireType.UINT16, Function.READ_COILS, "a", 1_000, jitter_ns=100)])
    moved = [block.moved_ns(number) for number in range(10_000)]
    assert moved == [block.moved_ns(number) for number in range(10_000)]
    assert (min(moved), max(moved)) == (0, 99)
    assert 48 < sum(moved) / len(moved) < 51


@settings(deadline=None)
@given(plants())
def test_neighbours_are_not_read_apart_without_need(points: list[Point]) -> None:
    """Two blocks of one group are apart because of the gap or because of the size."""
    groups: dict[object, list[Block]] = {}
    for block in plan(points):
        first = block.points[0]
        when = (first.period_ns, first.phase_ns, first.jitter_ns)
        groups.setdefault((first.device, first.function, *when), []).append(block)
    for blocks in groups.values():
        blocks.sort(key=lambda block: block.request.address)
        for one, other in pairwise(blocks):
            longest, widest = most(one.points[0])
            end = one.request.address + one.request.count
            gap = other.request.address - end
            joined = other.points[0].end - one.request.address
            assert gap > widest or joined > longest or are_parted(one, end, other.request.address - 1)


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
