"""Tags that appear by themselves: `[topics.NAME]`, patterns of topics and what the tags that fit them are like.

The keys of a tag stand in the table itself and hold for every tag that appears; `tags."temp*"` changes some of them for
tags of that name. Windows cannot be changed there: rows are lent from one pool, and all of them have the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from gateway.core import limits
from gateway.core.alarms import AlarmDefinition
from gateway.core.types import NS_PER_S
from gateway.protocol.mqtt.form import Form
from gateway.protocol.mqtt.patterns import TAG, WrongPatternError, parse
from gateway.settings.alarms import check_names
from gateway.settings.forms import form_of, says
from gateway.settings.instances import instances
from gateway.settings.links import Links
from gateway.settings.mqtttags import MqttSpec, bind_mqtt, read_mqtt
from gateway.settings.schema import MqttLink, MqttPoint, Tag, TopicGroup
from gateway.settings.section import Section
from gateway.settings.tags import Defaults
from gateway.settings.units import array_of, duration, integer, name, show, show_duration, text

GROUPS_MAX = 32
PATTERNS_MAX = 64
LIMIT_DEFAULT = 1_000
TAGS_PER_DEVICE_DEFAULT = 16
HOUR_NS = 3_600 * NS_PER_S

LIMIT = integer(1, limits.DEVICES_MAX)
TAGS_PER_DEVICE = integer(1, 10_000)
TAGS_LIMIT = integer(1, limits.TAGS_MAX)
EVICT_IDLE_AFTER = duration(NS_PER_S, 31 * 24 * HOUR_NS)
MATCH = array_of(text, '["plant/{area}/{device}/{tag}"]', PATTERNS_MAX, count_min=1)

TAG_KEYS = frozenset(
    {
        *("type", "field", "time_field", "sequence_field", "quality_field", "qos", "priority", "scale", "offset"),
        *("unit", "windows", "stale_after", "valid", "labels", "report", "clamp", "alarm"),
    }
)
"""Of a tag's keys, those that hold for many."""

NO_PATTERNS: tuple[str, ...] = ()

NOT_HERE: Mapping[str, str] = {
    "topic": "is one tag's own; patterns are written as match = [...]",
    "metric": "is of Sparkplug, whose births name their tags by themselves; take it out",
    "name": "needs a device with a payload of several readings; write it for a tag of a device",
    "bytes": 'needs a device with payload = "struct"; write it for a tag of a device',
    "durable": "needs a tag that is written down; write it for a tag of a device",
    "calculate": "needs a tag that is written down; write it for a tag of a device",
    "write_topic": "needs a tag that is written down, which a loop can drive; write it for a tag of a device",
    "write_payload": "needs a tag that is written down, which a loop can drive; write it for a tag of a device",
    "shape": "needs a tag that is written down; write it for a tag of a device",
    "scada": "has no meaning here: the register map shows tags that are written down; take it out",
}


def patterns(value: object) -> tuple[str, ...]:
    return MATCH([value] if isinstance(value, str) else value)


says(patterns, "a topic pattern, or an array of such", {"anyOf": [form_of(text).schema, form_of(MATCH).schema]})


def read_topics(root: Section, links: Links, defaults: Defaults, names: Collection[str]) -> tuple[TopicGroup, ...]:
    """All groups. The tags of these `names` are written down already and take room, too."""
    groups = []
    tags, alarms = len(names), 0
    seen: set[tuple[str, str]] = set()
    for instance in instances(root, "topics", GROUPS_MAX):
        section = instance.section
        section.variables = {}
        group = _read(section, instance.name, links, defaults, names)
        tags += group.tags_limit
        of_row = max(len(tag.alarms) for _, tag in group.offers)
        alarms += of_row * group.tags_limit
        if alarms > limits.LENT_ALARMS_MAX:
            section.wrong_here(
                f"brings the alarms of tags that appear to more than {limits.LENT_ALARMS_MAX}: {of_row} for each of "
                f"{group.tags_limit} tags; write a lower tags_limit, or a [topics.NAME] of its own for what has alarms"
            )
            break
        if tags > limits.TAGS_MAX:
            section.wrong_here(
                f"brings the tags to more than {limits.TAGS_MAX}, by {group.tags_limit}; write a lower limit, "
                "tags_per_device or tags_limit"
            )
            break
        for pattern in group.patterns:
            if (group.link, pattern) in seen:
                section.wrong("match", f"{show(pattern)} stands there twice for this link; write it once")
            seen.add((group.link, pattern))
        groups.append(group)
    return tuple(groups)


def _read(
    section: Section, group_name: str, links: Links, defaults: Defaults, names: Collection[str]
) -> TopicGroup:  # fmt: skip
    link = links.of_device(section)
    if link is not None and not isinstance(link, MqttLink):
        section.wrong("link", "is a Modbus link; topics come from an mqtt one")
    tag_name = section.get("tag", name, None)
    found: tuple[str, ...] = section.require(
        "match", patterns, NO_PATTERNS, 'write match = ["plant/{area}/{device}/{tag}"]'
    )
    for pattern in found if section.is_sound("tag") else ():
        try:
            parse(pattern, tag_name)
        except WrongPatternError as wrong:
            section.wrong("match", f"{show(pattern)} {wrong}")
    limit = section.get("limit", LIMIT, LIMIT_DEFAULT)
    tags_per_device = section.get("tags_per_device", TAGS_PER_DEVICE, 1 if tag_name else TAGS_PER_DEVICE_DEFAULT)
    tags_limit = section.get("tags_limit", TAGS_LIMIT, limit * tags_per_device)
    idle_ns = section.get("evict_idle_after", EVICT_IDLE_AFTER, 24 * HOUR_NS)
    named = list(section.tables("tags"))
    spec = _read_tag(section, defaults, names)
    offers: list[tuple[str, Tag]] = []
    for glob, part in named:
        merged = Section(section.report, part.place, {**_of_tag(section), **part.content}, {}, part.note)
        own = _read_tag(merged, defaults, names)
        if "windows" in part.content:
            part.wrong("windows", "is the same for all tags of this table; write a [topics.NAME] of its own for these")
        offers.append((glob, bind_mqtt(own, "", TAG, "", (), Form())))
    offers.append(("*", bind_mqtt(spec, "", TAG, "", (), Form())))
    _check_heartbeats(section, idle_ns, offers)
    return TopicGroup(
        name=group_name,
        link="" if link is None else link.name,
        patterns=found,
        tag=tag_name,
        limit=limit,
        tags_per_device=tags_per_device,
        tags_limit=tags_limit,
        evict_idle_after_ns=idle_ns,
        offers=tuple(offers),
    )


def _check_heartbeats(section: Section, idle_ns: int, offers: Sequence[tuple[str, Tag]]) -> None:
    """What says the same again and again must not look silent."""
    reports = [tag.point.report for _, tag in offers if isinstance(tag.point, MqttPoint)]
    longest_ns = max((report.heartbeat_ns for report in reports if report is not None), default=0)
    if longest_ns >= idle_ns and section.is_sound("evict_idle_after"):
        section.wrong(
            "evict_idle_after",
            f"is not longer than the heartbeat of a report, {show_duration(longest_ns)}: a tag that always says the "
            "same would leave; write a longer one, or a shorter heartbeat",
        )


def _read_tag(section: Section, defaults: Defaults, names: Collection[str]) -> MqttSpec:
    spec = read_mqtt(section, defaults)
    for key, why in NOT_HERE.items():
        if key in section.content:
            section.wrong(key, why)
    _check_alarms(spec, names)
    return spec


def _check_alarms(spec: MqttSpec, names: Collection[str]) -> None:
    """What an alarm refers to is there for good: a tag that is written down."""
    for one in spec.common.alarms:
        for key, other in (("from", one.reference), ("unless", one.unless)):
            if isinstance(other, str) and "." not in other:
                spec.section.wrong(
                    "alarm",
                    f"{key}: {show(other)} would appear by itself and may leave; name a tag that is written down",
                )
    check_names(tuple(one for one in spec.common.alarms if _is_whole(one)), spec.section, names)


def _is_whole(alarm: AlarmDefinition) -> bool:
    return all("." in other for other in (alarm.reference, alarm.unless) if isinstance(other, str))


OWN_KEYS = frozenset(
    {"link", "match", "limit", "tags_per_device", "tags_limit", "evict_idle_after", "tag", "tags", "each"}
)


def _of_tag(section: Section) -> dict[str, object]:
    return {key: value for key, value in section.content.items() if key not in OWN_KEYS}
