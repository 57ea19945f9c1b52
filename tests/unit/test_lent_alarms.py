"""Alarms of tags that appear by themselves, one sentence a test."""

from __future__ import annotations

import numpy as np

from gateway.core.alarms import AlarmAction, AlarmCommand, AlarmState
from gateway.core.engine import Engine
from gateway.core.events import Event
from gateway.core.lending import Command, Lending, Parked, command, commands
from gateway.core.limits import GRID_NS
from gateway.core.model import DeviceDefinition, Model, Pool, TagDefinition
from gateway.core.record import Stream
from gateway.core.snapshot import COMMON, Shares
from gateway.core.types import NS_PER_S, SAMPLE, Kind, Samples
from tests.support.engine import T0, alarms, one, tag

NOTHING: Samples = np.zeros(0, SAMPLE)
HOT = tag(alarms=alarms(high=50.0, high_high=80.0))
LOUD = tag(alarms=alarms(low=10.0))
QUIET = tag()
NAME = "press.heat"


class House:
    """One tag that is written down, with an alarm, and a pool of two rows; time goes on by a grid point a step."""

    def __init__(self, *shapes: TagDefinition) -> None:
        pool = Pool("floor", "broker", 2, 2, shapes or (HOT, LOUD, QUIET))
        hall = tag("hall.door", alarms=alarms(high=50.0))
        self.gate = Engine(
            Model((DeviceDefinition("hall", "broker"),), (hall,), panes_per_window=10, pools=(pool,)),
            aggregates_every_ns=NS_PER_S,
            samples_every_ns=NS_PER_S,
            streams=frozenset({Stream.EVENTS}),
        )
        self.now_ns = T0
        self.events: list[Event] = []
        self.parked: list[Parked] = []

    def step(self, batch: Samples = NOTHING) -> None:
        self.now_ns += GRID_NS
        result = self.gate.step(self.now_ns, batch)
        self.events += result.events
        self.parked += result.parked

    def say(self, value: float, row: int = 1) -> None:
        self.step(one(self.now_ns + GRID_NS, value, row))
        self.step()

    def lend(self, row: int, generation: int, name: str = NAME, shape: int = 0, state: bytes | None = None) -> None:
        self.gate.expect((Lending(row, generation, name, name.split(".")[0], row, shape, name, state),))
        self.step(commands([command(Command.LEND, row, generation, self.now_ns)]))

    def evict(self, row: int, generation: int) -> bytes:
        self.step(commands([command(Command.EVICT, row, generation, self.now_ns)]))
        return self.parked.pop().states[0].tobytes()

    def told(self) -> list[str]:
        told = [event.kind for event in self.events if event.kind.startswith("alarm")]
        self.events.clear()
        return told

    def state_of(self, name: str) -> AlarmState:
        place = self.gate.directory.find_alarm(name)
        assert place is not None
        return AlarmState(int(self.gate.alarms.view()[place]["state"]))


def test_a_tag_that_appears_has_the_alarms_of_its_shape() -> None:
    house = House()
    house.lend(1, 1)
    house.lend(2, 1, "saw.noise", shape=1)
    house.say(60.0)
    house.say(5.0, row=2)
    assert house.told() == ["alarm.high.raised", "alarm.low.raised"]
    assert sorted(house.gate.directory.alarm_names()) == [
        "hall.door/high",
        "press.heat/high",
        "press.heat/high_high",
        "saw.noise/low",
    ]
    assert house.state_of("press.heat/high") is AlarmState.ACTIVE
    readings = {(r.name, *(value for _, value in r.labels)): r.value for r in house.gate.alarms.readings()}
    assert readings["fieldgate_alarms", "medium", "active"] == 2


def test_an_alarm_of_a_tag_that_leaves_is_shown_no_more_and_told_again_when_it_returns() -> None:
    house = House()
    house.lend(1, 1)
    house.say(60.0)
    acknowledge = AlarmCommand(AlarmAction.ACKNOWLEDGE, "press.heat/high", "anna")
    assert [event.kind for event in house.gate.command(acknowledge, house.now_ns)] == ["alarm.high.acknowledged"]
    house.told()
    state = house.evict(1, 1)
    assert house.told() == ["alarm.high.left"]
    assert house.gate.directory.find_alarm("press.heat/high") is None
    assert [event.kind for event in house.gate.command(acknowledge, house.now_ns)] == ["alarm.unknown"]
    house.step()
    assert house.told() == []
    house.lend(2, 1, state=state)
    house.step()
    assert house.state_of("press.heat/high") is AlarmState.ACKNOWLEDGED
    assert len(house.told()) == 1
    house.say(10.0, row=2)
    assert house.told() == ["alarm.high.cleared"]


def test_who_has_the_row_next_has_nothing_of_the_alarms_before() -> None:
    house = House()
    house.lend(1, 1)
    house.say(90.0)
    house.evict(1, 1)
    house.told()
    house.lend(1, 3, "stranger.x", shape=2)
    house.say(90.0)
    assert house.told() == []
    house.evict(1, 3)
    house.lend(1, 5, "other.x", shape=1)
    house.step()
    assert house.told() == []
    assert int(house.gate.view.live(np.ones(1, np.int32))[0]["alarms"]) == 0


def test_a_tag_whose_alarms_were_changed_meanwhile_keeps_the_rest_of_what_it_knew() -> None:
    before = House()
    before.lend(1, 1)
    before.say(60.0)
    state = before.evict(1, 1)
    house = House(tag(alarms=alarms(high=55.0, high_high=80.0)), LOUD, QUIET)
    assert house.gate.tenancy.layouts == before.gate.tenancy.layouts
    house.lend(1, 1, state=state)
    house.step()
    assert house.state_of("press.heat/high") is AlarmState.NORMAL
    assert house.gate.view.aggregates(np.ones(1, np.int32))[0]["count"] == 1


def test_a_tag_that_became_another_quantity_begins_anew() -> None:
    before = House()
    before.lend(1, 1)
    before.say(60.0)
    state = before.evict(1, 1)
    for other in (tag(unit="bar", alarms=HOT.alarms), tag(kind=Kind.I64, alarms=HOT.alarms)):
        house = House(other, LOUD, QUIET)
        house.lend(1, 1, state=state)
        assert house.gate.view.aggregates(np.ones(1, np.int32))[0]["count"] == 0
        readings = {r.name: r.value for r in house.gate.tenancy.readings()}
        assert readings["fieldgate_pool_restored_total"] == 0


def test_a_text_that_appears_is_kept_as_its_number_and_not_over_an_eviction() -> None:
    house = House(tag(kind=Kind.SYMBOL), HOT)
    house.lend(1, 1)
    sample = one(house.now_ns + GRID_NS, 0.0, 1)
    sample["bits"] = 7
    house.step(sample)
    assert house.gate.view.live(np.ones(1, np.int32))[0]["bits"] == 7
    state = house.evict(1, 1)
    house.lend(1, 3, state=state)
    assert house.gate.view.live(np.ones(1, np.int32))[0]["quality"] == 32


def test_images_of_a_checkpoint_bring_the_alarms_of_lent_rows_back() -> None:
    house, other = House(), House()
    house.lend(1, 1)
    house.say(60.0)
    house.told()
    taken, into = Shares(house.gate), Shares(other.gate)
    assert taken.layout == into.layout
    for share in (*range(taken.count), COMMON):
        into.install(taken.capture(share))
    other.gate.restore(house.gate.capture())
    other.now_ns = house.now_ns
    for one_of in (house, other):
        one_of.say(10.0)
        assert one_of.told() == ["alarm.high.cleared"]
    mine, theirs = house.gate.state.tables, other.gate.state.tables
    assert mine.alarms.tobytes() == theirs.alarms.tobytes()
    assert mine.alarm_rules.tobytes() == theirs.alarm_rules.tobytes()
