"""Loading: from a TOML file to `Settings`, or to everything that is wrong with it.

Sections are read in the order in which they refer to each other: gateway and defaults, links, tag lists, devices with
their tags, loops, then what serves and sends them. Reading never stops at a problem; at the end there are none, and
the settings hold, or all of them are raised together.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from gateway.settings.alarms import check_names
from gateway.settings.brokers import Files
from gateway.settings.calculations import check_kept_samples
from gateway.settings.control import check_commanders, check_setpoints, read_loops
from gateway.settings.devices import Devices
from gateway.settings.discovery import read_topics
from gateway.settings.including import ENVIRONMENT, INCLUDE, INCLUDES, read_whole, substituted
from gateway.settings.journal import CHECKPOINT_EVERY, CHECKPOINT_EVERY_DEFAULT, read_history, read_journal, read_reload
from gateway.settings.links import Links
from gateway.settings.migrations import VERSION, VERSIONS, understood
from gateway.settings.planning import loads
from gateway.settings.problems import ConfigurationError, Problem, Report
from gateway.settings.referencetables import joined, read_reference
from gateway.settings.schema import BrokerAddress, Commands, MqttLink, MqttPoint, Settings, SparkplugAddress
from gateway.settings.section import Section
from gateway.settings.serving import read_http, read_scada, watched
from gateway.settings.taglist import TagLists
from gateway.settings.tags import read_defaults
from gateway.settings.units import choice, flag, integer, name, size, text
from gateway.settings.uplink import FLASH_ENDURANCE as FLASH_ENDURANCE
from gateway.settings.uplink import read_uplinks
from gateway.settings.writes import read_writes
from gateway.settings.zones import TimeZone, time_zone

NO_ENVIRONMENT: Mapping[str, str] = {}
PANES = integer(2, 240)
PANES_DEFAULT = 30
PARKING = size(10**6, 10**12)
PARKING_DEFAULT = 256 * 10**6


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


LOG_LEVEL = choice(LogLevel)


class Examined(NamedTuple):
    """A configuration that can be run, and what is odd about it all the same."""

    settings: Settings
    warnings: tuple[Problem, ...]


def load(path: Path, environment: Mapping[str, str] = NO_ENVIRONMENT) -> Settings:
    """The settings of a file. Raises ConfigurationError with all its problems.

    `environment` gives STATE_DIRECTORY, as systemd sets it.
    """
    return examine(path, environment).settings


def examine(path: Path, environment: Mapping[str, str] = NO_ENVIRONMENT, place: Path | None = None) -> Examined:
    """As `load`, with warnings. `place`: as if the file lay there."""
    report = Report()
    document = substituted(understood(read_whole(path), report), environment, report)
    settings = joined(_read(Section(report, document.root(), document.content), place or path, environment))
    problems, warnings = report.problems(path), report.warnings(path)
    if problems:
        raise ConfigurationError(problems, warnings)
    told = tuple(Problem(path, 1, 1, "reference", message) for message in settings.reference_findings)
    return Examined(settings, warnings + told)


def _read(root: Section, path: Path, environment: Mapping[str, str]) -> Settings:
    directory = path.parent
    gateway = root.table("gateway") or Section(root.report, root.place.child("gateway"), {})
    gateway_id = gateway.require("id", name, "unnamed", 'write id = "boiler-house" under [gateway]')
    defaults = read_defaults(root)
    files = Files(directory, _credentials(environment))
    links = Links(root, gateway_id, files)
    lists = TagLists(root, directory)
    devices = Devices(root, links, lists, defaults)
    topics = read_topics(root, links, defaults, devices.tags.keys())
    loops = read_loops(root, links, devices, are_inhibited=gateway.get("inhibit_writes", flag, False))
    for tag in devices.tags.values():
        if tag.alarms:
            check_names(tag.alarms, devices.sections[tag.name], devices.tags.keys())
    check_kept_samples(devices.tags.values(), devices.sections)
    scada = read_scada(root, devices, loops, path, files)
    check_setpoints(loops, frozenset(scada.writable if scada is not None else ()))
    zone = gateway.get("time_zone", time_zone, TimeZone("UTC")).data()
    state_dir = _state_dir(gateway, directory, environment)
    settings = Settings(
        path=path,
        gateway_id=gateway_id,
        state_dir=state_dir,
        log_level=gateway.get("log_level", LOG_LEVEL, LogLevel.INFO).value,
        panes_per_window=gateway.get("panes_per_window", PANES, PANES_DEFAULT),
        zone=zone,
        checkpoint_every_ns=gateway.get("checkpoint_every", CHECKPOINT_EVERY, CHECKPOINT_EVERY_DEFAULT),
        links=links.all(),
        devices=tuple(devices.devices),
        tags=tuple(devices.tags.values()),
        topics=topics,
        parking_bytes_max=gateway.get("parking", PARKING, PARKING_DEFAULT),
        loops=watched((loop for loop, _ in loops.read), scada),
        blocks=loops.blocks,
        journal=read_journal(root, devices),
        uplinks=read_uplinks(root, gateway_id, files, zone),
        scada=scada,
        writes=read_writes(root, gateway_id, devices, loops, files),
        inhibit_writes=gateway.get("inhibit_writes", flag, False),
        http=read_http(root, files),
        history_bytes_max=read_history(root),
        reload_trial_ns=read_reload(root),
        flash_endurance_bytes=gateway.get("flash_endurance", FLASH_ENDURANCE, 0),
        reference=read_reference(root, directory, state_dir),
    )
    root.get(INCLUDE, INCLUDES, ())
    root.get(VERSION, VERSIONS, 1)
    gateway.get("environment", ENVIRONMENT, ())
    gateway.finish()
    root.finish()
    _check_sessions(root, settings)
    check_commanders(loops, _commanding(settings))
    _check_durable(settings, devices)
    if not len(root.report):
        links.warn_of_oddities()
        links.warn_of_load(loads(settings))
        lists.warn_of_unused()
        defaults.polls.warn_of_unused()
        _warn_of_shared_topics(settings, devices)
    return settings


def _commanding(settings: Settings) -> dict[Commands, tuple[str, ...]]:
    mqtt = settings.writes.mqtt
    return {
        Commands.SCADA: settings.scada.writable if settings.scada is not None else (),
        Commands.PAGE: settings.writes.page,
        Commands.MQTT: mqtt.loops if mqtt is not None else (),
    }


def _state_dir(gateway: Section, directory: Path, environment: Mapping[str, str]) -> Path:
    """As written, else the first directory that systemd made for the service, else beside the file."""
    given = environment.get("STATE_DIRECTORY", "").split(":")[0]
    return directory / gateway.get("state_dir", text, given or "state")


def _credentials(environment: Mapping[str, str]) -> Path | None:
    given = environment.get("CREDENTIALS_DIRECTORY")
    return Path(given) if given else None


def _check_sessions(root: Section, settings: Settings) -> None:
    """A broker ends a session when another one comes with the same client id."""
    brokers = [(f"links.{link.name}", link.broker) for link in settings.links if isinstance(link, MqttLink)]
    if settings.writes.mqtt is not None:
        brokers.append(("writes.mqtt", settings.writes.mqtt.broker))
    for uplink in settings.uplinks:
        address = uplink.address.broker if isinstance(uplink.address, SparkplugAddress) else uplink.address
        if isinstance(address, BrokerAddress):
            brokers.append((f"uplink.{uplink.name}", address))
    seen: dict[tuple[str, int, str], str] = {}
    for owner, broker in brokers:
        other = seen.setdefault((broker.host, broker.port, broker.client_id), owner)
        if other != owner:
            group, _, key = owner.partition(".")
            root.report.problem(
                root.place.child(group).child(key).child("client_id"),
                f'is "{broker.client_id}", as that of {other}; give each session its own, or they end each other',
            )


def _check_durable(settings: Settings, devices: Devices) -> None:
    """What is acknowledged must come through a crash, which takes the journal of what follows the acknowledgement."""
    for tag in settings.tags:
        if tag.is_durable:
            section = devices.sections[tag.name]
            if settings.journal is None:
                section.wrong("durable", "needs the journal, to come through a crash; write [journal] as well")
            elif tag.name in settings.journal.left_out:
                section.wrong("durable", "is for nothing while leave_out under [journal] names the tag; take one out")


def _warn_of_shared_topics(settings: Settings, devices: Devices) -> None:
    topics = [tag.point.topic for tag in settings.tags if isinstance(tag.point, MqttPoint)]
    if len(topics) == len(set(topics)):
        return
    link_of = settings.link_of
    seen: dict[tuple[str, str, tuple[str | int, ...]], str] = {}
    for tag in settings.tags:
        if isinstance(tag.point, MqttPoint):
            point = tag.point
            where = "/".join(point.sparkplug) or point.topic
            other = seen.setdefault(
                (link_of[tag.device], where, (*point.field, point.metric, point.name, point.at)), tag.name
            )
            if other != tag.name:
                section = devices.sections[tag.name]
                section.report.warn(section.place, f"reads the same value as {other}")
