"""Ways into the Modbus server beside plain TCP: TLS with certificates on both sides."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from gateway.settings.addresses import MODBUS_TLS_PORT, Endpoint, listen_endpoint
from gateway.settings.brokers import Files, file_at
from gateway.settings.forms import says
from gateway.settings.schema_scada import Right, ScadaTls
from gateway.settings.section import Section
from gateway.settings.units import WrongValueError, array_of, show, text

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


def _needed(section: Section, key: str, example: str, files: Files) -> Path:
    file = file_at(section, key, files)
    if file is None and section.is_sound(key):
        section.wrong(key, f"is missing: both sides show a certificate; write {key} = {example}")
    return file or Path("nowhere")
