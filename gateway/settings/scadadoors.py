"""Ways into the Modbus server beside plain TCP: TLS with certificates on both sides, and a serial line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from gateway.settings.addresses import MODBUS_TLS_PORT, Endpoint, listen_endpoint
from gateway.settings.brokers import Files, file_at
from gateway.settings.forms import says
from gateway.settings.modbuslinks import read_serial
from gateway.settings.scadarules import UNIT_MAX, spans
from gateway.settings.schema_modbus import Framing
from gateway.settings.schema_scada import Right, ScadaLine, ScadaTls
from gateway.settings.section import Section
from gateway.settings.units import WrongValueError, array_of, flag, show, text

TLS_LISTEN: Final = Endpoint("127.0.0.1", MODBUS_TLS_PORT)
ALLOW_MAX: Final = 1_000
ROLES_MAX: Final = 100
_FINGERPRINT: Final = re.compile(r"sha256:[0-9a-f]{64}")


def _allowed(value: object) -> str:
    word = text(value)
    if not word.lower().startswith("sha256:"):
        return word
    fingerprint = word.lower().replace(":", "").replace("sha256", "sha256:", 1)
    if _FINGERPRINT.fullmatch(fingerprint) is None:
        raise WrongValueError(
            f"{show(word)} is no fingerprint; it is sha256: and 64 hexadecimal digits, as "
            "`openssl x509 -noout -fingerprint -sha256 -in FILE` prints them"
        )
    return fingerprint


says(_allowed, 'a name in a certificate, or its fingerprint as "sha256:..."', {"type": "string"})
ALLOW = array_of(_allowed, '["hmi-1", "sha256:..."]', ALLOW_MAX)


def _roles(value: object) -> tuple[tuple[str, Right], ...]:
    example = 'write roles = { Operator = "write", Viewer = "read" }'
    if not isinstance(value, dict) or len(value) > ROLES_MAX:
        raise WrongValueError(f"{show(value)} is not a table of up to {ROLES_MAX} roles; {example}")
    for role, right in value.items():
        if right not in tuple(Right):
            raise WrongValueError(f"{role} has {show(right)}; a role may {' or '.join(Right)}, {example}")
    return tuple((role, Right(right)) for role, right in value.items())


ROLES = says(
    _roles,
    'roles and what they may, like { Operator = "write", Viewer = "read" }',
    {"type": "object", "additionalProperties": {"type": "string", "enum": list(Right)}},
)


ALL_UNITS: Final = ((1, UNIT_MAX),)


def serial_port(value: object) -> str:
    """`"/dev/serial/by-id/usb-..."`."""
    word = text(value)
    if not word.startswith("/"):
        example = f"/dev/{word.removeprefix('dev/')}" if word.lower().startswith(("tty", "dev/")) else "/dev/ttyS1"
        raise WrongValueError(f"{show(word)} is not a port; write its whole path, like {show(example)}")
    return word


says(serial_port, 'the path of a serial port, like "/dev/serial/by-id/usb-FTDI_0"', {"type": "string", "pattern": "^/"})


def _line_units(value: object) -> tuple[tuple[int, int], ...]:
    units = spans(value, UNIT_MAX)
    if not units or units[0][0] == 0:
        raise WrongValueError(f'{show(value)} has no unit of a line; write units = [1, "3-5"]')
    return units


LINE_UNITS = says(
    _line_units,
    'units and spans of them, like [1, "3-5"]',
    {"type": "array", "minItems": 1, "items": {"type": ["integer", "string"]}},
)


def read_tls(scada: Section, files: Files) -> ScadaTls | None:
    section = scada.table("modbus_tls")
    if section is None:
        return None
    listen = section.get("listen", listen_endpoint, TLS_LISTEN)
    tls = ScadaTls(
        host=listen.host,
        port=listen.port,
        ca_file=_needed(section, "ca_file", '"plant-ca.crt", whose certificates are taken of clients', files),
        cert_file=_needed(section, "cert_file", '"fieldgate.crt", and key_file =', files),
        key_file=file_at(section, "key_file", files),
        key_password_file=file_at(section, "key_password_file", files),
        allow=section.get("allow", ALLOW, ()),
        roles=section.get("roles", ROLES, None),
    )
    section.finish()
    return tls


def read_line(scada: Section, *, are_writers_named: bool) -> ScadaLine | None:
    """Where it is said by address who may write, the master of a line is nobody of them unless it is said too."""
    section = scada.table("modbus_rtu")
    if section is None:
        return None
    path = section.require("port", serial_port, "/dev/null", 'write port = "/dev/serial/by-id/usb-..."')
    line = ScadaLine(
        serial=read_serial(section, path, Framing.RTU),
        units=section.get("units", LINE_UNITS, ALL_UNITS),
        may_write=section.get("write", flag, not are_writers_named),
    )
    section.finish()
    return line


def _needed(section: Section, key: str, example: str, files: Files) -> Path:
    file = file_at(section, key, files)
    if file is None and section.is_sound(key):
        section.wrong(key, f"is missing: both sides show a certificate; write {key} = {example}")
    return file or Path("nowhere")
