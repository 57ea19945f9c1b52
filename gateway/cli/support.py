"""`fieldgate support`: all that helps to find out what is the matter, in one file, without secrets."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

import click

from gateway.cli.check import summary
from gateway.cli.client import Unreachable, find
from gateway.cli.common import exit_unwritten
from gateway.cli.support_bundle import Bundle, secret_files, secrets_of
from gateway.cli.version import versions
from gateway.settings.including import read_whole
from gateway.settings.load import examine
from gateway.settings.problems import ConfigurationError
from gateway.writing.audit import FILE as AUDIT_FILE
from gateway.writing.chain import trail_files, verify

ASKED: Final = (
    *("/api/status", "/api/devices?limit=500", "/api/alarms", "/api/events?limit=500", "/api/tags?limit=500"),
    *("/metrics", "/readyz"),
)
TOOLS: Final = (
    ("journal.txt", ("journalctl", "--unit", "fieldgate", "--lines", "5000", "--no-pager", "--output", "short-iso")),
    ("unit.txt", ("systemctl", "cat", "fieldgate", "--no-pager")),
    ("unit-status.txt", ("systemctl", "status", "fieldgate", "--no-pager", "--lines", "0")),
    ("disk.txt", ("df", "--human-readable")),
    ("addresses.txt", ("ip", "-brief", "address")),
)
TOOL_S_MAX: Final = 20
MACHINE: Final = ("/proc/loadavg", "/proc/meminfo", "/proc/uptime", "/etc/os-release")
README: Final = """\
What `fieldgate support` found, to be looked through before it is handed on.

It has the configuration, the register map's lock file, names and sizes of the state's files, and of a running gateway
its status, devices, the present values of up to 500 tags, alarms, events and metrics; the journal of the service, the
unit, versions, and the machine's load, memory, disks and addresses. Nothing of records, history and audit lines.

Passwords, tokens, keys and password hashes are replaced by [removed].
"""


@click.command(name="support")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Where to.  [default: fieldgate-support-TIME.tar.gz]")
def command(file: Path, output: Path | None) -> None:
    """Collect what helps to find a fault, in one archive without secrets.

    FILE is the configuration. It works beside a running gateway and without one; as root, or as the service's user,
    it sees most.
    """
    folder = time.strftime("fieldgate-support-%Y%m%dT%H%M%S")
    path = output or Path(f"{folder}.tar.gz")
    if path.exists():
        raise click.UsageError(f"{path} is there already; name another --output")
    bundle = _collected(file)
    try:
        bundle.write(path, folder)
    except OSError as error:
        exit_unwritten(path, error)
    click.echo(
        f"{path}: {len(bundle.members)} files, {path.stat().st_size / 1024:.0f} kB; look through it, then hand it on"
    )


def _collected(file: Path) -> Bundle:
    try:
        document = read_whole(file)
        sources = {each.source.file: each.source.text for each in (document, *document.parts)}
    except ConfigurationError:
        sources = {file: file.read_text(encoding="utf-8", errors="replace")} if file.is_file() else {}
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    bundle = Bundle(secrets_of(secret_files(sources.values(), file.parent, Path(credentials) if credentials else None)))
    bundle.add("README.txt", README)
    bundle.add_json("version.json", versions())
    for source, text in sources.items():
        bundle.add(f"configuration/{source.name}", text)
    _of_settings(bundle, file)
    _of_gateway(bundle, file)
    for place in MACHINE:
        if Path(place).is_file():
            bundle.add(f"machine/{Path(place).name}", Path(place).read_text(errors="replace"))
    bundle.add("machine/kernel", " ".join(platform.uname()))
    for name, tool in TOOLS:
        if shutil.which(tool[0]):
            bundle.add(f"machine/{name}", _said(tool))
    return bundle


def _of_settings(bundle: Bundle, file: Path) -> None:
    try:
        settings, warnings = examine(file, os.environ)
    except ConfigurationError as error:
        bundle.add("check.txt", str(error))
        return
    bundle.add_json("check.json", {"warnings": [str(each) for each in warnings], "runs": summary(settings)})
    if settings.scada is not None and settings.scada.lock_file.is_file():
        bundle.add("configuration/registers.lock", settings.scada.lock_file.read_text(encoding="utf-8"))
    trail = settings.state_dir / AUDIT_FILE
    try:
        listed = sorted(each for each in settings.state_dir.rglob("*") if each.is_file())
        bundle.add("state.txt", "".join(_line(each, settings.state_dir) for each in listed))
        if trail_files(trail):
            bundle.add_json("audit.json", verify(trail)._asdict())
    except OSError as error:
        bundle.add("state.txt", f"{settings.state_dir}: {error.strerror}")


def _line(file: Path, folder: Path) -> str:
    found = file.stat()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(found.st_mtime))
    return f"{found.st_mode & 0o777:o} {found.st_uid} {found.st_size:>12} {stamp} {file.relative_to(folder)}\n"


def _of_gateway(bundle: Bundle, file: Path) -> None:
    try:
        api = find(file, None)
    except SystemExit:  # no [http], or a file that is wrong: that was told, and the rest is still worth having
        return
    for path in ASKED:
        name = path.partition("?")[0].strip("/").replace("/", "-")
        try:
            bundle.add(f"gateway/{name}", api.text(path))
        except Unreachable as error:
            bundle.add(f"gateway/{name}-not-reached.txt", str(error))


def _said(tool: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(tool, capture_output=True, text=True, errors="replace", timeout=TOOL_S_MAX, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{tool[0]}: {error}"
    return done.stdout + done.stderr
