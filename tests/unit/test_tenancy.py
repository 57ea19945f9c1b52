"""Rows that pass from one tag to another, one sentence a test."""

from __future__ import annotations

import numpy as np

from gateway.core.engine import Engine
from gateway.core.lending import Command, Lending, Parked, command, commands, tag_id
from gateway.core.limits import GRID_NS
from gateway.core.model import DeviceDefinition, Model, Pool
from gateway.core.record import Stream
from gateway.core.state import HOURS
from gateway.core.types import NS_PER_S, SAMPLE, Quality, Samples
from tests.support.engine import MINUTE_NS, T0, one, tag

NOTHING: Samples = np.zeros(0, SAMPLE)
ROWS = 3
FIRST = 1


def pooled(streams: frozenset[Stream] = frozenset()) -> Engine:
    """One tag that is written down and a pool of three rows behind it."""
    shape = tag(windows_ns=(10 * NS_PER_S, MINUTE_NS))
    pool = Pool("floor", "broker", ROWS, ROWS, (shape,))
    model = Model((DeviceDefinition("hall", "broker"),), (tag(),), panes_per_window=10, pools=(pool,))
    return Engine(model, aggregates_every_ns=NS_PER_S, samples_every_ns=NS_PER_S, streams=streams)


def lending(name: str, row: int, generation: int, state: bytes | None = None) -> Lending:
    return Lending(row, generation, name, name.split(".")[0], row, 0, f"plant/{name}", state)


def lend(gate: Engine, now_ns: int, what: Lending, *samples: Samples) -> tuple[Parked, ...]:
    lent = commands([command(Command.LEND, what.row, what.generation, now_ns)])
    gate.expect((what,))
    return gate.step(now_ns, np.concatenate([lent, *samples])).parked


def evict(gate: Engine, now_ns: int, row: int, generation: int) -> tuple[Parked, ...]:
    return gate.step(now_ns, commands([command(Command.EVICT, row, generation, now_ns)])).parked


def rejected(gate: Engine) -> float:
    readings = {reading.name: reading.value for reading in gate.readings()}
    return readings["fieldgate_engine_rejected_samples_total"]


def speak(gate: Engine, row: int, start_ns: int, values: list[float]) -> int:
    for place, value in enumerate(values):
        gate.step(start_ns + place * NS_PER_S, one(start_ns + place * NS_PER_S, value, row))
    return start_ns + len(values) * NS_PER_S


def test_a_tag_that_leaves_and_returns_to_another_row_has_the_windows_and_scores_of_one_that_never_left() -> None:
    values = [20.0 + (i * 7 % 5) for i in range(40)]
    stayed, left = pooled(), pooled()
    for gate in (stayed, left):
        lend(gate, T0, lending("press.force", 1, 1))
        speak(gate, 1, T0, values[:20])
    now_ns = T0 + 20 * NS_PER_S
    (parked,) = evict(left, now_ns, 1, 1)
    assert (parked.names, parked.evictions) == (("press.force",), 1)
    assert left.directory.find("press.force") is None
    lend(left, now_ns, lending("stranger.force", 1, 3), one(now_ns, 9e9, 1))
    lend(left, now_ns, lending("press.force", 2, 1, parked.states[0].tobytes()))
    for gate, row in ((stayed, 1), (left, 2)):
        speak(gate, row, now_ns, values[20:])
    rows = [np.array([1], np.int32), np.array([2], np.int32)]
    expected, found = stayed.view.aggregates(rows[0]), left.view.aggregates(rows[1])
    for name in expected.dtype.names or ():
        if name != "row":
            assert np.array_equal(expected[name], found[name], equal_nan=True), name
    assert found["count"].tolist() == [10, 40]
    ours, theirs = left.state.tables, stayed.state.tables
    assert ours.novelty[2].tobytes() == theirs.novelty[1].tobytes()
    assert ours.hours[2 * HOURS : 3 * HOURS].tobytes() == theirs.hours[HOURS : 2 * HOURS].tobytes()


def test_a_row_that_is_lent_again_remembers_nothing_of_the_tag_before() -> None:
    gate, fresh = pooled(), pooled()
    lend(gate, T0, lending("a.x", 1, 1))
    speak(gate, 1, T0, [1.0, 2.0, 3.0])
    now_ns = T0 + 5 * NS_PER_S
    evict(gate, now_ns, 1, 1)
    assert gate.view.live(np.array([1], np.int32))[0]["quality"] == Quality.BAD_NOT_INITIALISED
    for engine, generation in ((gate, 3), (fresh, 1)):
        lend(engine, now_ns, lending("b.x", 1, generation))
        speak(engine, 1, now_ns, [5.0, 6.0])
    ours, theirs = (engine.view.aggregates(np.array([1], np.int32)) for engine in (gate, fresh))
    for name in ours.dtype.names or ():
        assert np.array_equal(ours[name], theirs[name], equal_nan=True), name
    assert gate.directory.find("b.x") == (1, 3)


def test_records_name_the_tag_that_had_the_row_when_the_sample_came() -> None:
    gate = pooled(frozenset({Stream.SAMPLES, Stream.AGGREGATES}))
    lend(gate, T0, lending("a.x", 1, 1), one(T0, 1.0, 1))
    batch = np.concatenate(
        [
            commands([command(Command.EVICT, 1, 1, T0 + 1), command(Command.LEND, 1, 3, T0 + 1)]),
            one(T0 + 1, 2.0, 1),
        ]
    )
    gate.expect((lending("b.x", 1, 3),))
    drafts = [*gate.step(T0 + 1, batch).drafts]
    drafts += gate.step(T0 + 2 * NS_PER_S, NOTHING).drafts
    samples = {
        (draft.names[row["row"]], float(row["value"]))
        for draft in drafts
        if draft.stream is Stream.SAMPLES
        for row in np.asarray(draft.rows)
    }
    assert samples == {("a.x", 1.0), ("b.x", 2.0)}
    aggregates = {
        (draft.names[row["row"]], float(row["mean"]), int(row["count"]))
        for draft in drafts
        if draft.stream is Stream.AGGREGATES
        for row in np.asarray(draft.rows)
    }
    assert aggregates == {("a.x", 1.0, 1), ("b.x", 2.0, 1)}, "a tag that leaves tells its aggregates first"


def test_commands_give_the_same_state_however_the_batch_is_cut() -> None:
    lendings = (lending("a.x", 1, 1), lending("b.x", 2, 1), lending("c.x", 1, 3))
    made = [
        commands([command(Command.LEND, 1, 1, T0), command(Command.LEND, 2, 1, T0)]),
        one(T0, 1.0, 1),
        one(T0, 2.0, 2),
        commands([command(Command.EVICT, 2, 1, T0), command(Command.EVICT, 1, 1, T0), command(Command.LEND, 1, 3, T0)]),
        one(T0, 3.0, 1),
    ]
    whole, cut = pooled(frozenset(Stream)), pooled(frozenset(Stream))
    for gate in (whole, cut):
        gate.expect(lendings)
    drafts = [list(whole.step(T0, np.concatenate(made)).drafts), []]
    for record in np.concatenate(made):
        drafts[1] += cut.step(T0, record.reshape(1)).drafts
    for place, gate in enumerate((whole, cut)):
        drafts[place] += gate.step(T0 + NS_PER_S, NOTHING).drafts
    for ours, theirs in zip(whole.state.arrays(), cut.state.arrays(), strict=True):
        assert ours.tobytes() == theirs.tobytes()
    told = [[(d.stream, np.asarray(d.rows).tobytes(), d.names) for d in of_one] for of_one in drafts]
    assert told[0] == told[1]


def test_commands_that_contradict_the_directory_are_counted_and_change_nothing() -> None:
    gate = pooled()
    lend(gate, T0, lending("a.x", 1, 3))
    evict(gate, T0, 1, 5)
    evict(gate, T0, 0, 1)
    evict(gate, T0, 99, 1)
    lend(gate, T0, lending("b.x", 1, 1))
    lend(gate, T0, lending("b.x", 1, 3))
    assert rejected(gate) == 5
    assert gate.directory.find("a.x") == (1, 3)
    assert len(gate.directory) == 2


def test_a_lend_whose_evict_is_missing_before_it_leaves_nobody_with_a_strangers_values() -> None:
    gate = pooled()
    lend(gate, T0, lending("a.x", 1, 1), one(T0, 1.0, 1))
    (parked,) = lend(gate, T0, lending("b.x", 1, 7), one(T0, 2.0, 1))
    assert parked.names == ("a.x",)
    assert gate.directory.find("a.x") is None
    assert gate.directory.find("b.x") == (1, 7)
    found = gate.view.aggregates(np.array([1], np.int32))
    assert set(found["min"].tolist()) == {2.0}
    (parked,) = evict(gate, T0, 1, 7)
    assert parked.names == ("b.x",)
    assert rejected(gate) == 0


def test_a_lend_whose_lending_is_missing_leaves_the_row_to_nobody_until_the_next() -> None:
    gate = pooled()
    lend(gate, T0, lending("a.x", 1, 1), one(T0, 1.0, 1))
    gate.step(T0, np.concatenate([commands([command(Command.LEND, 1, 3, T0)]), one(T0, 2.0, 1)]))
    assert gate.directory.find("a.x") is None
    assert rejected(gate) == 2, "the command, and the sample of nobody"
    lend(gate, T0, lending("c.x", 1, 5), one(T0, 3.0, 1))
    assert gate.directory.find("c.x") == (1, 5)
    assert set(gate.view.aggregates(np.array([1], np.int32))["max"].tolist()) == {3.0}


def test_a_device_is_there_as_long_as_one_of_its_tags() -> None:
    gate = pooled()
    lend(gate, T0, Lending(1, 1, "press.x", "press", 1, 0, "t"))
    lend(gate, T0, Lending(2, 1, "press.y", "press", 1, 0, "t"))
    gate.step(T0 + GRID_NS, NOTHING)
    assert gate.view.devices()["tags"].tolist() == [1, 2, 0, 0]
    evict(gate, T0 + GRID_NS, 1, 1)
    assert gate.directory.device_name(1) == "press"
    evict(gate, T0 + GRID_NS, 2, 1)
    assert gate.directory.devices[1] is None


def test_at_the_end_everybody_is_parked_in_chunks_and_keeps_the_row() -> None:
    gate = pooled()
    lend(gate, T0, lending("a.x", 1, 1), one(T0, 1.0, 1))
    lend(gate, T0, lending("b.x", 2, 1), one(T0 + 5, 2.0, 2))
    (parked,) = gate.tenancy.park_all()
    assert parked.names == ("b.x", "a.x"), "who spoke last comes first"
    assert len(gate.directory) == 3


def test_ids_of_tags_are_the_same_on_every_start() -> None:
    assert tag_id("boiler.temperature") == 8856324040468795891
    assert 0 <= tag_id("") < 1 << 63
