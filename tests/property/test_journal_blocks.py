"""Blocks of the journal: what was put in comes out, and a changed byte is noticed."""

from __future__ import annotations

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.cycle import Cycle, Finished, Noted
from gateway.core.events import Event, Severity
from gateway.core.kernels.shuffle import keep_by_row, keep_rows, shuffle, unshuffle, unshuffle_places
from gateway.core.types import SAMPLE
from gateway.spool.journal.format import BlockDamaged, decode_cycles, encode_cycles, open_block
from tests.support.journal import cycle, same, samples

INT64 = st.integers(-(2**63), 2**63 - 1)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.tuples(INT64, INT64, INT64), max_size=5), min_size=1, max_size=5))
def test_any_times_and_bits_come_back_from_a_block(rows: list[list[tuple[int, int, int]]]) -> None:
    cycles = []
    for number, some in enumerate(rows, start=1):
        batch = np.zeros(len(some), SAMPLE)
        for place, (source_ns, arrival_ns, bits) in enumerate(some):
            batch[place]["source_ns"], batch[place]["arrival_ns"], batch[place]["bits"] = source_ns, arrival_ns, bits
        cycles.append(cycle(number, batch))
    read = list(decode_cycles(open_block(encode_cycles(cycles, zstandard.ZstdCompressor()), 0)))
    assert len(read) == len(cycles)
    assert all(same(a, b) for a, b in zip(read, cycles, strict=True))


@given(st.integers(0, 40), st.integers(1, 70), st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_the_shuffle_is_a_transposition_and_its_inverse_undoes_it(count: int, size: int, seed: int) -> None:
    records = np.random.default_rng(seed).integers(0, 256, count * size).astype(np.uint8)
    planes, back = np.zeros_like(records), np.zeros_like(records)
    shuffle(records, size, planes)
    assert planes.tobytes() == records.reshape(count, size).T.tobytes()
    unshuffle(planes, size, back)
    assert back.tobytes() == records.tobytes()


@given(st.integers(0, 20), st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_blocks_of_places_go_each_to_its_place_of_every_owner(owners: int, places: int, words: int, seed: int) -> None:
    blocks = np.random.default_rng(seed).integers(0, 256, (places, owners * words * 8)).astype(np.uint8)
    planes = np.zeros_like(blocks)
    for block, into in zip(blocks, planes, strict=True):
        shuffle(block, words * 8, into)
    rings = np.zeros((owners, places, words), np.uint64)
    unshuffle_places(planes.reshape(-1), rings)
    for place in range(places):
        assert rings[:, place].tobytes() == blocks[place].tobytes()


@given(st.lists(st.integers(0, 9), max_size=60), st.sets(st.integers(0, 7)))
@settings(deadline=None, max_examples=40)
def test_samples_kept_in_the_order_of_rows_are_those_kept_and_each_rows_own_keep_their_order(
    rows: list[int], kept_rows: set[int]
) -> None:
    is_kept = np.array([row in kept_rows for row in range(8)], np.uint8)
    batch = np.zeros(len(rows), SAMPLE)
    batch["row"], batch["bits"] = rows, range(len(rows))
    plain, ordered, places = np.empty_like(batch), np.empty_like(batch), np.zeros(8, np.int64)
    plain = plain[: keep_rows(batch, is_kept, plain)]
    plain = plain[plain["row"] < 8]
    ordered = ordered[: keep_by_row(batch, is_kept, places, ordered)]
    expected = plain[np.argsort(plain["row"], kind="stable")]
    assert ordered.tolist() == expected.tolist()


def test_commands_among_samples_keep_their_place() -> None:
    batch = np.zeros(3, SAMPLE)
    batch["row"] = [2, -1, 0]
    assert keep_by_row(batch, np.ones(3, np.uint8), np.zeros(3, np.int64), np.empty_like(batch)) == -1


def test_influences_positions_and_stamps_come_back() -> None:
    event = Event(5, Severity.NOTICE, "link.up", "plc", "connected")
    rng = np.random.default_rng(1)
    cycles = [
        cycle(7, samples(3, rng), influences=(Noted(event), Noted(event))),
        cycle(8, samples(0, rng)),
        cycle(9, samples(2, rng), influences=(Finished(),)),
    ]
    read = list(decode_cycles(open_block(encode_cycles(cycles, zstandard.ZstdCompressor()), 0)))
    assert all(same(a, b) for a, b in zip(read, cycles, strict=True))
    assert read[-1].positions == {"plc": 9}


@pytest.mark.parametrize("seed", range(20))
def test_a_changed_byte_or_a_cut_is_noticed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = encode_cycles([cycle(1, samples(50, rng))], zstandard.ZstdCompressor())
    broken = bytearray(whole)
    broken[rng.integers(len(whole))] ^= 1 << rng.integers(8)
    with pytest.raises(BlockDamaged):
        list[Cycle](decode_cycles(open_block(bytes(broken), 0)))
    with pytest.raises(BlockDamaged):
        open_block(whole[: rng.integers(len(whole))], 0)
