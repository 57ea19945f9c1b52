"""Rows that move under a source, and lanes that leave."""

from __future__ import annotations

import numpy as np

from gateway.core.inbox import Inbox, Lane
from gateway.core.moving import Moved
from gateway.core.types import SAMPLE, Samples
from gateway.runtime.polling import THREADS_MAX, Place, those_of_most


def samples(*rows: int) -> Samples:
    made: Samples = np.zeros(len(rows), SAMPLE)
    made["row"] = rows
    made["value"] = rows
    return made


def taken(lane: Lane | Inbox) -> list[tuple[int, float]]:
    out = samples(*[0] * 16)
    count = lane.drain(out) if isinstance(lane, Inbox) else lane.take_into(out)
    return list(zip(out["row"][:count].tolist(), out["value"][:count].tolist(), strict=True))


def test_rows_move_once_for_each_reload_and_tags_that_are_gone_are_left_out() -> None:
    lane = Lane("l", 16)
    lane.append(samples(0, 1, 2))
    lane.moved.move(np.array([2, -1, 0], np.int32))
    assert taken(lane) == [(2, 0.0), (0, 2.0)]
    lane.append(samples(2, 2, 0, 1))
    lane.moved.move(np.array([5, -1, 4], np.int32))
    assert taken(lane) == [(5, 2.0), (5, 2.0), (4, 0.0)]
    assert (lane.taken, lane.accepted, len(lane)) == (7, 7, 0)


def test_a_source_that_is_made_anew_in_its_place_is_built_with_the_rows_that_its_lane_takes() -> None:
    moved = Moved()
    assert moved.as_built()(7) == 7
    moved.move(np.array([3, -1, 4], np.int32))
    assert [*map(moved.as_built(), (3, 4))] == [0, 2]
    moved.move(np.array([-1, -1, -1, 0, 2], np.int32))
    assert [*map(moved.as_built(), (0, 2))] == [0, 2]
    again = samples(0, 2)
    assert moved.put_right(again) == 2
    assert again["row"].tolist() == [0, 2], "as ever"


def test_what_a_leaving_lane_holds_comes_first_and_then_it_is_let_go_of() -> None:
    old, new = Lane("l", 16), Lane("l", 16)
    old.moved.move(np.array([1], np.int32))
    inbox = Inbox([new], leaving=[old])
    old.append(samples(0))
    new.append(samples(3))
    assert taken(inbox) == [(1, 0.0), (3, 3.0)]
    old.append(samples(0))
    inbox.have_left()
    assert taken(inbox) == [(1, 0.0)]
    assert taken(inbox) == []
    old.append(samples(0))
    assert len(inbox) == 0, "nothing of it is looked at any more"
    assert inbox.positions() == {"l": 1}
    assert {reading.labels for reading in inbox.readings()} == {(("lane", "l"),)}


def test_the_smallest_threads_links_are_polled_anew_only_where_another_thread_has_no_room() -> None:
    threads = "abcd"
    assert len(threads) == THREADS_MAX
    places = {f"{thread}{at}": Place(thread, at) for size, thread in enumerate(threads, 1) for at in range(size)}
    assert those_of_most(places, wants_another=False) == places
    kept = those_of_most(places, wants_another=True)
    assert {place.thread for place in kept.values()} == {"b", "c", "d"}
    few = {name: place for name, place in places.items() if place.thread != "d"}
    assert those_of_most(few, wants_another=True) == few
