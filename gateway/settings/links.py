"""Links: the connections, those with a name and those that a device brings along.

A device may write its link inside (`link = { modbus_tcp = "10.0.0.5:502" }`); equal endpoints then share one
link, which is named after its endpoint. A link of which not even the kind is known is kept as None,
so that its devices do not complain as well.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.core import limits
from gateway.core.types import NS_PER_S
from gateway.protocol.modbus.load import BusLoad
from gateway.settings import modbuslinks
from gateway.settings.addresses import Broker, broker
from gateway.settings.brokers import KINDS, LINK_ELSEWHERE, NOWHERE, Files, read_broker, read_session
from gateway.settings.instances import instances
from gateway.settings.planning import LOAD_WARNED
from gateway.settings.problems import did_you_mean
from gateway.settings.schema import Link, ModbusLink, MqttLink
from gateway.settings.section import Section
from gateway.settings.units import show, text


class Links:
    """All links of one configuration, in the file's order, those without a name last."""

    def __init__(self, root: Section, gateway_id: str, files: Files) -> None:
        self._gateway_id = gateway_id
        self._files = files
        self._links: dict[str, Link | None] = {}
        self._used: set[str] = set()
        self._sections: dict[str, Section] = {}
        self._inline_sections: dict[str, Section] = {}
        for instance in instances(root, "links", limits.DEVICES_MAX):
            self._links[instance.name] = self._read(instance.section, instance.name)
            self._sections[instance.name] = instance.section

    def all(self) -> tuple[Link, ...]:
        return tuple(link for link in self._links.values() if link is not None)

    def of_device(self, device: Section) -> Link | None:
        """The link that a device names or brings along; None when it was reported as wrong and may be of any kind."""
        if isinstance(device.content.get("link"), dict):
            return self._inline(device)
        remedy = 'write link = "NAME" of a [links.NAME], or link = { modbus_tcp = "10.0.0.5:502" }'
        link_name = device.require("link", text, "", remedy)
        if not device.is_sound("link"):
            return None
        if link_name not in self._links:
            remedy = did_you_mean(link_name, self._links, remedy)
            device.wrong("link", f"{show(link_name)} is not a link; {remedy}")
            return None
        self._used.add(link_name)
        return self._links[link_name]

    def _inline(self, device: Section) -> Link | None:
        section = device.table("link")
        link = self._read(section, None) if section is not None else None
        if section is None or link is None or not section.is_sound(*modbuslinks.KEYS, "mqtt"):
            return link
        known = self._links.setdefault(link.name, link)
        self._inline_sections.setdefault(link.name, device)
        if known != link:
            device.wrong(
                "link", f"differs from another link to {link.name}; write it once as [links.NAME] and use its name"
            )
        return link

    def _read(self, section: Section, link_name: str | None) -> Link | None:
        spoken = [key for key in (*modbuslinks.KEYS, "mqtt") if section.has(key)]
        if len(spoken) > 1:
            section.wrong_here(f"is both {spoken[0]} and {spoken[1]}; write one of them")
            return None
        if not spoken:
            near = [did_you_mean(key, (*modbuslinks.KEYS, "mqtt"), "") for key in section.content]
            section.wrong_here(f"has no address; {next(filter(None, near), KINDS)}")
            return None
        if spoken != ["mqtt"]:
            modbus = modbuslinks.read_modbus(section, spoken[0], link_name, self._files)
            section.finish(LINK_ELSEWHERE | modbuslinks.elsewhere(modbus))
            return modbus
        address = section.get("mqtt", broker, Broker(NOWHERE, tls=False))
        own_name = link_name or str(address.endpoint)
        client = f"{self._gateway_id}-{link_name or f'{address.endpoint.host}-{address.endpoint.port}'}"
        address_of = read_broker(section, client, self._files)
        link = MqttLink(name=own_name, broker=address_of, session=read_session(section, address_of.version))
        section.finish(LINK_ELSEWHERE)
        return link

    def warn_of_load(self, found: Mapping[str, BusLoad]) -> None:
        """Tell of links that are asked for more than they can well do; refuses nothing."""
        for link_name, load in found.items():
            if load.share <= LOAD_WARNED:
                continue
            message = (
                f"is {100 * load.share:.0f} % loaded, by {load.requests_per_s:.1f} reads a second: values may become "
                f"{load.worst_age_ns / NS_PER_S:.1f} s old; read less often, or see what costs time: fieldgate plan"
            )
            section = self._sections.get(link_name)
            if section is not None:
                section.report.warn(section.place, message)
            elif link_name in self._inline_sections:
                device = self._inline_sections[link_name]
                device.warn("link", message)

    def warn_of_oddities(self) -> None:
        for link_name, section in self._sections.items():
            if link_name not in self._used:
                section.report.warn(section.place, "is used by no device" + section.note)
        by_place: dict[str, str] = {}
        for link in self.all():
            if not isinstance(link, ModbusLink):
                continue
            first = by_place.setdefault(link.place, link.name)
            if first == link.name:
                continue
            # Links without a name come last and differ among themselves, so one of the two has a section.
            named, other = (link.name, first) if link.name in self._sections else (first, link.name)
            section = self._sections[named]
            section.report.warn(
                section.place, f"connects to the same place as {show(other)}; many devices serve one connection only"
            )
