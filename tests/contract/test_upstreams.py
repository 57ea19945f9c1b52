"""What every upstream keeps to, each against its real far end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.core.encode import FORMAT, envelope
from gateway.core.ports import Answer, LinkDown, Refusal, Upstream, Verdict
from gateway.core.record import Identity
from tests.support.upstreams import BYTES_MAX, FAR_ENDS, FarEnd, Files, JetStream

Scenario = Callable[[FarEnd], Awaitable[None]]


def record(number: int, *, stream: str = "samples", segment: int = 70, size: int = 50) -> tuple[Identity, bytes]:
    """One text of this size, at a time of its own."""
    identity = Identity("plant", stream, segment, number)
    time_ns = segment * 10**12 + number * 10**9
    body: dict[str, object] = {"format": FORMAT, "wall_offset_ns": 0, "first_ns": time_ns, "last_ns": time_ns}
    if stream == "samples":
        body |= {"tags": ["press.note"], "tag": [0], "time_ns": [time_ns], "value": ["x" * size], "quality": [192]}
    else:
        body |= {"time_ns": [time_ns], "severity": [1], "kind": ["k"], "subject": ["s"], "message": ["x" * size]}
    return identity, envelope(identity, json.dumps(body).encode())


@pytest.fixture(params=FAR_ENDS)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Scenario], None]:
    far_end: FarEnd = FAR_ENDS[request.param](tmp_path)

    async def whole(scenario: Scenario) -> None:
        async with far_end.running():
            await scenario(far_end)

    return lambda scenario: uvloop.run(whole(scenario))


async def send_all(upstream: Upstream, records: list[tuple[Identity, bytes]]) -> list[Answer]:
    """Many under way at once, begun in their order, as delivery does."""
    tasks = [asyncio.create_task(upstream.send(*each)) for each in records]  # type: ignore[arg-type]
    return await asyncio.gather(*tasks)


def test_what_was_accepted_is_held_as_it_was_and_in_order(play: Callable[[Scenario], None]) -> None:
    async def scenario(far_end: FarEnd) -> None:
        records = [record(n, size=n * 40) for n in range(1, 41)]
        async with far_end.connect() as upstream:
            assert await send_all(upstream, records) == [Verdict.ACCEPTED] * 40
        assert await far_end.held() == [far_end.form(payload) for _, payload in records]

    play(scenario)


def test_a_record_sent_again_in_another_session_is_accepted_and_where_possible_held_once(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(far_end: FarEnd) -> None:
        records = [record(n) for n in range(1, 31)]
        async with far_end.connect() as upstream:
            await send_all(upstream, records[:20])
        async with far_end.connect() as upstream:
            assert await send_all(upstream, records[10:]) == [Verdict.ACCEPTED] * 20
        held = await far_end.held()
        payloads = [far_end.form(payload) for _, payload in records]
        if far_end.holds_once:
            assert held == payloads
        assert set(held) == set(payloads), "a resend differs, or something is missing"

    play(scenario)


def test_what_was_lost_and_is_asked_for_again_is_held_again_whatever_is_said_to_be_held(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(far_end: FarEnd) -> None:
        records = [record(n) for n in range(1, 31)]
        (identity, payload), last = records[14], records[29]
        async with far_end.connect() as upstream:
            await send_all(upstream, records)
        await far_end.lose(identity)
        before = (await far_end.held()).count(far_end.form(payload))
        async with far_end.connect() as upstream:
            asked = (replace(identity, is_asked=True), payload)
            assert await send_all(upstream, [asked, last]) == [Verdict.ACCEPTED] * 2
        held = await far_end.held()
        assert held.count(far_end.form(payload)) == before + 1
        if far_end.holds_once:
            assert held.count(far_end.form(last[1])) == 1, "only what was asked for"

    play(scenario)


def test_streams_and_segments_do_not_get_into_one_anothers_way(play: Callable[[Scenario], None]) -> None:
    async def scenario(far_end: FarEnd) -> None:
        records = [
            record(number, stream=stream, segment=segment)
            for number in (1, 2)
            for segment in (8, 9)
            for stream in ("events", "samples")
        ]
        async with far_end.connect() as upstream:
            await send_all(upstream, records)
        assert sorted(await far_end.held()) == sorted(far_end.form(payload) for _, payload in records)

    play(scenario)


def test_a_far_end_that_is_away_is_told_with_a_remedy(play: Callable[[Scenario], None]) -> None:
    async def scenario(far_end: FarEnd) -> None:
        await far_end.go_away()
        with pytest.raises(LinkDown) as caught:
            async with far_end.connect():
                pytest.fail("a session with nobody")
        assert caught.value.remedy
        await far_end.come_back()
        async with far_end.connect() as upstream:
            assert await upstream.send(*record(1)) is Verdict.ACCEPTED

    play(scenario)


def test_a_record_that_is_too_large_is_refused_for_ever_and_blocks_nothing(play: Callable[[Scenario], None]) -> None:
    async def scenario(far_end: FarEnd) -> None:
        if not far_end.refuses_what_is_too_large:
            pytest.skip("knows no limit, or no way to say it")
        async with far_end.connect() as upstream:
            first, large, last = await send_all(upstream, [record(1), record(2, size=BYTES_MAX), record(3)])
        assert (first, last) == (Verdict.ACCEPTED, Verdict.ACCEPTED)
        assert isinstance(large, Refusal)
        assert large.reason

    play(scenario)


def test_a_far_end_that_dies_ends_every_send_and_keeps_what_it_accepted(play: Callable[[Scenario], None]) -> None:
    async def scenario(far_end: FarEnd) -> None:
        if isinstance(far_end, Files):
            pytest.skip("an open file outlives its folder's name")
        accepted: list[bytes] = []

        async def send(upstream: Upstream, number: int) -> None:
            identity, payload = record(number)
            assert await upstream.send(identity, payload) is Verdict.ACCEPTED
            accepted.append(payload)

        with pytest.raises(ExceptionGroup) as caught:
            async with far_end.connect() as upstream, asyncio.TaskGroup() as tasks:
                for number in range(1, 10_000):
                    tasks.create_task(send(upstream, number))
                    await asyncio.sleep(0)
                    if number == 200:
                        await far_end.go_away()
                    if number > 200:
                        await asyncio.sleep(0.01)
        assert caught.group_contains(LinkDown)
        await far_end.come_back()
        if far_end.keeps_what_it_acknowledged:
            assert set(map(far_end.form, accepted)) <= set(await far_end.held())
        async with far_end.connect() as upstream:
            assert await upstream.send(*record(1)) is Verdict.ACCEPTED

    play(scenario)


# -- what only one kind has ------------------------------------------------------------------------------------------


def files(tmp_path: Path, scenario: Callable[[Files], Awaitable[None]], **more: Any) -> None:
    async def whole() -> None:
        far_end = Files(tmp_path, **more)
        await far_end.come_back()
        await scenario(far_end)

    asyncio.run(whole())


def test_a_line_that_a_power_cut_tore_is_cut_off_and_written_whole(tmp_path: Path) -> None:
    async def scenario(far_end: Files) -> None:
        async with far_end.connect() as upstream:
            await upstream.send(*record(1))
        _, payload = record(2)
        with (far_end.folder / "records.jsonl").open("ab") as torn:
            torn.write(payload[:-7])
        async with far_end.connect() as upstream:
            await upstream.send(*record(2))
        assert await far_end.held() == [record(1)[1], record(2)[1]]

    files(tmp_path, scenario)


def test_files_are_rotated_and_a_resend_over_a_rotation_is_known(tmp_path: Path) -> None:
    async def scenario(far_end: Files) -> None:
        async with far_end.connect() as upstream:
            for number in range(1, 30):
                await upstream.send(*record(number))
        assert len(list(far_end.folder.glob("records-*.jsonl"))) >= 2
        newest = json.loads((await far_end.held())[-1])["sequence"]
        assert newest == 29
        async with far_end.connect() as upstream:
            await upstream.send(*record(28))
            await upstream.send(*record(30))
        assert [json.loads(line)["sequence"] for line in await far_end.held()] == list(range(1, 31))

    files(tmp_path, scenario)


def test_a_session_knows_what_it_wrote_before_a_rotation_without_reading_it_again(tmp_path: Path) -> None:
    async def scenario(far_end: Files) -> None:
        last = far_end.folder / "records.jsonl"
        async with far_end.connect() as upstream:
            await upstream.send(*record(1))
            for number in range(2, 30):
                with last.open("ab") as lines:
                    lines.write(b"no record\n")
                await upstream.send(*record(number))
                await upstream.send(*record(number - 1))
        written = [*sorted(far_end.folder.glob("records-*.jsonl")), last]
        assert len(written) > 2
        lines = [line for each in written for line in each.read_bytes().splitlines() if line != b"no record"]
        assert [json.loads(line)["sequence"] for line in lines] == list(range(1, 30))

    files(tmp_path, scenario)


def jetstream(tmp_path: Path, scenario: Callable[[JetStream], Awaitable[None]]) -> None:
    async def whole() -> None:
        far_end = JetStream(tmp_path)
        async with far_end.running():
            await scenario(far_end)

    uvloop.run(whole())


def test_what_a_stream_lost_may_be_sent_again_in_any_order(tmp_path: Path) -> None:
    async def scenario(far_end: JetStream) -> None:
        async with far_end.connect() as upstream:
            await send_all(upstream, [record(n) for n in (1, 2, 6, 7)])
            await send_all(upstream, [record(n) for n in (5, 2, 4, 3, 7)])
        sequences = [json.loads(payload)["sequence"] for payload in await far_end.held()]
        assert sequences == [1, 2, 6, 7, 5, 4, 3]

    jetstream(tmp_path, scenario)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"storage": "memory"}, "kept in memory"), ({"storage": "file", "no_ack": True}, "does not acknowledge")],
)
def test_a_stream_that_cannot_keep_the_promise_is_refused(
    tmp_path: Path, settings: dict[str, Any], reason: str
) -> None:
    async def scenario(far_end: JetStream) -> None:
        await far_end.delete_stream()
        await far_end.make_stream(**settings)
        with pytest.raises(LinkDown, match=reason):
            async with far_end.connect():
                pytest.fail("a session with a stream that loses")

    jetstream(tmp_path, scenario)


def test_without_a_stream_the_command_that_makes_one_is_told(tmp_path: Path) -> None:
    async def scenario(far_end: JetStream) -> None:
        await far_end.delete_stream()
        with pytest.raises(LinkDown) as caught:
            async with far_end.connect():
                pytest.fail("a session without a stream")
        assert "nats stream add --storage file --subjects 'contract.*.>'" in caught.value.remedy

    jetstream(tmp_path, scenario)
