"""Logging: one handler on standard error, set up once, and the one function that turns an event into a line.

Under systemd a line carries its level as a prefix, `<4>`, which journald takes off and stores (sd-daemon(3)); the
journal knows the time. With the extra `systemd` installed, events go to the journal with their fields instead, so that
`journalctl FIELDGATE_SUBJECT=plc` works. Elsewhere a line starts with the time and the level in words.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from collections.abc import Mapping
from typing import Final, TextIO

from gateway.core.events import Event, Severity

NOTICE: Final = 25
"""Between INFO and WARNING, as syslog has it and Python has not."""

LEVELS: Final = {
    Severity.ERROR: logging.ERROR,
    Severity.WARNING: logging.WARNING,
    Severity.NOTICE: NOTICE,
    Severity.INFO: logging.INFO,
}

FOREIGN_LINES_MAX: Final = 20
SYSLOG_DEBUG: Final = 7
SYSLOG_CRITICAL: Final = 2

logger = logging.getLogger("fieldgate")


def syslog_level(level: int) -> int:
    """A Python level as a syslog severity."""
    if level >= logging.CRITICAL:
        return SYSLOG_CRITICAL
    for severity in (Severity.ERROR, Severity.WARNING, Severity.NOTICE, Severity.INFO):
        if level >= LEVELS[severity]:
            return int(severity)
    return SYSLOG_DEBUG


class JournalPrefix(logging.Formatter):
    """`<level>message`; every line of a traceback has the prefix, for journald reads line by line."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{syslog_level(record.levelno)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


class Readable(logging.Formatter):
    """`2026-03-01T12:00:00.123Z warning link.down plc: ...`: UTC, so that lines of two machines can be compared."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{seconds}.{int(record.msecs):03d}Z"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return f"{self.formatTime(record)} {record.levelname.lower()} {record.message}"


class LibrariesLimited(logging.Filter):
    """Lets FOREIGN_LINES_MAX lines a minute through from each library's logger, and says how many it held back.

    Our own lines are changes of state; a library may log each packet of a peer that misbehaves, and fill the disk.
    """

    def __init__(self) -> None:
        super().__init__()
        self._minutes: dict[str, tuple[int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith(logger.name):
            return True
        minute = int(record.created // 60)
        seen_minute, lines = self._minutes.get(record.name, (minute, 0))
        if minute != seen_minute:
            if lines > FOREIGN_LINES_MAX:
                held = lines - FOREIGN_LINES_MAX
                record.msg, record.args = f"{record.getMessage()} ({held} lines of {record.name} held back before)", ()
            lines = 0
        self._minutes[record.name] = (minute, lines + 1)
        return lines < FOREIGN_LINES_MAX


def is_journal(environment: Mapping[str, str], stream: TextIO) -> bool:
    """Whether `stream` is the journal's own. JOURNAL_STREAM alone may be inherited past a redirection."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    if not inode:
        return False
    try:
        status = os.fstat(stream.fileno())
    except OSError:  # a stream that is closed, or that never was a file
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def set_up_logs(*, level: str, environment: Mapping[str, str], stream: TextIO) -> None:
    """Replaces the root logger's handlers. `level` is one of debug, info, notice, warning, error."""
    logging.addLevelName(NOTICE, "NOTICE")
    if not is_journal(environment, stream):
        handler: logging.Handler = logging.StreamHandler(stream)
        handler.setFormatter(Readable())
    elif importlib.util.find_spec("systemd") is not None:
        handler = _journal_handler()
    else:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(JournalPrefix())
    handler.addFilter(LibrariesLimited())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def _journal_handler() -> logging.Handler:
    from systemd import journal

    class EventHandler(journal.JournalHandler):
        @staticmethod
        def map_priority(levelno: int) -> int:
            return syslog_level(levelno)

        mapPriority = map_priority  # noqa: N815  (the name that version 234 calls)

    handler: logging.Handler = EventHandler(SYSLOG_IDENTIFIER="fieldgate")
    return handler


def log_event(event: Event) -> None:
    """One line; in the journal also the fields FIELDGATE_KIND and FIELDGATE_SUBJECT."""
    logger.log(
        LEVELS[event.severity],
        "%s %s: %s",
        event.kind,
        event.subject,
        event.message,
        extra={"FIELDGATE_KIND": event.kind, "FIELDGATE_SUBJECT": event.subject},
    )
