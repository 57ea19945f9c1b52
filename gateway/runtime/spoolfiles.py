"""Which spool file is whose: one for each uplink, so that none can fill, slow or damage another one's.

`spool.db` is always there: beside records it has what the gateway itself must remember (engine time, checkpoints). It
says in its table `meta` whose records are in it; those of the other uplinks lie in `spool-NAME.db`. An uplink that
comes when the owner of `spool.db` is gone from the configuration, and has no file yet, takes it over with all that
waits: so a new name, or a file from before uplinks had names, loses nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from gateway.runtime.statedir import SPOOL_FILE

OWNER_KEY: Final = "uplink"


def own_file(state_dir: Path, name: str) -> Path:
    """Where an uplink keeps its records when `spool.db` is not its own."""
    return state_dir / f"spool-{name}.db"


def owner_of(state_dir: Path) -> str:
    """Whose records are in `spool.db`; empty when it does not say."""
    path = state_dir / SPOOL_FILE
    if not path.exists():
        return ""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=2.0)) as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = ?", (OWNER_KEY,)).fetchone()
    except sqlite3.DatabaseError:
        # Damaged, or not to be opened: whoever opens it next says so.
        return ""
    return str(row[0]) if row else ""


def next_owner(state_dir: Path, owner: str, names: Sequence[str]) -> str:
    """Who owns `spool.db` with these uplinks: who did, else the first that has no file yet; empty when nobody."""
    if owner in names:
        return owner
    return next((name for name in names if not own_file(state_dir, name).exists()), "")


def spool_files(state_dir: Path, names: Sequence[str]) -> Mapping[str, Path]:
    """By uplink, the file that its records are in."""
    owner = next_owner(state_dir, owner_of(state_dir), names)
    return {name: state_dir / SPOOL_FILE if name == owner else own_file(state_dir, name) for name in names}


def spools(state_dir: Path) -> list[Path]:
    """All there are."""
    return sorted(path for path in (state_dir / SPOOL_FILE, *state_dir.glob("spool-*.db")) if path.exists())


def left_behind(state_dir: Path, names: Sequence[str]) -> list[Path]:
    """Files of uplinks that are not in the configuration any more."""
    mine = {own_file(state_dir, name) for name in names}
    return sorted(path for path in state_dir.glob("spool-*.db") if path not in mine)
