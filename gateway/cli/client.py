"""Asking a running gateway: what the terminal commands share.

They read the same API as the page, over the same socket, and decode it into the same types; there is no second way to
learn how the gateway is. Its address is that of `[http]` in the configuration, of which nothing else is read, so a file
that is being worked on does not keep anybody from looking. No proxy of the environment is asked: this is one machine's
loopback, or a plant's own network.
"""

from __future__ import annotations

import base64
import functools
import http.client
import os
import ssl
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, TypeVar
from urllib.parse import urlencode, urlsplit

import click
import msgspec

from gateway.cli.app import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_WRONG_INPUT
from gateway.cli.common import CONFIGURATION, exit_with
from gateway.cli.operate import local_token
from gateway.settings.addresses import Endpoint
from gateway.settings.brokers import Files
from gateway.settings.including import read_whole, substituted
from gateway.settings.problems import ConfigurationError, Report
from gateway.settings.section import Section
from gateway.settings.serving import HTTP_LISTEN, read_http

T = TypeVar("T")

ANSWER_S_MAX: Final = 10.0
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
TOLD: Final = (
    *(http.client.BAD_REQUEST, http.client.UNAUTHORIZED, http.client.FORBIDDEN),
    *(http.client.TOO_MANY_REQUESTS, http.client.SERVICE_UNAVAILABLE),
)
"""Answers whose text says what is the matter."""
WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
PAGE: Final = 500
"""Rows asked for at a time; the most that the gateway gives."""


class Unreachable(Exception):
    """No answer, or not a gateway's; the message says which and what to do."""


@dataclass(slots=True)
class Api:
    """The API of one gateway. `url` has no slash at its end. Where a log-in is needed, `user` is asked for the
    password; without one, a token is got from the operator's socket of the gateway with this configuration.
    `certificate`: the one that the gateway of this machine shows."""

    url: str
    config: Path | None = None
    user: str | None = None
    certificate: Path | None = None
    _authorization: str = ""

    def get(self, path: str, kind: type[T], parameters: Iterable[tuple[str, object]] = ()) -> T:
        """The answer as its type. Raises Unreachable."""
        query = urlencode(list(parameters))
        body = self._body(f"{path}?{query}" if query else path)
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError as error:
            raise Unreachable(
                f"{self.url} answers {path}, but not as this fieldgate understands it ({error});"
                " is it a gateway, and of this version?"
            ) from error

    def text(self, path: str) -> str:
        """The answer as it is. Raises Unreachable."""
        return self._body(path).decode(errors="replace")

    def _body(self, target: str) -> bytes:
        status, body = self._answer(target)
        if status == http.client.UNAUTHORIZED:
            self._authorization = self._log_in()
            status, body = self._answer(target)
        if status == http.client.OK:
            return body
        said = body[:200].decode(errors="replace").strip()
        if status in TOLD and said.isprintable():
            raise Unreachable(f"{self.url}: {said}")
        raise Unreachable(f"{self.url} answers, but is not a gateway (HTTP {status} for {target.split('?')[0]})")

    def _log_in(self) -> str:
        """Raises Unreachable."""
        if self.user is None:
            token = local_token(self.config)
            if token is None:
                raise Unreachable(
                    f"{self.url} wants a log-in: --user NAME, or ask on its machine as root or as the service's user"
                )
            return f"Bearer {token}"
        password = click.prompt(f"Password of {self.user}", hide_input=True, err=True)
        return "Basic " + base64.b64encode(f"{self.user}:{password}".encode()).decode()

    def _answer(self, target: str) -> tuple[int, bytes]:
        """Raises Unreachable."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        headers = {"accept": "application/json"}
        if self._authorization:
            headers["authorization"] = self._authorization
        try:
            if parts.scheme == "https":
                connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                    host, parts.port, timeout=ANSWER_S_MAX, context=self._tls()
                )
            else:
                connection = http.client.HTTPConnection(host, parts.port, timeout=ANSWER_S_MAX)
        except OSError as error:
            raise Unreachable(f"cannot use the certificate {self.certificate}: {error.strerror or error}") from error
        try:
            connection.request("GET", parts.path + target, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read(ANSWER_BYTES_MAX)
        except ssl.SSLCertVerificationError as error:
            raise Unreachable(
                f"{self.url}: {error.verify_message}; --config FILE takes the certificate from the configuration"
            ) from error
        except ssl.SSLError as error:
            raise Unreachable(
                f"{self.url}: {error.reason or error}; without cert_file under [http] the gateway speaks http://"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"no gateway answers at {self.url} ({_why(error)}); is it running (systemctl status fieldgate),"
                " and is this the address under [http] in its configuration? --config FILE or --url URL says where else"
            ) from error
        finally:
            connection.close()

    def _tls(self) -> ssl.SSLContext:
        """The very certificate that the configuration names, whatever host it is made out for; else as the system
        trusts. Raises OSError."""
        context = ssl.create_default_context(cafile=self.certificate)
        if self.certificate is not None:
            context.check_hostname = False
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {ANSWER_S_MAX:.0f} s"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return f"what answers does not speak HTTP: {type(error).__name__}"


def asks_gateway(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which gateway; the command gets an `api`."""

    @functools.wraps(command)
    def asking(*, config: Path | None, url: str | None, user: str | None, **arguments: object) -> None:
        try:
            command(api=find(config, url, user), **arguments)
        except KeyboardInterrupt:
            sys.exit(EXIT_INTERRUPTED)

    with_url = click.option("--url", metavar="URL", help="The gateway's address, like http://127.0.0.1:9464.")
    with_config = click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help=f"Take the address from this configuration.  [default: {CONFIGURATION}, if it is there]",
    )
    with_user = click.option("--user", metavar="NAME", help="Log in as this user; the password is asked for.")
    return with_config(with_url(with_user(asking)))


def find(config: Path | None, url: str | None, user: str | None = None) -> Api:
    """The gateway that is meant. Leaves with exit code 2 when that cannot be said."""
    if url is not None:
        if config is not None:
            raise click.UsageError("--config and --url both say where the gateway is; write one of them")
        return Api(_checked(url), user=user)
    if config is None and not CONFIGURATION.is_file():
        return Api(f"http://{HTTP_LISTEN}", user=user)
    return _of(config or CONFIGURATION, user)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        is_whole = has_port = False
    if not (is_whole and has_port):
        raise click.BadParameter(f"{url!r} is not an address; write http://HOST:PORT", param_hint="--url")
    return url.rstrip("/")


def _of(path: Path, user: str | None) -> Api:
    """Where a configuration has its gateway listen."""
    try:
        report = Report()
        document = substituted(read_whole(path), os.environ, report)
        listen = read_http(Section(report, document.root(), document.content), Files(path.parent, None))
        if len(report):
            raise ConfigurationError(report.problems(path))
    except ConfigurationError as error:
        exit_with(error)
    if listen is None:
        click.echo(f"{path} has no [http] section, so its gateway answers nobody; add one, or give --url", err=True)
        sys.exit(EXIT_WRONG_INPUT)
    scheme = "http" if listen.cert_file is None else "https"
    endpoint = Endpoint(WILDCARDS.get(listen.host, listen.host), listen.port)
    return Api(f"{scheme}://{endpoint}", path, user, listen.cert_file)


def leave(error: Unreachable) -> NoReturn:
    click.echo(str(error), err=True)
    sys.exit(EXIT_FAILED)
