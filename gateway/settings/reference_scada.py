"""The reference of the Modbus server."""

from __future__ import annotations

from gateway.settings import addresses, scadadoors, scadarules, serving
from gateway.settings.forms import Form
from gateway.settings.reference_key import NOTHING, REQUIRED, Key
from gateway.settings.units import text

UNITS = Form(
    'unit ids by device or glob, like { boiler = 1, "pump-*" = 2 }, or "each": one of its own for every device',
    {
        "anyOf": [
            {"type": "object", "additionalProperties": {"type": ["integer", "string"], "minimum": 1, "maximum": 247}},
            {"const": serving.EACH},
        ]
    },
)

AT_TLS = "scada.modbus_tls"
SCADA = (
    Key(
        "scada.modbus_tcp",
        addresses.listen_endpoint,
        '"127.0.0.1:1502"',
        "Where it listens for Modbus TCP. Not written beside modbus_tls: nowhere.",
    ),
    Key(f"{AT_TLS}.listen", addresses.listen_endpoint, '"127.0.0.1:802"', "Where it listens for Modbus TCP Security."),
    Key(f"{AT_TLS}.ca_file", text, REQUIRED, "PEM file of the authorities whose certificates are taken of clients."),
    Key(f"{AT_TLS}.cert_file", text, REQUIRED, "PEM file of the certificate that the gateway shows."),
    Key(f"{AT_TLS}.key_file", text, "(in cert_file)", "PEM file of its key; or credential:NAME."),
    Key(f"{AT_TLS}.key_password_file", text, NOTHING, "File whose first line opens the key."),
    Key(
        f"{AT_TLS}.allow",
        scadadoors.ALLOW,
        "[]",
        "Clients' certificates that are taken, by name or fingerprint. None: all of ca_file.",
    ),
    Key(
        f"{AT_TLS}.roles",
        scadadoors.ROLES,
        NOTHING,
        "What a role in a certificate may do. A role that is not here, or none, gets exception 1.",
    ),
    Key("scada.tags", serving.TAG_GLOBS, '["*"]', "Which tags are shown."),
    Key("scada.units", UNITS, "(all on 1)", "Unit id by device. A name counts before a glob."),
    Key("scada.clients", serving.NETWORKS, "[]", "Networks from which clients may connect. None: from everywhere."),
    Key(
        "scada.write_clients", serving.NETWORKS, "[]", "Networks from which they may write. None: all that may connect."
    ),
    Key("scada.connections_per_client", serving.SCADA_PER_CLIENT, "16", "Of the 32 connections, those of one address."),
    Key(
        "scada.rules",
        scadarules.RULES,
        "[]",
        "Units and addresses that clients reach, by network; the first that fits counts.",
    ),
    Key(
        "scada.watchdog",
        serving.WATCHDOG,
        NOTHING,
        "SCADA writes a new count to register 1 of any unit within this time, or it is told as silent.",
    ),
    Key(
        "scada.watchdog_loops",
        serving.LOOP_GLOBS,
        "[]",
        "Loops, as control.NAME, that go to their fail-safe then, or after their own dead_man.",
    ),
    Key("scada.loops_unit", serving.UNIT, "1", "Unit id of the loops' registers."),
    Key(
        "scada.write",
        serving.WRITE_GLOBS,
        "[]",
        "What may be written: control.NAME.setpoint, .mode, .output, and tags.",
    ),
    Key(
        "scada.lock_file", text, "(FILE.registers.lock)", "Keeps addresses when tags are added: keep it with the file."
    ),
)
