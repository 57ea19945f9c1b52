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
    formula = tag.point.formula if isinstance(tag.point, FormulaPoint) else None
    # By place: named, a hundred thousand of them take some times as long.
    return TagDefinition(
        tag.name, device, tag.kind, tag.unit, tag.stale_after_ns, tag.windows_ns, tag.alarms, tag.calculations,
        tag.valid_low, tag.valid_high, tag.has_shape, tag.labels, tag.context, tag.curve, formula,
    )  # fmt: skip


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
