"""`fieldgate version`: of the gateway and of what it runs on. Reads package metadata, and imports none of it."""

from __future__ import annotations

import json
import platform
from importlib import metadata

import click

from gateway import __version__

PACKAGES = ("numba", "numpy", "msgspec", "uvloop", "aiomqtt", "pymodbus")


@click.command(help="Print the version of fieldgate and of what it runs on.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def command(as_json: bool) -> None:
    found = versions()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    width = max(len(name) for name in found)
    for name, version in found.items():
        click.echo(f"{name:<{width}}  {version}")


def versions() -> dict[str, str]:
    return {
        "fieldgate": __version__,
        "python": platform.python_version(),
        **{package: _installed(package) for package in PACKAGES},
        "platform": platform.platform(),
    }


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
