"""Settings of Modbus links, as `gateway.settings.schema`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec


class Framing(StrEnum):
    """How a Modbus request is put on the wire."""

    TCP = "tcp"
    RTU = "rtu"
    ASCII = "ascii"


class Parity(StrEnum):
    NONE = "none"
    EVEN = "even"
    ODD = "odd"


class Rs485(msgspec.Struct, frozen=True, kw_only=True):
    """Direction of an RS-485 driver by the RTS line, with the rest before the first bit and after the last."""

    before_ms: int = 0
    after_ms: int = 0
    is_inverted: bool = False


class SerialPort(msgspec.Struct, frozen=True, kw_only=True):
    """A port of this machine. `path` is opened anew at each attempt, so it may be a link that udev keeps."""

    path: str
    baud: int = 19_200
    parity: Parity = Parity.EVEN
    stop_bits: int = 1
    data_bits: int = 8
    rs485: Rs485 | None = None

    @property
    def character_bits(self) -> int:
        return 1 + self.data_bits + (self.parity is not Parity.NONE) + self.stop_bits

    @property
    def describe(self) -> str:
        return f"{self.baud} baud, {self.data_bits}{self.parity.value[0].upper()}{self.stop_bits}"


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to trust, and who the gateway is. Read at each attempt to connect."""

    ca_file: Path | None = None
    """None: whom the system trusts."""
    cert_file: Path | None = None
    key_file: Path | None = None
    """None: in `cert_file`."""
    key_password_file: Path | None = None
    server_name: str | None = None
    """The name in the device's certificate; None: the host."""


class ModbusLink(msgspec.Struct, frozen=True, kw_only=True):
    """One connection, shared by all units behind it: TCP to `host`, or a serial port."""

    name: str
    framing: Framing = Framing.TCP
    host: str = ""
    port: int = 502
    serial: SerialPort | None = None
    tls: TlsFiles | None = None
    source_address: str | None = None
    interface: str | None = None
    keep_open: bool = True
    """False: closed after each round of polls."""
    connect_timeout_ns: int
    response_timeout_ns: int
    requests_in_flight: int = 1
    request_gap_ns: int = 0
    baud: int | None = None
    """Of the serial bus behind this connection, if there is one: for the estimate of its load."""

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}" if self.serial is None else self.serial.path

    @property
    def is_line(self) -> bool:
        """One request at a time, and nothing that tells one reply from another."""
        return self.framing is not Framing.TCP

    @property
    def is_plain_tcp(self) -> bool:
        return self.framing is Framing.TCP and self.tls is None

    @property
    def kind(self) -> str:
        if self.framing is Framing.TCP:
            return "Modbus TCP" if self.tls is None else "Modbus TCP with TLS"
        return f"Modbus {self.framing.upper()}" + ("" if self.serial is not None else " over TCP")
