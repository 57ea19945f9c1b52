"""The reference of the Modbus server."""

from __future__ import annotations

from gateway.settings import addresses, modbuslinks, scadadoors, scadarules, serving
from gateway.settings.forms import Form
from gateway.settings.reference_key import NOTHING, REQUIRED, Key
from gateway.settings.units import flag, text

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
AT_RTU = "scada.modbus_rtu"
SCADA = (
    Key(
        "scada.modbus_tcp",
        addresses.listen_endpoint,
        '"127.0.0.1:1502"',
        "Where it listens for Modbus TCP. Not written beside modbus_tls or modbus_rtu: nowhere.",
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
    Key(f"{AT_RTU}.port", scadadoors.serial_port, REQUIRED, "A serial port at which the gateway is an RTU slave."),
    Key(f"{AT_RTU}.units", scadadoors.LINE_UNITS, "(all of the map)", "Which units answer there."),
    Key(f"{AT_RTU}.write", flag, "(true without write_clients)", "Whether the line's master may write."),
    Key(f"{AT_RTU}.baud", modbuslinks.BAUD, "19200", "Of the port."),
    Key(f"{AT_RTU}.parity", modbuslinks.PARITY, "even", "Of the port's characters."),
    Key(f"{AT_RTU}.stop_bits", modbuslinks.STOP_BITS, "(1; without parity 2)", "Of the port's characters."),
    Key(f"{AT_RTU}.data_bits", modbuslinks.DATA_BITS, "8", "RTU needs 8."),
    Key(
        f"{AT_RTU}.rs485.before",
        modbuslinks.DIRECTION_DELAY,
        "0s",
        "RS-485 whose direction the port's driver switches by RTS: rest before the first bit.",
    ),
    Key(f"{AT_RTU}.rs485.after", modbuslinks.DIRECTION_DELAY, "0s", "Rest after the last bit."),
    Key(f"{AT_RTU}.rs485.inverted", flag, "false", "RTS low while sending."),
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
