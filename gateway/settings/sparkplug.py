"""Sparkplug B in the settings: the host that the gateway is, and where a device's metrics come from."""

from __future__ import annotations

import re
from typing import Final

from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.settings.forms import matching, says
from gateway.settings.schema import SparkplugHost
from gateway.settings.section import Section
from gateway.settings.units import WrongValueError, duration, show, text

REORDER = duration(10 * NS_PER_MS, 60 * NS_PER_S)
METRIC_BYTES_MAX: Final = 4_096
_ID = r"[^/+#\x00]{1,256}"
_ADDRESS = re.compile(rf"{_ID}/{_ID}(/{_ID})?")


def host_id(value: object) -> str:
    word = text(value)
    if not re.fullmatch(_ID, word):
        raise WrongValueError(f'{show(word)} cannot be a host id; write one name without /, + and #, like "scada-1"')
    return word


def address(value: object) -> tuple[str, ...]:
    """`"group/edge"`, or `"group/edge/device"`."""
    word = text(value)
    if not _ADDRESS.fullmatch(word):
        raise WrongValueError(
            f'{show(word)} is not a place in Sparkplug; write "group/edge/device", or "group/edge" for the edge node'
        )
    return tuple(word.split("/"))


def edge_node(value: object) -> tuple[str, ...]:
    """`"group/edge"`."""
    word = text(value)
    if not _ADDRESS.fullmatch(word) or word.count("/") != 1:
        raise WrongValueError(f'{show(word)} is no edge node; write its group and its name, like "plant/boiler-house"')
    return tuple(word.split("/"))


def metric(value: object) -> str:
    word = text(value)
    if len(word.encode()) > METRIC_BYTES_MAX:
        raise WrongValueError(f"is too long; write at most {METRIC_BYTES_MAX} bytes")
    return word


def read_host(section: Section) -> SparkplugHost:
    """The gateway as a host application, on one link."""
    inside = section.table("sparkplug")
    if inside is None:
        return SparkplugHost()
    found = SparkplugHost(
        host_id=inside.get("host_id", host_id, None), reorder_ns=inside.get("reorder", REORDER, 2 * NS_PER_S)
    )
    inside.finish()
    return found


says(host_id, 'one name, like "scada-1"', matching("[^/+#]+"))
says(address, 'like "group/edge/device", or "group/edge" for the edge node itself', matching("[^/+#]+(/[^/+#]+){1,2}"))
says(edge_node, 'a group and a name, like "plant/boiler-house"', matching("[^/+#]+/[^/+#]+"))
says(metric, "a text", {"type": "string"})
