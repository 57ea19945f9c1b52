"""An output that the loop thread carries, as the executive sees it: by a script, so that no time-out is waited for."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from gateway.control import executive, plan, wiring
from gateway.control import layout as at
from gateway.control.courier import Ask, Outbox
from gateway.control.reasons import Reason
from gateway.core.types import NS_PER_MS, Kind
from gateway.core.view import Mode
from gateway.settings.schema import MqttPoint, OutputBy, Signal, Tag
from tests.support.control import loop

PERIOD_NS = 100 * NS_PER_MS
BUDGET_NS = 250 * NS_PER_MS
TAGS = {
    "tank.set": (
        1,
        Tag(
            name="tank.set",
            device="tank",
            point=MqttPoint(topic="state", write_topic="set", scale=0.5),
            windows_ns=(),
            stale_after_ns=PERIOD_NS,
            kind=Kind.F64,
        ),
    )
}


class Script:
    """One loop that follows a number, an output by MQTT, and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.memory = at.allocate()
        self.b = self.memory[0]
        followed = Signal(of="number", number=40.0)
        wanted = loop(
            name="valve",
            input="40",
            source=followed,
            output="tank.set",
            does_follow=True,
            output_by=OutputBy.MQTT,
            output_budget_ns=BUDGET_NS,
            every_ns=PERIOD_NS,
            stale_after_ns=10**12,
        )
        plan.fill(self.b, [wanted], TAGS, {})
        wiring.fill(self.b, [wanted], ())
        self.now_ns = 10**12
        self.outbox = Outbox(lambda: self.now_ns)
        self.outbox.bind(self.b, [wanted])
        self.turn(0)

    def turn(self, after_ns: int) -> list[Ask]:
        """What is asked then."""
        self.now_ns += after_ns
        self.b.words[at.SCRIPT_NS] = self.now_ns
        executive.run(self.memory)
        return self.outbox.asked()

    def answer(self, ask: Ask, reason: Reason = Reason.NONE, number: float = 0.0) -> None:
        self.outbox.answer(ask, reason, b"" if ask.is_write else struct.pack(">d", number))

    def count(self, field: int) -> int:
        return int(self.b.loops[0, field])

    @property
    def mode(self) -> Mode:
        return Mode(self.count(at.MODE))


@pytest.fixture
def script() -> Iterator[Script]:
    yield Script()


def known(script: Script, number: float = 20.0) -> list[Ask]:
    """Up to the first write."""
    (ask,) = script.turn(PERIOD_NS)
    assert not ask.is_write
    script.answer(ask, number=number)
    asked: list[Ask] = []
    while not asked:
        asked = script.turn(PERIOD_NS)
    return asked


def written(ask: Ask) -> float:
    return float(struct.unpack(">d", ask.pdu[-8:])[0])


def test_it_asks_what_the_device_has_and_then_writes_in_the_devices_own_unit(script: Script) -> None:
    (ask,) = known(script, number=60.0)
    assert ask.is_write
    assert written(ask) == 80.0, "40 is 80 times the tag's scale"
    assert script.turn(PERIOD_NS) == [], "one request is under way at a time"
    script.answer(ask)
    script.turn(PERIOD_NS)
    assert script.count(at.WRITES) == 1
    assert script.mode is Mode.AUTO
    assert script.b.histograms[at.INPUT_TO_OUTPUT, 0][:-1].sum() == 1


def test_what_is_not_confirmed_in_time_is_a_miss_and_told_once_and_written_again(script: Script) -> None:
    (ask,) = known(script)
    for _ in range(3):
        assert script.turn(PERIOD_NS) == []
    assert script.count(at.WRITE_REASON) == Reason.NOT_CONFIRMED
    assert script.count(at.WRITE_ERRORS) == 1
    assert script.count(at.MISS_REASON) in (Reason.NOT_CONFIRMED, Reason.OVER_PERIOD)
    assert script.count(at.MISSES_IN_ROW) >= 1
    script.answer(ask)
    again = script.turn(PERIOD_NS) or script.turn(PERIOD_NS)
    assert [each.is_write for each in again] == [True]
    script.answer(again[0])
    script.turn(PERIOD_NS)
    assert script.count(at.WRITE_REASON) == Reason.NONE
    script.turn(PERIOD_NS)
    assert script.count(at.MISSES_IN_ROW) == 0


@pytest.mark.parametrize("reason", [Reason.NOT_CONNECTED, Reason.NO_REPLY])
def test_a_lost_way_means_an_unknown_output_and_control_begins_from_what_the_device_has_then(
    script: Script, reason: Reason
) -> None:
    asked = known(script)
    failures = 0
    while script.mode is not Mode.INITIALISING:
        if asked:
            script.answer(asked[0], reason)
            failures += 1
        asked = script.turn(PERIOD_NS)
    assert failures == (1 if reason is Reason.NOT_CONNECTED else 3)
    while not asked:
        asked = script.turn(PERIOD_NS)
    assert not asked[0].is_write, "first it asks"
    script.answer(asked[0], number=10.0)
    script.turn(PERIOD_NS)
    assert script.b.published[0]["output"] in (5.0, 40.0)


def test_a_way_that_is_said_to_be_lost_is_so_without_anything_under_way(script: Script) -> None:
    (ask,) = known(script)
    script.answer(ask)
    script.turn(PERIOD_NS)
    script.outbox.lost("valve")
    script.turn(NS_PER_MS)
    assert script.mode is Mode.INITIALISING
    assert script.count(at.WRITE_REASON) == Reason.NOT_CONNECTED


def test_an_exception_is_an_answer_however_often_it_comes(script: Script) -> None:
    asked = known(script)
    for _ in range(8):
        if asked:
            script.answer(asked[0], Reason.EXCEPTION)
        asked = script.turn(PERIOD_NS)
    assert script.mode is Mode.AUTO
    assert script.count(at.WRITE_ERRORS) >= 3


def test_an_answer_to_another_configuration_goes_nowhere(script: Script) -> None:
    (ask,) = known(script)
    script.outbox.bind(script.b, [])
    script.answer(ask)
    script.turn(PERIOD_NS)
    assert script.count(at.WRITE_OUTSTANDING) == 1
