"""Certificates for tests, made by the openssl command."""

from __future__ import annotations

import subprocess
from pathlib import Path


def role(name: str, *, is_critical: bool = False) -> str:
    """The extension with which Modbus/TCP Security says a role."""
    return f"1.3.6.1.4.1.50316.802.1={'critical,' if is_critical else ''}ASN1:UTF8String:{name}"


class Authority:
    """Makes certificates with the openssl command."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.certificate = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        self._openssl(
            "req", "-x509", "-days", "2", "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.certificate
        )

    def issue(self, subject: str, *extensions: str, is_expired: bool = False) -> tuple[Path, Path]:
        certificate = self.folder / f"{self.name}-{subject}.pem"
        key, request, more = (certificate.with_suffix(suffix) for suffix in (".key", ".csr", ".ext"))
        self._openssl("req", "-subj", f"/CN={subject}", "-keyout", key, "-out", request)
        more.write_text("\n".join(["subjectAltName=IP:127.0.0.1,DNS:drives.plant", *extensions]) + "\n")
        days = ["-not_before", "20200101000000Z", "-not_after", "20210101000000Z"] if is_expired else ["-days", "2"]
        if (
            is_expired
            and b"-not_after"
            not in subprocess.run(["openssl", "x509", "-help"], capture_output=True, check=False).stderr
        ):
            days = ["-days", "-1"]  # older versions take it
        ca = ["-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial"]
        self._run("openssl", "x509", "-req", "-in", request, *ca, "-out", certificate, "-extfile", more, *days)
        return certificate, key

    def _openssl(self, *arguments: str | Path) -> None:
        self._run("openssl", arguments[0], "-newkey", "rsa:2048", "-nodes", *arguments[1:])

    @staticmethod
    def _run(*command: str | Path) -> None:
        subprocess.run(command, check=True, capture_output=True, timeout=30)
