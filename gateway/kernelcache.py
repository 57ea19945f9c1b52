"""Where compiled kernels are kept, and why a cache is never believed blindly.

Numba keeps compiled functions as pickles, and looks at a function's own file only: a changed callee in another file
lives on inside its cached callers, and wheels built reproducibly have the same file times in every version. So each
state of the sources that are compiled, or compiled in, has a folder of its own, named by a digest over them; the last
few are kept, older ones deleted. And a pickle runs code when it is loaded: a cache that belongs to somebody else is
not used.

Call `choose` before anything imports numba.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import MutableMapping
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
COMPILED = ("core", "protocol", "control")
KEPT = 3
"""Folders of other states of the sources that stay: the version before, should somebody go back to it."""


class CacheNotOurs(Exception):
    """The cache folder belongs to another user, or others may write to it."""


def digest() -> str:
    """Of the sources in COMPILED: 12 hexadecimal digits."""
    total = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(path for package in COMPILED for path in (root / package).rglob("*.py")):
        total.update(path.relative_to(root).as_posix().encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:12]


def base(environment: MutableMapping[str, str]) -> Path:
    """The folder above: as the variable says, else the service's cache folder, else the user's."""
    for variable, below in ((VARIABLE, ""), ("CACHE_DIRECTORY", "kernels"), ("XDG_CACHE_HOME", "fieldgate/kernels")):
        if environment.get(variable):
            return Path(environment[variable]) / below
    return Path.home() / ".cache" / "fieldgate" / "kernels"


def choose(environment: MutableMapping[str, str]) -> Path:
    """Make the folder and name it in `environment`, for this process and its children.

    Raises CacheNotOurs, or OSError when the folder cannot be made.
    """
    above = base(environment)
    name = f"sources-{digest()}"
    folder = above if above.name == name else above / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise CacheNotOurs(
            f"{folder} belongs to another user or is writable by others, and compiled code in it would be trusted; "
            f"set {VARIABLE} to a folder of your own"
        )
    _forget_old(folder)
    environment[VARIABLE] = str(folder)
    return folder


def _forget_old(folder: Path) -> None:
    others = [other for other in folder.parent.glob("sources-*") if other != folder]
    others.sort(key=lambda other: other.stat().st_mtime, reverse=True)
    for old in others[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
