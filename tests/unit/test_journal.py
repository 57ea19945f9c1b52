"""The journal: in order, on disk before it releases, within its bytes, honest about what is wrong with its files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.spool.journal.files import Reading, cut_torn, paths
from gateway.spool.journal.writer import Keep
from tests.support.journal import ALL, KEEP, Witness, cycle, head, read, same, samples, spec

RNG = np.random.default_rng(3)


def written(folder: Path, count: int, keep: Keep = KEEP) -> Witness:
    witness = Witness(folder, keep)
    witness.journal.start()
    for number in range(1, count + 1):
        witness.put(cycle(number, samples(40, RNG)))
        if number % 4 == 0:
            assert witness.journal.flush(5.0)
    assert witness.journal.stop(5.0)
    return witness


def test_cycles_are_released_in_order_once_they_are_on_disk_and_read_back(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    put = [cycle(number, samples(40, RNG)) for number in range(1, 21)]
    on_disk: list[int] = []
    witness.journal.start()
    for one in put:
        witness.journal.put(one, lambda covered: on_disk.append(len(read(tmp_path)) if covered else -1))
    assert witness.journal.flush(5.0)
    assert len(on_disk) == 20
    assert all(count >= number for number, count in enumerate(on_disk, start=1)), "released before it was on disk"
    assert witness.journal.stop(5.0)
    assert all(same(a, b) for a, b in zip(read(tmp_path), put, strict=True))
    assert witness.passed[-1] == {"plc": 20}


def test_reading_begins_behind_any_cycle(tmp_path: Path) -> None:
    written(tmp_path, 40, Keep(bytes_max=1 << 20, age_ns=10**18, commit_every_ns=NS_PER_MS))
    for after in (0, 1, 17, 39, 40):
        assert [one.number for one in read(tmp_path, after)] == list(range(after + 1, 41))


def test_samples_of_rows_left_out_are_not_written(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    witness.journal.begin(head(spec("a.b", "c.d")), np.array([1, 0], np.uint8))
    batch = samples(30, RNG, rows=2)
    witness.journal.start()
    witness.put(cycle(1, batch))
    assert witness.journal.stop(5.0)
    (one,) = read(tmp_path)
    assert one.samples.tobytes() == batch[batch["row"] == 0].tobytes()


def test_each_engine_has_files_of_its_own(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    witness.journal.start()
    witness.put(cycle(1, samples(2, RNG)))
    witness.journal.begin(head(spec("other.tag")), ALL)
    witness.put(cycle(2, samples(2, RNG)))
    assert witness.journal.stop(5.0)
    found = [(one.number, head.spec) for head, one in Reading(tmp_path).cycles()]
    assert found == [(1, spec().encoded), (2, spec("other.tag").encoded)]


def test_a_torn_tail_is_found_and_cut_and_costs_nothing_before_it(tmp_path: Path) -> None:
    # Only a flush ends a group, however slow the machine is: two of four cycles.
    written(tmp_path, 8, Keep(bytes_max=1 << 30, age_ns=10**18, commit_every_ns=60 * NS_PER_S))
    (path,) = paths(tmp_path)
    whole = path.read_bytes()
    for cut in (1, 10, 40, 200):
        path.write_bytes(whole[:-cut])
        reading = Reading(tmp_path)
        assert [one.number for _, one in reading.cycles()] == [1, 2, 3, 4]
        (found,) = reading.found
        assert found.is_torn
        cut_torn(found)
        assert [one.number for one in read(tmp_path)] == [1, 2, 3, 4]


def test_damage_inside_a_file_costs_its_block_and_is_named(tmp_path: Path) -> None:
    written(tmp_path, 12)
    (path,) = paths(tmp_path)
    broken = bytearray(path.read_bytes())
    reading = Reading(tmp_path)
    first = next(iter(reading._blocks(path, bytes(broken), is_last=True)))
    broken[first.end + 100] ^= 0xFF
    path.write_bytes(broken)
    reading = Reading(tmp_path)
    assert [one.number for _, one in reading.cycles()] == [1, 2, 3, 4, 9, 10, 11, 12]
    (found,) = reading.found
    assert not found.is_torn
    assert str(path) in str(found) and "checksum" in str(found)


def test_the_oldest_files_go_to_keep_within_the_bytes_and_needed_ones_are_named(tmp_path: Path) -> None:
    keep = Keep(bytes_max=16 * 64 * 1024, age_ns=10**18, commit_every_ns=NS_PER_MS)
    witness = Witness(tmp_path, keep)
    witness.journal.start()
    for number in range(1, 120):
        witness.journal.let_go(min(number, 40))
        witness.put(cycle(number, samples(2_000, RNG)))
        assert witness.journal.flush(5.0)
    assert witness.journal.stop(5.0)
    assert witness.journal.size_bytes() <= keep.bytes_max
    numbers = [one.number for one in read(tmp_path)]
    assert numbers == list(range(numbers[0], 120))
    assert numbers[0] > 41
    assert "journal.overflow" in witness.kinds()


def test_files_that_are_old_and_not_needed_go(tmp_path: Path) -> None:
    keep = Keep(bytes_max=1 << 30, age_ns=200 * NS_PER_MS, commit_every_ns=NS_PER_MS)
    witness = Witness(tmp_path, keep)
    witness.journal.start()
    for number in range(1, 41):
        witness.journal.begin(head(spec(f"d.t{number % 2}")), ALL)
        witness.journal.let_go(min(number - 1, 30))
        witness.put(cycle(number, samples(5, RNG)))
        assert witness.journal.flush(5.0)
    assert witness.journal.stop(5.0)
    assert [one.number for one in read(tmp_path)] == list(range(20, 41))
    assert witness.events == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_a_disk_that_takes_nothing_is_named_once_and_outputs_go_on_uncovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    witness = Witness(tmp_path)
    witness.journal.start()
    witness.put(cycle(1, samples(5, RNG)))
    assert witness.journal.flush(5.0)
    write = os.write

    def full(file: int, data: bytes) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr("gateway.spool.journal.writer.RETRY_NS", 0)
    for number in (2, 3):
        witness.put(cycle(number, samples(5, RNG)))
        assert witness.journal.flush(5.0)
    monkeypatch.setattr(os, "write", write)
    for number in (4, 5):
        witness.put(cycle(number, samples(5, RNG)))
        assert witness.journal.flush(5.0)
    assert witness.passed == [{"plc": 1}], "behind the hole nothing is passed"
    witness.journal.let_go(4)
    witness.put(cycle(6, samples(5, RNG)))
    assert witness.journal.stop(5.0)
    assert witness.released == [(1, True), (2, False), (3, False), (4, True), (5, True), (6, True)]
    assert witness.kinds() == ["journal.unavailable", "journal.available"]
    assert os.strerror(code) in witness.events[0].message
    assert witness.passed[-1] == {"plc": 6}, "a checkpoint stands beyond it"
    assert [one.number for one in read(tmp_path)] == [1, 4, 5, 6]


def test_what_the_queue_does_not_hold_is_released_uncovered_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.spool.journal.writer.JOURNAL_QUEUE_SAMPLES", 100)
    witness = Witness(tmp_path)
    for number in range(1, 5):
        witness.put(cycle(number, samples(40, RNG)))
    witness.journal.start()
    assert witness.journal.stop(5.0)
    assert witness.released == [(1, True), (2, True), (3, False), (4, False)]
    counted = [r for r in witness.journal.readings() if r.labels == (("reason", "queue full"),)]
    assert [reading.value for reading in counted] == [2]  # type: ignore[union-attr]
