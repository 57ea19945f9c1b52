"""Topics that appear by themselves, from received bytes to the engine, one sentence a test. The parking is a dict."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.core.cycle import Cycle, Influence, Lent, run_cycle
from gateway.core.engine import Engine
from gateway.core.inbox import Lane
from gateway.core.model import DeviceDefinition, Model, Pool
from gateway.core.readings import Reading
from gateway.core.types import NS_PER_S, SAMPLE, Kind, Samples
from gateway.protocol.deadband import Deadband
from gateway.protocol.mqtt.appearing import AppearingIngest
from gateway.protocol.mqtt.lender import Lender, Offer, Terms, Wanted
from gateway.protocol.mqtt.newcomers import Answer, Newcomers
from gateway.protocol.mqtt.patterns import WrongPatternError, parse
from gateway.protocol.mqtt.report import Report, Ruled
from gateway.protocol.mqtt.table import SPARE_NAME_BYTES, Feed
from tests.support.engine import MINUTE_NS, T0, tag
from tests.support.mqtt import message as publish

PATTERN = "plant/{device}/{tag}"
HOUR_NS = 3_600 * NS_PER_S
CONNACK = b"\x20\x02\x00\x00"


class Rig:
    """An ingest with a pool, an engine behind its lane, and a parking that answers when it is told to."""

    def __init__(
        self,
        *,
        rows: int = 4,
        devices: int = 4,
        tags_per_device: int = 4,
        lane: int = 4_096,
        ruled: Ruled | None = None,
    ) -> None:
        shape = tag(windows_ns=(MINUTE_NS,))
        hot = tag(windows_ns=(MINUTE_NS,), unit="K")
        pool = Pool("floor", "broker", rows, devices, (hot, shape))
        model = Model((DeviceDefinition("hall", "broker"),), (tag("hall.door"),), pools=(pool,))
        self.engine = Engine(model, aggregates_every_ns=NS_PER_S, samples_every_ns=NS_PER_S, streams=frozenset())
        feed = Feed("", -1, "", Kind.F64)
        terms = Terms(
            "floor",
            0,
            (parse(PATTERN, None),),
            (Offer("temp*", 0, Feed("", -1, "", Kind.F64, offset=273.0)), Offer("*", 1, feed, ruled)),
            model.pool_rows[0],
            model.pool_devices[0],
            tags_per_device,
            HOUR_NS,
        )
        self.lender = Lender(
            terms,
            seen_ns=self.engine.state.tables.cells["arrival_ns"],
            taken=frozenset({"hall.door"}),
            numbers={"hall": 0},
        )
        self.newcomers = Newcomers([self.lender], self._lend)
        self.lane = Lane("broker", lane)
        self.report = None if ruled is None else Report((), [terms.rows])
        self.ingest = self._new_ingest()
        self.parked: dict[str, bytes] = {}
        self.wanted: list[Wanted] = []
        self.evictions = 0
        self.now_ns = T0
        self._influences: list[Influence] = []
        self._number = 0
        self.receive(CONNACK)

    def _new_ingest(self) -> AppearingIngest:
        written = [Feed("plant/hall/door", 0, "hall", Kind.F64)]
        return AppearingIngest(written, 4, newcomers=self.newcomers, ask=self._ask, report=self.report)

    def begin_again(self) -> None:
        """Another session takes the newcomers over, as after a reload of the link."""
        self.ingest = self._new_ingest()
        self.receive(CONNACK)

    def _lend(self, lendings: object) -> bool:
        self._influences.append(Lent(lendings))  # type: ignore[arg-type]
        return True

    def _ask(self, wanted: list[Wanted]) -> None:
        self.wanted += wanted

    def receive(self, *packets: bytes) -> None:
        data = b"".join(packets)
        self.now_ns += 1_000
        self.ingest.free_space()[: len(data)] = data
        self.ingest.received(len(data), self.now_ns)
        while self.ingest.step(self.lane, 0).is_full:
            self.settle()

    def settle(self) -> None:
        """The engine takes what is in the lane; the parking answers; until nothing waits."""
        while self.cycle() or self.wanted or self.ingest.must_wait:
            wanted = [each for each in self.wanted if each.after_evictions <= self.evictions]
            self.wanted = [each for each in self.wanted if each.after_evictions > self.evictions]
            self.newcomers.answer(
                [Answer(each.pool, each.row, each.generation, self.parked.get(each.name)) for each in wanted]
            )
            self.ingest.advance(self.lane, 0)

    def cycle(self) -> int:
        batch: Samples = np.zeros(self.lane.capacity, SAMPLE)
        taken = self.lane.take_into(batch)
        self._number += 1
        influences, self._influences = tuple(self._influences), []
        result = run_cycle(self.engine, Cycle(self._number, self.now_ns, batch[:taken], influences))
        for parked in result.parked:
            self.evictions = parked.evictions
            for name, state in zip(parked.names, parked.states, strict=True):
                self.parked[name] = state.tobytes()
        return taken

    def send(self, topic: str, value: float) -> None:
        self.receive(publish(topic, str(value).encode()))
        self.settle()

    def names(self) -> set[str]:
        return {name for name, _ in self.engine.directory.rows()}

    def window(self, name: str) -> tuple[int, float]:
        found = self.engine.directory.find(name)
        assert found is not None, name
        window = self.engine.view.aggregates_at(np.array([found[0]], np.int32), self.now_ns)[0]
        return int(window["count"]), float(window["mean"])

    def reading(self, name: str, **labels: str) -> float:
        for source in (self.engine, self.newcomers):
            for reading in source.readings():  # type: ignore[attr-defined]
                assert isinstance(reading, Reading)
                if reading.name == name and labels.items() <= dict(reading.labels).items():
                    return reading.value
        raise AssertionError(name)


def test_a_topic_that_fits_a_pattern_becomes_a_tag_and_its_first_sample_counts() -> None:
    rig = Rig()
    rig.send("plant/press/force", 5.0)
    rig.send("plant/press/force", 7.0)
    rig.send("plant/hall/door", 1.0)
    assert rig.names() == {"hall.door", "press.force"}
    assert rig.window("press.force") == (2, 6.0)
    assert rig.ingest.fast_messages == 2, "after the first message a topic takes the fast path"


def test_a_name_decides_the_shape_of_a_tag() -> None:
    rig = Rig()
    rig.send("plant/press/temperature", 20.0)
    assert rig.window("press.temperature") == (1, 293.0)
    row, _ = rig.engine.directory.find("press.temperature") or (0, 0)
    definition = rig.engine.directory.tags[row]
    assert definition is not None
    assert definition.unit == "K"


def test_samples_that_come_while_the_parking_is_asked_follow_in_their_order() -> None:
    rig = Rig()
    rig.receive(*(publish("plant/press/force", str(value).encode()) for value in (1.0, 2.0)))
    rig.receive(publish("plant/press/force", b"3.0"), publish("plant/hall/door", b"1"))
    assert rig.names() == {"hall.door"}
    rig.settle()
    assert rig.window("press.force") == (3, 2.0)
    found = rig.engine.directory.find("press.force")
    assert found is not None
    assert rig.engine.view.live(np.array([found[0]], np.int32))[0]["value"] == 3.0


def test_the_tag_seen_least_recently_leaves_and_finds_its_state_when_it_returns() -> None:
    rig = Rig(rows=4)
    for device in ("a", "b", "c", "d"):
        rig.send(f"plant/{device}/x", 1.0)
    rig.send("plant/a/x", 3.0)
    rig.send("plant/e/x", 9.0)
    assert rig.names() == {"hall.door", "a.x", "c.x", "d.x", "e.x"}, "b was seen least recently"
    rig.send("plant/b/x", 5.0)
    assert rig.window("b.x") == (2, 3.0)
    assert rig.window("a.x") == (2, 2.0)
    assert rig.window("e.x") == (1, 9.0)
    assert rig.reading("fieldgate_pool_restored_total", pool="floor") == 1
    assert rig.reading("fieldgate_pool_evicted_total", pool="floor") == 2
    assert rig.reading("fieldgate_pool_lent_rows", pool="floor") == 4


def test_a_tag_that_leaves_and_returns_in_one_read_loses_nothing() -> None:
    rig = Rig(rows=2, devices=2)
    rig.send("plant/a/x", 1.0)
    rig.send("plant/b/x", 2.0)
    for turn in range(20):
        rig.receive(
            publish("plant/c/x", b"7"), publish("plant/a/x", str(float(turn)).encode()), publish("plant/b/x", b"2")
        )
        rig.settle()
    rig.send("plant/a/x", 20.0)
    assert rig.window("a.x") == (22, pytest.approx((1.0 + sum(range(20)) + 20.0) / 22))
    rig.send("plant/c/x", 7.0)
    assert rig.window("c.x") == (21, 7.0)


def test_a_device_beyond_the_limit_takes_the_place_of_the_whole_one_seen_least_recently() -> None:
    rig = Rig(rows=8, devices=2, tags_per_device=4)
    for name in ("a/x", "a/y", "b/x"):
        rig.send(f"plant/{name}", 1.0)
    rig.send("plant/c/x", 1.0)
    assert rig.names() == {"hall.door", "b.x", "c.x"}
    assert [device.name for device in rig.engine.directory.devices if device is not None] == ["hall", "c", "b"]


def test_a_tag_of_a_device_that_is_written_down_joins_it() -> None:
    rig = Rig()
    rig.send("plant/hall/light", 1.0)
    row, _ = rig.engine.directory.find("hall.light") or (0, 0)
    definition = rig.engine.directory.tags[row]
    assert definition is not None
    assert definition.device == 0


def test_idle_tags_leave_after_a_while() -> None:
    rig = Rig()
    rig.send("plant/a/x", 1.0)
    rig.now_ns += HOUR_NS // 2
    rig.send("plant/b/x", 1.0)
    rig.now_ns += HOUR_NS // 2 + NS_PER_S
    rig.ingest.tidy(rig.lane, rig.now_ns, 0)
    rig.settle()
    assert rig.names() == {"hall.door", "b.x"}


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("other/a/x", "pattern"),
        ("$plant/a/x", "pattern"),
        ("plant//x", "pattern"),
        ("plant/a/b/x", "pattern"),
        ("plant/full/5", "tags_per_device"),
    ],
)
def test_a_refused_topic_costs_nothing_more_until_it_may_try_again(topic: str, reason: str) -> None:
    rig = Rig(rows=8)
    for number in range(4):
        rig.send(f"plant/full/{number}", 1.0)
    for _ in range(5):
        rig.send(topic, 1.0)
    assert rig.reading("fieldgate_pool_refused_topics_total", reason=reason) == 1
    assert rig.ingest.unknown_topic_messages == 5
    rig.newcomers.forgive()
    rig.send(topic, 1.0)
    assert rig.reading("fieldgate_pool_refused_topics_total", reason=reason) == 2


def test_a_topic_without_a_name_of_its_own_is_refused() -> None:
    rig = Rig()
    rig.send("plant/a/" + "x" * SPARE_NAME_BYTES, 1.0)
    rig.receive(publish("plant/a/x", b"1"))
    rig.settle()
    assert rig.names() == {"hall.door", "a.x"}


def test_nothing_overtakes_a_full_lane() -> None:
    rig = Rig(rows=8, devices=8, lane=8)
    for turn in range(3):
        rig.receive(*(publish(f"plant/d{number}/x", str(turn).encode()) for number in range(12)))
        rig.settle()
    total = sum(rig.window(f"d{number}.x")[0] for number in range(12) if f"d{number}.x" in rig.names())
    assert total == 3 * 8
    assert rig.lane.dropped == 0
    assert rig.reading("fieldgate_engine_rejected_samples_total") == 0


def test_those_called_back_have_their_rows_before_they_speak() -> None:
    rig = Rig()
    rig.newcomers.recall.extend(["plant/a/x", "plant/b/x", "elsewhere"])
    for _ in range(3):
        rig.ingest.tidy(rig.lane, rig.now_ns, 0)
        rig.settle()
    assert rig.names() == {"hall.door", "a.x", "b.x"}


@pytest.mark.parametrize(
    ("text", "tag_name", "words"),
    [
        ("plant/{device}", None, "has no {tag}"),
        ("plant/{tag}", None, "no field for the device"),
        ("plant/+/{device}/{tag}", None, "whole levels"),
        ("plant/x{device}/{tag}", None, "whole levels"),
        ("{device}/{device}/{tag}", None, "twice"),
        ("{device}/{tag}", "power", "take out"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_explained(text: str, tag_name: str | None, words: str) -> None:
    with pytest.raises(WrongPatternError, match=words):
        parse(text, tag_name)


def test_names_of_tags_tell_their_topics_apart() -> None:
    pattern = parse("{area}/{device}/{tag}", None)
    assert pattern.wildcard == "+/+/+"
    assert pattern.match("a/b c/t.x") == ("a/b%20c", "t%2Ex")
    assert pattern.match("a/Öl/t") == ("a/%C3%96l", "t")
    assert parse("meters/{device}/kwh", "energy").match("meters/7/kwh") == ("7", "energy")


def test_what_is_no_news_of_a_tag_that_appeared_is_left_out_and_a_new_tenant_begins_anew() -> None:
    ruled = Ruled(-1, Kind.F64, Deadband(change=0.5, heartbeat_ns=MINUTE_NS), 0.0, 8.0)
    rig = Rig(rows=2, devices=2, ruled=ruled)
    waiting = [publish("plant/a/x", text) for text in (b"1.0", b"1.2", b"3.0")]
    rig.receive(*waiting)  # two wait for the parking with the first
    rig.settle()
    for value in (3.1, 3.2, 99.0):
        rig.send("plant/a/x", value)
    assert rig.window("a.x") == (3, 4.0), "changes, within the clamp"
    rig.send("plant/b/temperature", 1.0)
    rig.send("plant/b/temperature", 1.0)
    assert rig.window("b.temperature") == (2, 274.0), "whose offer has no rule"
    rig.now_ns += NS_PER_S
    rig.send("plant/b/temperature", 1.0)
    rig.send("plant/c/x", 8.0)
    assert rig.names() == {"hall.door", "b.temperature", "c.x"}
    assert rig.window("c.x") == (1, 8.0), "not compared with what the row's last tenant said"
    assert rig.report is not None
    assert rig.report.unchanged == 3


def test_another_session_of_the_link_goes_on_with_who_has_a_row() -> None:
    ruled = Ruled(-1, Kind.F64, Deadband(change=0.5, heartbeat_ns=MINUTE_NS), 0.0, 10.0)
    rig = Rig(ruled=ruled)
    rig.send("plant/a/x", 1.0)
    rig.begin_again()
    before = rig.ingest.fast_messages
    rig.send("plant/a/x", 2.0)
    rig.send("plant/a/x", 2.1)
    assert rig.ingest.fast_messages == before + 2
    assert rig.window("a.x") == (2, 1.5)
