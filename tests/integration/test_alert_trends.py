"""Alerts that hold the last day against last week, judged by promtool: what comes slowly fires, what stays does not."""

from __future__ import annotations

from pathlib import Path

from tests.support.promtool import fires, play

HOUR = 12
"""Points of an hour, one every five minutes. The rules are looked at once an hour: no fault is shorter."""
DAY = 24 * HOUR
WEEK = 7 * DAY
ALL = 10 * DAY
FIRES, CLEARED = "7d20h", "9d20h"
"""A fault takes the eighth day; a day after it the mean of the last one knows nothing of it."""


def gauge(usual: float, then: float) -> str:
    """`usual` for a week, `then` for a day, `usual` again."""
    return f"{usual:g}+0x{WEEK - 1} {then:g}+0x{DAY - 1} {usual:g}+0x{ALL - WEEK - DAY}"


def counter(usual: int, then: int, still: int = 0) -> str:
    """So many a point for a week, `then` for a day. At the end of the week nothing is counted for `still` points."""
    week = usual * (WEEK - still)
    day = week + then * DAY
    stands = f"{week}+0x{still - 1} " if still else ""
    return f"0+{usual}x{WEEK - still - 1} {stands}{week}+{then}x{DAY - 1} {day}+{usual}x{ALL - WEEK - DAY}"


def latency(
    name: str, usual: tuple[int, int], then: tuple[int, int], label: str = "", still: int = 0
) -> dict[str, str]:
    """Of 1,000 a point, so many within 10 and within 25 ms; the others within 50."""
    more = f",{label}" if label else ""
    every = counter(1000, 1000, still)
    return {
        f'{name}_bucket{{le="0.01"{more}}}': counter(usual[0], then[0], still),
        f'{name}_bucket{{le="0.025"{more}}}': counter(usual[1], then[1], still),
        f'{name}_bucket{{le="0.05"{more}}}': every,
        f'{name}_bucket{{le="+Inf"{more}}}': every,
        f"{name}_count{{{label}}}" if label else f"{name}_count": every,
    }


AGGREGATE, SCORE = "fieldgate_sample_to_aggregate_seconds", "fieldgate_sample_to_score_seconds"
CONTROL, ACKNOWLEDGE = "fieldgate_control_input_to_output_seconds", "fieldgate_uplink_acknowledge_seconds"
USUAL = (980, 1000)
"""A p99 of 17.5 ms."""
SLOWER = (900, 980)
"""One of 37.5 ms."""


def drains(last: int) -> str:
    """A backlog of 60,000 records on the second, the fifth and the eighth day: the last by `last` a point."""
    text, filled = "", 0
    for begins, a_point in ((DAY, 3000), (4 * DAY, 3000), (7 * DAY, last)):
        points = 60_000 // a_point
        text += f"3+0x{begins - filled - 1} 60000-{a_point}x{points - 1} "
        filled = begins + points
    return text + f"3+0x{ALL - filled}"


QUIET = {
    "up": f"1+0x{ALL}",
    "process_start_time_seconds": f"1000+0x{ALL}",
    "process_resident_memory_bytes": f"200000000+0x{ALL}",
    "fieldgate_engine_tags": f"500+0x{ALL}",
    "fieldgate_engine_cycles_total": f"0+30000x{ALL}",
    'fieldgate_uplink_connected{uplink="cloud"}': f"1+0x{ALL}",
    'fieldgate_spool_records{uplink="cloud"}': f"3+0x{ALL}",
    **latency(AGGREGATE, USUAL, USUAL),
}
FAULTS: dict[str, tuple[dict[str, str], set[str]]] = {
    "the week goes by": ({}, set()),
    "samples take twice as long as a week ago, within their budget": (
        latency(AGGREGATE, USUAL, SLOWER),
        {"FieldgateLatencyTrend"},
    ),
    "so do scores": (latency(SCORE, USUAL, SLOWER), {"FieldgateLatencyTrend"}),
    "so do acknowledgements": (latency(ACKNOWLEDGE, USUAL, SLOWER, 'uplink="cloud"'), {"FieldgateLatencyTrend"}),
    "a loop takes 5.9 ms where it took 1": (
        {
            f'{CONTROL}_bucket{{le="0.001",loop="tank"}}': counter(990, 900),
            f'{CONTROL}_bucket{{le="0.01",loop="tank"}}': counter(1000, 1000),
            f'{CONTROL}_bucket{{le="+Inf",loop="tank"}}': counter(1000, 1000),
            f'{CONTROL}_count{{loop="tank"}}': counter(1000, 1000),
        },
        {"FieldgateLatencyTrend"},
    ),
    "a third more is no trend": (latency(AGGREGATE, USUAL, (972, 1000)), set()),
    "twice next to nothing is no trend": (
        {
            f'{CONTROL}_bucket{{le="0.001",loop="tank"}}': counter(1000, 980),
            f'{CONTROL}_bucket{{le="0.0025",loop="tank"}}': counter(1000, 1000),
            f'{CONTROL}_bucket{{le="+Inf",loop="tank"}}': counter(1000, 1000),
        },
        set(),
    ),
    "hours without samples do not hide it": (
        latency(AGGREGATE, USUAL, SLOWER, still=8 * HOUR),
        {"FieldgateLatencyTrend"},
    ),
    "a backlog drains as ever": ({'fieldgate_spool_records{uplink="cloud"}': drains(3000)}, set()),
    "a backlog drains at a third": ({'fieldgate_spool_records{uplink="cloud"}': drains(1000)}, {"FieldgateDrainTrend"}),
    "memory has grown": ({"process_resident_memory_bytes": gauge(200e6, 300e6)}, {"FieldgateMemoryTrend"}),
    "memory has grown with the plant": (
        {"process_resident_memory_bytes": gauge(200e6, 300e6), "fieldgate_engine_tags": gauge(500, 900)},
        set(),
    ),
    "memory is a tenth more": ({"process_resident_memory_bytes": gauge(200e6, 220e6)}, set()),
}


def test_what_comes_slowly_fires_within_the_day_and_clears_a_day_after(tmp_path: Path) -> None:
    instances = {name: QUIET | changed for name, (changed, _) in FAULTS.items()}
    alerts = {name: alerts for name, (_, alerts) in FAULTS.items()}
    play(tmp_path, "5m", instances, [fires("6d23h", {}), fires(FIRES, alerts), fires(CLEARED, {})], judged="1h")
