"""One stream of drafts, several spools: each uplink has a file, a thread and a cap of its own.

A draft goes to every branch whose uplink takes its stream. A checkpoint must not be on the disk before the drafts that
came before it are, in every file, or a crash would lose some that the journal no longer has: so it wanders. The last
branch stores its drafts and hands it on, the first one, whose file has the checkpoints, stores it with its own.
After a crash the journal is replayed from there, and each branch leaves out what it has stored already.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from gateway.core.record import RecordDraft
from gateway.spool.requests import Companion
from gateway.spool.worker import Encode, SpoolWorker

ENCODED_KEPT: Final = 32
"""Encoded bodies that wait for the other branches, which ask for them within a commit of one another."""


@dataclass(slots=True)
class Branch:
    """A spool. `streams` is None where everything goes into it; `stored` has the ordinals it held at the start."""

    worker: SpoolWorker
    streams: frozenset[str] | None = None
    stored: dict[str, int] = field(default_factory=dict)

    def takes(self, stream: str) -> bool:
        return self.streams is None or stream in self.streams


class Fan:
    """What the engine's drafts and checkpoints go into. The first branch is the one whose file has the checkpoints."""

    def __init__(self, first: Branch) -> None:
        self.branches: tuple[Branch, ...] = (first,)

    def put(self, draft: RecordDraft) -> None:
        for branch in self.branches:
            if branch.takes(draft.stream):
                branch.worker.put(draft)

    def put_again(self, draft: RecordDraft) -> None:
        """A draft that a replay made: into those that did not store it before the start."""
        for branch in self.branches:
            if branch.takes(draft.stream) and draft.ordinal > branch.stored.get(draft.stream, 0):
                branch.worker.put(draft)

    def accompany(self, companion: Companion) -> None:
        """Have this stored once all drafts put before are on the disk, in every file."""
        workers = [branch.worker for branch in self.branches]
        for worker in workers[:-1]:
            companion = _HandedOn(worker, companion)
        workers[-1].accompany(companion)

    def begin_segments(self, ordinals: dict[str, int]) -> None:
        for branch in self.branches:
            branch.worker.begin_segments(ordinals)

    def has_room(self) -> bool:
        return all(branch.worker.has_room() for branch in self.branches)

    def stored(self) -> tuple[dict[str, int], dict[str, int]]:
        """By stream, the last ordinal that all branches had stored at the start, and that any of them had."""
        every: dict[str, int] = {}
        some: dict[str, int] = {}
        for stream in {stream for branch in self.branches for stream in branch.stored}:
            ordinals = [branch.stored.get(stream, 0) for branch in self.branches if branch.takes(stream)]
            if ordinals:
                every[stream], some[stream] = min(ordinals), max(ordinals)
        return every, some


class _HandedOn:
    """Goes through one branch and on to the next (`gateway.spool.requests.Companion`)."""

    def __init__(self, to: SpoolWorker, companion: Companion) -> None:
        self._to = to
        self._companion = companion

    def prepare(self) -> None:
        return

    def write(self, connection: sqlite3.Connection) -> None:
        return

    def stored(self, connection: sqlite3.Connection) -> None:
        self._to.accompany(self._companion)

    def given_up(self) -> None:
        """A branch whose file is damaged holds the others up no longer."""
        self._to.accompany(self._companion)


class EncodedOnce:
    """Encodes a draft once for all branches that ask for it one after the other."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._lock = Lock()
        self._kept: OrderedDict[int, tuple[RecordDraft, bytes]] = OrderedDict()

    def __call__(self, draft: RecordDraft) -> bytes:
        with self._lock:
            found = self._kept.get(id(draft))
        if found is not None and found[0] is draft:
            return found[1]
        body = self._encode(draft)
        with self._lock:
            self._kept[id(draft)] = (draft, body)
            if len(self._kept) > ENCODED_KEPT:
                self._kept.popitem(last=False)
        return body
