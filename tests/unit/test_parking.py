"""The parking of what tags remember, one sentence a test."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from gateway.core.events import Event
from gateway.core.lending import Parked
from gateway.core.ports import Clock
from gateway.spool.parking import RETRY_NS, Parking, Question

LAYOUT = 7
DEADLINE_S = 10.0


@contextmanager
def parking(
    path: Path, events: list[Event], bytes_max: int = 10**6, layout: int = LAYOUT, clock: Clock = lambda: 1
) -> Iterator[Parking]:
    running = Parking(path, bytes_max=bytes_max, layouts=(layout,), now_ns=clock, emit=events.append)
    running.start()
    yield running
    assert running.stop(DEADLINE_S)


def left(*names: str, evictions: int, fill: int = 1, size: int = 400) -> Parked:
    states = np.random.default_rng(fill).integers(0, 256, (len(names), size)).astype(np.uint8)
    return Parked(0, evictions, LAYOUT, names, states)


def asked(running: Parking, *names: str, after: int) -> list[bytes | None]:
    done = threading.Event()
    found: list[bytes | None] = []

    def take(states: list[bytes | None]) -> None:
        found.extend(states)
        done.set()

    running.ask(Question(0, names, after, take))
    assert done.wait(DEADLINE_S)
    return found


def readings(running: Parking) -> dict[str, float]:
    return {f"{r.name}{''.join(value for _, value in r.labels)}": r.value for r in running.readings()}


def test_a_state_is_found_after_a_restart(tmp_path: Path) -> None:
    events: list[Event] = []
    parked = left("a.x", "b.x", evictions=2)
    with parking(tmp_path / "parked.db", events) as running:
        running.put(parked)
    with parking(tmp_path / "parked.db", events) as running:
        assert asked(running, "b.x", "c.x", after=0) == [parked.states[1].tobytes(), None]
        assert readings(running)["fieldgate_parking_tags"] == 2
    assert events == []


def test_an_answer_waits_for_the_evictions_before_it(tmp_path: Path) -> None:
    with parking(tmp_path / "parked.db", []) as running:
        found: list[list[bytes | None]] = []
        done = threading.Event()

        def take(states: list[bytes | None]) -> None:
            found.append(states)
            done.set()

        running.ask(Question(0, ("a.x",), 3, take))
        running.put(left("b.x", "c.x", evictions=2))
        assert asked(running, "b.x", after=2)[0] is not None
        assert not done.is_set(), "a.x has been evicted third, and its state has not come yet"
        last = left("a.x", evictions=3)
        running.put(last)
        assert done.wait(DEADLINE_S)
        assert found == [[last.states[0].tobytes()]]


def test_the_last_state_of_a_tag_counts(tmp_path: Path) -> None:
    with parking(tmp_path / "parked.db", []) as running:
        running.put(left("a.x", evictions=1, fill=1))
        later = left("a.x", evictions=2, fill=2)
        running.put(later)
        assert asked(running, "a.x", after=2) == [later.states[0].tobytes()]
        assert readings(running)["fieldgate_parking_tags"] == 1


def test_a_state_of_another_layout_is_not_given_back(tmp_path: Path) -> None:
    with parking(tmp_path / "parked.db", []) as running:
        running.put(left("a.x", evictions=1))
    with parking(tmp_path / "parked.db", [], layout=LAYOUT + 1) as running:
        assert asked(running, "a.x", after=0) == [None]


def test_beyond_its_bytes_the_states_parked_longest_ago_go_and_are_counted(tmp_path: Path) -> None:
    with parking(tmp_path / "parked.db", [], bytes_max=10_000) as running:
        for number in range(100):
            running.put(left(f"a.{number}", evictions=number + 1))
        assert asked(running, "a.0", after=100) == [None]
        assert asked(running, "a.99", after=100)[0] is not None
        after = readings(running)
        assert after["fieldgate_parking_bytes"] <= 10_000
        assert after["fieldgate_parking_tags"] + after["fieldgate_parking_dropped_totalfull"] == 100


def test_a_file_that_is_no_database_is_thrown_away_with_an_event(tmp_path: Path) -> None:
    path = tmp_path / "parked.db"
    path.write_bytes(b"no database at all" * 1_000)
    events: list[Event] = []
    with parking(path, events) as running:
        running.put(left("a.x", evictions=1))
        running.put(left("b.x", evictions=2))
        asked(running, "a.x", after=2)
        last = left("c.x", evictions=3)
        running.put(last)
        assert asked(running, "c.x", after=3) == [last.states[0].tobytes()]
    assert [event.kind for event in events] == ["parking.dropped"]


def test_a_state_whose_bytes_have_rotted_is_never_given_back(tmp_path: Path) -> None:
    path, events = tmp_path / "parked.db", list[Event]()
    with parking(path, events) as running:
        running.put(left("a.x", evictions=1))
    with closing(sqlite3.connect(path)) as connection, connection:
        (state,) = connection.execute("SELECT state FROM parked").fetchone()
        spoilt = state[:100] + bytes([state[100] ^ 1]) + state[101:]
        connection.execute("UPDATE parked SET state = ?", (spoilt,))
    with parking(path, events) as running:
        assert asked(running, "a.x", after=0) == [None]
        kept = left("b.x", evictions=1)
        running.put(kept)
        assert asked(running, "b.x", after=1) == [kept.states[0].tobytes()]
    assert [event.kind for event in events] == ["parking.dropped"]


def test_where_the_disk_takes_nothing_nobody_waits_and_it_is_tried_again(tmp_path: Path) -> None:
    path, events, now_ns = tmp_path / "gone" / "parked.db", list[Event](), [1]
    with parking(path, events, clock=lambda: now_ns[0]) as running:
        for evictions in (1, 2, 3):
            running.put(left("a.x", evictions=evictions))
            assert asked(running, "a.x", after=evictions) == [None]
        assert readings(running)["fieldgate_parking_dropped_totalerror"] == 3
        path.parent.mkdir()
        now_ns[0] += RETRY_NS
        kept = left("a.x", evictions=4)
        running.put(kept)
        assert asked(running, "a.x", after=4) == [kept.states[0].tobytes()]
    assert [event.kind for event in events] == ["parking.unavailable", "parking.available"]
    assert "unable to open database file" in events[0].message


def test_a_disk_that_is_full_keeps_what_is_parked(small_disk: Path) -> None:
    events, now_ns = list[Event](), [1]
    ballast = small_disk / "ballast"
    with parking(small_disk / "parked.db", events, bytes_max=10**9, clock=lambda: now_ns[0]) as running:
        first = left("first.x", evictions=1)
        running.put(first)
        assert asked(running, "first.x", after=1) == [first.states[0].tobytes()]
        ballast.write_bytes(bytes(1_500_000))
        for number in range(2, 12):
            running.put(left(*(f"{number}.{i}" for i in range(500)), evictions=number))
            asked(running, "first.x", after=number)
        assert [event.kind for event in events] == ["parking.unavailable"]
        ballast.unlink()
        now_ns[0] += RETRY_NS
        running.put(left("last.x", evictions=12))
        assert asked(running, "first.x", "last.x", after=12) == [
            first.states[0].tobytes(),
            left("last.x", evictions=12).states[0].tobytes(),
        ]
    assert [event.kind for event in events] == ["parking.unavailable", "parking.available"]
