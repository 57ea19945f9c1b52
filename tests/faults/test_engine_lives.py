"""An engine that is stopped or killed and goes on: its outputs are those of one that was never interrupted."""

from __future__ import annotations

import dataclasses
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest

from gateway.core.cycle import Finished, run_cycle
from gateway.core.engine import Engine
from gateway.core.spec import EngineSpec
from gateway.core.types import NS_PER_S
from gateway.settings.load import examine
from gateway.spool.checkpoints import CheckpointReader
from gateway.spool.journal.files import paths
from gateway.spool.journal.format import open_block
from gateway.spool.store import Store
from tests.support.lives import JOURNAL, Life, is_whole, many_lives, memory, stored, uninterrupted
from tests.support.plants import cycle_of, plant

SEED = 20_261_125


def expect_same(folder: Path, spec: EngineSpec, last: int, engine: Engine) -> None:
    never_stopped = spec.build()
    expected = uninterrupted(spec, SEED, last, engine=never_stopped)
    assert memory(engine) == memory(never_stopped)
    found = stored(folder)
    for stream, bodies in expected.items():
        assert [sequence for _, sequence, _ in found[stream]] == list(range(1, len(bodies) + 1)), stream
        assert len({segment for segment, _, _ in found[stream]}) <= 1, f"{stream}: another segment was begun"
        assert [body for _, _, body in found[stream]] == bodies, stream


def test_stops_and_starts_leave_no_trace_in_what_is_put_out(tmp_path: Path) -> None:
    for last in (3, 130, 131, 700, 1400):
        life = Life(tmp_path, plant())
        assert life.reading("fieldgate_recovery_exact") == 1, life.events
        life.feed(SEED, last)
        life.end()
    expect_same(tmp_path, plant(), 1400, life.engine)


@pytest.mark.slow
def test_what_is_put_out_through_kills_is_that_of_a_run_without(tmp_path: Path) -> None:
    result = many_lives(tmp_path, 25, SEED)
    assert is_whole(result), result


def ended(folder: Path, last: int = 700, **changes: object) -> Life:
    """A life that fed some cycles and ended."""
    life = Life(folder, plant(), **changes)  # type: ignore[arg-type]
    life.feed(SEED, last)
    life.end()
    return life


def spoil(folder: Path, sql: str) -> None:
    with closing(sqlite3.connect(folder / "spool.db")) as connection:
        connection.execute(sql)
        connection.commit()


def gapless(folder: Path) -> None:
    """In every segment, also where others were begun."""
    for stream, rows in stored(folder).items():
        by_segment: dict[int, list[int]] = {}
        for segment, sequence, body in rows:
            by_segment.setdefault(segment, []).append(sequence)
            assert not body.startswith(b'{"record"') or body.startswith(b'{"record":"segment-end"'), stream
        for sequences in by_segment.values():
            assert sequences == list(range(1, len(sequences) + 1)), stream


@pytest.mark.parametrize("share", [0, 1, -1])
def test_a_damaged_part_of_a_checkpoint_is_named_and_rebuilt_from_the_journal(tmp_path: Path, share: int) -> None:
    ended(tmp_path)
    spoil(tmp_path, f"UPDATE checkpoint_blocks SET body = substr(body, 1, 20) WHERE share = {share} AND block = 0")
    life = Life(tmp_path, plant())
    (damage,) = [event for event in life.events if event.kind == "checkpoint.damaged"]
    assert "look at the disk" in damage.message
    assert life.number == 700
    assert life.reading("fieldgate_recovery_exact") == 0, "what cannot be known to be the same speaks in new segments"
    life.feed(SEED, 1400)
    life.end()
    gapless(tmp_path)
    if share >= 0:
        # The journal goes back to the first cycle, so the rebuilt memory is what it was.
        never_stopped = plant().build()
        uninterrupted(plant(), SEED, 1400, engine=never_stopped)
        assert life.engine.state.tables.cells.tobytes() == never_stopped.state.tables.cells.tobytes()
        assert life.engine.state.tables.ring.tobytes() == never_stopped.state.tables.ring.tobytes()


def test_without_a_sound_checkpoint_the_journal_alone_gives_the_same_records(tmp_path: Path) -> None:
    ended(tmp_path)
    spoil(tmp_path, "UPDATE checkpoints SET body = x'00'")
    life = Life(tmp_path, plant())
    assert life.kinds().count("checkpoint.damaged") == 1
    assert life.reading("fieldgate_recovery_exact") == 1, "it goes back to the engine's first cycle"
    life.feed(SEED, 1400)
    life.end()
    expect_same(tmp_path, plant(), 1400, life.engine)


def test_a_torn_tail_costs_nothing_that_was_promised(tmp_path: Path) -> None:
    ended(tmp_path)
    with paths(tmp_path / "journal")[-1].open("ab") as file:
        file.write(b"FGJ1\x02 and then the power went")
    life = Life(tmp_path, plant())
    assert "journal.torn" in life.kinds()
    assert life.reading("fieldgate_recovery_exact") == 1
    life.feed(SEED, 900)
    life.end()
    expect_same(tmp_path, plant(), 900, life.engine)


def test_damage_inside_the_journal_is_named_and_begins_new_segments(tmp_path: Path) -> None:
    ended(tmp_path)
    spoil(tmp_path, "DELETE FROM checkpoints")
    (path,) = paths(tmp_path / "journal")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    life = Life(tmp_path, plant())
    assert "journal.damaged" in life.kinds()
    assert life.reading("fieldgate_recovery_exact") == 0
    life.feed(SEED, 900)
    life.end()
    gapless(tmp_path)
    samples = stored(tmp_path)["samples"]
    assert len({segment for segment, _, _ in samples}) == 2
    assert len({body for _, _, body in samples}) == len([body for _, _, body in samples if b'"record"' not in body]) + 1


def test_without_a_journal_windows_go_on_from_the_checkpoint_in_new_segments(tmp_path: Path) -> None:
    first = Life(tmp_path, plant(), journal=None)
    first.feed(SEED, 700)
    first.finish()
    first.end()
    life = Life(tmp_path, plant(), journal=None)
    assert life.number == 701
    assert life.reading("fieldgate_recovery_exact") == 0
    assert life.engine.state.tables.cells.tobytes() == first.engine.state.tables.cells.tobytes()
    assert life.engine.state.tables.ring.tobytes() == first.engine.state.tables.ring.tobytes()
    life.feed(SEED, 900)
    life.end()
    gapless(tmp_path)


def test_tags_that_are_left_out_of_the_journal_make_the_next_start_speak_in_new_segments(tmp_path: Path) -> None:
    journal = msgspec.structs.replace(JOURNAL, left_out=("d0.t1",))
    ended(tmp_path, journal=journal)
    life = Life(tmp_path, plant(), journal=journal)
    assert "leaves out 1 tags" in next(event.message for event in life.events if event.kind == "gateway.recovered")
    life.end()


DURABLE = """
[gateway]
id = "plant"
[journal]
[links.floor]
mqtt = "mqtt://127.0.0.1:1"
[devices.d0]
link = "floor"
topic = "d0/{tag}"
tags."t0" = { qos = 2, durable = true }
"""


def test_where_records_are_thrown_away_durable_lanes_go_on_from_before_them(tmp_path: Path) -> None:
    journal = msgspec.structs.replace(JOURNAL, left_out=("d0.t1",))
    (tmp_path / "durable.toml").write_text(DURABLE, encoding="utf-8")
    tags = examine(tmp_path / "durable.toml").settings.tags
    ended(tmp_path, journal=journal)
    with closing(CheckpointReader(tmp_path / "spool.db")) as reader:
        head = reader.saved().head
    assert head is not None
    life = Life(tmp_path, plant(), journal=journal, tags=tags)
    assert life.continuity.positions == head.positions
    assert head.number < life.number == 700, "the other tags' memory goes on to the end"
    passed: list[dict[str, int]] = []
    life.continuity.passed = passed.append
    before = row_of(life.engine, 0), row_of(life.engine, 2)
    life.end()
    again = Life(tmp_path, plant(), journal=journal)
    assert row_of(again.engine, 0) != before[0], "what the intake brings again is not in the memory yet"
    assert row_of(again.engine, 2) == before[1]
    again.continuity.passed = passed.append
    again.feed(SEED, 710)
    again.continuity.flush()
    assert passed == [], "the intake keeps what the journal cannot tell"
    again.feed(SEED, 1400)
    again.end()
    assert passed[-1] == {"plc": 1400}


def row_of(engine: Engine, row: int) -> bytes:
    return engine.state.tables.cells[row].tobytes()


def test_another_configuration_keeps_what_unchanged_tags_remember(tmp_path: Path) -> None:
    ended(tmp_path)
    before = plant()
    tags = before.model.tags
    changed = msgspec.structs.replace(tags[0], windows_ns=(5 * NS_PER_S,))
    renamed = msgspec.structs.replace(tags[1], name="d0.new")
    model = dataclasses.replace(
        before.model, tags=(tags[3], renamed, changed, *tags[4:40]), devices=before.model.devices
    )
    model = dataclasses.replace(
        model, devices=tuple(dataclasses.replace(device, together=()) for device in model.devices)
    )
    after = dataclasses.replace(before, model=model)
    for _ in range(2):
        life = Life(tmp_path, after)
        assert life.reading("fieldgate_recovery_exact") == 1, life.events
        expected = before.build()
        uninterrupted(before, SEED, 700, engine=expected)
        cells, was = life.engine.state.tables.cells, expected.state.tables.cells
        assert cells[0]["samples"] == was[3]["samples"] > 0, "it moved to another row"
        assert cells[1]["samples"] == 0 and cells[2]["samples"] == 0
        assert cells[3:]["samples"].tolist() == was[4:40]["samples"].tolist()
        aggregates = life.engine.view.aggregates_at(np.arange(3, 39, dtype=np.int32), expected.view.now_ns)
        old = expected.view.aggregates_at(np.arange(4, 40, dtype=np.int32), expected.view.now_ns)
        assert aggregates["mean"].tobytes() == old["mean"].tobytes()
        life.end()


def test_a_reload_is_replayed_where_it_happened(tmp_path: Path) -> None:
    before, after = plant(), plant(limit=53.0)
    life = ended_with_reload(tmp_path, before, after)
    again = Life(tmp_path, after)
    assert again.reading("fieldgate_recovery_exact") == 1, again.events
    assert again.number == life.number
    assert memory(again.engine) == memory(life.engine)
    again.end()


def ended_with_reload(folder: Path, before: EngineSpec, after: EngineSpec) -> Life:
    life = Life(folder, before)
    life.feed(SEED, 150)
    cycle = dataclasses.replace(cycle_of(SEED, 151), influences=(Finished(),))
    life.continuity.take(cycle, run_cycle(life.engine, cycle))
    life.reload(after, after.build())
    life.feed(SEED, 175)
    life.end()
    return life


def test_a_file_of_an_earlier_version_opens_and_gets_its_checkpoints(tmp_path: Path) -> None:
    store = Store(tmp_path / "spool.db", bytes_max=1 << 30)
    store.close()
    for table in ("outputs", "checkpoints", "checkpoint_specs", "checkpoint_shares", "checkpoint_blocks"):
        spoil(tmp_path, f"DROP TABLE {table}")
    spoil(tmp_path, "ALTER TABLE ledger DROP COLUMN tags")
    spoil(tmp_path, "ALTER TABLE records DROP COLUMN stored_ns")
    spoil(tmp_path, "PRAGMA user_version = 2")
    life = ended(tmp_path, 300)
    assert life.reading("fieldgate_checkpoints_total") >= 1


def test_an_engine_killed_before_its_first_cycle_was_on_disk_is_fresh_the_next_time(tmp_path: Path) -> None:
    ended(tmp_path, 5)
    (path,) = paths(tmp_path / "journal")
    raw = path.read_bytes()
    path.write_bytes(raw[: open_block(raw, 0).end])
    for table in ("records", "outputs", "checkpoints", "segments"):
        spoil(tmp_path, f"DELETE FROM {table}")
    ended(tmp_path, 20)
    life = Life(tmp_path, plant())
    assert life.reading("fieldgate_recovery_exact") == 1, life.events
    life.feed(SEED, 300)
    life.end()
    expect_same(tmp_path, plant(), 300, life.engine)
