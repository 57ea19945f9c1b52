"""Decimals of any length and exponent are read exactly, and never raise."""

from __future__ import annotations

from decimal import ROUND_DOWN, Context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.types import Kind
from gateway.protocol.mqtt.decimals import read_decimal
from gateway.protocol.mqtt.form import Form, Layout, TimeForm
from gateway.protocol.mqtt.payloads import Cell, read_time
from gateway.protocol.mqtt.readings import Found, read_readings
from gateway.protocol.mqtt.table import Feed, group

NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,12})(\.[0-9]{1,25})?([eE][+-]?0{0,3}[0-9]{1,2})?", fullmatch=True)
WIDE = Context(prec=400)


@given(NUMBERS, st.integers(-9, 9))
def test_a_decimal_is_what_the_library_says(text: str, places: int) -> None:
    read, oracle = read_decimal(text.encode("ascii")), WIDE.create_decimal(text)
    assert read.is_negative == oracle.is_signed()
    assert bool(read.digits) == (not oracle.is_zero())
    if read.digits:
        assert read.before_point == oracle.adjusted() + 1
        whole = oracle.copy_abs().scaleb(places, WIDE).to_integral_value(ROUND_DOWN, WIDE)
        assert read.shifted(places) == int(whole)


@pytest.mark.parametrize("exponent", ["99999999999999999999", "9" * 5_000, "0" * 5_000 + "9" * 30])
@pytest.mark.parametrize("mantissa", ["1", "0", "-7.25", "9" * 5_000, "0." + "0" * 5_000 + "1"])
@pytest.mark.parametrize("sign", ["", "+", "-"])
@pytest.mark.parametrize("form", [form for form in TimeForm if form is not TimeForm.ISO8601])
def test_a_time_of_an_endless_exponent_is_no_time(mantissa: str, sign: str, exponent: str, form: TimeForm) -> None:
    assert read_time(f"{mantissa}e{sign}{exponent}".encode(), form) == 0


def test_an_exponent_may_undo_thousands_of_zeros() -> None:
    assert read_time(b"0." + b"0" * 6_000 + b"17e6010", TimeForm.S) == 1_700_000_000 * 10**9
    assert read_time(b"17" + b"0" * 6_008 + b"e-6000", TimeForm.S) == 1_700_000_000 * 10**9


def test_a_record_of_senml_with_an_endless_exponent_is_refused_or_now() -> None:
    [topic] = group([Feed("t", 0, "d", Kind.F64, form=Form(Layout.SENML), name="a")])
    found = read_readings(b'[{"n":"a","v":1,"t":1e-99999999999999999999}]', topic, 10**18)
    assert isinstance(found, Found)
    assert found.cells == [(0, Cell(1.0, -1))]
    refused = read_readings(b'[{"n":"a","v":1,"t":1e99999999999999999999}]', topic, 10**18)
    assert not isinstance(refused, Found)
    assert refused.reason == "record 1: 't' is beyond any time"
