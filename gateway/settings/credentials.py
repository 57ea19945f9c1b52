"""Credentials: what the settings only name, read from its files when a session starts."""

from __future__ import annotations

import ssl
from pathlib import Path

from gateway.settings.schema_brokers import LogIn


class CredentialError(Exception):
    """A file of the log-in cannot be used; the text says which and why."""

    def __init__(self, what: str, path: Path | None, error: Exception, remedy: str) -> None:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        super().__init__(f"cannot use the {what} file {path}: {why}")
        self.remedy = remedy


READABLE = "check that it exists and that the service's user may read it"


def read_secret(path: Path, what: str) -> str:
    """The first line of a file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialError(what, path, error, READABLE) from error
    return lines[0] if lines else ""


def username_of(address: LogIn) -> str | None:
    return address.username if address.username_file is None else read_secret(address.username_file, "user")


def password_of(address: LogIn) -> str | None:
    return None if address.password_file is None else read_secret(address.password_file, "password")


def tls_context(address: LogIn) -> ssl.SSLContext | None:
    """What a TLS session with this server needs; None when it has none."""
    if not address.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=address.ca_file)
    except OSError as error:
        raise CredentialError("CA", address.ca_file, error, "check that it is a PEM file of certificates") from error
    if address.cert_file is not None:
        # Without a password an encrypted key would be asked for on a terminal, which a service has not.
        opened_by = address.key_password_file
        password = "" if opened_by is None else read_secret(opened_by, "key password")
        try:
            context.load_cert_chain(address.cert_file, address.key_file, password=password)
        except (OSError, ValueError) as error:
            remedy = "check that certificate and key are PEM files that belong together, and key_password_file"
            raise CredentialError("certificate", address.cert_file, error, remedy) from error
    return context
