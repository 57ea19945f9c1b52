"""Modbus/TCP Security: TLS with a certificate on both sides between a connection and its socket.

TLS is done here rather than by the loop's own server, which tells neither the client (no alert) nor the plant (no
event) why a handshake failed. What the other half of the server relies on holds above it as well: a callback takes at
most one read of the socket, a client that does not read is not listened to, and one that is about to prove who it is
counts among the connections and has `HANDSHAKE_S` for it.

A session is never resumed: each connection shows its certificate, as it is now, to the files as they are now.

Source: MODBUS/TCP Security Protocol Specification v21 (2018): mutual authentication, TLS 1.2 or newer, role extension,
exception 1 for what a role may not do.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol, cast

from gateway.core.events import Emit, Event, Severity
from gateway.core.ports import Clock
from gateway.core.readings import Reading
from gateway.protocol.modbus.role import role_in
from gateway.serving.scada.client import READ_BYTES, Client
from gateway.settings.schema_scada import Right, ScadaTls

HANDSHAKE_S: Final = 10.0
LINGER_S: Final = 1.0
"""For whoever is refused, to read why: a socket that is closed under what the client sends takes the alert with it."""
FINGERPRINT: Final = "sha256:"
REFUSALS: Final = ("handshake", "slow", "stranger")

_EXPIRED, _NOT_YET = 10, 9
_ALERTS: Final = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN", "ACCESS_DENIED", "CERTIFICATE_EXPIRED")
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE")


class TlsError(Exception):
    """The certificate files cannot be used; the text names the key and the file."""


class Contexts:
    """The certificate files, read anew when one of them is another than before."""

    def __init__(self, files: ScadaTls, now_ns: Clock, emit: Emit) -> None:
        """Raises TlsError."""
        self._files = files
        self._now_ns = now_ns
        self._emit = emit
        self._seen = self._look()
        self._context = _context_of(files)

    def now(self) -> ssl.SSLContext:
        """As the files are, or as they were while they cannot be used."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self._context = _context_of(self._files)
            except TlsError as error:
                self._say(Severity.ERROR, "scada.tls.kept", f"{error}; what was read before goes on")
            else:
                self._say(Severity.NOTICE, "scada.tls.renewed", "changed certificate files hold from now on")
        return self._context

    def _look(self) -> list[tuple[int, int, int] | None]:
        files = (self._files.ca_file, self._files.cert_file, self._files.key_file, self._files.key_password_file)
        seen: list[tuple[int, int, int] | None] = []
        for file in files:
            try:
                found = None if file is None else file.stat()
            except OSError:
                found = None
            seen.append(None if found is None else (found.st_ino, found.st_size, found.st_mtime_ns))
        return seen

    def _say(self, severity: Severity, kind: str, message: str) -> None:
        self._emit(Event(self._now_ns(), severity, kind, "scada", message))


def _context_of(files: ScadaTls) -> ssl.SSLContext:
    """Raises TlsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0
    at, file = "ca_file", files.ca_file
    try:
        context.load_verify_locations(files.ca_file)
        at, file = "cert_file and key_file", files.cert_file
        password = None
        if files.key_password_file is not None:
            password = files.key_password_file.read_text(encoding="utf-8").partition("\n")[0]
        context.load_cert_chain(files.cert_file, files.key_file, password)
    except OSError as error:  # an SSLError is one too
        why = "certificate and key do not belong together" if "MISMATCH" in str(error) else error.strerror or error
        raise TlsError(f"{at} cannot be used ({file}: {why})") from error
    return context


class Identity(NamedTuple):
    """Who a certificate says that it is."""

    name: str
    names: tuple[str, ...]
    fingerprint: str
    role: str | None


def identity_of(der: bytes, fields: Mapping[str, Any]) -> Identity:
    """Of a certificate, and its fields as `ssl` gives them."""
    subject = [value for part in fields.get("subject", ()) for key, value in part if key == "commonName"]
    names = (*subject, *(value for _, value in fields.get("subjectAltName", ())))
    fingerprint = FINGERPRINT + hashlib.sha256(der).hexdigest()
    return Identity(names[0] if names else fingerprint, names, fingerprint, role_in(der))


def is_allowed(identity: Identity, allow: tuple[str, ...]) -> bool:
    return not allow or not {*identity.names, identity.fingerprint}.isdisjoint(allow)


def limits_of(identity: Identity, roles: tuple[tuple[str, Right], ...] | None) -> tuple[str, str]:
    """Why all of its requests are refused, and why it may not write; empty where they are not, or it may."""
    if roles is None:
        return "", ""
    role = "no role" if identity.role is None else f'the role "{identity.role}"'
    match dict(roles).get(identity.role or ""):
        case None:
            return f"its certificate has {role}, which has no right under roles in [scada.modbus_tls]", ""
        case Right.READ:
            return "", f"its certificate has {role}, which may read only"
        case Right.WRITE:
            return "", ""


class TlsServer(Protocol):
    """What a connection under TLS calls."""

    def refuse(self, client: Client, reason: str, why: str) -> None:
        """`reason` is one of REFUSALS."""
        ...


class Door:
    """What all connections under TLS share."""

    def __init__(self, settings: ScadaTls, server: TlsServer, now_ns: Clock, emit: Emit) -> None:
        """Raises TlsError."""
        self.settings = settings
        self.contexts = Contexts(settings, now_ns, emit)
        self._server = server
        self._refused = dict.fromkeys(REFUSALS, 0)

    def refuse(self, client: Client, reason: str, why: str) -> None:
        self._refused[reason] += 1
        self._server.refuse(client, reason, why)

    def readings(self) -> Iterator[Reading]:
        for reason, count in self._refused.items():
            yield Reading("fieldgate_scada_tls_refused_total", count, (("reason", reason),))


class Secured(asyncio.BufferedProtocol):
    """The protocol of a socket and the transport of a `Client`."""

    def __init__(self, client: Client, door: Door) -> None:
        self._client = client
        self._door = door
        self._buffer = bytearray(READ_BYTES)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._socket: Any = None
        self._deadline: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._is_agreed = False
        self._is_refused = False
        self._is_paused = False

    # As a protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = transport
        self._client.connection_made(cast(asyncio.BaseTransport, self))  # as far as a client needs one
        if self.is_closing():
            return
        self._tls = self._door.contexts.now().wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._deadline = asyncio.get_running_loop().call_later(HANDSHAKE_S, self._was_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._linger is not None:
            self._linger.cancel()
        if self._end_handshake() and not self._is_agreed:
            self._door.refuse(self._client, "handshake", "ended TLS without a word: it may not trust our certificate")
        self._client.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._tls is None or self.is_closing():
            return
        self._incoming.write(memoryview(self._buffer)[:nbytes])
        if self._is_agreed or self._agree(self._tls):
            self._hand_on(self._tls)

    def pause_writing(self) -> None:
        self._client.pause_writing()

    def resume_writing(self) -> None:
        self._client.resume_writing()

    # As a transport.

    def write(self, data: bytes) -> None:
        if self._tls is not None and not self.is_closing():
            self._tls.write(data)
            self._flush()

    def close(self) -> None:
        if self._tls is not None and self._is_agreed and not self.is_closing():
            with suppress(ssl.SSLError):  # Its own goodbye is not waited for.
                self._tls.unwrap()
            self._flush()
        self._socket.close()

    def abort(self) -> None:
        self._end_handshake()
        self._socket.abort()

    def is_closing(self) -> bool:
        return self._is_refused or bool(self._socket.is_closing())

    def pause_reading(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._socket.pause_reading()

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._socket.resume_reading()
            if self._tls is not None and self._is_agreed:
                self._hand_on(self._tls)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._socket.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._socket.get_extra_info(name, default)

    # TLS.

    def _agree(self, tls: ssl.SSLObject) -> bool:
        """Go on with the handshake; whether it is over and the client is who may connect."""
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._flush()  # the alert that says why
            self._refuse("handshake", _why_failed(error))
            return False
        self._flush()
        self._end_handshake()
        identity = identity_of(tls.getpeercert(binary_form=True) or b"", tls.getpeercert() or {})
        settings = self._door.settings
        if not is_allowed(identity, settings.allow):
            who = f'"{identity.name}" ({identity.fingerprint})'
            self._refuse("stranger", f"its certificate, {who}, is not under allow in [scada.modbus_tls]")
            return False
        self._is_agreed = True
        self._client.is_known(identity.name, *limits_of(identity, settings.roles))
        return True

    def _hand_on(self, tls: ssl.SSLObject) -> None:
        """What is decrypted, to the client: until there is no more, or it wants no more."""
        while not (self._is_paused or self.is_closing()):
            buffer = self._client.get_buffer(-1)
            try:
                n = cast(int, tls.read(len(buffer), buffer))  # with a buffer, how much is in it
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                self.close()
                return
            except ssl.SSLError as error:
                self._flush()
                self._refuse("handshake", _why_failed(error))
                return
            if n == 0:
                self.close()
                return
            self._client.buffer_updated(n)
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending and not self.is_closing():
            self._socket.write(self._outgoing.read())

    def _refuse(self, reason: str, why: str) -> None:
        self._end_handshake()
        self._door.refuse(self._client, reason, why)
        self._is_refused = True
        self._socket.write_eof()
        self._linger = asyncio.get_running_loop().call_later(LINGER_S, self._socket.abort)

    def _was_slow(self) -> None:
        self._deadline = None
        self._door.refuse(self._client, "slow", f"did not agree on TLS within {HANDSHAKE_S:g} s")
        self._socket.abort()

    def _end_handshake(self) -> bool:
        """Whether it was still under way."""
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()
        return deadline is not None


def _why_failed(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == _EXPIRED:
            return "shows an expired certificate: renew it there, and check this machine's clock"
        if error.verify_code == _NOT_YET:
            return "shows a certificate that is not valid yet: check the clock of this machine and of whoever issued it"
        return f"shows a certificate that ca_file does not vouch for ({error.verify_message})"
    reason = error.reason or str(error)
    if "DID_NOT_RETURN_A_CERTIFICATE" in reason:
        return "shows no certificate: Modbus Security wants one of both sides"
    if any(word in reason for word in _NO_TLS):
        return "does not speak TLS: plain Modbus belongs to the port under modbus_tcp"
    words = reason.removeprefix("TLSV1_ALERT_").removeprefix("SSLV3_ALERT_").lower().replace("_", " ")
    if any(word in reason for word in _ALERTS):
        return f"refuses our certificate ({words}): cert_file must come from an authority that it trusts"
    return f"cannot agree on TLS ({words}): it must speak TLS 1.2 or newer"
