"""Report by exception against its rule written plainly: every kind, deadband and time."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.types import SAMPLE, Kind, Quality
from gateway.protocol.deadband import MEMORY, Deadband
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.plan import Point, plan
from gateway.protocol.modbus.points import WireType
from gateway.protocol.modbus.report import keep_news
from tests.reference.modbus import is_news
from tests.support.deadbands import BANDS, VALUES

WIRES = {Kind.F64: WireType.FLOAT64, Kind.I64: WireType.INT64, Kind.U64: WireType.UINT64}


@settings(deadline=None)
@given(st.data(), st.lists(st.tuples(st.sampled_from(list(WIRES)), st.none() | BANDS), min_size=1, max_size=6))
def test_what_is_kept_is_news_and_what_is_news_is_kept(
    data: st.DataObject, tags: list[tuple[Kind, Deadband | None]]
) -> None:
    points = [
        Point(row=i, name="t", device="d", unit=1, function=Function.READ_HOLDING_REGISTERS, address=4 * i,
              wire=WIRES[kind], kind=kind, period_ns=1, deadband=band)
        for i, (kind, band) in enumerate(tags)
    ]  # fmt: skip
    (block,) = plan(points)
    last: dict[int, tuple[Quality, float, int]] = {}
    memory = np.zeros(len(points), MEMORY)
    now_ns = 0
    for _ in range(data.draw(st.integers(1, 12))):
        now_ns += data.draw(st.integers(1, 3))
        batch = np.zeros(len(points), SAMPLE)
        batch["arrival_ns"] = now_ns
        expected: list[tuple[int, float]] = []
        for i, (kind, band) in enumerate(tags):
            value = data.draw(VALUES[kind])
            quality = data.draw(st.sampled_from([Quality.GOOD, Quality.GOOD, Quality.BAD_SENSOR_FAILURE]))
            batch[i]["row"] = i
            batch[i]["quality"] = quality
            if kind is Kind.F64:
                batch[i]["value"] = value
            else:
                batch[i : i + 1]["bits"].view(np.uint64)[0] = int(value) & ((1 << 64) - 1)
            if band is None or is_news(band, last.get(i), quality, value, now_ns):
                last[i] = (quality, value, now_ns)
                expected.append((i, value))
        kept = batch if block.rules is None else batch[: keep_news(batch, block.rules, memory)]
        assert [int(row) for row in kept["row"]] == [row for row, _ in expected]
        for sample, (row, value) in zip(kept, expected, strict=True):
            cell = sample["value"] if tags[row][0] is Kind.F64 else int(sample["bits"])
            assert cell == value or (tags[row][0] is Kind.U64 and cell & ((1 << 64) - 1) == value)


def test_a_slow_drift_is_reported_when_it_has_added_up() -> None:
    band = Deadband(change=1.0, heartbeat_ns=1 << 60)
    (block,) = plan(
        [
            Point(row=0, name="t", device="d", unit=1, function=Function.READ_HOLDING_REGISTERS, address=0,
                  wire=WireType.FLOAT64, kind=Kind.F64, period_ns=1, deadband=band)
        ]
    )  # fmt: skip
    assert block.rules is not None
    memory = np.zeros(1, MEMORY)
    reported = []
    for step in range(40):
        batch = np.zeros(1, SAMPLE)
        batch["value"] = step / 8
        if keep_news(batch, block.rules, memory):
            reported.append(step / 8)
    assert reported == [0.0, 1.125, 2.25, 3.375, 4.5]
