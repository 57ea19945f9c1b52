"""Asking a running gateway to do something: the client of the operator's socket, as the commands use it."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from gateway.cli.app import EXIT_FAILED
from gateway.cli.common import CONFIGURATION, exit_with
from gateway.serving.operator.messages import Answered, short, socket_path
from gateway.settings.including import read_whole
from gateway.settings.problems import ConfigurationError

F = TypeVar("F", bound=Callable[..., Any])
ANSWER_S_MAX: Final = 35.0
SERVICE_STATE: Final = Path("/var/lib/fieldgate")
"""Where the packaged service keeps its state: systemd tells it, and nobody else."""


def ask(config: Path | None, action: str, **arguments: object) -> Answered:
    """What the gateway says to it. Leaves with exit code 1 when nobody answers."""
    tried = list(dict.fromkeys(_candidates(config)))
    for path in tried:
        if path.exists():
            return _converse(path, action, arguments)
    places = " or ".join(str(path) for path in tried)
    click.echo(f"no gateway is at work here: there is no {places}; start it, or name its --config FILE", err=True)
    sys.exit(EXIT_FAILED)


def local_token(config: Path | None) -> str | None:
    """What opens the API to those who may open the operator's socket; None to others."""
    for path in dict.fromkeys(_candidates(config)):
        try:
            answered = _exchange(path, "http.token", {})
        except (OSError, msgspec.DecodeError):
            continue
        return answered.result if isinstance(answered.result, str) else None
    return None


def of_gateway(function: F) -> F:
    """Which gateway, and how it is printed: the options of a command that asks."""
    config = click.option(
        "--config", metavar="FILE", type=click.Path(path_type=Path), help="The running gateway's configuration."
    )
    return config(click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(function))


def _candidates(config: Path | None) -> Iterator[Path]:
    path = config or CONFIGURATION
    if config is not None or path.is_file():
        try:
            gateway = read_whole(path).content.get("gateway")
        except ConfigurationError as error:
            exit_with(error)
        written = gateway.get("state_dir") if isinstance(gateway, dict) else None
        yield socket_path(path.parent / (written if isinstance(written, str) else "state"))
        if isinstance(written, str):
            return
    yield socket_path(SERVICE_STATE)


def _converse(path: Path, action: str, arguments: dict[str, object]) -> Answered:
    try:
        return _exchange(path, action, arguments)
    except PermissionError:
        why = "you may not: ask as root, as the service's user, or as a member of its group"
    except (OSError, msgspec.DecodeError) as error:
        why = f"no answer ({error}); is the gateway running?"
    click.echo(f"{path}: {why}", err=True)
    sys.exit(EXIT_FAILED)


def _exchange(path: Path, action: str, arguments: dict[str, object]) -> Answered:
    """Raises OSError and msgspec.DecodeError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(ANSWER_S_MAX)
        with short(path) as address:
            peer.connect(address)
        peer.sendall(msgspec.json.encode({"do": action, "with": arguments}) + b"\n")
        with peer.makefile("rb") as answers:
            return msgspec.json.decode(answers.readline(), type=Answered)


def tell(answer: Answered, *, as_json: bool) -> None:
    """Print what was done; leave with exit code 1 when nothing was."""
    if as_json:
        click.echo(msgspec.json.encode(answer))
    else:
        click.echo(answer.says, err=not answer.ok)
    if not answer.ok:
        sys.exit(EXIT_FAILED)
