"""Reference tables while the gateway runs: watched for changes, read again, and kept as they were read last.

Files are looked at once a second by a thread of the pool, never on the loop. One that changed is read when it has
been the same for two looks, so that nobody reads half of it. Then the plant is swapped for one that differs in
what the tables say, as with SIGHUP; the configuration itself is not read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from gateway.core.events import Emit, Event, Severity
from gateway.core.limits import REFERENCE_INFO_MAX
from gateway.core.ports import Clock
from gateway.core.readings import Reading
from gateway.disk import replace_whole
from gateway.settings.referencetables import Row, joined, kept_file
from gateway.settings.schema import Settings

METRICS: tuple[tuple[str, str, str], ...] = (
    ("fieldgate_tag_info", "gauge", "1; asset, path and criticality of tags that reference tables know."),
    (
        "fieldgate_reference_tags",
        "gauge",
        "Tags that reference tables know, also those not in fieldgate_tag_info.",
    ),
    ("fieldgate_reference_findings", "gauge", "Rows and tables that could not be used when they were read last."),
    ("fieldgate_reference_reads_total", "counter", "Times that reference tables were read again because one changed."),
)

LOOK_EVERY_S: Final = 1.0

Look: TypeAlias = tuple[tuple[int, int], ...]
"""Modification time and size of each table's file; -1 for one that is not there."""


class ReferenceWatch:
    """Also says when to reload at all: `whole` (SIGHUP) has the configuration read, a table that changed only that."""

    def __init__(self, settings: Settings, *, now_ns: Clock, emit: Emit) -> None:
        self._settings = settings
        self._now_ns = now_ns
        self._emit = emit
        self._due = asyncio.Event()
        self._is_whole = False
        self._reads = 0
        self._findings: tuple[str, ...] = ()

    def whole(self) -> None:
        self._is_whole = True
        self._due.set()

    @property
    def is_whole(self) -> bool:
        """Whether the next `read_again` reads the configuration, not the tables alone."""
        return self._is_whole

    async def wait(self) -> None:
        """Until something is to be read again."""
        await self._due.wait()
        self._due.clear()

    def read_again(self, settings: Settings, load: Callable[[], Settings]) -> Settings:
        """What is due, and nothing else. Raises ConfigurationError."""
        is_whole, self._is_whole = self._is_whole, False
        if is_whole:
            return load()
        self._reads += 1
        return joined(settings)

    def note(self, settings: Settings) -> None:
        """These settings are in force now: what was wrong is told, what was read is kept."""
        self._settings = settings
        if settings.reference_findings != self._findings:
            for message in settings.reference_findings:
                self._emit(Event(self._now_ns(), Severity.WARNING, "reference.left_out", "reference", message))
        self._findings = settings.reference_findings
        try:
            for table, rows in settings.reference_rows.items():
                keep(settings.state_dir, table, rows)
        except OSError as error:
            message = f"what was read cannot be kept: {error}; should a table vanish, nothing of it is left"
            self._emit(Event(self._now_ns(), Severity.WARNING, "reference.not_kept", "reference", message))

    async def run(self) -> None:
        known = before = await asyncio.to_thread(look, self._settings)
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = await asyncio.to_thread(look, self._settings)
            if len(now) != len(known):
                known = now  # Another configuration, which has read its tables.
            elif now != known and now == before:
                known = now
                self._due.set()
            before = now

    def readings(self) -> Iterator[Reading]:
        known = [tag for tag in self._settings.tags if tag.context or tag.curve]
        for tag in known[:REFERENCE_INFO_MAX]:
            context = dict(tag.context)
            shown = tuple((key, context.get(key, "")) for key in ("asset", "path", "criticality"))
            yield Reading("fieldgate_tag_info", 1, (("tag", tag.name), ("device", tag.device), *shown))
        yield Reading("fieldgate_reference_tags", len(known))
        yield Reading("fieldgate_reference_findings", len(self._findings))
        yield Reading("fieldgate_reference_reads_total", self._reads)


def look(settings: Settings) -> Look:
    return tuple(_mark(table.file) for table in settings.reference)


def _mark(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return -1, -1
    return found.st_mtime_ns, found.st_size


def keep(state_dir: Path, table: str, rows: tuple[tuple[int, dict[str, str]], ...]) -> None:
    """As it was read, whole or not at all. Raises OSError."""
    body = msgspec.json.encode([Row(place, values) for place, values in rows])
    file = kept_file(state_dir, table)
    if file.is_file() and file.read_bytes() == body:
        return
    file.parent.mkdir(exist_ok=True)
    replace_whole(file, body)
