"""Modbus links: TCP, TLS, and serial lines in RTU or ASCII, at a port of this machine or behind a converter.

A link's key says what is spoken, its value where to: `modbus_rtu = "/dev/serial/by-id/..."` is a port,
`modbus_rtu = "10.0.0.5:4001"` the same frames over TCP.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final, NamedTuple

from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.settings.addresses import MODBUS_TLS_PORT, Endpoint, endpoint_of, modbus_endpoint
from gateway.settings.brokers import NOWHERE, Files, file_at
from gateway.settings.forms import matching, says
from gateway.settings.schema import ModbusLink
from gateway.settings.schema_modbus import Framing, Parity, Rs485, SerialPort, TlsFiles
from gateway.settings.section import Section
from gateway.settings.units import WrongValueError, choice, duration, flag, integer, show, text

MINUTE_NS: Final = 60 * NS_PER_S
TIMEOUT = duration(NS_PER_MS, MINUTE_NS)
GAP = duration(0, NS_PER_S)
IN_FLIGHT = integer(1, 16)
BAUD = integer(300, 4_000_000)
BAUD_DEFAULT: Final = 19_200
DIRECTION_DELAY = duration(0, 100 * NS_PER_MS)
INTERFACE_CHARS_MAX: Final = 15

BAUDS: Final = (
    300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 500000, 576000, 921600,
    1000000, 1152000, 1500000, 2000000, 2500000, 3000000, 3500000, 4000000,
)  # fmt: skip
"""What the kernel's serial ports know by name."""

FRAMINGS: Final = {
    "modbus_tcp": Framing.TCP,
    "modbus_tls": Framing.TCP,
    "modbus_rtu": Framing.RTU,
    "modbus_ascii": Framing.ASCII,
}
KEYS: Final = tuple(FRAMINGS)
_OF_PORTS = 'belongs to serial ports, and this link goes over TCP; take it out, or write modbus_rtu = "/dev/..."'
_OF_TCP = "belongs to links over TCP, and this one is a serial port; take it out"
_OF_TLS = "belongs to modbus_tls links; take it out"


PARITY = choice(Parity)
STOP_BITS = integer(1, 2)
DATA_BITS = integer(7, 8)


class Port(NamedTuple):
    path: str

    def __str__(self) -> str:
        return self.path


def line_place(value: object) -> Port | Endpoint:
    """`"/dev/serial/by-id/usb-..."`, or `"10.0.0.5:4001"` of a converter that passes the bytes on."""
    word = text(value)
    if word.startswith("/"):
        return Port(word)
    if word.lower().startswith(("com", "tty", "dev/")):
        raise WrongValueError(f'{show(word)} is not a port; write its whole path, like "/dev/ttyUSB0"')
    return endpoint_of(word, 0, '"/dev/ttyUSB0" or "10.0.0.5:4001"')


def tls_endpoint(value: object) -> Endpoint:
    """`"10.0.0.5:802"`; the port may be left out."""
    return endpoint_of(text(value), MODBUS_TLS_PORT, '"10.0.0.5:802"')


def interface(value: object) -> str:
    """A network interface's name."""
    word = text(value)
    if not 1 <= len(word.encode()) <= INTERFACE_CHARS_MAX or "/" in word or " " in word:
        raise WrongValueError(f'{show(word)} is no interface; write its name, like "eth1"')
    return word


def source_address(value: object) -> str:
    """An address of this machine."""
    word = text(value)
    try:
        return str(ip_address(word))
    except ValueError:
        raise WrongValueError(f'{show(word)} is not an address of this machine; write one like "10.0.0.2"') from None


def read_modbus(section: Section, key: str, link_name: str | None, files: Files) -> ModbusLink:
    """The link whose address stands under `key`, one of KEYS."""
    framing = FRAMINGS[key]
    place: Port | Endpoint
    match key:
        case "modbus_tcp":
            place = section.get(key, modbus_endpoint, NOWHERE)
        case "modbus_tls":
            place = section.get(key, tls_endpoint, NOWHERE)
        case _:
            place = section.get(key, line_place, NOWHERE)
    is_port = isinstance(place, Port)
    serial = read_serial(section, place.path, framing) if isinstance(place, Port) else None
    tls = _read_tls(section, files) if key == "modbus_tls" else None
    in_flight = section.get("requests_in_flight", IN_FLIGHT, 1)
    if framing is not Framing.TCP and in_flight > 1:
        section.wrong("requests_in_flight", "a serial line carries one request at a time; take it out")
        in_flight = 1
    return ModbusLink(
        name=link_name or str(place),
        framing=framing,
        host=place.host if isinstance(place, Endpoint) else "",
        port=place.port if isinstance(place, Endpoint) else 0,
        serial=serial,
        tls=tls,
        source_address=None if is_port else section.get("source_address", source_address, None),
        interface=None if is_port else section.get("interface", interface, None),
        keep_open=section.get("keep_open", flag, True),
        connect_timeout_ns=3 * NS_PER_S if is_port else section.get("connect_timeout", TIMEOUT, 3 * NS_PER_S),
        response_timeout_ns=section.get("response_timeout", TIMEOUT, NS_PER_S),
        requests_in_flight=in_flight,
        request_gap_ns=section.get("request_gap", GAP, 0),
        baud=section.get("baud", BAUD, None) if serial is None else serial.baud,
    )


def read_serial(section: Section, path: str, framing: Framing) -> SerialPort:
    parity = section.get("parity", PARITY, Parity.EVEN)
    baud = section.get("baud", BAUD, BAUD_DEFAULT)
    if baud not in BAUDS:
        near = min(BAUDS, key=lambda known: abs(known - baud))
        section.wrong("baud", f"{baud} is no baud rate of a serial port; write one like {near}")
        baud = BAUD_DEFAULT
    default_bits = 7 if framing is Framing.ASCII else 8
    data_bits = section.get("data_bits", DATA_BITS, default_bits)
    if framing is Framing.RTU and data_bits != 8:
        section.wrong("data_bits", "RTU needs all 8 bits of a character; take it out, or write modbus_ascii")
        data_bits = 8
    return SerialPort(
        path=path,
        baud=baud,
        parity=parity,
        stop_bits=section.get("stop_bits", STOP_BITS, 2 if parity is Parity.NONE else 1),
        data_bits=data_bits,
        rs485=_read_rs485(section),
    )


def _read_rs485(section: Section) -> Rs485 | None:
    table = section.table("rs485")
    if table is None:
        return None
    rs485 = Rs485(
        before_ms=-(-table.get("before", DIRECTION_DELAY, 0) // NS_PER_MS),
        after_ms=-(-table.get("after", DIRECTION_DELAY, 0) // NS_PER_MS),
        is_inverted=table.get("inverted", flag, False),
    )
    table.finish()
    return rs485


def _read_tls(section: Section, files: Files) -> TlsFiles:
    ca_file = file_at(section, "ca_file", files)
    cert_file, key_file = file_at(section, "cert_file", files), file_at(section, "key_file", files)
    key_password_file = file_at(section, "key_password_file", files)
    if key_file is not None and cert_file is None and section.is_sound("cert_file"):
        section.wrong("key_file", "needs the certificate that it belongs to; write cert_file = as well")
    if key_password_file is not None and cert_file is None and section.is_sound("cert_file"):
        section.wrong("key_password_file", "opens the key of a certificate; write cert_file = as well")
    return TlsFiles(
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        key_password_file=key_password_file,
        server_name=section.get("server_name", text, None),
    )


def elsewhere(link: ModbusLink) -> dict[str, str]:
    """Why a key that other Modbus links have is wrong here."""
    keys: dict[str, str] = {}
    if link.serial is None:
        keys |= dict.fromkeys(("parity", "stop_bits", "data_bits", "rs485"), _OF_PORTS)
    else:
        keys |= dict.fromkeys(("connect_timeout", "source_address", "interface"), _OF_TCP)
    if link.tls is None:
        keys |= dict.fromkeys(("ca_file", "cert_file", "key_file", "key_password_file", "server_name"), _OF_TLS)
    return keys


_HOST_SCHEMA = r"[^:/ ]+|\[[0-9A-Fa-f:.]+\]"
says(
    line_place,
    'the path of a serial port, like "/dev/serial/by-id/usb-FTDI_0", or a host and a port',
    matching(f"/.+|({_HOST_SCHEMA}):[0-9]+"),
)
says(tls_endpoint, 'a host and a port, like "10.0.0.5:802"', matching(f"({_HOST_SCHEMA})(:[0-9]+)?"))
says(interface, 'the name of a network interface, like "eth1"', {"type": "string", "maxLength": INTERFACE_CHARS_MAX})
says(source_address, 'an address of this machine, like "10.0.0.2"', matching("[0-9A-Fa-f.:]+"))
