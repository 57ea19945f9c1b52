"""What is passed on of the samples of messages, against the rule written plainly, with late samples and clamps."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.types import HISTORICAL, SAMPLE, Kind, Quality
from gateway.protocol.deadband import Deadband
from gateway.protocol.mqtt.report import Report, Ruled
from tests.reference.modbus import is_news
from tests.support.deadbands import BANDS, VALUES

GOOD, STALE, BAD = Quality.GOOD, Quality.UNCERTAIN_STALE, Quality.BAD_SENSOR_FAILURE
LIMITS = st.sampled_from([(-math.inf, math.inf), (-math.inf, 1.2), (0.0, 20.0)])
TAGS = st.lists(st.tuples(st.sampled_from(list(VALUES)), st.none() | BANDS, LIMITS), min_size=1, max_size=4)


@settings(deadline=None)
@given(st.data(), TAGS)
def test_what_is_passed_on_is_news_and_what_is_news_is_passed_on(
    data: st.DataObject, tags: list[tuple[Kind, Deadband | None, tuple[float, float]]]
) -> None:
    rows = [3 * i + 1 for i in range(len(tags))]
    report = Report([Ruled(row, kind, band, *limits) for row, (kind, band, limits) in zip(rows, tags, strict=True)])
    last: dict[int, tuple[Quality, float, int]] = {}
    total = passed = 0
    for _ in range(data.draw(st.integers(1, 6))):
        if data.draw(st.integers(0, 9)) == 0:
            report.forget()
            last.clear()
        batch = np.zeros(data.draw(st.integers(0, 8)), SAMPLE)
        expected = []
        for sample in batch:
            i = data.draw(st.integers(-1, len(tags)))
            quality = data.draw(st.sampled_from([GOOD, GOOD, STALE, BAD]))
            source_ns = data.draw(st.integers(100, 120))
            is_historical = data.draw(st.integers(0, 9)) == 0
            sample["row"] = rows[i] if 0 <= i < len(tags) else 2 if i < 0 else 10_000
            sample["quality"], sample["source_ns"], sample["arrival_ns"] = quality, source_ns, 500
            if is_historical:
                sample["quality"] |= HISTORICAL
            kind, band, (low, high) = tags[i] if 0 <= i < len(tags) else (Kind.F64, None, (-math.inf, math.inf))
            value = data.draw(VALUES[kind])
            if kind is Kind.F64:
                sample["value"] = value
                value = min(max(value, low), high) if quality is not BAD else value
            else:
                sample["bits"] = value - (1 << 64) if value >= 1 << 63 else value
            before = last.get(i)
            if band is not None and not is_historical:
                # Of a late sample the distance counts, and it takes nobody's place.
                at_ns = source_ns if before is None else before[2] + abs(source_ns - before[2])
                if not is_news(band, before, quality, value, at_ns):
                    continue
                if before is None or source_ns >= before[2]:
                    last[i] = (quality, value, source_ns)
            expected.append((int(sample["row"]), int(sample["quality"]), source_ns, value))
        total += len(batch)
        kept = report.pass_on(batch)
        passed += len(kept)
        found = []
        for sample in kept:
            i = rows.index(int(sample["row"])) if sample["row"] in rows else -1
            bits = int(sample["bits"])
            value = float(sample["value"]) if i < 0 or tags[i][0] is Kind.F64 else bits
            value = bits & ((1 << 64) - 1) if i >= 0 and tags[i][0] is Kind.U64 else value
            found.append((int(sample["row"]), int(sample["quality"]), int(sample["source_ns"]), value))
        assert found == expected
        assert set(kept["arrival_ns"]) <= {500}
    assert report.unchanged == total - passed


def test_readings_of_one_message_count_by_their_own_times() -> None:
    report = Report([Ruled(0, Kind.F64, Deadband(change=0.0, hold_ns=10, heartbeat_ns=1 << 40), -math.inf, math.inf)])
    batch = np.zeros(100, SAMPLE)
    batch["quality"], batch["arrival_ns"] = GOOD, 10_000
    batch["source_ns"] = batch["value"] = np.arange(100)
    assert list(report.pass_on(batch)["value"]) == list(range(0, 100, 10))


def test_a_slow_drift_is_passed_on_when_it_has_added_up() -> None:
    report = Report([Ruled(0, Kind.F64, Deadband(change=1.0, heartbeat_ns=1 << 60), -math.inf, math.inf)])
    batch = np.zeros(40, SAMPLE)
    batch["quality"], batch["value"] = GOOD, np.arange(40) / 8
    assert list(report.pass_on(batch)["value"]) == [0.0, 1.125, 2.25, 3.375, 4.5]
