"""What the page is told of links and of changes: decided from events and settings, without a running plant."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gateway.core.events import Event, Severity
from gateway.runtime.acquisition import lane_capacity
from gateway.runtime.clock import resume_clock
from gateway.runtime.eventbook import EventBook
from gateway.runtime.reload import compare
from gateway.runtime.status import LinkStates
from gateway.settings.load import load
from gateway.settings.schema import Settings
from tests.support.settings import EXAMPLE


def told(states: LinkStates, kind: str, subject: str, at_ns: int = 5) -> None:
    states.note(Event(at_ns, Severity.INFO, kind, subject, f"{subject} {kind}"))


@pytest.fixture(scope="module")
def example() -> Settings:
    return load(EXAMPLE)


def plant_of(settings: Settings, *, sources: set[str], fast: set[str]) -> Any:
    return SimpleNamespace(settings=settings, sources=dict.fromkeys(sources), fast_links=fast)


def test_a_link_is_up_when_all_its_sessions_are(example: Settings) -> None:
    states = LinkStates()
    plant = plant_of(example, sources={"plc", "floor"}, fast={"plc"})
    assert [(s.name, s.is_up, s.detail) for s in states.of(plant, 1)] == [
        ("plc", False, "connecting"),
        ("floor", False, "connecting"),
    ]
    told(states, "link.up", "plc")
    told(states, "control.link_down", "plc", 7)
    plc = states.of(plant, 1)[0]
    assert (plc.is_up, plc.since_ns, plc.detail) == (False, 7, "plc control.link_down")
    told(states, "control.link_up", "plc", 9)
    assert states.of(plant, 1)[0].is_up


def test_a_link_that_only_the_executive_uses_is_shown_by_its_events(example: Settings) -> None:
    states = LinkStates()
    plant = plant_of(example, sources=set(), fast={"plc"})
    told(states, "control.link_up", "plc")
    (plc,) = states.of(plant, 1)
    assert plc.is_up


def test_a_link_whose_bus_is_dead_counts_as_down(example: Settings) -> None:
    states = LinkStates()
    plant = plant_of(example, sources={"plc"}, fast=set())
    for kind, is_up in (("link.up", True), ("bus.silent", False), ("bus.answers", True)):
        told(states, kind, "plc")
        assert [(plc.is_up, plc.detail) for plc in states.of(plant, 1)] == [(is_up, f"plc {kind}")]


def changed(settings: Settings, **parts: Any) -> Settings:
    return msgspec.structs.replace(settings, **parts)


def test_a_reload_restarts_what_changed_and_nothing_else(example: Settings) -> None:
    assert compare(example, example).is_empty
    assert example.http is not None
    (uplink,) = example.uplinks
    only_http = compare(example, changed(example, http=msgspec.structs.replace(example.http, port=1)))
    assert (only_http.plant, only_http.links, only_http.uplink, only_http.http) == (False, frozenset(), False, True)
    floor = next(link for link in example.links if link.name == "floor")
    other = [
        msgspec.structs.replace(link, broker=msgspec.structs.replace(link.broker, port=9)) if link is floor else link
        for link in example.links
    ]
    assert compare(example, changed(example, links=tuple(other))).plant, "an intake goes on where the engine stood"
    plain = changed(example, topics=(), tags=tuple(tag for tag in example.tags if not tag.is_durable))
    one_link = compare(plain, changed(plain, links=tuple(other)))
    assert (one_link.plant, one_link.links) == (False, frozenset({"floor"}))
    slower = msgspec.structs.replace(uplink, drain_records_per_s=1)
    assert compare(example, changed(example, uplinks=(slower,))).uplink
    assert not compare(example, changed(example, uplinks=(slower,))).plant
    coarser = msgspec.structs.replace(uplink, aggregates_every_ns=10**12)
    assert compare(example, changed(example, uplinks=(coarser,))).plant, "the engine itself works by it"
    assert compare(example, changed(example, tags=example.tags[1:])).plant


def test_a_link_of_a_loop_restarts_the_plant(example: Settings) -> None:
    other = [msgspec.structs.replace(link, port=5555) if link.name == "plc" else link for link in example.links]
    assert compare(example, changed(example, links=tuple(other))).plant


def test_what_cannot_change_while_running_is_refused(example: Settings) -> None:
    changes = compare(example, changed(example, gateway_id="other", state_dir=Path("elsewhere")))
    assert changes.refused == ("gateway_id", "state_dir")


def test_engine_time_goes_on_after_every_earlier_run() -> None:
    far_ahead_ns = resume_clock(0)() + 3600 * 10**9
    clock = resume_clock(far_ahead_ns)
    assert clock() >= far_ahead_ns
    assert clock.lease_ns() > clock()


def test_events_that_come_too_fast_to_be_sent_are_counted() -> None:
    logged: list[Event] = []
    book = EventBook(logged.append)
    for number in range(1_010):
        book.emit(Event(number, Severity.WARNING, "link.down", "plc", "down"))
    assert len(logged) == 1_010
    assert [event.time_ns for event in book.take_outgoing()][:1] == [10]
    assert {r.name: r.value for r in book.readings()}["fieldgate_events_unsent_total"] == 10
    assert book.take_outgoing() == []


def test_what_many_devices_tell_at_one_moment_is_one_line() -> None:
    logged: list[Event] = []
    book = EventBook(logged.append)
    bad = [Event(1, Severity.WARNING, "device.bad", f"d{n}", f"d{n}: 2 of 2 tags bad") for n in range(2_000)]
    alarm = Event(1, Severity.WARNING, "alarm.high.raised", "d0.t", "d0.t: high alarm")
    book.show([*bad[:1_000], alarm, *bad[1_000:]])
    assert [(event.kind, event.subject) for event in logged] == [
        ("device.bad", "2000 devices"),
        ("alarm.high.raised", "d0.t"),
    ]
    assert logged[0].message == "d0, d1, d2 and 1997 more; of the first: d0: 2 of 2 tags bad"
    assert book.kept() == logged
    warnings = [r.value for r in book.readings() if ("severity", "warning") in r.labels]
    assert warnings == [2_001], "each is counted"
    book.show(bad[:10])
    assert len(logged) == 12, "a few are told each for itself"


def test_small_links_have_small_lanes_and_large_ones_a_limit() -> None:
    assert lane_capacity(1) == 8_192
    assert lane_capacity(10_000) == 160_000
    assert lane_capacity(100_000) == 262_144
