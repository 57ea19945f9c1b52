"""The pressure ladder at work in the spool: its steps come in their order, and every sample is accounted for."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np

from gateway.core.encode import TimeQuality
from gateway.core.encode import encode as encode_record
from gateway.core.events import Event, Severity
from gateway.core.pressure import Step
from gateway.core.record import AGGREGATE, RecordDraft, Stream
from gateway.core.segments import Loss
from gateway.core.symbols import no_texts
from gateway.core.types import NS_PER_MS, SAMPLE, Kind
from gateway.spool.pressing import Pressing
from gateway.spool.records import Grace, Key, Lane, compress
from gateway.spool.sieve import COALESCED, SHED
from gateway.spool.store import Store
from gateway.spool.view import State, view
from gateway.spool.worker import SpoolWorker
from tests.support.spool import encoded, wait_until

DEVICES, TAGS = 4, 10
NAMES = tuple(f"d{device}.t{tag}" for device in range(DEVICES) for tag in range(TAGS))
SEED = 20_261_125
HURRY = 40
"""The spool's stopwatch runs so many times as fast, so that the ladder needs not be waited for."""


def encode(draft: RecordDraft) -> bytes:
    """As the engine's encoder, without model."""
    return encode_record(
        draft, NAMES, (Kind.F64,) * len(NAMES), text_of=no_texts, wall_offset_ns=0, time_quality=TimeQuality.SYNCED
    )


class Plant:
    """Makes drafts and remembers how many samples of which tags and streams are in them."""

    def __init__(self) -> None:
        self.made: dict[str, Counter[str]] = {stream.value: Counter() for stream in Stream}
        self._rng = np.random.default_rng(SEED)
        self._now_ns = 10**15
        self._ordinals: Counter[Stream] = Counter()

    def samples(self, count: int) -> RecordDraft:
        rows = np.zeros(count, SAMPLE)
        rows["row"] = self._rng.integers(0, len(NAMES), count)
        rows["source_ns"] = self._now_ns + np.arange(count) * NS_PER_MS
        rows["value"] = self._rng.random(count)
        rows["quality"] = 192
        self._now_ns += count * NS_PER_MS
        return self._draft(Stream.SAMPLES, rows)

    def aggregates(self, count: int) -> RecordDraft:
        rows = np.zeros(count, AGGREGATE)
        rows["row"] = self._rng.integers(0, len(NAMES), count)
        rows["mean"] = self._rng.random(count)
        return self._draft(Stream.AGGREGATES, rows)

    def events(self) -> RecordDraft:
        text = self._rng.bytes(600).hex()
        return self._draft(Stream.EVENTS, (Event(self._now_ns, Severity.INFO, "test", "plant", text),))

    def _draft(self, stream: Stream, rows: np.ndarray | tuple[Event, ...]) -> RecordDraft:  # type: ignore[type-arg]
        if isinstance(rows, tuple):
            self.made[stream.value]["events"] += len(rows)
        else:
            self.made[stream.value].update(NAMES[row] for row in rows["row"].tolist())
        self._ordinals[stream] += 1
        return RecordDraft(stream, self._now_ns, self._now_ns, rows, NAMES, ordinal=self._ordinals[stream])


def hurried() -> int:
    return time.monotonic_ns() * HURRY


def worker_of(
    path: Path, events: list[Event], *, bytes_max: int, queue_max: int = 1024, slow: float = 0.0
) -> SpoolWorker:
    def slowly(draft: RecordDraft) -> bytes:
        time.sleep(slow)
        return encode(draft)

    store = Store(path, bytes_max=bytes_max, grace=Grace())
    return SpoolWorker(
        store=store, encode=slowly, now_ns=lambda: 7, emit=events.append, stopwatch_ns=hurried, queue_max=queue_max
    )


def steps_of(events: Sequence[Event], kind: str) -> list[int]:
    return [int(event.message.split()[1]) for event in events if event.kind == kind]


def stored(path: Path) -> dict[str, Counter[str]]:
    """By stream and tag, the samples of the records that wait."""
    found: dict[str, Counter[str]] = {stream.value: Counter() for stream in Stream}
    with view(path) as seen:
        for row in seen.rows(State.WAITING, [stream.value for stream in Stream]):
            body = msgspec.json.decode(seen.body(State.WAITING, Key(row.stream, row.segment, row.sequence)))
            if "tag" in body:
                found[row.stream].update(body["tags"][place] for place in body["tag"])
            elif "kind" in body:
                found[row.stream]["events"] += len(body["kind"])
    return found


def ledgered(path: Path) -> list[Loss]:
    with view(path) as seen:
        return seen.losses()


def check_books(path: Path, plant: Plant) -> None:
    """By stream and by tag: what was made is stored, or in the ledger."""
    told: dict[str, Counter[str]] = {stream.value: Counter() for stream in Stream}
    for loss in ledgered(path):
        assert sum(loss.tags.values()) == loss.samples or loss.stream == Stream.EVENTS
        told[loss.stream].update(loss.tags)
    found = stored(path)
    for stream, made in plant.made.items():
        assert found[stream] + told[stream] == made, f"{stream}, seed {SEED}"


def until_step(worker: SpoolWorker, step: Step, make: Callable[[], RecordDraft]) -> None:
    deadline = time.monotonic() + 30
    while worker.pressing.step < step:
        assert time.monotonic() < deadline, f"step {step} was not reached, pressure {worker.pressing.pressure}"
        worker.put(make())
        wait_until(lambda: len(worker._queue) < 8)


def test_a_spool_that_fills_climbs_the_ladder_in_order_and_its_ledger_accounts_for_every_sample(tmp_path: Path) -> None:
    path, events, plant = tmp_path / "spool.db", list[Event](), Plant()
    worker = worker_of(path, events, bytes_max=300_000)
    worker.start()
    until_step(worker, Step.SHED_SAMPLES, lambda: plant.samples(400))
    until_step(worker, Step.SHED_AGGREGATES, lambda: plant.aggregates(100))
    until_step(worker, Step.HOLD, plant.events)
    for _ in range(20):
        worker.put(plant.samples(400))
        worker.put(plant.aggregates(100))
    assert worker.stop(20.0)
    assert steps_of(events, "pressure.raised") == [1, 2, 3, 4, 5]
    check_books(path, plant)
    reasons = {(loss.stream, loss.reason) for loss in ledgered(path)}
    assert {("samples", COALESCED), ("samples", "spool full")} <= reasons
    assert not any(stream == Stream.EVENTS for stream, _ in reasons), "events are never shed"


def test_once_everything_is_acknowledged_the_ladder_is_left_step_by_step(tmp_path: Path) -> None:
    path, events, plant = tmp_path / "spool.db", list[Event](), Plant()
    worker = worker_of(path, events, bytes_max=200_000)
    worker.start()
    until_step(worker, Step.SHED_SAMPLES, lambda: plant.samples(400))

    def is_calm() -> bool:
        with view(path) as seen:
            rows = seen.rows(State.WAITING, list(Stream))
        worker.acknowledge(Key(row.stream, row.segment, row.sequence) for row in rows)
        return worker.pressing.step is Step.CALM

    wait_until(is_calm, seconds=30)
    assert worker.stop(20.0)
    assert steps_of(events, "pressure.raised") == [1, 2]
    assert steps_of(events, "pressure.eased") == [1, 0]


def test_drafts_that_come_too_fast_are_shed_as_they_come_and_no_replay_makes_them_again(tmp_path: Path) -> None:
    path, events, plant = tmp_path / "spool.db", list[Event](), Plant()
    worker = worker_of(path, events, bytes_max=1 << 30, queue_max=40, slow=0.004)
    worker.start()
    gate = threading.Event()

    def flood() -> None:
        while not gate.is_set():
            for make in (lambda: plant.samples(50), lambda: plant.aggregates(20)):
                worker.put(make())
                time.sleep(0.0005)

    flooding = threading.Thread(target=flood)
    flooding.start()
    wait_until(lambda: worker.pressing.step >= Step.SHED_AGGREGATES, seconds=30)
    # A raw sample need not have come between the second step and the third: go on until one was shed.
    wait_until(lambda: ("samples", SHED) in {(loss.stream, loss.reason) for loss in ledgered(path)}, seconds=30)
    gate.set()
    flooding.join()
    assert worker.stop(20.0)
    # Where the flood itself is held up for a moment, a step is left and climbed again: each is first climbed in order.
    assert list(dict.fromkeys(steps_of(events, "pressure.raised")))[:3] == [1, 2, 3]
    check_books(path, plant)
    with closing(sqlite3.connect(path)) as connection:
        outputs = dict(connection.execute("SELECT stream, ordinal FROM outputs"))
    assert outputs == {stream.value: plant._ordinals[stream] for stream in (Stream.SAMPLES, Stream.AGGREGATES)}


def test_what_was_shed_is_told_upstream_and_never_shed_itself(tmp_path: Path) -> None:
    path, plant = tmp_path / "spool.db", Plant()
    worker = worker_of(path, [], bytes_max=150_000)
    worker.start()
    until_step(worker, Step.SHED_SAMPLES, lambda: plant.samples(400))
    worker.note_link(True)
    wait_until(lambda: reported(path) > 0)
    for _ in range(50):
        worker.put(plant.samples(400))
        wait_until(lambda: len(worker._queue) < 8)
    before = reported(path)
    worker.put(plant.aggregates(100))
    wait_until(lambda: reported(path) > before)
    assert worker.stop(20.0)
    with view(path) as seen:
        told = list(seen.told_losses())
    assert sum(loss.samples for loss in told) == sum(sum(loss.tags.values()) for loss in told) > 0
    assert not any(loss.stream == Stream.EVENTS for loss in ledgered(path))


def reported(path: Path) -> int:
    """Lines of loss reports that wait."""
    with view(path) as seen:
        return len(list(seen.told_losses()))


def test_old_raw_records_make_room_for_new_aggregates(tmp_path: Path) -> None:
    store = Store(tmp_path / "spool.db", bytes_max=10_000)
    for number in range(12):
        store.append([encoded(number, stream=Stream.SAMPLES, size=1_000)], number)
    assert store.totals.bytes <= 7_500
    for number in range(20):
        store.append([encoded(number, stream=Stream.AGGREGATES, size=1_000)], number)
    waiting = store.next_records(Lane.LIVE, {}, 100)
    assert {record.key.stream for record in waiting} == {"aggregates"}
    assert store.totals.bytes > 7_500
    assert {(loss.stream, loss.reason) for loss in store.losses()} == {
        ("samples", "spool full"),
        ("aggregates", "spool full"),
    }
    store.close()


def test_a_record_whose_body_says_nothing_is_ledgered_under_others(tmp_path: Path) -> None:
    store = Store(tmp_path / "spool.db", bytes_max=2_000)
    for number in range(4):
        store.append([encoded(number, stream=Stream.SAMPLES, samples=9, size=900)], number)
    assert [loss.tags for loss in store.losses()] == [{"*": 27}]
    store.close()


def test_the_disk_near_its_floor_sheds_and_the_free_bytes_are_told(tmp_path: Path) -> None:
    events: list[Event] = []
    pressing = Pressing(tmp_path / "spool.db", now_ns=lambda: 7, emit=events.append)
    assert "fieldgate_disk_free_bytes" not in {r.name for r in pressing.readings(())}, "nobody has looked yet"
    pressing.look(0.0, 0.0, 10**12, "spool")
    assert pressing.step is Step.CALM
    free = next(r.value for r in pressing.readings(()) if r.name == "fieldgate_disk_free_bytes")
    pressing.floor_bytes = int(free) * 4
    floor = next(r.value for r in pressing.readings(()) if r.name == "fieldgate_disk_floor_bytes")
    assert floor == pressing.floor_bytes
    for look in range(1, 20):
        pressing.look(0.0, 0.0, 10**12 + look * 10**9, "spool")
    assert pressing.speed is Step.HOLD
    assert pressing.space is Step.CALM
    assert events[0].message.startswith("step 1 of 5 (disk: 100% full): ")


def test_bodies_written_by_other_hands_are_counted_as_far_as_they_say(tmp_path: Path) -> None:
    from gateway.spool.ledger import tags_of
    from gateway.spool.records import Encoded

    store = Store(tmp_path / "spool.db", bytes_max=1 << 20)
    body = compress(b'{"tags":["a.b","c.d"],"tag":[0,1,1]}')
    (key,) = store.append([Encoded(Stream.SAMPLES, 1, 2, 5, body)], 1)
    assert tags_of(store.connection, key, 5) == {"a.b": 1, "c.d": 2, "*": 2}
    store.close()
