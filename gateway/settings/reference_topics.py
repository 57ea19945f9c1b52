"""The reference's keys of topics whose tags appear by themselves."""

from __future__ import annotations

from gateway.settings import discovery
from gateway.settings.forms import Form
from gateway.settings.reference_key import NOTHING, REQUIRED, Key
from gateway.settings.reference_links import EACH
from gateway.settings.units import name


def appearing_keys(at: str, of_tag: tuple[Key, ...]) -> tuple[Key, ...]:
    """Those of a tag that hold for tags that appear by themselves."""
    taken = discovery.TAG_KEYS if at == "topics.NAME" else discovery.TAG_KEYS - {"windows"}
    depth = len(at.split("."))
    return tuple(key for key in of_tag if key.parts[depth] in taken)


def topic_keys(link_of_device: Form) -> tuple[Key, ...]:
    return (
        Key("topics.NAME.link", link_of_device, REQUIRED, "The mqtt connection whose topics these are."),
        Key(
            "topics.NAME.match",
            discovery.patterns,
            REQUIRED,
            "Patterns of topics: plant/{area}/{device}/{tag}. Tags appear as messages of topics that fit come.",
        ),
        Key("topics.NAME.each", EACH, NOTHING, "Makes one such table for each value; {n} is replaced in its name."),
        Key("topics.NAME.tag", name, "(the {tag} of the pattern)", "The name of every tag where match has no {tag}."),
        Key("topics.NAME.limit", discovery.LIMIT, "1000", "Devices at a time. For one more the least recent leaves."),
        Key("topics.NAME.tags_per_device", discovery.TAGS_PER_DEVICE, "(16; with `tag` 1)", "More are refused."),
        Key(
            "topics.NAME.tags_limit",
            discovery.TAGS_LIMIT,
            "(limit · tags_per_device)",
            "Tags at a time, whose memory is taken at the start. For one more the least recent one leaves.",
        ),
        Key(
            "topics.NAME.evict_idle_after",
            discovery.EVICT_IDLE_AFTER,
            "24h",
            "One that is silent for so long leaves.",
        ),
    )
