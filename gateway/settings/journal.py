"""The journal: whether every influence on the engine is kept on disk, for how long, and of which tags."""

from __future__ import annotations

from gateway.core import limits
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.settings.devices import Devices
from gateway.settings.schema import Journal
from gateway.settings.section import Section
from gateway.settings.serving import TAG_GLOBS, select
from gateway.settings.units import duration, size

KEEP = size(8 * 10**6, 10**12)
HISTORY_KEEP = size(10**6, 10**12)
HISTORY_KEEP_DEFAULT = 500 * 10**6
KEEP_FOR = duration(60 * NS_PER_S, 366 * 86_400 * NS_PER_S)
COMMIT_EVERY = duration(limits.CYCLE_NS, NS_PER_S)
CHECKPOINT_EVERY = duration(NS_PER_S, 3_600 * NS_PER_S)
CHECKPOINT_EVERY_DEFAULT = NS_PER_S


def read_history(root: Section) -> int:
    """How many bytes of history are kept; 0 without."""
    section = root.table("history")
    if section is None:
        return 0
    bytes_max = section.get("keep", HISTORY_KEEP, HISTORY_KEEP_DEFAULT)
    section.finish()
    return bytes_max


def read_journal(root: Section, devices: Devices) -> Journal | None:
    section = root.table("journal")
    if section is None:
        return None
    names = [tag.name for tag in devices.tags.values()]
    journal = Journal(
        bytes_max=section.get("keep", KEEP, 10**9),
        age_ns=section.get("keep_for", KEEP_FOR, 7 * 86_400 * NS_PER_S),
        commit_every_ns=section.get("commit_every", COMMIT_EVERY, 50 * NS_PER_MS),
        left_out=select(section, "leave_out", TAG_GLOBS, (), names, all_known=not devices.incomplete),
    )
    section.finish()
    return journal
