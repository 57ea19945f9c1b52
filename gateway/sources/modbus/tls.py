"""Modbus/TCP Security: TLS with a certificate on both sides, and what a refusal means.

The device proves that it is who it is by a certificate of the plant's own authority, and the gateway does the same; a
server may read the gateway's role from an extension of its certificate and refuse single functions by it (exception 1).
Files are read at each attempt, so that a renewed certificate needs no restart.

Source: MODBUS/TCP Security Protocol Specification v21 (2018), 3 to 5 (mutual authentication, TLS 1.2 or newer, role
extension 1.3.6.1.4.1.50316.802.1).
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from gateway.protocol.modbus.role import role_in
from gateway.settings.schema_modbus import TlsFiles

_EXPIRED, _NOT_YET = 10, 9
_NAME_MISMATCH = (62, 64)


HUNG_UP: Final = (
    "ends TLS without a word: it may refuse the gateway's certificate (see cert_file and the device's log), "
    "or not speak TLS at this port"
)


class TlsError(Exception):
    """TLS cannot be used, or was refused; the text goes on after the name of the place."""


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Raises TlsError when a file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.ca_file is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(files.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise TlsError(_unusable("ca_file", files.ca_file, error)) from error
    if files.cert_file is not None:
        try:
            password = None if files.key_password_file is None else _first_line(files.key_password_file)
            context.load_cert_chain(files.cert_file, files.key_file, password)
        except (OSError, ssl.SSLError) as error:
            raise TlsError(_unusable("cert_file and key_file", files.cert_file, error)) from error
    return context


def _first_line(file: Path) -> str:
    with file.open(encoding="utf-8") as lines:
        return lines.readline().rstrip("\r\n")


def _unusable(key: str, file: Path, error: OSError) -> str:
    why = "certificate and key do not belong together" if "MISMATCH" in str(error) else error.strerror or error
    return f"cannot be tried, {key} cannot be used ({file}: {why}): it is read again at each attempt"


def why_refused(error: ssl.SSLError) -> str:
    """What to tell of a handshake that failed, or of the alert by which the device ended it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _why_distrusted(error)
    reason = error.reason or str(error)
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return (
            "refuses the gateway because it shows no certificate that the device takes: "
            "write cert_file and key_file, issued for this device's authority"
        )
    if "CERTIFICATE_EXPIRED" in reason:
        return "refuses the gateway's certificate as expired: renew cert_file, and check the device's clock"
    if any(word in reason for word in ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN", "ACCESS_DENIED")):
        return f"refuses the gateway's certificate ({_words(reason)}): it must come from an authority the device trusts"
    return f"cannot agree on TLS ({_words(reason)}): check that its port speaks Modbus Security, TLS 1.2 or newer"


def _why_distrusted(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code == _EXPIRED:
        return "shows an expired certificate: renew it on the device, and check this machine's clock"
    if error.verify_code == _NOT_YET:
        return "shows a certificate that is not valid yet: check the clock of this machine and of whoever issued it"
    if error.verify_code in _NAME_MISMATCH:
        return f"shows a certificate for another name ({error.verify_message}): write its name as server_name"
    return f"shows a certificate that ca_file does not vouch for ({error.verify_message}): check whose device answers"


def _words(reason: str) -> str:
    return reason.removeprefix("TLSV1_ALERT_").removeprefix("TLSV13_ALERT_").lower().replace("_", " ")


def role_of(cert_file: Path) -> str | None:
    """The Modbus role in a certificate, the file's first; None when it has none. Raises TlsError."""
    try:
        text = cert_file.read_text(encoding="ascii", errors="replace")
        begin, end = text.index(ssl.PEM_HEADER), text.index(ssl.PEM_FOOTER)
        return role_in(ssl.PEM_cert_to_DER_cert(text[begin : end + len(ssl.PEM_FOOTER)]))
    except (OSError, ValueError) as error:
        raise TlsError(f"cannot be tried, cert_file {cert_file} cannot be read: {error}") from error
