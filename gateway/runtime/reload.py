"""What a reload has to restart: the difference of two configurations, decided before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from gateway.runtime.acquisition import goes_on
from gateway.runtime.differences import differences
from gateway.settings.schema import Settings
from gateway.sources.modbus.fast_source import is_for_thread


@dataclass(frozen=True, slots=True)
class Changes:
    """`refused` names what cannot change while running; then nothing else counts. `links` are sessions by name."""

    refused: tuple[str, ...]
    plant: bool
    links: frozenset[str]
    uplink: bool
    http: bool

    @property
    def is_empty(self) -> bool:
        return not (self.plant or self.links or self.uplink or self.http)

    def parts(self) -> list[str]:
        parts = ["the plant (links, devices, loops, registers)"] if self.plant else []
        parts += [f"link {name}" for name in sorted(self.links)]
        parts += ["the uplinks"] if self.uplink else []
        return parts + (["http"] if self.http else [])

    def describe(self) -> str:
        return ", ".join(self.parts()) or "nothing"


class Foreseen(msgspec.Struct, frozen=True):
    """What a reload would do, in words. With something under `refused` it would do nothing."""

    refused: tuple[str, ...]
    restarts: tuple[str, ...]
    keeps: tuple[str, ...]
    differences: tuple[str, ...]


def foresee(old: Settings, new: Settings) -> Foreseen:
    """What `compare` decides, with what differs and what goes on."""
    changes = compare(old, new)
    differing = differences(old, new)
    changed = {one.name for one in differing if one.what == "tag"}
    loops = {one.name for one in differing if one.what == "loop"}
    tags_kept = sum(1 for tag in new.tags if tag.name not in changed)
    keeps = [f"{tags_kept} of {len(new.tags)} tags, with their windows, scores and alarms"]
    if new.loops:
        kept = sum(1 for loop in new.loops if loop.name not in loops)
        keeps.append(f"{kept} of {len(new.loops)} loops as they are, and no loop that stays loses a cycle")
    if new.links:
        sources = len(goes_on(old, new))
        keeps.append(f"{sources} of {len(new.links)} links, with their connections and whatever comes meanwhile")
    if new.uplinks and not changes.uplink:
        keeps.append("the uplinks' sessions and what waits for them")
    return Foreseen(
        refused=tuple(f"{key} cannot change while running; restart the service" for key in changes.refused),
        restarts=() if changes.is_empty else tuple(changes.parts()),
        keeps=tuple(keeps),
        differences=tuple(str(one) for one in differing),
    )


PLANT_PARTS = (
    *("devices", "tags", "topics", "parking_bytes_max", "loops", "blocks", "scada", "writes", "inhibit_writes"),
    *("panes_per_window", "zone"),
)
"""Settings that the plant is built from."""


def compare(old: Settings, new: Settings) -> Changes:
    """A link's own settings restart that session alone; tags, loops and registers restart the plant as a whole."""
    fixed = (
        "gateway_id",
        "state_dir",
        "log_level",
        "checkpoint_every_ns",
        "history_bytes_max",
        "flash_endurance_bytes",
    )
    refused = [key for key in fixed if getattr(old, key) != getattr(new, key)]
    refused += ["journal"] if _journal_settings(old) != _journal_settings(new) else []
    names = [link.name for link in old.links] == [link.name for link in new.links]
    of_loops = new.executive_tags
    used_by_loops = {tag.device for tag in new.tags if tag.name in of_loops}
    loop_links = {device.link for device in new.devices if device.name in used_by_loops}
    durable = {tag.device for tag in new.tags if tag.is_durable}
    whole_links = loop_links | {device.link for device in new.devices if device.name in durable}
    whole_links |= {group.link for group in new.topics}
    links = {a.name for a, b in zip(old.links, new.links, strict=False) if a != b} if names else set()
    plant = (
        not names
        or any(is_for_thread(a) != is_for_thread(b) for a, b in zip(old.links, new.links, strict=False))
        or bool(links & whole_links)
        or any(getattr(old, part) != getattr(new, part) for part in PLANT_PARTS)
        or _record_settings(old) != _record_settings(new)
        or _left_out(old) != _left_out(new)
    )
    return Changes(
        refused=tuple(refused),
        plant=plant,
        links=frozenset() if plant else frozenset(links),
        uplink=old.uplinks != new.uplinks,
        http=old.http != new.http,
    )


def _left_out(settings: Settings) -> tuple[str, ...]:
    return settings.journal.left_out if settings.journal is not None else ()


def _journal_settings(settings: Settings) -> object:
    """What of the journal cannot change while it runs."""
    return settings.journal and msgspec.structs.replace(settings.journal, left_out=())


def _record_settings(settings: Settings) -> object:
    """What of the uplinks the engine itself works by."""
    return frozenset(
        (stream, uplink.aggregates_every_ns, uplink.samples_every_ns)
        for uplink in settings.uplinks
        for stream in uplink.streams
    )
