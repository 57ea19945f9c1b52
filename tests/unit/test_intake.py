"""The intake: what it said to have kept comes back after a crash, once, whatever the crash left at the end."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from gateway.core.events import Event
from gateway.core.intake import NO_KEYS, Frame, FrameDamaged, decode, encode_frame
from gateway.core.types import SAMPLE, Int64s, Samples
from gateway.spool import intake
from gateway.spool.intake import IntakeFiles

TAGS = {4: "press.force", 9: "press.speed"}
PUBACK, PUBREC, PUBCOMP = (bytes((first, 2, 0, 7)) for first in (0x40, 0x50, 0x70))


def samples_of(values: list[int], row: int = 4) -> Samples:
    samples: Samples = np.zeros(len(values), SAMPLE)
    samples["row"], samples["bits"] = row, values
    return samples


class Desk:
    """An intake that is opened again after each crash; `next` is the position of the next sample."""

    def __init__(self, folder: Path, **more: int) -> None:
        self.folder = folder
        self.events: list[Event] = []
        self.more = more
        self.safe = 0
        self.next = 1
        self.files = self.opened()
        self.files.start()

    def opened(self, tags: dict[int, str] = TAGS) -> IntakeFiles:
        files = IntakeFiles(
            self.folder, "floor-durable", tags=tags, now_ns=lambda: 1, emit=self.events.append, **self.more
        )
        files.open(self.safe)
        return files

    def keep(self, values: list[int], acks: bytes = b"", keys: Int64s = NO_KEYS, row: int = 4) -> None:
        done = threading.Event()
        frame = Frame(self.next, samples_of(values, row), acks, keys)
        self.next += len(values)
        self.files.put(frame, done.set)
        assert done.wait(10)

    def after_a_crash(self, tags: dict[int, str] = TAGS) -> list[int]:
        """What comes back; the old one is left behind as a killed process leaves it."""
        self.files = self.opened(tags)
        return [int(bits) for part in self.files.restored() for bits in part["bits"]]

    def newest(self) -> Path:
        return max(self.folder.glob("*.intake"))


def test_what_was_kept_comes_back_once_from_where_it_is_safe(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for n in range(10):
        desk.keep([10 * n, 10 * n + 1, 10 * n + 2])
    desk.safe = 13
    assert desk.after_a_crash() == [n for n in range(100) if n % 10 < 3][13:]
    assert desk.files.begins_at == 13
    desk.safe = 30
    assert desk.after_a_crash() == []
    assert desk.files.begins_at == 30


def test_identifiers_and_keys_come_back_even_when_their_files_are_gone(tmp_path: Path) -> None:
    desk = Desk(tmp_path, file_bytes=200)
    desk.keep([1], PUBREC, np.array([11, 12]))
    desk.keep([2], bytes((0x50, 2, 0, 8)), np.array([13]))
    for n in range(20):
        desk.keep([n])
        desk.files.passed(desk.next - 1)
    assert len(list(tmp_path.glob("*.intake"))) <= 3
    assert desk.files.size_bytes() < 2_000
    desk.keep([99], PUBCOMP)
    desk.safe = desk.next - 1
    assert desk.after_a_crash() == []
    assert desk.files.identities.unreleased == [8]
    assert desk.files.identities.keys.tolist() == [11, 12, 13]


def test_a_new_session_with_the_broker_forgets_the_identifiers(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.keep([1], PUBREC)
    done = threading.Event()
    desk.files.put(Frame(desk.next, is_new_session=True), done.set)
    assert done.wait(10)
    desk.after_a_crash()
    assert desk.files.identities.unreleased == []


def test_an_end_cut_off_anywhere_costs_only_what_was_not_kept(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.keep([1, 2], PUBACK)
    whole = desk.newest().stat().st_size
    desk.keep([3, 4], PUBACK)
    data = desk.newest().read_bytes()
    for size in range(whole, len(data)):
        desk.newest().write_bytes(data[:size])
        assert desk.after_a_crash() == [1, 2]
        assert desk.newest().stat().st_size == whole
    assert desk.events == []


def test_damage_before_the_end_is_put_aside_and_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path, file_bytes=200)
    for n in range(4):
        desk.keep([n] * 8)
    first = min(tmp_path.glob("*.intake"))
    data = bytearray(first.read_bytes())
    data[-5] ^= 1
    first.write_bytes(data)
    assert desk.after_a_crash() == [1] * 8 + [2] * 8 + [3] * 8
    [told] = desk.events
    assert told.kind == "intake.damaged"
    assert first.with_suffix(".damaged").exists()


def test_rows_are_those_of_the_present_configuration(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.keep([1], row=4)
    desk.keep([2], row=9)
    desk.files = desk.opened({0: "press.speed"})
    assert [int(part["row"][0]) for part in desk.files.restored()] == [-1, 0]
    readings = {reading.name: getattr(reading, "value", 0) for reading in desk.files.readings()}
    assert readings["fieldgate_intake_unknown_samples_total"] == 1
    assert readings["fieldgate_intake_restored_samples_total"] == 2


def test_a_disk_that_takes_nothing_delays_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "RETRY_NS", 10_000_000)
    desk = Desk(tmp_path)
    desk.keep([1])
    write, is_full = os.write, threading.Event()
    is_full.set()

    def full(file: int, data: bytes) -> int:
        if is_full.is_set():
            write(file, bytes(data)[:7])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data)

    monkeypatch.setattr(intake.os, "write", full)
    done = threading.Event()
    desk.files.put(Frame(desk.next, samples_of([2])), done.set)
    desk.next += 1
    assert not done.wait(0.1)
    is_full.clear()
    assert done.wait(10)
    desk.keep([3])
    assert [event.kind for event in desk.events] == ["intake.unavailable", "intake.available"]
    assert desk.after_a_crash() == [1, 2, 3]


def test_at_its_limit_nothing_is_kept_until_something_is_safe(tmp_path: Path) -> None:
    desk = Desk(tmp_path, bytes_max=1_000, file_bytes=300)
    for n in range(3):
        desk.keep([n] * 8)
    done = threading.Event()
    desk.files.put(Frame(desk.next, samples_of([7])), done.set)
    assert not done.wait(0.1)
    desk.files.passed(24)
    assert done.wait(10)


def test_any_damage_to_a_frame_is_noticed() -> None:
    data = encode_frame(Frame(5, samples_of([1, 2]), PUBACK, np.array([3])))
    frame, end = decode(data, 0)
    assert isinstance(frame, Frame) and end == len(data)
    assert (frame.first, frame.last, frame.acks, frame.keys.tolist()) == (5, 6, PUBACK, [3])
    for place in range(len(data)):
        with pytest.raises(FrameDamaged):
            decode(data[:place] + bytes((data[place] ^ 0x40,)) + data[place + 1 :], 0)
