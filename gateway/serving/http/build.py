"""From views to answers: pure functions that read the plant once and make the structs of `status`.

Nothing here waits, keeps or changes anything. Lists that grow with the plant are cut to a page before a row of them is
turned into Python objects, so an answer costs the same for ten tags and for a hundred thousand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from gateway.core.alarms import AlarmKind
from gateway.core.cells import cell_value, number
from gateway.core.events import Event
from gateway.core.histogram import quantile_ns, total
from gateway.core.model import Model, TagDefinition
from gateway.core.pressure import DOES
from gateway.core.state import FLAG_MAINTENANCE
from gateway.core.types import (
    NS_PER_MS,
    NS_PER_S,
    QUALITY_GOOD_MIN,
    Int64s,
    Samples,
)
from gateway.core.view import (
    REASONS,
    Mode,
)
from gateway.serving.http.devices import device_page
from gateway.serving.http.recorder import Rate, Recorder, Totals
from gateway.serving.http.search import Finder
from gateway.serving.http.status import (
    CalculationStatus,
    EventPage,
    EventStatus,
    Health,
    HealthAnswer,
    LatencyStatus,
    LinksStatus,
    LinkState,
    LinkStatus,
    LoopDetail,
    LoopsAnswer,
    LoopStatus,
    LoopTrend,
    Phase,
    Plant,
    Quantiles,
    Rates,
    Status,
    StatusSource,
    TagPage,
    TagStatus,
    TrendPoint,
    UplinkState,
    UplinkStatus,
    WindowStatus,
)
from gateway.serving.http.values import alarm_words, quality_status, shown
from gateway.settings.schema import LOOP_POINTS

ROWS_SHOWN: Final = 64
"""Devices and links in one status; the rest is counted, and asked for by page."""
EVENTS_SHOWN: Final = 50


def health_answer(health: Health, now_ns: int) -> HealthAnswer:
    """Is the process alive: has every thread that should turn over done so lately?"""
    reasons = tuple(
        f"{beat.name}: no cycle for {(now_ns - beat.last_ns) / NS_PER_S:.1f} s"
        f" (limit {beat.stale_after_ns / NS_PER_S:.1f} s)"
        for beat in health.heartbeats
        if now_ns - beat.last_ns > beat.stale_after_ns
    )
    return HealthAnswer(ok=not reasons, reasons=reasons)


def ready_answer(health: Health, now_ns: int) -> HealthAnswer:
    """Should traffic come here: is everything loaded, warm and turning over?"""
    reasons = list(health_answer(health, now_ns).reasons)
    if not health.configuration_loaded:
        reasons.append("configuration: not loaded yet")
    if not health.kernels_warm:
        reasons.append("kernels: not compiled yet")
    if not health.first_cycle_done:
        reasons.append("engine: first cycle not done yet")
    if health.phase is Phase.STOPPING:
        reasons.append("gateway: stopping")
    return HealthAnswer(ok=not reasons, reasons=tuple(reasons))


def quantiles(counts: Int64s) -> Quantiles:
    count = total(counts)

    def read(q: float) -> float | None:
        return quantile_ns(counts, q) / NS_PER_MS if count else None

    return Quantiles(count=count, p50_ms=read(0.5), p95_ms=read(0.95), p99_ms=read(0.99), p999_ms=read(0.999))


def latencies(plant: Plant, totals: Totals, recorder: Recorder) -> tuple[LatencyStatus, ...]:
    return tuple(
        LatencyStatus(
            title=stage.title,
            budget_ms=None if stage.budget_ns is None else stage.budget_ns / NS_PER_MS,
            recent=quantiles(recorder.recent(stage.metric, totals.counts[stage.metric])),
            total=quantiles(totals.counts[stage.metric]),
        )
        for stage in plant.stages
    )


def links_status(links: Sequence[LinkState], health: Health, now_ns: int) -> LinksStatus:
    shown = sorted(links, key=lambda link: link.is_up)[:ROWS_SHOWN]
    return LinksStatus(
        total=len(links),
        up=sum(link.is_up for link in links),
        links=tuple(
            LinkStatus(
                name=link.name,
                kind=link.kind,
                is_up=link.is_up,
                since_ms=(link.since_ns + health.wall_offset_ns) // NS_PER_MS,
                since_s=(now_ns - link.since_ns) / NS_PER_S,
                detail=link.detail,
            )
            for link in shown
        ),
    )


def unit_of(model: Model, name: str) -> str:
    """Of a tag; nothing of what a loop takes or gives elsewhere."""
    return model.tags[model.row_of[name]].unit if name in model.row_of else ""


def loop_statuses(plant: Plant, now_ns: int) -> tuple[LoopStatus, ...]:
    if not plant.loops:
        return ()
    model = plant.model
    details = plant.details() or [LoopDetail()] * len(plant.loops)
    return tuple(
        LoopStatus(
            name=loop.name,
            mode=Mode(int(state["mode"])).name.lower(),
            input=loop.input,
            output_tag=loop.output,
            setpoint=number(state["setpoint"]),
            process_value=number(state["process_value"]),
            output=number(state["output"]),
            unit=unit_of(model, loop.input),
            output_unit=unit_of(model, loop.output),
            setpoint_min=loop.setpoint_min,
            setpoint_max=loop.setpoint_max,
            output_min=loop.output_min,
            output_max=loop.output_max,
            quality=quality_status(int(state["quality"])),
            input_age_s=_age_s(int(state["input_ns"]), now_ns),
            period_ms=loop.every_ns / NS_PER_MS,
            cycles=int(state["cycles"]),
            misses=int(state["misses"]),
            overruns=int(state["overruns"]),
            is_shadow=loop.is_shadow,
            **detail._asdict(),
            writable=tuple(point for point in LOOP_POINTS if f"control.{loop.name}.{point}" in plant.writable),
        )
        for loop, state, detail in zip(plant.loops, plant.control_view.loops(), details, strict=True)
    )


def loops_answer(plant: Plant | None, recorder: Recorder, health: Health, now_ns: int) -> LoopsAnswer:
    time_ms = (now_ns + health.wall_offset_ns) // NS_PER_MS
    if plant is None:
        return LoopsAnswer(time_ms=time_ms, loops=())
    times_ms = [(at_ns + health.wall_offset_ns) // NS_PER_MS for at_ns in recorder.loop_times_ns]

    def trend(index: int) -> tuple[TrendPoint, ...]:
        return tuple(
            TrendPoint(
                time_ms=time_ms,
                setpoint=number(point[index]["setpoint"]),
                process_value=number(point[index]["process_value"]),
                output=number(point[index]["output"]),
            )
            for time_ms, point in zip(times_ms, recorder.loop_points, strict=True)
            if index < len(point)
        )

    loops = loop_statuses(plant, now_ns)
    return LoopsAnswer(
        time_ms=time_ms,
        loops=tuple(LoopTrend(loop=loop, trend=trend(index)) for index, loop in enumerate(loops)),
    )


def uplink_status(uplink: UplinkState, recorder: Recorder, now_ns: int) -> UplinkStatus:
    return UplinkStatus(
        name=uplink.name,
        is_connected=uplink.is_connected,
        since_s=(now_ns - uplink.since_ns) / NS_PER_S,
        detail=uplink.detail,
        waiting_records=uplink.waiting_records,
        waiting_bytes=uplink.waiting_bytes,
        bytes_max=uplink.bytes_max,
        oldest_age_s=None if uplink.oldest_ns is None else (now_ns - uplink.oldest_ns) / NS_PER_S,
        segments=uplink.segments,
        delivered_records=uplink.delivered_records,
        dropped_records=uplink.dropped_records,
        dropped_samples=uplink.dropped_samples,
        pressure=round(uplink.pressure, 3),
        pressure_step=uplink.pressure_step,
        pressure_does=DOES[uplink.pressure_step] if uplink.pressure_step else "",
        delivered_per_s=recorder.delivered.get(uplink.name, Rate()).per_s(),
    )


def event_page(events: Sequence[Event], health: Health, *, offset: int, limit: int) -> EventPage:
    newest_first = events[::-1]
    return EventPage(
        total=len(events),
        offset=offset,
        events=tuple(
            EventStatus(
                time_ms=(event.time_ns + health.wall_offset_ns) // NS_PER_MS,
                severity=event.severity.name.lower(),
                kind=event.kind,
                subject=event.subject,
                message=event.message,
            )
            for event in newest_first[offset : offset + limit]
        ),
    )


def tag_page(
    plant: Plant | None,
    finder: Finder,
    health: Health,
    now_ns: int,
    *,
    search: str,
    names: Sequence[str],
    only_problems: bool,
    offset: int,
    limit: int,
) -> TagPage:
    """Tags in the file's order, or those of `names` in theirs. `only_problems` leaves those not good or in alarm."""
    if plant is None:
        return TagPage(total=0, offset=offset, limit=limit, tags=())
    view, directory = plant.plant_view, plant.directory
    rows = finder.exactly(directory, names) if names else finder.tags(directory, search)
    if only_problems:
        live = view.live(rows)
        rows = rows[(live["quality"] < QUALITY_GOOD_MIN) | (live["alarms"] != 0)]
    shown = np.ascontiguousarray(rows[offset : offset + limit])
    tags = [directory.tags[row] for row in shown.tolist()]
    live, windows = view.live(shown), view.aggregates(shown)
    told = tuple(
        _tag_status(plant, int(row), tag, record, windows[windows["row"] == row], health, now_ns)
        for row, tag, record in zip(shown, tags, live, strict=True)
        # A row that changed hands meanwhile is told next time.
        if tag is not None and directory.tags[row] is tag
    )
    return TagPage(total=len(rows), offset=offset, limit=limit, tags=told)


def calculation_statuses(plant: Plant, row: int, health: Health, now_ns: int) -> tuple[CalculationStatus, ...]:
    return tuple(
        CalculationStatus(
            name=plant.outputs[int(result["output"])],
            value=number(result["value"]),
            count=int(result["count"]),
            coverage=float(result["coverage"]),
            start_ms=(int(result["start_ns"]) + health.wall_offset_ns) // NS_PER_MS,
            quality=quality_status(int(result["quality"])),
        )
        for result in plant.calculations(row, now_ns)
    )


def _tag_status(
    plant: Plant, row: int, tag: TagDefinition, live: np.void, windows: Samples, health: Health, now_ns: int
) -> TagStatus:
    age_s = _age_s(int(live["source_ns"]), now_ns)
    value = None if age_s is None else cell_value(tag.kind, live["value"], live["bits"], plant.text_of)
    return TagStatus(
        row=row,
        name=tag.name,
        device=plant.directory.device_name(tag.device),
        unit=tag.unit,
        value=value,
        text=None if value is None else shown(tag, value),
        age_s=age_s,
        acquired_ms=None if age_s is None else (int(live["source_ns"]) + health.wall_offset_ns) // NS_PER_MS,
        quality=quality_status(int(live["quality"])),
        score=number(live["score"]),
        score_alarm=next((alarm.limit for alarm in tag.alarms if alarm.kind is AlarmKind.SCORE), None),
        score_quality=quality_status(int(live["score_quality"])),
        score_once_h=number(live["score_once_h"]),
        persistent=number(live["persistent"]),
        persistent_once_h=number(live["persistent_once_h"]),
        reasons=tuple(word for bit, word in REASONS.items() if int(live["reasons"]) & bit),
        alarms=alarm_words(int(live["alarms"])),
        in_maintenance=bool(int(live["flags"]) & FLAG_MAINTENANCE),
        writable=tag.name in plant.writable,
        windows=tuple(_window_status(window) for window in windows),
        calculations=calculation_statuses(plant, row, health, now_ns) if tag.calculations else (),
        formula=None if tag.formula is None else tag.formula.text,
        context=dict(tag.context),
    )


def _window_status(window: np.void) -> WindowStatus:
    count = int(window["count"])

    def read(field: str) -> float | None:
        return number(window[field]) if count else None

    return WindowStatus(
        window_s=int(window["window_ns"]) / NS_PER_S,
        count=count,
        mean=read("mean"),
        sd=read("sd"),
        min=read("min"),
        max=read("max"),
        rate_per_s=read("rate"),
        ewma=read("ewma"),
    )


def _age_s(then_ns: int, now_ns: int) -> float | None:
    """None before anything was acquired (arrays start at time 0). A device's clock that runs ahead gives age 0."""
    return max(0, now_ns - then_ns) / NS_PER_S if then_ns > 0 else None


def build_status(source: StatusSource, recorder: Recorder, finder: Finder, now_ns: int) -> Status:
    """All that the page shows at one moment, but tags and trends."""
    health = source.health()
    plant = source.plant()
    uplinks = tuple(uplink_status(uplink, recorder, now_ns) for uplink in source.uplinks())
    healthy, ready = health_answer(health, now_ns), ready_answer(health, now_ns)
    totals = Totals(source.measured(), [stage.metric for stage in plant.stages] if plant else ())
    return Status(
        gateway_id=source.gateway_id,
        version=source.version,
        time_ms=(now_ns + health.wall_offset_ns) // NS_PER_MS,
        wall_is_synchronised=health.wall_is_synchronised,
        uptime_s=(now_ns - health.started_ns) / NS_PER_S,
        phase=health.phase,
        detail=health.detail,
        is_healthy=healthy.ok,
        is_ready=ready.ok,
        reasons=ready.reasons,
        configuration=health.configuration,
        rates=Rates(
            samples_per_s=recorder.samples.per_s(),
            samples_total=totals.samples,
            dropped_samples_total=totals.dropped,
        ),
        latencies=latencies(plant, totals, recorder) if plant else (),
        links=links_status(source.links(), health, now_ns),
        devices=device_page(plant, finder, search="", offset=0, limit=ROWS_SHOWN),
        tags_total=len(plant.directory) if plant else 0,
        loops=loop_statuses(plant, now_ns) if plant else (),
        uplink=uplinks[0] if uplinks else None,
        uplinks=uplinks,
        disk_bytes_per_day=source.wear().bytes_per_day,
        disk_life_years=source.wear().life_years,
        events=event_page(source.events(), health, offset=0, limit=EVENTS_SHOWN).events,
    )
