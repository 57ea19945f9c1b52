"""Calculations as users meet them: late samples and corrections, silence, local time, the wall clock, records."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from gateway.core.adoption import adopt
from gateway.core.calculations import CalculationDefinition, Function, Output, Span
from gateway.core.calendar import UTC, Calendar, Zone
from gateway.core.cycle import Cycle, run_cycle
from gateway.core.encode import TimeQuality, encode
from gateway.core.engine import Engine
from gateway.core.limits import GRID_NS, RESULTS_WAITING_MAX
from gateway.core.model import DeviceDefinition, Model
from gateway.core.record import RecordDraft, Stamp, Stream
from gateway.core.snapshot import COMMON, Shares
from gateway.core.symbols import no_texts
from gateway.core.types import NS_PER_S, Kind, Quality, Samples
from gateway.settings.zones import TimeZone
from tests.support.engine import T0, batch, one, tag

MEAN, COUNT = Output("mean", Function.MEAN), Output("count", Function.COUNT)
HOUR_NS = 3_600 * NS_PER_S
BERLIN = ZoneInfo("Europe/Berlin")
MIDNIGHTS = [f"0{day} 00:00:00" for day in (2, 3, 4)]


def plant(definition: CalculationDefinition, zone: Zone = UTC, stale_after_ns: int = 5 * NS_PER_S) -> Engine:
    tags = (tag(calculations=(definition,), stale_after_ns=stale_after_ns),)
    return Engine(
        Model((DeviceDefinition("pump", ""),), tags, zone=zone),
        aggregates_every_ns=GRID_NS, samples_every_ns=GRID_NS, streams=frozenset([Stream.CALCULATIONS]),
    )  # fmt: skip


def results(gate: Engine, now_ns: int, samples: Samples | None = None) -> list[tuple[int, int, float, int]]:
    """What a step gives, and a grid point before it, as (start in s after T0, end, value, revision)."""
    found = []
    drafts = gate.step(now_ns - GRID_NS, batch()).drafts if now_ns - GRID_NS > gate.view.now_ns else ()
    for draft in drafts + gate.step(now_ns, batch() if samples is None else samples).drafts:
        for row in draft.rows:
            start, end = (int(row[name]) - T0 for name in ("start_ns", "end_ns"))  # type: ignore[index]
            found.append((start // NS_PER_S, end // NS_PER_S, float(row["value"]), int(row["revision"])))  # type: ignore[index]
    return found


def at(second: float, value: float, arrives: float | None = None) -> Samples:
    source = T0 + round(second * NS_PER_S)
    return batch((0, 192, source, source if arrives is None else T0 + round(arrives * NS_PER_S), value))


def test_an_interval_waits_for_late_samples_and_then_gives_corrections() -> None:
    gate = plant(
        CalculationDefinition("t", Span.TUMBLING, (MEAN,), length_ns=10 * NS_PER_S, late_ns=2 * NS_PER_S, corrects=True)
    )
    gate.step(T0, at(1, 4.0))
    assert results(gate, T0 + 11 * NS_PER_S, at(11, 100.0)) == []
    assert results(gate, T0 + 11 * NS_PER_S, at(9, 8.0, 11)) == []
    assert results(gate, T0 + 12 * NS_PER_S + GRID_NS) == [(0, 10, 6.0, 0)]
    gate.step(T0 + 13 * NS_PER_S, at(9.5, 0.0, 13))
    assert results(gate, T0 + 13 * NS_PER_S + GRID_NS) == [(0, 10, 4.0, 1)]


def session(**changes: object) -> Engine:
    known: dict[str, object] = {"gap_ns": 2 * NS_PER_S, "corrects": True}
    return plant(CalculationDefinition("s", Span.SESSION, (COUNT,), **(known | changes)))  # type: ignore[arg-type]


def feed(gate: Engine, *seconds: float) -> list[tuple[float, float, float, int]]:
    """Samples of these times, as (start, end, count, revision) of each session that is told: ends without the 1 ns."""
    drafts: list[RecordDraft] = []
    for second in seconds:
        arrives = max(second, (gate.view.now_ns - T0) / NS_PER_S)
        drafts += gate.step(T0 + round(arrives * NS_PER_S), at(second, 1.0, arrives)).drafts
    drafts += gate.step(gate.view.now_ns - gate.view.now_ns % GRID_NS + GRID_NS, batch()).drafts
    found = []
    for draft in drafts:
        for row in draft.rows:
            start, end = (int(row["start_ns"]) - T0) / NS_PER_S, (int(row["end_ns"]) - 1 - T0) / NS_PER_S  # type: ignore[index]
            found.append((start, end, float(row["value"]), int(row["revision"])))  # type: ignore[index]
    return found


GONE: Any = pytest.approx(float("nan"), nan_ok=True)


def test_every_hop_over_a_late_sample_is_corrected_once() -> None:
    gate = plant(
        CalculationDefinition(
            "h", Span.HOPPING, (COUNT,), length_ns=10 * NS_PER_S, hop_ns=5 * NS_PER_S, corrects=True
        )
    )  # fmt: skip
    gate.step(T0, at(1, 1.0))
    assert results(gate, T0 + 11 * NS_PER_S, at(11, 1.0)) == [(-5, 5, 1.0, 0), (0, 10, 1.0, 0)]
    gate.step(T0 + 11 * NS_PER_S, at(3, 1.0, 11))
    gate.step(T0 + 11 * NS_PER_S, at(4, 1.0, 11))
    gate.step(T0 + 11 * NS_PER_S, at(7, 1.0, 11))
    assert results(gate, T0 + 12 * NS_PER_S) == [(-5, 5, 3.0, 1), (0, 10, 4.0, 1)]
    assert results(gate, T0 + 15 * NS_PER_S + GRID_NS) == [(5, 15, 2.0, 0)], "one that was not over has it at once"


def test_a_hop_too_old_to_be_corrected_is_left_as_it_is() -> None:
    gate = plant(
        CalculationDefinition(
            "h", Span.HOPPING, (COUNT,), length_ns=10 * NS_PER_S, hop_ns=5 * NS_PER_S, corrects=True
        )
    )  # fmt: skip
    for second in range(0, 100, 5):
        gate.step(T0 + second * NS_PER_S, at(second, 1.0))
    gate.step(T0 + 95 * NS_PER_S + GRID_NS, batch())
    assert results(gate, T0 + 96 * NS_PER_S, at(60, 1.0, 96)) == []
    assert results(gate, T0 + 96 * NS_PER_S + GRID_NS) == []
    values = {reading.name: reading.value for reading in gate.calculations.readings()}
    assert values["fieldgate_calculations_late_samples_total"] == 1


def test_a_session_that_gets_longer_is_taken_back_and_given_anew() -> None:
    gate = session()
    assert feed(gate, 1, 2, 10) == [(1, 2, 2.0, 0)]
    assert feed(gate, 1.5) == [(1, 2, 3.0, 1)], "within it: the same interval once more"
    assert feed(gate, 3.5) == [(1, 2, GONE, 2), (1, 3.5, 4.0, 2)]


def test_two_sessions_that_a_late_sample_joins_are_one() -> None:
    gate = session()
    assert feed(gate, 1, 4, 12) == [(1, 1, 1.0, 0), (4, 4, 1.0, 0)]
    assert feed(gate, 2.5) == [(1, 1, GONE, 1), (4, 4, GONE, 1), (1, 4, 3.0, 1)]
    assert feed(gate, 7) == [(7, 7, 1.0, 0)], "it touches none: one by itself"


def test_a_session_that_is_joined_to_the_present_one_is_given_when_that_is_over() -> None:
    gate = session()
    assert feed(gate, 1, 4) == [(1, 1, 1.0, 0)]
    assert feed(gate, 2.5) == [(1, 1, GONE, 1)]
    assert feed(gate, 12) == [(1, 4, 3.0, 1)]


def test_a_session_that_silence_closed_goes_on_with_a_sample_that_was_under_way() -> None:
    gate = session()
    assert feed(gate, 1) == []
    assert [(end, revision) for _, end, _, revision in results(gate, T0 + 4 * NS_PER_S)] == [(1, 0)]
    assert feed(gate, 2) == [(1, 1, GONE, 1)]
    assert feed(gate, 20) == [(1, 2, 2.0, 1)]


def test_only_the_last_sessions_are_known() -> None:
    gate = session()
    feed(gate, *range(0, 100, 10))
    assert feed(gate, 10) == [], "it may have been that session's, which is not known any more"
    assert feed(gate, 21) == [(20, 20, GONE, 1), (20, 21, 2.0, 1)]
    assert feed(gate, 24) == [(24, 24, 1.0, 0)]
    assert feed(gate, 22) == [], "the one before had to make room"
    values = {reading.name: reading.value for reading in gate.calculations.readings()}
    assert values["fieldgate_calculations_late_samples_total"] == 2


def test_a_sample_that_takes_longer_than_the_ones_before_it_is_late_for_its_interval_and_holds_all_the_same() -> None:
    """In the order of the tag's times, and too late for an interval that silence had closed."""
    outputs = (COUNT, Output("on_time", Function.ON_TIME))
    for corrects in (False, True):
        gate = plant(
            CalculationDefinition("t", Span.TUMBLING, outputs, length_ns=10 * NS_PER_S, corrects=corrects),
            stale_after_ns=60 * NS_PER_S,
        )
        gate.step(T0, at(0, 0.0))
        assert results(gate, T0 + 10 * NS_PER_S + GRID_NS) == [(0, 10, 1.0, 0), (0, 10, 0.0, 0)]
        gate.step(T0 + 10 * NS_PER_S + 2 * GRID_NS, at(9.5, 1.0, 10.2))
        corrected = [(0, 10, 2.0, 1), (0, 10, 0.0, 1)] if corrects else []
        assert results(gate, T0 + 10 * NS_PER_S + 3 * GRID_NS) == corrected
        assert results(gate, T0 + 21 * NS_PER_S) == [(10, 20, 0.0, 0), (10, 20, 10.0, 0)]
        values = {reading.name: reading.value for reading in gate.calculations.readings()}
        assert values["fieldgate_calculations_late_samples_total"] == (not corrects)


def test_what_comes_too_late_is_counted_and_changes_nothing() -> None:
    gate = plant(CalculationDefinition("t", Span.TUMBLING, (MEAN,), length_ns=10 * NS_PER_S))
    gate.step(T0, at(1, 4.0))
    assert results(gate, T0 + 10 * NS_PER_S + GRID_NS) == [(0, 10, 4.0, 0)]
    gate.step(T0 + 11 * NS_PER_S, at(11, 1.0))
    assert results(gate, T0 + 11 * NS_PER_S + GRID_NS, at(9, 8.0, 11)) == []
    values = {reading.name: reading.value for reading in gate.calculations.readings()}
    assert values["fieldgate_calculations_late_samples_total"] == 1


def test_a_sample_that_came_just_before_an_end_and_is_folded_just_after_it_counts() -> None:
    """A gateway folds every ten milliseconds, so the last of a minute's reads often came before the end and waits."""
    gate = plant(CalculationDefinition("t", Span.TUMBLING, (COUNT,), length_ns=10 * NS_PER_S))
    found = []
    for cycle in range(3_030):
        now_ns = T0 + cycle * NS_PER_S // 100
        found += results(gate, now_ns, at(cycle / 100 - 0.005, 1.0) if cycle % 100 == 0 else None)
    assert found == [(-10, 0, 1.0, 0), (0, 10, 10.0, 0), (10, 20, 10.0, 0), (20, 30, 10.0, 0)]
    values = {reading.name: reading.value for reading in gate.calculations.readings()}
    assert values["fieldgate_calculations_late_samples_total"] == 0


def test_bad_values_enter_no_calculation_and_show_as_coverage() -> None:
    outputs = (MEAN, Output("coverage", Function.COVERAGE))
    gate = plant(CalculationDefinition("t", Span.TUMBLING, outputs, length_ns=10 * NS_PER_S), stale_after_ns=NS_PER_S)
    gate.step(T0, at(2, 4.0))
    gate.step(T0 + 3 * NS_PER_S, one(T0 + 3 * NS_PER_S, 1e9, quality=Quality.BAD_SENSOR_FAILURE))
    found = results(gate, T0 + 10 * NS_PER_S + GRID_NS)
    assert [value for _, _, value, _ in found] == [4.0, 0.1]


def test_a_tag_that_falls_silent_still_gives_the_interval_and_no_empty_ones_after_it() -> None:
    gate = plant(CalculationDefinition("t", Span.TUMBLING, (COUNT,), length_ns=NS_PER_S))
    gate.step(T0, at(0.5, 4.0))
    found = []
    for tick in range(1, 200):
        found += results(gate, T0 + tick * GRID_NS)
    assert found == [(0, 1, 1.0, 0), *((s, s + 1, 0.0, 0) for s in range(1, 6))], "as long as the value is believed"


def test_intervals_begin_where_the_wall_clock_says_also_after_it_was_set() -> None:
    gate = plant(CalculationDefinition("t", Span.TUMBLING, (COUNT,), length_ns=HOUR_NS), stale_after_ns=HOUR_NS)
    for offset_ns in (1_700_000_123 * NS_PER_S, 1_700_001_000 * NS_PER_S):
        stamp = Stamp(offset_ns, True)
        ends = []
        start = T0 + (offset_ns == 1_700_001_000 * NS_PER_S) * 10 * HOUR_NS
        for minute in range(200):
            now_ns = start + minute * 60 * NS_PER_S
            done = run_cycle(gate, Cycle(minute, now_ns, one(now_ns, 1.0), stamp=stamp))
            ends += [int(row["end_ns"]) for draft in done.drafts for row in draft.rows]  # type: ignore[index]
        assert len(ends) >= 3
        assert all((end + offset_ns) % HOUR_NS == 0 for end in ends[1:])


def test_a_day_ends_at_local_midnight_also_when_the_clocks_change() -> None:
    calendar = Calendar(TimeZone("Europe/Berlin").data())

    def wall(*local: int) -> int:
        return int(datetime(*local, tzinfo=BERLIN).timestamp()) * NS_PER_S  # type: ignore[misc, arg-type]

    assert calendar("day", wall(2026, 3, 28, 13)) == wall(2026, 3, 29)
    assert calendar("day", wall(2026, 3, 29)) - wall(2026, 3, 29) == 23 * HOUR_NS
    assert calendar("day", wall(2026, 10, 25)) - wall(2026, 10, 25) == 25 * HOUR_NS
    assert calendar("month", wall(2026, 12, 31, 23)) == wall(2027, 1, 1)
    assert calendar("06:00:00 14:00:00 22:00:00", wall(2026, 3, 28, 23)) == wall(2026, 3, 29, 6)
    assert calendar("06:00:00 14:00:00 22:00:00", wall(2026, 3, 28, 6)) == wall(2026, 3, 28, 14)
    # 02:30 does not exist on this day: the shift begins at the moment of the change.
    assert calendar("02:30:00", wall(2026, 3, 29, 0, 10)) == wall(2026, 3, 29, 3)
    # It comes twice on this one: the first counts.
    assert calendar("02:30:00", wall(2026, 10, 25, 0, 10)) == wall(2026, 10, 25, 2, 30)


@pytest.mark.parametrize("key", ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kolkata"])
def test_days_and_months_end_where_python_says(key: str) -> None:
    calendar, zone = Calendar(TimeZone(key).data()), ZoneInfo(key)
    for hours in range(0, 40_000, 7):
        now = datetime.fromtimestamp(1_600_000_000 + 3_600 * hours, zone)
        tomorrow = (now.replace(tzinfo=None) + timedelta(days=1)).replace(hour=0, minute=0, second=0, tzinfo=zone)
        month = (now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, fold=0)
        wall_ns = int(now.timestamp()) * NS_PER_S
        assert calendar("day", wall_ns) == int(tomorrow.timestamp()) * NS_PER_S
        assert calendar("month", wall_ns) == int(month.timestamp()) * NS_PER_S


def test_a_shift_is_given_when_it_is_over() -> None:
    outputs = (Output("on_time", Function.ON_TIME), COUNT)
    gate = plant(
        CalculationDefinition("s", Span.CALENDAR, outputs, calendar="06:00:00 14:00:00"),
        TimeZone("Europe/Berlin").data(),
        HOUR_NS,
    )
    offset_ns = int(datetime(2026, 3, 2, 5, tzinfo=BERLIN).timestamp()) * NS_PER_S - T0
    ends: list[tuple[int, float]] = []
    for step in range(10 * 12):
        now_ns = T0 + step * 300 * NS_PER_S
        done = run_cycle(gate, Cycle(step, now_ns, one(now_ns, float(step % 12 < 6)), stamp=Stamp(offset_ns, True)))
        ends += [(int(row["end_ns"]), float(row["value"])) for draft in done.drafts for row in draft.rows]  # type: ignore[index]
    local = [(datetime.fromtimestamp((end + offset_ns) / 1e9, BERLIN).hour, value) for end, value in ends]
    assert local == [(6, 1800.0), (6, 12.0), (14, 8 * 1800.0), (14, 96.0)]


@pytest.mark.parametrize(
    ("begins", "wrong_s", "set_after_s", "ends"),
    [
        ((1, 17, 0), None, 3_600, MIDNIGHTS),  # a machine that starts in 1970
        ((1, 12, 0), -30, 3_600, MIDNIGHTS),
        ((1, 12, 0), 30, 3_600, MIDNIGHTS),
        ((24, 12, 0), 366 * 86_400, 3_600, ["25 00:00:00", "26 00:00:00", "27 00:00:00"]),
        # The clock passes midnight in a jump, forwards or back: what was counted until then is given apart.
        ((1, 12, 0), -7_200, 12 * 3_600 + 600, ["02 00:10:00", *MIDNIGHTS[1:]]),
        ((1, 12, 0), 7_200, 11 * 3_600, ["01 22:00:00", *MIDNIGHTS]),
    ],
)
def test_a_day_ends_at_midnight_also_after_the_clock_was_set(
    begins: tuple[int, int, int], wrong_s: int | None, set_after_s: int, ends: list[str]
) -> None:
    gate = plant(
        CalculationDefinition("d", Span.CALENDAR, (COUNT,), calendar="day"), TimeZone("Europe/Berlin").data(), HOUR_NS
    )
    true_ns = int(datetime(2026, 10, *begins, tzinfo=BERLIN).timestamp()) * NS_PER_S - T0
    wrong_ns = -T0 if wrong_s is None else true_ns + wrong_s * NS_PER_S
    found, counted, fed = [], 0.0, 0
    for second in range(0, 3 * 86_400, 60):
        now_ns = T0 + second * NS_PER_S
        stamp = Stamp(true_ns if second >= set_after_s else wrong_ns, True)
        done = run_cycle(gate, Cycle(second // 60 + 1, now_ns, one(now_ns, 1.0), stamp=stamp))
        for row in (row for draft in done.drafts for row in draft.rows):  # type: ignore[union-attr]
            end = datetime.fromtimestamp((int(row["end_ns"]) + true_ns) // NS_PER_S, BERLIN)
            found.append(f"{end:%d %H:%M:%S}")
            counted += row["value"]
            fed = -(-(int(row["end_ns"]) - T0) // (60 * NS_PER_S))
    assert found == ends[: len(found)]
    assert len(found) >= 3
    assert counted == fed, "each sample is in one day"


def test_too_many_results_between_two_points_are_counted_as_lost() -> None:
    gate = plant(CalculationDefinition("t", Span.TUMBLING, (COUNT,), length_ns=NS_PER_S))
    times = T0 + NS_PER_S * np.arange(RESULTS_WAITING_MAX + 100, dtype=np.int64)
    gate.step(int(times[-1]), batch(*((0, 192, int(t), int(t), 1.0) for t in times)))
    values = {reading.name: reading.value for reading in gate.calculations.readings()}
    assert values["fieldgate_calculations_lost_results_total"] == 99


def test_a_record_names_each_result() -> None:
    gate = plant(CalculationDefinition("hour", Span.TUMBLING, (MEAN, COUNT), length_ns=10 * NS_PER_S))
    gate.step(T0, at(1, 4.0))
    gate.step(T0 + 10 * NS_PER_S, batch())
    (draft,) = gate.step(T0 + 10 * NS_PER_S + GRID_NS, batch()).drafts
    body = json.loads(
        encode(
            draft, ["pump.flow"], [Kind.F64], text_of=no_texts, outputs=gate.model.output_names,
            wall_offset_ns=0, time_quality=TimeQuality.SYNCED,
        )
    )  # fmt: skip
    assert (body["tags"], body["tag"]) == (["pump.flow"], [0, 0])
    assert (body["calculations"], body["calculation"]) == (["hour.mean", "hour.count"], [0, 1])
    assert (body["value"], body["start_ns"], body["end_ns"]) == ([4.0, 1.0], [T0, T0], [T0 + 10 * NS_PER_S] * 2)
    assert body["coverage"] == [pytest.approx(0.5)] * 2


def test_an_image_of_a_share_and_a_reload_keep_what_calculations_remember() -> None:
    definitions = (
        CalculationDefinition("t", Span.TUMBLING, (MEAN, Output("p50", Function.QUANTILE, 0.5)),
                              length_ns=10 * NS_PER_S, ring_samples=20),
        CalculationDefinition("a", Span.TOTAL, (Output("integral", Function.INTEGRAL),)),
    )  # fmt: skip

    def fresh(*more: CalculationDefinition) -> Engine:
        tags = (
            tag("pump.a"),
            tag("pump.b", calculations=(*more, *definitions)),
            tag("pump.c", calculations=definitions),
        )
        return Engine(
            Model((DeviceDefinition("pump", ""),), tags),
            aggregates_every_ns=NS_PER_S, samples_every_ns=GRID_NS, streams=frozenset([Stream.CALCULATIONS]),
        )  # fmt: skip

    gate = fresh()
    for tick in range(130):
        now_ns = T0 + tick * GRID_NS
        samples = np.concatenate([one(now_ns, float(tick), 1), one(now_ns, -float(tick % 7), 2)])
        run_cycle(gate, Cycle(tick, now_ns, samples, stamp=Stamp(123 * NS_PER_S, True)))
    said = [gate.calculations.view(row, now_ns)["value"].tolist() for row in (1, 2)]

    again = fresh()
    shares, into = Shares(gate), Shares(again)
    for share in (*range(shares.count), COMMON):
        into.install(shares.capture(share))
    for mine, theirs in zip(gate.state.tables.calculations[:-3], again.state.tables.calculations[:-3], strict=True):
        assert mine.tobytes() == theirs.tobytes()
    assert [again.calculations.view(row, now_ns)["value"].tolist() for row in (1, 2)] == said

    reloaded = fresh(CalculationDefinition("new", Span.TOTAL, (COUNT,)))
    adopt(reloaded, gate)
    assert reloaded.calculations.view(1, now_ns)["value"].tolist() == [0.0, *said[0]]
    assert reloaded.calculations.view(2, now_ns)["value"].tolist() == said[1]
