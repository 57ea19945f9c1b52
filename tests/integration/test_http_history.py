"""`/api/history` over real sockets and a real file: what it gives, what it refuses, and that it holds up nobody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from gateway.core.limits import HISTORY_POINTS_MAX
from gateway.runtime.lookback import reads
from gateway.serving.http.history import WAITING_MAX, Asked, Kept
from gateway.spool.history import RESOLUTIONS_NS, HistoryStore
from tests.integration.test_http import WALL_OFFSET_NS, Clock, Running, wait_until

FINE, MINUTE, *_ = RESOLUTIONS_NS
STEPS = 91


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, int]]:
    """A server with a history that ends now, and where that began (wall time)."""
    folder = tmp_path_factory.mktemp("kept")
    now_ns = Clock()() + WALL_OFFSET_NS
    start_ns = (now_ns // MINUTE - 20) * MINUTE
    with closing(HistoryStore(folder / "history.db", 10**9)) as store:
        for k in range(STEPS):
            mean = np.array([float(k), np.nan])
            store.write(
                start_ns + k * FINE,
                ["boiler.temperature", "d.never"],
                np.stack([mean, mean - 1, mean + 1, mean * 0 + 1]),
            )
    running = Running(read_history=reads(folder))
    yield running, start_ns
    running.stop()


def test_a_tags_past_is_told_at_the_finest_step_that_suits(kept: tuple[Running, int]) -> None:
    running, start_ns = kept
    fine = running.json("/api/history", tag="boiler.temperature", **{"from": "1h"})
    assert (fine["tag"], fine["step_s"], len(fine["points"])) == ("boiler.temperature", 10.0, STEPS)
    assert fine["points"][3] == {
        "start_ms": start_ns // 10**6 + 30_000,
        "mean": 3.0,
        "low": 2.0,
        "high": 4.0,
        "good": 1.0,
    }
    coarse = running.json("/api/history", tag="boiler.temperature", points="60", **{"from": "1h"})
    assert coarse["step_s"] == 60.0
    assert coarse["points"][1] == {
        "start_ms": start_ns // 10**6 + 60_000, "mean": 8.5, "low": 5.0, "high": 12.0, "good": 1.0,
    }  # fmt: skip


def test_from_and_to_may_be_times_in_each_form(kept: tuple[Running, int]) -> None:
    running, start_ns = kept
    start_ms = start_ns // 10**6
    of = {"tag": "boiler.temperature", "step": "10s"}
    part = running.json("/api/history", **of, **{"from": str(start_ms + 20_000), "to": str(start_ms + 50_000)})
    assert [point["mean"] for point in part["points"]] == [2.0, 3.0, 4.0]
    iso = np.datetime64(start_ms + 20_000, "ms").astype(str) + "Z"
    assert running.json("/api/history", **of, **{"from": iso, "to": str(start_ms + 50_000)}) == part


def test_what_has_no_value_is_null(kept: tuple[Running, int]) -> None:
    point = kept[0].json("/api/history", tag="d.never", **{"from": "1h"})["points"][0]
    assert (point["mean"], point["low"], point["high"]) == (None, None, None)


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ({}, 400, "tag: write the name of a tag"),
        ({"tag": "x" * 201}, 400, "at most 200 characters"),
        ({"tag": "boiler.temperature", "from": "soon"}, 400, "from: write a duration back like 6h"),
        ({"tag": "boiler.temperature", "from": "1h", "to": "2h"}, 400, "`from` must be earlier"),
        ({"tag": "boiler.temperature", "step": "7s"}, 400, "step: write 10s, 1min, 15min, 1d"),
        ({"tag": "boiler.temperature", "from": "7d", "step": "10s"}, 400, f"more than {HISTORY_POINTS_MAX} of 10s"),
        (
            {"tag": "boiler.temperature", "points": "0"},
            400,
            f"points: write a whole number from 1 to {HISTORY_POINTS_MAX}",
        ),
        ({"tag": "boiler.temprature"}, 404, "boiler.temprature is not in the history"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_would_do(
    kept: tuple[Running, int], query: dict[str, str], code: int, words: str
) -> None:
    answer = kept[0].client.get("/api/history", params=query)
    assert (answer.status_code, words in answer.text) == (code, True), answer.text


def test_without_a_history_it_says_how_one_is_kept(tmp_path: Path) -> None:
    for options, words in (({}, "[history]"), ({"read_history": reads(tmp_path)}, "nothing is kept yet")):
        running = Running(**options)
        answer = running.client.get("/api/history", params={"tag": "d.a"})
        assert (answer.status_code, words in answer.text) == (404, True), answer.text
        running.stop()


def test_a_damaged_history_is_told_and_the_rest_is_answered(tmp_path: Path) -> None:
    (tmp_path / "history.db").write_bytes(b"no database" * 1_000)
    running = Running(read_history=reads(tmp_path))
    answer = running.client.get("/api/history", params={"tag": "d.a"})
    assert (answer.status_code, "history.db" in answer.text) == (503, True), answer.text
    assert running.client.get("/api/status").status_code == 200
    running.stop()


def test_slow_reads_wait_for_one_another_hold_up_nobody_else_and_are_bounded() -> None:
    may_go_on, asked = threading.Event(), []

    def slow(question: Asked) -> Kept:
        asked.append(question.tag)
        assert may_go_on.wait(30)
        return Kept(FINE, [])

    running = Running(read_history=slow)
    with ThreadPoolExecutor(WAITING_MAX) as pool:

        def ask(n: int) -> int:
            return running.client.get("/api/history", params={"tag": f"d.t{n}"}, timeout=30).status_code

        answers = [pool.submit(ask, n) for n in range(WAITING_MAX)]
        wait_until(lambda: running.server.history_waiting == WAITING_MAX)
        assert running.client.get("/api/status").status_code == 200
        refused = running.client.get("/api/history", params={"tag": "d.late"})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert len(asked) == 1
        may_go_on.set()
        assert [answer.result() for answer in answers] == [200] * WAITING_MAX
    assert "d.late" not in asked
    running.stop()
