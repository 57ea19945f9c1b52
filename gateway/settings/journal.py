"""The journal: whether every influence on the engine is kept on disk, for how long, and of which tags."""

from __future__ import annotations

from gateway.core import limits
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.settings.devices import Devices
from gateway.settings.forms import form_of, says
from gateway.settings.schema import Journal
from gateway.settings.section import Section
from gateway.settings.serving import TAG_GLOBS, select
from gateway.settings.units import WrongValueError, duration, show, size

KEEP = size(8 * 10**6, 10**12)
HISTORY_KEEP = size(10**6, 10**12)
HISTORY_KEEP_DEFAULT = 500 * 10**6
KEEP_FOR = duration(60 * NS_PER_S, 366 * 86_400 * NS_PER_S)
COMMIT_EVERY = duration(limits.CYCLE_NS, NS_PER_S)
CHECKPOINT_EVERY = duration(NS_PER_S, 3_600 * NS_PER_S)
CHECKPOINT_EVERY_DEFAULT = NS_PER_S
TRIAL_MIN_NS = 5 * NS_PER_S
TRIAL_LONGEST = duration(0, 3_600 * NS_PER_S)
TRIAL_DEFAULT = 30 * NS_PER_S


def trial(value: object) -> int:
    """None, or one that is long enough for a few looks."""
    found_ns = TRIAL_LONGEST(value)
    if 0 < found_ns < TRIAL_MIN_NS:
        raise WrongValueError(f'{show(value)} is too short to see anything; write at least "5s", or "0s" for no trial')
    return found_ns


TRIAL = says(trial, f'{form_of(TRIAL_LONGEST).words}; "0s", or at least "5s"', form_of(TRIAL_LONGEST).schema)


def read_reload(root: Section) -> int:
    """How long a configuration that was reloaded is on trial; 0: not at all."""
    section = root.table("reload")
    if section is None:
        return TRIAL_DEFAULT
    trial_ns = section.get("trial", TRIAL, TRIAL_DEFAULT)
    section.finish()
    return trial_ns


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
