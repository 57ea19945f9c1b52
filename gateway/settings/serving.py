"""Serving: what SCADA sees and may write, and where the metrics are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from pathlib import Path
from typing import Final

import msgspec

from gateway.core.limits import CONNECTIONS_PER_CLIENT, HTTP_CONNECTIONS_MAX, SCADA_CLIENTS_MAX
from gateway.core.types import NS_PER_MS, NS_PER_S, Kind
from gateway.settings.addresses import Endpoint, is_local, listen_endpoint, network
from gateway.settings.brokers import Files, file_at
from gateway.settings.control import Loops
from gateway.settings.devices import Devices
from gateway.settings.problems import did_you_mean
from gateway.settings.scadadoors import read_line, read_tls
from gateway.settings.scadarules import RULES
from gateway.settings.schema import HOLD_POINT, LOOP_POINTS, Http, PidLoop, Scada, Tag, driven_by
from gateway.settings.section import Section
from gateway.settings.units import Parser, array_of, duration, integer, show, text

SCADA_LISTEN = Endpoint("127.0.0.1", 1502)
HTTP_LISTEN = Endpoint("127.0.0.1", 9464)
UNIT = integer(1, 247)
GLOBS_MAX = 1_000
TAG_GLOBS = array_of(text, '["boiler.*"]', GLOBS_MAX)
WRITE_GLOBS = array_of(text, '["control.boiler.setpoint"]', GLOBS_MAX)
LOOP_GLOBS = array_of(text, '["control.boiler"]', GLOBS_MAX)
WATCHDOG = duration(500 * NS_PER_MS, 24 * 3_600 * NS_PER_S)
EACH: Final = "each"
"""Of `units`: every device has one of its own."""
HTTP_PER_CLIENT = integer(1, HTTP_CONNECTIONS_MAX)
SCADA_PER_CLIENT = integer(1, SCADA_CLIENTS_MAX)
NETWORKS = array_of(network, '["10.0.0.0/24"]', 100)


def read_scada(root: Section, devices: Devices, loops: Loops, path: Path, files: Files) -> Scada | None:
    section = root.table("scada")
    if section is None:
        return None
    listen = section.get("modbus_tcp", listen_endpoint, SCADA_LISTEN)
    tls = read_tls(section, files)
    write_clients = section.get("write_clients", NETWORKS, ())
    line = read_line(section, are_writers_named=bool(write_clients))
    shown = [tag.name for tag in devices.tags.values() if tag.scada]
    points = loop_points(loops)
    points += [name for name in writable_tags(devices, loops) if _is_for_scada(devices.tags[name])]
    lock_file = section.get("lock_file", text, f"{path.stem}.registers.lock")
    scada = Scada(
        host=listen.host,
        port=listen.port,
        has_tcp=section.has("modbus_tcp") or (tls is None and line is None),
        tls=tls,
        line=line,
        units=_read_units(section, devices),
        has_unit_each=section.content.get("units") == EACH,
        loops_unit=section.get("loops_unit", UNIT, 1),
        tags=select(section, "tags", TAG_GLOBS, ("*",), shown, all_known=not devices.incomplete),
        writable=select(section, "write", WRITE_GLOBS, (), points, all_known=True),
        clients=section.get("clients", NETWORKS, ()),
        write_clients=write_clients,
        rules=section.get("rules", RULES, ()),
        watchdog_ns=section.get("watchdog", WATCHDOG, None) or 0,
        watchdog_loops=_read_watchdog_loops(section, loops),
        connections_per_client=section.get("connections_per_client", SCADA_PER_CLIENT, CONNECTIONS_PER_CLIENT),
        lock_file=path.parent / lock_file,
    )
    section.finish()
    _warn_of_writers(section, scada)
    return scada


def _warn_of_writers(section: Section, scada: Scada) -> None:
    if scada.write_clients and not scada.writable and not scada.watchdog_ns:
        section.warn("write_clients", "has no use while nothing may be written; write write = [...] as well")
    are_named = bool(scada.clients or scada.write_clients)
    if scada.writable and scada.has_tcp and not is_local(scada.host) and not are_named:
        section.warn(
            "write", f'everybody who can reach {scada.host} may write; write write_clients = ["10.0.0.7"] to say who'
        )
    if scada.writable and scada.tls is not None and not (scada.tls.allow or scada.tls.roles is not None):
        section.warn(
            "modbus_tls",
            f"every certificate of {scada.tls.ca_file.name} may write; write allow = [...] or roles = {{ ... }}",
        )


def loop_points(loops: Loops) -> list[str]:
    """What may be written of loops, where the configuration allows it: `control.boiler.setpoint` and others."""
    return [f"control.{name}.{point}" for name in loops.names for point in LOOP_POINTS]


def hold_points(loops: Loops) -> list[str]:
    return [f"control.{name}.{HOLD_POINT}" for name in loops.names]


def writable_tags(devices: Devices, loops: Loops) -> list[str]:
    """Tags that somebody may write: those of loops belong to their loops."""
    of_loops = {name for loop, _ in loops.read for name in driven_by(loop)}
    return [name for name, tag in devices.tags.items() if tag.is_writable and name not in of_loops]


def _is_for_scada(tag: Tag) -> bool:
    """Texts are written by the operator and by MQTT alone."""
    return tag.scada and tag.kind is not Kind.SYMBOL


def _read_watchdog_loops(section: Section, loops: Loops) -> tuple[str, ...]:
    """Names of the loops that fail safe when SCADA is silent."""
    names = [f"control.{name}" for name in loops.names]
    chosen = select(section, "watchdog_loops", LOOP_GLOBS, (), names, all_known=True)
    if chosen and not section.has("watchdog"):
        section.wrong("watchdog_loops", 'needs the time that SCADA may be silent; write watchdog = "10s" as well')
    return tuple(name.removeprefix("control.") for name in chosen)


def watched(loops: Iterable[PidLoop], scada: Scada | None) -> tuple[PidLoop, ...]:
    """The loops, those of the watchdog with its time as their dead man's, where they have none of their own."""
    chosen = scada.watchdog_loops if scada is not None else ()
    return tuple(
        msgspec.structs.replace(loop, dead_man_ns=loop.dead_man_ns or scada.watchdog_ns)
        if scada is not None and loop.name in chosen
        else loop
        for loop in loops
    )


def _read_units(section: Section, devices: Devices) -> dict[str, int]:
    """Unit by device: 1 unless a name or a glob says otherwise; a name counts before a glob, then the first counts."""
    units = dict.fromkeys((device.name for device in devices.devices), 1)
    names = [*units, *(name for name in devices.incomplete if name not in units)]
    if section.content.get("units") == EACH:
        section.has("units")
        return {}
    table = section.table("units")
    if table is None:
        return units
    chosen: set[str] = set()
    for glob in sorted(table.content, key=_is_glob):
        unit = table.get(glob, UNIT, 1)
        hits = _matching([glob], names)
        if not hits:
            remedy = did_you_mean(glob, names, "write the name of one, or a glob like pump-*")
            table.wrong(glob, f"is not a device; {remedy}")
        for device in hits:
            if device not in chosen:
                units[device] = unit
                chosen.add(device)
    table.finish()
    return units


def _is_glob(word: str) -> bool:
    return any(sign in word for sign in "*?[")


def select(
    section: Section,
    key: str,
    parse: Parser[tuple[str, ...]],
    default: tuple[str, ...],
    names: list[str],
    *,
    all_known: bool,
) -> tuple[str, ...]:
    """The names that any of the globs under a key matches, in the names' order. `all_known`: none is missing."""
    globs = section.get(key, parse, default)
    if section.has(key) and section.is_sound(key) and all_known:
        for glob in globs:
            if not _matching([glob], names):
                remedy = did_you_mean(glob, names, "write a name as it is, or with * for any part")
                section.wrong(key, f"{show(glob)} matches nothing; {remedy}")
                break
    return tuple(_matching(globs, names))


def _matching(globs: Iterable[str], names: list[str]) -> list[str]:
    patterns = [translate(glob) for glob in globs]
    if not patterns:
        return []
    match = re.compile("|".join(patterns)).match
    return [name for name in names if match(name)]


def read_http(root: Section, files: Files) -> Http | None:
    section = root.table("http")
    if section is None:
        return None
    listen = section.get("listen", listen_endpoint, HTTP_LISTEN)
    http = Http(
        host=listen.host,
        port=listen.port,
        users_file=file_at(section, "users_file", files),
        cert_file=file_at(section, "cert_file", files),
        key_file=file_at(section, "key_file", files),
        metrics_clients=section.get("metrics_clients", NETWORKS, ()),
        connections_per_client=section.get("connections_per_client", HTTP_PER_CLIENT, CONNECTIONS_PER_CLIENT),
    )
    _check_http(section, http)
    section.finish()
    return http


def _check_http(section: Section, http: Http) -> None:
    if http.users_file is None:
        if not is_local(http.host) and section.is_sound("listen", "users_file"):
            section.wrong(
                "listen",
                f"{http.host} is open to others, and nobody would have to log in; write users_file ="
                ' "fieldgate.users.toml" as well (`fieldgate user add NAME` makes it), or listen on 127.0.0.1',
            )
        if http.metrics_clients:
            section.wrong("metrics_clients", "has no use while nobody has to log in; write users_file = as well")
    elif http.cert_file is None and not is_local(http.host) and section.is_sound("cert_file"):
        section.warn(
            "users_file", "passwords go over the network unencrypted; write cert_file = and key_file = as well"
        )
    if (http.cert_file is None) != (http.key_file is None) and section.is_sound("cert_file", "key_file"):
        there, missing = ("cert_file", "key_file") if http.key_file is None else ("key_file", "cert_file")
        section.wrong(there, f"needs the other half; write {missing} = as well")
