"""Tag lists that come with the gateway: register maps of devices as their makers publish them.

A device takes one by `tag_list = "fieldgate:eastron_sdm630"`, whether the gateway runs from a wheel, a Debian package
or its source: there they lie in `config/registers`, elsewhere in the package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gateway.settings.problems import did_you_mean
from gateway.settings.units import WrongValueError, show

PREFIX: Final = "fieldgate:"

_PACKAGE: Final = Path(__file__).parents[1]
_FOLDERS: Final = (_PACKAGE / "registers", _PACKAGE.parent / "config" / "registers")
EXAMPLES: Final = frozenset({"energy_meter", "pump"})
"""Beside them in the source: samples for the example configuration, of no real device."""


def shipped() -> dict[str, Path]:
    """Name → file, of all that come along."""
    folder = next((folder for folder in _FOLDERS if folder.is_dir()), None)
    files = sorted(folder.glob("*.csv")) if folder is not None else []
    return {file.stem: file for file in files if file.stem not in EXAMPLES}


def path_of(reference: str) -> Path | None:
    """The file of `fieldgate:NAME`, None for another kind of reference. Raises WrongValueError when there is none."""
    if not reference.startswith(PREFIX):
        return None
    known = shipped()
    name = reference.removeprefix(PREFIX)
    if name not in known:
        listed = ", ".join(f'"{PREFIX}{each}"' for each in known)
        raise WrongValueError(f"{show(reference)} does not come along; {did_you_mean(name, known, f'write {listed}')}")
    return known[name]
