"""HTTP servers that take records: where, in which format, and how to log in."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from gateway.settings.addresses import Broker, Endpoint, endpoint_of, is_local
from gateway.settings.brokers import NOWHERE, Files, certificate_in, file_at, log_in
from gateway.settings.forms import matching, says
from gateway.settings.schema import HttpAddress, HttpFormat
from gateway.settings.section import Section
from gateway.settings.units import WrongValueError, choice, flag, show, text

FORMAT: Final = choice(HttpFormat)
PORTS: Final = {"http": 80, "https": 443}
PATH_MAX: Final = 2_000
EXAMPLE: Final = '"https://ingest.example/records"'
NANOSECONDS: Final = frozenset({"ns", "n", "nanosecond"})


class Url(NamedTuple):
    endpoint: Endpoint
    tls: bool
    target: str
    """Path and query, as they stand in a request."""


def url(value: object) -> Url:
    """`"https://host:443/path?query"`; the port may be left out."""
    word = text(value)
    try:
        scheme, authority, path, query, fragment = urlsplit(word)
    except ValueError:
        raise WrongValueError(f"{show(word)} is not an address; write it like {EXAMPLE}") from None
    if scheme not in PORTS:
        raise WrongValueError(f"{show(word)} is not an HTTP address; write it like {EXAMPLE}")
    if "@" in authority:
        raise WrongValueError("has a user in its address; write username = and password_file = beside it")
    target = (path or "/") + (f"?{query}" if query else "")
    if fragment or len(target) > PATH_MAX or not target.isascii() or not target.isprintable() or " " in target:
        raise WrongValueError(f"{show(word)} is not an address; write it like {EXAMPLE}, other characters as %20")
    return Url(endpoint_of(authority, PORTS[scheme], EXAMPLE), scheme == "https", target)


says(url, f"an address, like {EXAMPLE}", matching("https?://[^@/ ]+(/[^# ]*)?"))


def read_http(section: Section, files: Files) -> HttpAddress:
    """The server's address under `http`, its format, and the log-in beside it."""
    address = section.get("http", url, Url(NOWHERE, tls=False, target="/"))
    format_ = section.get("format", FORMAT, HttpFormat.JSON)
    who = log_in(section, Broker(address.endpoint, address.tls), "http", "https://", files)
    certificate = certificate_in(section, "http", address.tls, "https://", files)
    token_file = file_at(section, "token_file", files)
    if token_file is not None and section.has("username"):
        section.wrong("token_file", "and username are two ways to log in; take one of them out")
    if token_file is not None and not address.tls and not is_local(address.endpoint.host):
        section.warn("token_file", "the token crosses the network in clear; use https://")
    if format_ is HttpFormat.INFLUX and section.is_sound("http", "format"):
        _check_influx(section, address.target)
    return HttpAddress(
        host=address.endpoint.host,
        port=address.endpoint.port,
        tls=address.tls,
        target=address.target,
        position=_position(section, address, format_),
        format=format_,
        gzip=section.get("gzip", flag, format_ is HttpFormat.INFLUX),
        token_file=token_file,
        **who._asdict(),
        **certificate._asdict(),
    )


def _check_influx(section: Section, target: str) -> None:
    """Times are written in ns: a server that is told otherwise would put them into another century."""
    for key in ("precision", "epoch"):
        for found in parse_qs(urlsplit(target).query).get(key, []):
            if found not in NANOSECONDS:
                section.wrong("http", f"has {key}={found}, and times are written in ns; write {key}=ns")


def _position(section: Section, address: Url, format_: HttpFormat) -> str | None:
    found = section.get("position", url, None)
    if found is None:
        return None
    if format_ is HttpFormat.INFLUX:
        section.wrong("position", "is of format json: points of line protocol are known by themselves; take it out")
    elif found[:2] != address[:2] and section.is_sound("http"):
        section.wrong("position", "is on another server than http; write an address there")
    return found.target
