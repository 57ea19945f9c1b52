"""A serial port as an asyncio transport: termios settings, RS-485 direction, bytes in and out.

The port is opened by its path each time, so an adapter under `/dev/serial/by-id` is found again after it was plugged
out and in, whatever its device is called then. One process holds it: a lock says so to others that ask.

The kernel switches an RS-485 driver's direction where the port's driver can (`TIOCSRS485`); it does so on the right
bit, which no program could.

Source: termios(3), linux/serial.h (struct serial_rs485).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from typing import Any, Final, cast

from gateway.settings.schema_modbus import Parity, Rs485, SerialPort

UNSENT_BYTES_MAX: Final = 4_096
"""Requests that a port did not take yet. More is a port that takes nothing: it is given up."""
TIOCSRS485: Final = 0x542F
_RS485: Final = struct.Struct("=III20x")
_ENABLED, _RTS_ON_SEND, _RTS_AFTER_SEND = 1, 2, 4
_DATA_BITS: Final = {7: termios.CS7, 8: termios.CS8}


class PortError(Exception):
    """The port cannot be used; the text goes on after its path."""


def open_port(port: SerialPort) -> int:
    """The port's descriptor, set up and locked. Raises PortError."""
    try:
        fd = os.open(port.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise PortError(
            "is not there: plug the adapter in, or see what there is: ls /dev/serial/by-id; "
            "as a service, it needs the drop-in serial.conf"
        ) from None
    except PermissionError:
        raise PortError(
            "may not be opened: add the gateway's user to the port's group, often dialout; "
            "as a service, it needs the drop-in serial.conf"
        ) from None
    except OSError as error:
        raise PortError(f"cannot be opened ({error.strerror}): check the adapter") from error
    try:
        _lock(fd)
        _set_up(fd, port)
        if port.rs485 is not None:
            _direct(fd, port.rs485)
    except PortError:
        os.close(fd)
        raise
    return fd


def _lock(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise PortError("is in use by another program: a line has one master; stop the other one") from None


def _set_up(fd: int, port: SerialPort) -> None:
    speed = int(getattr(termios, f"B{port.baud}"))
    control = termios.CREAD | termios.CLOCAL | _DATA_BITS[port.data_bits]
    if port.parity is not Parity.NONE:
        control |= termios.PARENB | (termios.PARODD if port.parity is Parity.ODD else 0)
    if port.stop_bits == 2:
        control |= termios.CSTOPB
    try:
        characters = termios.tcgetattr(fd)[6]
        # A read returns what there is, and none is EAGAIN: so no byte means that the port is gone.
        characters[termios.VMIN], characters[termios.VTIME] = 1, 0
        termios.tcsetattr(fd, termios.TCSANOW, [0, 0, control, 0, speed, speed, characters])
        termios.tcflush(fd, termios.TCIOFLUSH)
    except termios.error as error:
        raise PortError(f"cannot be set to {port.describe} ({error.args[-1]}): is it a serial port?") from None


def _direct(fd: int, rs485: Rs485) -> None:
    flags = _ENABLED | (_RTS_AFTER_SEND if rs485.is_inverted else _RTS_ON_SEND)
    try:
        fcntl.ioctl(fd, TIOCSRS485, _RS485.pack(flags, rs485.before_ms, rs485.after_ms))
    except OSError as error:
        raise PortError(
            f"has a driver without RS-485 direction control ({error.strerror}): take rs485 out, and use an adapter "
            "that switches by itself"
        ) from error


class SerialTransport(asyncio.Transport):
    """An open port on the loop, read into a BufferedProtocol."""

    def __init__(self, fd: int, protocol: asyncio.BufferedProtocol, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._fd = fd
        self._protocol = protocol
        self._loop = loop
        self._unsent = bytearray()
        self._is_closed = False
        loop.add_reader(fd, self._read)
        protocol.connection_made(self)

    def write(self, data: Any) -> None:
        if self._is_closed:
            return
        self._unsent += data
        if len(self._unsent) > UNSENT_BYTES_MAX:
            self._lost(OSError(0, "it takes no bytes"))
            return
        self._send()

    def is_closing(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        os.close(self._fd)
        self._loop.call_soon(self._protocol.connection_lost, None)

    def _send(self) -> None:
        try:
            sent = os.write(self._fd, self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._lost(error)
            return
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._fd, self._send)
        else:
            self._loop.remove_writer(self._fd)

    def _read(self) -> None:
        free = cast(memoryview, self._protocol.get_buffer(-1))
        try:
            n = os.readv(self._fd, [free])
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error)
            return
        if n:
            self._protocol.buffer_updated(n)
        else:
            self._lost(OSError(0, "the port is gone"))

    def _lost(self, error: OSError) -> None:
        if not self._is_closed:
            self._protocol.connection_lost(error)
            self.abort()
