"""`fieldgate restore`: a gateway's configuration and state out of a backup, with new identities from there on."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

import click

from gateway.cli.app import EXIT_FAILED
from gateway.cli.common import load_or_exit, prepare_kernels


@click.command(name="restore")
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--config", "file", required=True, type=click.Path(path_type=Path), help="Where the configuration goes.")
@click.option("--state-only", is_flag=True, help="Keep the configuration that is there.")
@click.option("--replace", is_flag=True, help="Put aside a state that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(archive: Path, file: Path, state_only: bool, replace: bool, as_json: bool) -> None:
    """Put a backup back: the configuration's files beside FILE, the state where that says.

    Nothing is overwritten. The gateway must not run; the state goes on with new segments, so that no identity is
    given twice. As root, files are given to whoever owns the state directory.
    """
    prepare_kernels()
    from gateway.runtime.backup import BackupUnfit, renew, unpack  # behind the choice of the kernel cache
    from gateway.runtime.statedir import StateInUse, hold_state_dir

    file = file.absolute()
    if file.exists() and not state_only:
        _leave(f"{file} is there already; --state-only keeps it, or name another --config")
    with tempfile.TemporaryDirectory(dir=archive.absolute().parent, prefix=".restore-") as unpacked:
        try:
            manifest = unpack(archive, Path(unpacked))
        except (BackupUnfit, OSError) as error:
            _leave(str(error))
        if not state_only:
            _put_configuration(Path(unpacked) / "configuration", file, manifest["configuration"])
        settings = load_or_exit(file)
        state_dir = settings.state_dir
        if settings.gateway_id != manifest["gateway"]:
            _leave(f"{archive} is of gateway {manifest['gateway']}, and {file} of {settings.gateway_id}")
        try:
            aside = _made_room(state_dir, is_replaced=replace)
            shutil.copytree(Path(unpacked) / "state", state_dir, dirs_exist_ok=True)
            with hold_state_dir(state_dir):
                spools = renew(state_dir)
            _give_away(state_dir, like=aside or state_dir.parent)
        except (StateInUse, OSError, sqlite3.Error) as error:
            _leave(f"{state_dir}: {error}")
    if as_json:
        done = {"state_dir": str(state_dir), "spools": spools, "put_aside": str(aside) if aside else None, **manifest}
        click.echo(json.dumps(done, indent=1, ensure_ascii=False))
        return
    click.echo(f"{state_dir} is as of {manifest['time']}, with {spools} spools that go on with new segments")
    if aside is not None:
        click.echo(f"what was there is {aside}")
    click.echo(f"look whether secret files are in place, then: fieldgate check {file}")


def _put_configuration(folder: Path, file: Path, main: str) -> None:
    """Each file in its place beside FILE; leaves when one is there already."""
    targets = {
        source: file if source.relative_to(folder) == Path(main) else file.parent / source.relative_to(folder)
        for source in sorted(folder.rglob("*"))
        if source.is_file()
    }
    taken = [str(target) for target in targets.values() if target.exists()]
    if taken:
        _leave(f"{', '.join(taken)}: there already; move them away, or --state-only")
    for source, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _made_room(state_dir: Path, *, is_replaced: bool) -> Path | None:
    """What was there, put aside; leaves when it may not be. Raises StateInUse and OSError."""
    from gateway.runtime.statedir import hold_state_dir

    if not state_dir.exists() or not any(state_dir.iterdir()):
        return None
    with hold_state_dir(state_dir):  # nobody is at work here
        pass
    if not is_replaced and any(each.name != "in-use" for each in state_dir.iterdir()):
        _leave(f"{state_dir} is not empty; --replace puts what is there aside")
    aside = state_dir.with_name(time.strftime(f"{state_dir.name}.before-%Y%m%dT%H%M%S"))
    state_dir.rename(aside)
    return aside


def _give_away(folder: Path, like: Path) -> None:
    """As root, to whoever owns `like`; others cannot, and need not."""
    if os.geteuid() != 0:
        return
    owner = like.stat()
    for each in (folder, *folder.rglob("*")):
        os.chown(each, owner.st_uid, owner.st_gid)


def _leave(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(EXIT_FAILED)
