"""From settings to what the engine is built of."""

from __future__ import annotations

from gateway.core.model import DeviceDefinition, Model, Pool, TagDefinition
from gateway.core.record import Stream
from gateway.core.spec import EngineSpec
from gateway.settings.schema import FormulaPoint, Settings, Tag
from gateway.settings.uplink import record_periods_ns


def build_model(settings: Settings) -> Model:
    """Rows are given in the order of the file, those of virtual tags behind the others."""
    rows = {tag.name: row for row, tag in enumerate(settings.tags)}
    device_numbers = {device.name: number for number, device in enumerate(settings.devices)}
    return Model(
        devices=tuple(
            DeviceDefinition(device.name, device.link, tuple(rows[name] for name in device.multivariate))
            for device in settings.devices
        ),
        tags=tuple(definition_of(tag, device_numbers[tag.device]) for tag in settings.tags),
        panes_per_window=settings.panes_per_window,
        pools=pools_of(settings),
        zone=settings.zone,
    )


def spec_of(settings: Settings, model: Model) -> EngineSpec:
    aggregates_every_ns, samples_every_ns = record_periods_ns(settings.uplinks)
    streams = tuple(sorted({Stream(name) for uplink in settings.uplinks for name in uplink.streams}))
    return EngineSpec(model, aggregates_every_ns, samples_every_ns, streams)


def definition_of(tag: Tag, device: int) -> TagDefinition:
    return TagDefinition(
        name=tag.name,
        device=device,
        kind=tag.kind,
        unit=tag.unit,
        stale_after_ns=tag.stale_after_ns,
        windows_ns=tag.windows_ns,
        alarms=tag.alarms,
        calculations=tag.calculations,
        valid_low=tag.valid_low,
        valid_high=tag.valid_high,
        has_shape=tag.has_shape,
        labels=tag.labels,
        context=tag.context,
        curve=tag.curve,
        formula=tag.point.formula if isinstance(tag.point, FormulaPoint) else None,
    )


def pools_of(settings: Settings) -> tuple[Pool, ...]:
    return tuple(
        Pool(
            group.name,
            group.link,
            rows=group.tags_limit,
            devices=group.limit,
            shapes=tuple(definition_of(tag, -1) for _, tag in group.offers),
        )
        for group in settings.topics
    )
