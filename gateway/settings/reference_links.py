"""The reference of links."""

from __future__ import annotations

from gateway.settings import addresses, modbuslinks
from gateway.settings.forms import Form
from gateway.settings.reference_brokers import SESSION_KEYS, broker_keys
from gateway.settings.reference_key import NOTHING, Key
from gateway.settings.units import flag, text

EACH = Form(
    'variables with their values, like { n = "1..40" } or { n = ["a", "b"] }',
    {"type": "object", "additionalProperties": {"type": ["string", "array"]}},
)
ONE_OF = "(this or another address)"
LINKS = (
    Key("links.NAME.each", EACH, NOTHING, "Makes one link for each value; {n} is replaced in every text inside."),
    Key("links.NAME.modbus_tcp", addresses.modbus_endpoint, ONE_OF, "A Modbus TCP connection, and where to."),
    Key("links.NAME.modbus_tls", modbuslinks.tls_endpoint, ONE_OF, "A Modbus TCP Security connection, and where to."),
    Key(
        "links.NAME.modbus_rtu",
        modbuslinks.line_place,
        ONE_OF,
        "A serial line with RTU frames: a port, or a converter that passes the bytes on over TCP.",
    ),
    Key("links.NAME.modbus_ascii", modbuslinks.line_place, ONE_OF, "The same with ASCII frames."),
    Key("links.NAME.parity", modbuslinks.PARITY, "even", "Of a serial port's characters."),
    Key("links.NAME.stop_bits", modbuslinks.STOP_BITS, "(1; without parity 2)", "Of a serial port's characters."),
    Key("links.NAME.data_bits", modbuslinks.DATA_BITS, "(8; ASCII 7)", "Of a serial port's characters."),
    Key(
        "links.NAME.rs485.before",
        modbuslinks.DIRECTION_DELAY,
        "0s",
        "RS-485 whose direction the port's driver switches by RTS: rest before the first bit, in whole milliseconds.",
    ),
    Key("links.NAME.rs485.after", modbuslinks.DIRECTION_DELAY, "0s", "Rest after the last bit."),
    Key("links.NAME.rs485.inverted", flag, "false", "RTS low while sending."),
    Key("links.NAME.server_name", text, "(the host)", "The name in the device's certificate."),
    Key(
        "links.NAME.source_address",
        modbuslinks.source_address,
        NOTHING,
        "The address of this machine that the connection comes from.",
    ),
    Key("links.NAME.interface", modbuslinks.interface, NOTHING, "The network interface that it leaves by."),
    Key(
        "links.NAME.keep_open",
        flag,
        "true",
        "false: the connection is closed after each round of reads, for devices that have few of them.",
    ),
    Key("links.NAME.connect_timeout", modbuslinks.TIMEOUT, "3s", "How long a connection may take to be made."),
    Key(
        "links.NAME.response_timeout", modbuslinks.TIMEOUT, "1s", "A unit that says nothing for so long did not answer."
    ),
    Key(
        "links.NAME.requests_in_flight",
        modbuslinks.IN_FLIGHT,
        "1",
        "Requests on the way at once. More than 1 only where the device can queue them.",
    ),
    Key(
        "links.NAME.request_gap",
        modbuslinks.GAP,
        "0s",
        "Rest between two requests; at a serial port never less than 3.5 characters.",
    ),
    Key(
        "links.NAME.baud",
        modbuslinks.BAUD,
        "(at a serial port 19200)",
        "Of a serial port; or of the bus behind a converter, for the estimate of its load by fieldgate plan and check.",
    ),
    *broker_keys("links.NAME", "GATEWAY-NAME", "`modbus_tcp`"),
    *SESSION_KEYS,
)
