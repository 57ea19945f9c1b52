"""Writes: who may write to tags that may be written, beside SCADA."""

from __future__ import annotations

from typing import Final

from gateway.settings.addresses import topic
from gateway.settings.brokers import LINK_ELSEWHERE, Files, read_broker
from gateway.settings.control import Loops
from gateway.settings.devices import Devices
from gateway.settings.schema import MqttWrites, Writes
from gateway.settings.section import Section
from gateway.settings.serving import TAG_GLOBS, WRITE_GLOBS, hold_points, loop_points, select, writable_tags
from gateway.settings.units import flag

TOPIC: Final = "fieldgate/{gateway}/write/{tag}"
REPLY: Final = "fieldgate/{gateway}/written/{tag}"


def read_writes(root: Section, gateway_id: str, devices: Devices, loops: Loops, files: Files) -> Writes:
    section = root.table("writes")
    if section is None:
        return Writes()
    names = [*writable_tags(devices, loops), *loop_points(loops), *hold_points(loops)]
    writes = Writes(
        local=section.get("local", flag, True),
        page=select(section, "page", TAG_GLOBS, (), names, all_known=not devices.incomplete),
        mqtt=_read_mqtt(section, gateway_id, devices, loops, files),
    )
    section.finish()
    return writes


def _read_mqtt(section: Section, gateway_id: str, devices: Devices, loops: Loops, files: Files) -> MqttWrites | None:
    table = section.table("mqtt")
    if table is None:
        return None
    table.variables = {"gateway": gateway_id, "tag": "{tag}"}
    if not table.has("mqtt"):
        table.wrong("mqtt", 'is missing; write the broker\'s address, like mqtt = "mqtt://127.0.0.1:1883"')
    asked = table.get("topic", topic, TOPIC.replace("{gateway}", gateway_id))
    reply = table.get("reply", topic, REPLY.replace("{gateway}", gateway_id))
    if asked.split("/").count("{tag}") != 1 and table.is_sound("topic"):
        table.wrong("topic", 'must have {tag} as one of its levels; write "plant/write/{tag}"')
    if "{tag}" not in reply and table.is_sound("reply"):
        table.wrong("reply", 'must have {tag} in it; write "plant/written/{tag}"')
    if asked == reply and table.is_sound("topic", "reply"):
        table.wrong("reply", "is the topic of the orders; write another one")
    names = writable_tags(devices, loops)
    writes = MqttWrites(
        broker=read_broker(table, f"{gateway_id}-writes", files),
        topic=asked,
        reply=reply,
        tags=select(table, "tags", TAG_GLOBS, ("*",), names, all_known=not devices.incomplete),
        loops=select(table, "loops", WRITE_GLOBS, (), [*loop_points(loops), *hold_points(loops)], all_known=True),
    )
    if not names and not writes.loops and not devices.incomplete:
        table.warn("tags", "there is no tag that may be written; write write = true in one")
    table.finish(LINK_ELSEWHERE)
    return writes
