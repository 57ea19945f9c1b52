"""Settings of the Modbus server, as `gateway.settings.schema`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec

from gateway.core.limits import CONNECTIONS_PER_CLIENT
from gateway.settings.schema_modbus import SerialPort


class ScadaRule(msgspec.Struct, frozen=True, kw_only=True):
    """What clients of some networks may read and write: unit ids and addresses as spans, both ends included."""

    clients: tuple[str, ...]
    units: tuple[tuple[int, int], ...]
    read: tuple[tuple[int, int], ...]
    write: tuple[tuple[int, int], ...]


class Right(StrEnum):
    """What a role may do. A role that has none is refused every request."""

    READ = "read"
    WRITE = "write"


class ScadaTls(msgspec.Struct, frozen=True, kw_only=True):
    """Modbus/TCP Security. The files are read again when they change."""

    host: str
    port: int
    ca_file: Path
    """Whose certificates are taken of clients."""
    cert_file: Path
    key_file: Path | None = None
    """None: in `cert_file`."""
    key_password_file: Path | None = None
    allow: tuple[str, ...] = ()
    """Names in clients' certificates, or their fingerprints as `sha256:<hex>`; all of the authority when empty."""
    roles: tuple[tuple[str, Right], ...] | None = None
    """What a role in a certificate may do; None: roles do not count."""


class ScadaLine(msgspec.Struct, frozen=True, kw_only=True):
    """A serial line at which the gateway is an RTU slave."""

    serial: SerialPort
    units: tuple[tuple[int, int], ...]
    """Which of the register map's units answer, as spans, both ends included."""
    may_write: bool = True
    """Whether the line's master may."""


class Scada(msgspec.Struct, frozen=True, kw_only=True):
    """The Modbus server. `units` maps device name to unit id; loops answer on `loops_unit`."""

    host: str
    port: int
    has_tcp: bool = True
    """Whether plain Modbus TCP is served at `host` and `port`."""
    tls: ScadaTls | None = None
    line: ScadaLine | None = None
    units: dict[str, int]
    loops_unit: int
    tags: tuple[str, ...]
    """Full names of the tags that are shown, in the file's order."""
    writable: tuple[str, ...]
    """Names of the points that a client may write: `control.boiler.setpoint`, or a tag."""
    clients: tuple[str, ...] = ()
    """Networks from which clients may connect; everybody when empty."""
    write_clients: tuple[str, ...] = ()
    """Networks from which clients may write; all that may connect when empty."""
    rules: tuple[ScadaRule, ...] = ()
    """The first that names a client's address counts for it, beside `clients` and `write_clients`."""
    has_unit_each: bool = False
    """Every device has a unit id of its own, which the lock file keeps; `units` is empty."""
    watchdog_ns: int = 0
    """Without a new count in the watchdog's register for so long SCADA is silent; 0: nobody watches."""
    watchdog_loops: tuple[str, ...] = ()
    """Loops that go to their fail-safe then."""
    connections_per_client: int = CONNECTIONS_PER_CLIENT
    lock_file: Path

    @property
    def places(self) -> tuple[str, ...]:
        """Where it is served, in words."""
        plain = (f"{self.host}:{self.port}",) if self.has_tcp else ()
        secure = (f"{self.tls.host}:{self.tls.port} (TLS)",) if self.tls is not None else ()
        line = self.line.serial if self.line is not None else None
        return plain + secure + ((f"{line.path} (RTU, {line.describe})",) if line is not None else ())
