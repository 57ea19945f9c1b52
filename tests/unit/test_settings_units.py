"""Values with units, addresses, registers, templates."""

from __future__ import annotations

import pytest

from gateway.settings import addresses, units
from gateway.settings.schema import Table
from gateway.settings.templates import NO_VARIABLES, each, fill
from gateway.settings.units import WrongValueError

ANY_DURATION = units.duration(0, 10**18)


@pytest.mark.parametrize(
    ("written", "ns"),
    [
        ("100us", 100_000),
        ("100µs", 100_000),
        ("0.5ms", 500_000),
        ("100ms", 100_000_000),
        ("10 s", 10_000_000_000),
        ("5min", 300_000_000_000),
        ("1h", 3_600_000_000_000),
        ("1d", 86_400_000_000_000),
        ("0.1s", 100_000_000),
    ],
)
def test_durations_are_exact_nanoseconds(written: str, ns: int) -> None:
    assert ANY_DURATION(written) == ns


@pytest.mark.parametrize(
    "written", ["", "s", "10sec", "-1s", "1e3s", "10 m", "ten s", True, None, [], {}, "1" * 5_000 + "s"]
)
def test_what_is_no_duration_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(WrongValueError, match='like "10s"'):
        ANY_DURATION(written)


@pytest.mark.parametrize("ns", [1_000, 1_500_000, 20_000_000, 10**9, 60 * 10**9, 90 * 10**9, 86_400 * 10**9])
def test_a_duration_reads_as_it_is_shown(ns: int) -> None:
    assert ANY_DURATION(units.show_duration(ns)) == ns


@pytest.mark.parametrize(("written", "found"), [("2GB", 2 * 10**9), ("64MiB", 64 * 2**20), ("1.5 MB", 1_500_000)])
def test_sizes_are_bytes(written: str, found: int) -> None:
    assert units.size(1, 10**12)(written) == found
    assert units.size(1, 10**12)(units.show_size(found)) == found


@pytest.mark.parametrize("value", [10**400, float("inf"), float("nan"), "nan", "1e999", -(10**4_000)])
def test_numbers_are_finite(value: object) -> None:
    with pytest.raises(WrongValueError, match="not finite"):
        units.number(value)


@pytest.mark.parametrize(
    ("written", "table", "address"),
    [
        ("holding 100", Table.HOLDING, 100),
        ("input 0x1F", Table.INPUT, 31),
        ("coil 0", Table.COIL, 0),
        ("discrete 65535", Table.DISCRETE, 65_535),
        ("40101", Table.HOLDING, 100),
        (40101, Table.HOLDING, 100),
        ("400101", Table.HOLDING, 100),
        ("30001", Table.INPUT, 0),
        ("10001", Table.DISCRETE, 0),
        ("00001", Table.COIL, 0),
        ("465536", Table.HOLDING, 65_535),
    ],
)
def test_registers_are_read_in_both_notations(written: object, table: Table, address: int) -> None:
    assert addresses.register(written) == (table, address)


@pytest.mark.parametrize(
    "written", ["40000", "465537", "holding 65536", "100", 100, "20001", "holding", "holding -1", True]
)
def test_registers_that_do_not_exist_are_refused(written: object) -> None:
    with pytest.raises(WrongValueError, match="write"):
        addresses.register(written)


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [
        ("10.0.0.5:1502", "10.0.0.5", 1502),
        ("plc-1", "plc-1", 502),
        ("[::1]:502", "::1", 502),
        ("[fe80::1]", "fe80::1", 502),
    ],
)
def test_endpoints_have_a_host_and_a_port(written: str, host: str, port: int) -> None:
    assert addresses.modbus_endpoint(written) == (host, port)


@pytest.mark.parametrize("written", ["", ":502", "h:0", "h:65536", "a b", "http://h", "fe80::1", "-h", "h:", 502])
def test_what_is_no_endpoint_is_refused(written: object) -> None:
    with pytest.raises(WrongValueError, match="write"):
        addresses.modbus_endpoint(written)


def test_brokers_have_their_usual_ports() -> None:
    assert addresses.broker("mqtt://b") == (("b", 1883), False)
    assert addresses.broker("mqtts://b/") == (("b", 8883), True)
    assert addresses.broker("mqtts://b:1") == (("b", 1), True)


@pytest.mark.parametrize(
    "written", ["b:1883", "ws://b", "mqtt://u:p@b", "mqtt://b/topic", "mqtt://", "mqtt://[b", "http://b"]
)
def test_what_is_no_broker_is_refused(written: str) -> None:
    with pytest.raises(WrongValueError, match="write"):
        addresses.broker(written)


def test_several_variables_make_every_combination_the_last_running_fastest() -> None:
    combinations = list(each(100)({"line": ["a", "b"], "n": "08..10"}))
    assert combinations[:4] == [
        {"line": "a", "n": "08"},
        {"line": "a", "n": "09"},
        {"line": "a", "n": "10"},
        {"line": "b", "n": "08"},
    ]
    assert len(combinations) == 6


@pytest.mark.parametrize(
    "written",
    [
        *("1..40", {}, {"n": "40..1"}, {"n": "1-40"}, {"n": []}, {"n": ["a", "a"]}, {"n": [1.5]}, {"device": "1..2"}),
        *({"n": "1..1000"}, {"a": "1..50", "b": "1..50"}, {"n m": "1..2"}, {"n": ["{x}"]}),
    ],
)
def test_templates_that_cannot_be_unrolled_are_refused(written: object) -> None:
    with pytest.raises(WrongValueError, match="write"):
        each(100)(written)


def test_placeholders_are_replaced_in_texts_and_arrays_only() -> None:
    assert fill(["a{n}", 1, "b"], {"n": "7"}) == ["a7", 1, "b"]
    assert fill("plain", NO_VARIABLES) == "plain"
    with pytest.raises(WrongValueError, match=r"\{m\}, which is not known here; write one of \{n\}"):
        fill("{m}", {"n": "7"})
