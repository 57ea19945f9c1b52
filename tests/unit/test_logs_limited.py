"""A library that logs without end does not fill the log."""

from __future__ import annotations

import logging

from gateway.runtime.logs import FOREIGN_LINES_MAX, LibrariesLimited


def line(name: str, at_s: float) -> logging.LogRecord:
    record = logging.LogRecord(name, logging.ERROR, "file.py", 1, "broken packet %d", (7,), None)
    record.created = at_s
    return record


def test_a_library_gets_so_many_lines_a_minute_and_the_rest_is_counted() -> None:
    limited = LibrariesLimited()
    passed = [limited.filter(line("mqtt", 60.0)) for _ in range(FOREIGN_LINES_MAX + 30)]
    assert sum(passed) == FOREIGN_LINES_MAX
    later = line("mqtt", 120.0)
    assert limited.filter(later)
    assert later.getMessage() == "broken packet 7 (30 lines of mqtt held back before)"


def test_one_library_does_not_silence_another_and_ours_is_never_held_back() -> None:
    limited = LibrariesLimited()
    for _ in range(FOREIGN_LINES_MAX + 1):
        limited.filter(line("mqtt", 60.0))
    assert limited.filter(line("uvicorn.error", 60.0))
    assert all(limited.filter(line("fieldgate.engine", 60.0)) for _ in range(FOREIGN_LINES_MAX + 5))
