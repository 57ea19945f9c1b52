"""The result of `fieldgate bench anomaly` as tables to read; the JSON has all of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

PROFILES = {"standard": "standard", "low_fp": "low FP", "low_fn": "low FN"}
FAULTS = {"none": "no fault", "step": "step", "drift": "drift", "stuck": "stuck", "variance": "variance"}
SERIES = {"machines": "machines, recorded and made", "nab": "real series of the benchmark"}
DASH = "-"


def aligned(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Columns under their heads, the first to the left, the others to the right."""
    table = [tuple(head), *(tuple(DASH if cell is None else str(cell) for cell in row) for row in rows)]
    widths = [max(len(row[place]) for row in table) for place in range(len(head))]
    for row in table:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        yield "  " + "  ".join(cells).rstrip()


def tables(result: dict[str, Any]) -> Iterator[str]:
    """All lines."""
    figures = result["figures"]
    yield (
        f"both scores: {figures['ns_per_sample_both_scores']} ns a sample in batches of {figures['series']:,} series, "
        f"{figures['state_bytes_per_tag']} B a tag"
    )
    yield (
        f"causal: {figures['series_causal']} of {figures['series_scored']} series have, cut off at random places, "
        "byte for byte the scores they have whole"
    )
    yield from of_benchmark(result["detectors"])
    yield from of_alarms(result["detectors"])
    yield from of_peers(result["beside_river"])
    for series, words in SERIES.items():
        yield from of_faults(words, [row for row in result["faults"] if row["series"] == series])
    yield from of_rarity(result["rarity"])
    yield from of_pump(result["disagreement"], result["multivariate"])
    yield from of_shapes(result["shape"])


def of_benchmark(detectors: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield "NAB, 58 series: at the best threshold / on the held-out half at the threshold of the other half"
    yield from aligned(
        ("detector", *PROFILES.values()),
        (
            (name, *(f"{of['nab'][one]['refitted']:.2f} / {of['nab'][one]['transferred']:.2f}" for one in PROFILES))
            for name, of in detectors.items()
            if "nab" in of
        ),
    )


def of_alarms(detectors: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield "at the default threshold: labelled windows hit; flags a day and tag outside of them"
    yield from aligned(
        ("detector", "hit", "of", "median", "p90", "max", "series below 1", "VUS-PR", "ns, one series"),
        (
            (
                name, of["windows_hit"], of["windows"], of["false_alarms_per_day_median"],
                of["false_alarms_per_day_p90"], of["false_alarms_per_day_max"],
                f"{of['series_below_one_a_day']:.1%}", of["vus_pr"], of["ns_per_sample_one_series"],
            )
            for name, of in detectors.items()
        ),
    )  # fmt: skip


def of_peers(peers: dict[str, Any]) -> Iterator[str]:
    yield ""
    if "left_out" in peers:
        yield f"beside river: {peers['left_out']}"
        return
    yield f"beside river, {len(peers['series'])} series"
    yield from aligned(
        ("detector", "VUS-PR", "NAB standard", "ns a sample"),
        (
            (name, of["vus_pr"], of["nab_standard_refitted"], of["ns_per_sample_one_series"])
            for name, of in peers["detectors"].items()
        ),
    )


def of_faults(words: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Recall and delay, one line a kind."""
    detectors = list(dict.fromkeys(row["detector"] for row in rows))
    found = {(row["fault"], row["detector"]): row for row in rows}
    yield ""
    yield f"faults of 300 samples put into {words}, {rows[0]['tried']} a kind: recall, and median delay in samples"

    def cell(fault: str, detector: str) -> str:
        row = found[fault, detector]
        delay = row["delay_samples_median"]
        return f"{row['recall']:.0%} {DASH if delay is None else f'{delay:.0f}':>4}"

    yield from aligned(
        ("fault", *detectors),
        ((word, *(cell(fault, detector) for detector in detectors)) for fault, word in FAULTS.items()),
    )


def of_rarity(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield ""
    yield "what is told as once in so many days, outside of the labels: how often it came, and how often it should"
    yield from aligned(
        ("score", "once in days", "came", "should", "ratio"),
        ((row["score"], row["once_in_days"], row["told"], row["expected"], row["ratio"]) for row in rows),
    )


def of_pump(rows: list[dict[str, Any]], costs: list[dict[str, Any]]) -> Iterator[str]:
    yield ""
    yield "multivariate: a simulated pump with a fault that no tag shows by itself; where the right tag is named"
    yield from aligned(
        ("fault", "runs", "recall", "delay s", "longest", "first", "by the equations", "in two", "of the time",
         "false alarms", "in hours"),
        (
            (
                row["fault"], row["seeds"], row.get("recall"), row.get("delay_s_median"), row.get("delay_s_max"),
                row.get("right_tag_first_at_the_alarm"), row.get("right_tag_by_the_pumps_equations"),
                row.get("right_tag_in_first_two"),
                row.get("right_tag_first_share_of_time"),
                row["false_alarms"], row["hours_without_fault"],
            )
            for row in rows
        ),
    )  # fmt: skip
    for row in costs:
        yield f"  {row['tags']} tags: {row['us_per_step']} µs a step, {row['bytes_per_device']:,} B a device"


def of_shapes(shape: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield (
        f"shape: {shape['ns_per_sample']} ns a sample with {shape['tags']:,} tags, {shape['bytes_per_tag']:,} B a tag; "
        "waveforms wrong within their range"
    )
    yield from aligned(
        ("wrong", "runs", "shape", "delay", "event or persistent", "delay"),
        (
            (
                row["wrong"], row["tried"], f"{row['shape_recall']:.0%}", row["shape_delay_samples_median"],
                f"{row['without_recall']:.0%}", row["without_delay_samples_median"],
            )
            for row in shape["waves"]
        ),
    )  # fmt: skip
