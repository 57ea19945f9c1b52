"""What the page may ask of the history's file, by the reader that it has for each question."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from gateway.serving.http.history import READ_S_MAX, Asked, Kept, NotKept, NotReadable, ReadHistory
from gateway.spool.history import HISTORY_FILE, opened
from gateway.spool.records import StoreDamaged, StoreUnavailable

TOO_SLOW: Final = f"reading took more than {READ_S_MAX:.0f} s; ask for a shorter time, a coarser step or fewer points"


def reads(state_dir: Path) -> ReadHistory:
    path = state_dir / HISTORY_FILE

    def read(asked: Asked) -> Kept:
        if not path.exists():
            raise NotKept("nothing is kept yet; the first step comes some ten seconds after the start")
        until_s = time.monotonic() + READ_S_MAX
        try:
            with opened(path) as reader:
                if not reader.knows(asked.tag):
                    raise NotKept(f"{asked.tag} is not in the history, which keeps tags that have a window")
                step_ns = asked.step_ns or reader.suited(asked.from_ns, asked.to_ns, asked.points_max)
                points = []
                for point in reader.each(asked.tag, asked.from_ns, asked.to_ns, step_ns):
                    if time.monotonic() > until_s:
                        raise NotReadable(TOO_SLOW)
                    points.append(point)
        except (StoreUnavailable, StoreDamaged) as error:
            raise NotReadable(str(error)) from error
        return Kept(step_ns, points)

    return read
