"""What an upstream will not have is asked ever more seldom, whatever it takes beside that."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import uvloop

from gateway.core.events import Event
from gateway.core.pacing import Pace
from gateway.core.ports import as_given
from gateway.core.record import Stream
from gateway.core.types import NS_PER_S
from gateway.runtime.delivery import Delivery
from gateway.settings.schema import HttpAddress
from gateway.spool.store import Store
from gateway.spool.worker import SpoolWorker
from gateway.upstreams import http
from hil.ports import free_port
from tests.support.http_ends import HttpServer, Request, Response
from tests.support.spool import draft, encode, envelope, running_spool
from tests.support.uplink import running, until

RETRY_NS = 20_000_000
TIMES = 20
"""How much faster the spool's time goes in these tests."""


def delivery(server: HttpServer, spool: SpoolWorker, events: list[Event], waits: list[int]) -> Delivery:
    """`waits`: after how many failures in a row it waited."""
    where = HttpAddress(host="127.0.0.1", port=server.port, target="/records/{stream}")

    def retry_after_ns(failures: int) -> int:
        waits.append(failures)
        return RETRY_NS

    return Delivery(
        gateway_id="plant",
        name="cloud",
        spool=spool,
        connect=lambda: http.connect(
            where, acknowledge_timeout_ns=5_000_000_000, wall_offset_ns=lambda: 0, resized=as_given
        ),
        envelope=envelope,
        retry_after_ns=retry_after_ns,
        pace=Pace(2_000),
        now_ns=time.time_ns,
        emit=events.append,
    )


def test_a_stream_that_is_wanted_later_is_tried_ever_more_seldom_while_others_are_taken(tmp_path: Path) -> None:
    is_busy = True
    taken: list[str] = []

    def answer(request: Request) -> Response:
        if request.path == "/records/samples" and is_busy:
            return Response(503, b"not now")
        taken.append(request.path)
        return Response(200)

    async def scenario() -> None:
        nonlocal is_busy
        events: list[Event] = []
        waits: list[int] = []
        with running_spool(tmp_path / "spool.db", events) as spool:
            async with running(delivery(server, spool, events, waits).run()):
                spool.put(draft(0))
                number = 0
                while len(waits) < 8:
                    number += 1
                    spool.put(draft(number, stream=Stream.EVENTS))
                    await asyncio.sleep(0.02)
                assert len(taken) > 5
                assert waits == list(range(1, len(waits) + 1)), "each wait is longer than the one before"
                is_busy = False
                await until(lambda: spool.depth() == 0)
                failures = len(waits)
                server.drop_connections()
                spool.put(draft(number + 1))
                await until(lambda: spool.depth() == 0)
                is_busy = True
                spool.put(draft(1))
                await until(lambda: len(waits) > failures + 1)
                assert 1 in waits[failures:], "what was in the way was taken: it begins anew"

    server = HttpServer(answer, free_port())
    server.start()
    try:
        uvloop.run(scenario())
    finally:
        server.stop()


def test_a_loss_report_that_is_refused_is_made_again_ever_more_seldom_until_it_is_taken(tmp_path: Path) -> None:
    began_ns = time.monotonic_ns()
    made_ns: list[int] = []
    refused = 0
    takes_reports = False
    told: list[dict[str, Any]] = []

    class Noting(Store):
        def report_losses(self, now_ns: int) -> int:
            lines = super().report_losses(now_ns)
            if lines:
                made_ns.append(fast_ns())
            return lines

    def fast_ns() -> int:
        return began_ns + (time.monotonic_ns() - began_ns) * TIMES

    def answer(request: Request) -> Response:
        record = json.loads(request.body)
        if "dropped" not in record:
            return Response(422 if record["sequence"] == 2 else 200, b"not this one")
        if takes_reports:
            told.append(record)
            return Response(200)
        nonlocal refused
        refused += 1
        return Response(400, b"no reports")

    async def scenario() -> None:
        nonlocal takes_reports
        events: list[Event] = []
        store = Noting(tmp_path / "spool.db", bytes_max=1 << 30)
        spool = SpoolWorker(store=store, encode=encode, now_ns=time.time_ns, emit=events.append, stopwatch_ns=fast_ns)
        spool.start()
        try:
            async with running(delivery(server, spool, events, []).run()):
                for number in range(5):
                    spool.put(draft(number))
                await until(lambda: refused >= 5)
                # Waits of 2, 4, 8 and 16 s, up to a quarter shorter; without them it would be once a second.
                assert made_ns[4] - made_ns[0] > 12 * NS_PER_S
                takes_reports = True
                await until(lambda: len(told) > 0 and spool.depth() == 0)
        finally:
            assert spool.stop(10.0)
        lost = {(loss["stream"], loss["from_sequence"], loss["to_sequence"]) for loss in told[0]["dropped"]}
        assert ("samples", 2, 2) in lost
        assert any(stream == "events" for stream, *_ in lost), "the reports that were refused are accounted for, too"

    server = HttpServer(answer, free_port())
    server.start()
    try:
        uvloop.run(scenario())
    finally:
        server.stop()
