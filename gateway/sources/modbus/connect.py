"""How a link's connection is made: TCP, TLS or a serial port, and the frames that go over it.

What cannot be made says why, in the words of whoever can mend it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import ExitStack

from gateway.core.types import NS_PER_S
from gateway.native.errors import words
from gateway.protocol.modbus.frames import Framer, ResponseFramer
from gateway.protocol.modbus.line import AsciiFramer, RtuFramer
from gateway.protocol.modbus.load import BITS_PER_CHARACTER, FAST_BAUD, SILENCE_CHARACTERS, SILENCE_FLOOR_NS
from gateway.protocol.modbus.polled import Line
from gateway.serialport import PortError, SerialTransport, open_port
from gateway.settings.schema import ModbusLink
from gateway.settings.schema_modbus import Framing
from gateway.sources.modbus.tls import HUNG_UP, TlsError, client_context, why_refused


class CannotConnectError(Exception):
    """The text goes on after the name of the place: "cannot be reached (...): check ..."."""


def framer_of(link: ModbusLink) -> Framer:
    match link.framing:
        case Framing.TCP:
            return ResponseFramer()
        case Framing.RTU:
            return RtuFramer()
        case Framing.ASCII:
            return AsciiFramer()


def line_of(link: ModbusLink) -> Line | None:
    """What the schedule must know of a serial line; None for Modbus TCP."""
    if not link.is_line:
        return None
    bits = BITS_PER_CHARACTER if link.serial is None else link.serial.character_bits
    characters = 2 if link.framing is Framing.ASCII else 1
    return Line(0 if link.baud is None else characters * bits * NS_PER_S // link.baud)


def gap_of(link: ModbusLink) -> int:
    """The rest between two requests: at a port of ours at least the silence that parts two frames."""
    if link.serial is None:
        return link.request_gap_ns
    silence_ns = SILENCE_FLOOR_NS
    if link.serial.baud <= FAST_BAUD:
        silence_ns = round(SILENCE_CHARACTERS * link.serial.character_bits * NS_PER_S / link.serial.baud)
    return max(link.request_gap_ns, silence_ns)


async def open_connection(link: ModbusLink, protocol: asyncio.BufferedProtocol) -> None:
    """Connect, and give `protocol` the transport. Raises CannotConnectError."""
    try:
        if link.serial is not None:
            SerialTransport(open_port(link.serial), protocol, asyncio.get_running_loop())
            return
        async with asyncio.timeout(link.connect_timeout_ns / NS_PER_S):
            await _open_tcp(link, protocol)
    except TimeoutError:
        raise CannotConnectError(
            "does not answer to the connection attempt: check address, cabling and firewall"
        ) from None
    except (PortError, TlsError) as error:
        raise CannotConnectError(str(error)) from error
    except ssl.SSLEOFError as error:
        raise CannotConnectError(HUNG_UP) from error
    except ssl.SSLError as error:
        raise CannotConnectError(why_refused(error)) from error
    except (ConnectionResetError, ConnectionAbortedError) as error:
        what = f"cannot be reached ({error.strerror or error}): check host, port, and that the device is on"
        raise CannotConnectError(what if link.tls is None else HUNG_UP) from error
    except OSError as error:
        raise CannotConnectError(
            f"cannot be reached ({words(error)}): check host, port, and that the device is on"
        ) from error


async def _open_tcp(link: ModbusLink, protocol: asyncio.BufferedProtocol) -> None:
    loop = asyncio.get_running_loop()
    context = name = None
    if link.tls is not None:
        context, name = client_context(link.tls), link.tls.server_name or link.host
    if link.interface is None:
        source = None if link.source_address is None else (link.source_address, 0)
        await loop.create_connection(
            lambda: protocol, link.host, link.port, ssl=context, server_hostname=name, local_addr=source
        )
        return
    sock = await _bound_socket(link, link.interface)
    with ExitStack() as unless_connected:
        unless_connected.callback(sock.close)
        await loop.create_connection(lambda: protocol, sock=sock, ssl=context, server_hostname=name)
        unless_connected.pop_all()


async def _bound_socket(link: ModbusLink, interface: str) -> socket.socket:
    """A connected socket whose packets leave by one interface, whatever the routes say."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(link.host, link.port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    with ExitStack() as unless_connected:
        unless_connected.callback(sock.close)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        except OSError as error:
            raise CannotConnectError(
                f"cannot be reached by interface {interface} ({error.strerror}): see what there is: ip link"
            ) from error
        if link.source_address is not None:
            sock.bind((link.source_address, 0))
        await loop.sock_connect(sock, address)
        unless_connected.pop_all()
    return sock
