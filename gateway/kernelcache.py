"""Where compiled kernels are kept, and why a cache is never believed blindly.

Numba keeps compiled functions as pickles, and looks at a function's own file only: a changed callee in another file
would live on inside its cached callers. So each module has a folder named by a digest over its own source and that of
every module of ours it imports, directly or not: a change compiles again what it reaches, and nothing else. The last
few folders of a module are kept, older ones deleted. And a pickle runs code when it is loaded: a cache that belongs
to somebody else is not used.

Call `choose` before anything imports numba, which reads both variables once.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, MutableMapping
from functools import cache
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
LOCATORS = "NUMBA_CACHE_LOCATOR_CLASSES"
KEPT = 3
"""Folders of a module's other states that stay: the version before, should somebody go back to it."""

PACKAGE = Path(__file__).parent
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(gateway[\w.]*)[ \t]+import[ \t]*(\([^)]*\)|[^\n]*)|import[ \t]+(gateway[\w.]*))", re.M
)


class CacheNotOurs(Exception):
    """The cache folder belongs to another user, or others may write to it."""


class KernelLocator:
    """Tells Numba where a kernel of ours is cached, and as of which sources (its `_CacheLocator` interface)."""

    def __init__(self, path: Path, line: int) -> None:
        self._line = line
        self._stamp = digest(path)
        self._folder = _folder_of(path, self._stamp, os.environ[VARIABLE])

    @classmethod
    def from_function(cls, function: Callable[..., object], file: str) -> KernelLocator | None:
        if VARIABLE not in os.environ or not file.startswith(f"{PACKAGE}/"):
            return None
        return cls(Path(file), function.__code__.co_firstlineno)

    def ensure_cache_path(self) -> None:
        """Before something is saved: it was there at the start."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return self._stamp

    def get_disambiguator(self) -> str:
        return str(self._line)


@cache
def _folder_of(path: Path, stamp: str, base: str) -> Path:
    """The folder of a module, made if it is not there."""
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    folder = Path(base) / f"{name}-{stamp}"
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _forget_old(folder)
    return folder


@cache
def digest(path: Path) -> str:
    """Of a module's source and all of ours that it stands on: 12 hexadecimal digits."""
    total = hashlib.sha256()
    for source in sorted(sources(path)):
        total.update(source.relative_to(PACKAGE).as_posix().encode())
        total.update(_content(source))
    return total.hexdigest()[:12]


def sources(path: Path) -> set[Path]:
    """The files of `path` and of all modules of this package that it imports, directly or not."""
    found: set[Path] = set()
    waiting = {path}
    while waiting:
        source = waiting.pop()
        found.add(source)
        waiting |= imported(source) - found
    return found


@cache
def imported(path: Path) -> frozenset[Path]:
    """The files of this package that one file imports, wherever in it the import stands."""
    files: set[Path] = set()
    for package, names, module in _IMPORT.findall(_content(path).decode()):
        base = package or module
        wanted = [base]
        if package:
            plain = re.sub(r"#[^\n]*|[()]", "", names)
            wanted += [f"{base}.{name.split()[0]}" for name in plain.split(",") if name.strip()]
        files |= {file for name in wanted if (file := _file_of(name)) is not None}
    return frozenset(files)


@cache
def _content(path: Path) -> bytes:
    """Each module stands on others, so a file is asked for some thirty times at a start."""
    return path.read_bytes()


@cache
def _file_of(module: str) -> Path | None:
    below = PACKAGE.joinpath(*module.split(".")[1:])
    for file in (below.with_suffix(".py"), below / "__init__.py"):
        if below != PACKAGE and file.is_file():
            return file
    return None


def base(environment: MutableMapping[str, str]) -> Path:
    """The folder of all: as the variable says, else below the service's cache folder, else the user's."""
    for variable, below in ((VARIABLE, ""), ("CACHE_DIRECTORY", "kernels"), ("XDG_CACHE_HOME", "fieldgate/kernels")):
        if environment.get(variable):
            return Path(environment[variable]) / below
    return Path.home() / ".cache" / "fieldgate" / "kernels"


def choose(environment: MutableMapping[str, str]) -> Path:
    """Make the folder and name it in `environment`, for this process and its children.

    Raises CacheNotOurs, or OSError when the folder cannot be made.
    """
    folder = base(environment)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise CacheNotOurs(
            f"{folder} belongs to another user or is writable by others, and compiled code in it would be trusted; "
            f"set {VARIABLE} to a folder of your own"
        )
    environment[VARIABLE] = str(folder)
    environment[LOCATORS] = f"{__name__}.{KernelLocator.__name__},UserProvidedCacheLocator"
    return folder


def _forget_old(folder: Path) -> None:
    name = folder.name.rpartition("-")[0]
    others = [other for other in folder.parent.glob(f"{name}-*") if other != folder]
    others.sort(key=lambda other: other.stat().st_mtime, reverse=True)
    for old in others[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
