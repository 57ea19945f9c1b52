"""What the service manager is told: ready, reloading, stopping, a status line, and that the gateway is alive.

The protocol (sd_notify(3)) is one datagram of `NAME=value` lines to the socket named in NOTIFY_SOCKET. Without that
variable nothing is sent. A send never waits and never fails the gateway: a service manager that does not read is
counted, not waited for.

The watchdog is fed only when every heartbeat has moved since it was last fed. A timer that feeds it would prove that
the timer runs; the engine or the executive could have hung for a week.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.core.events import Severity
from gateway.core.readings import Reading
from gateway.core.types import NS_PER_S

METRICS: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "fieldgate_systemd_notify_failures_total",
        "counter",
        "Messages to the service manager that could not be sent.",
    ),
    ("fieldgate_systemd_watchdog_fed_total", "counter", "Times the service manager's watchdog was fed."),
    (
        "fieldgate_systemd_watchdog_withheld_total",
        "counter",
        "Times the watchdog was due but not fed, because a heartbeat had not moved.",
    ),
)

NS_PER_US: Final = 1_000
FEEDS_PER_TIMEOUT: Final = 4
"""sd_watchdog_enabled(3) advises at least two."""


class NotifyEnvironmentInvalid(ValueError):
    """A variable of the service manager's says something that cannot be; the message names it."""


class Notifier:
    """The messages. `environment` is the process's, where NOTIFY_SOCKET is a path or, with a leading @, abstract."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._failures = 0
        self._address = environment.get("NOTIFY_SOCKET", "")
        if not self._address:
            return
        if self._address[0] not in "/@":
            raise NotifyEnvironmentInvalid(
                f"NOTIFY_SOCKET={self._address}: neither a path nor an abstract name (@...); unset it to run without"
            )
        if self._address[0] == "@":
            self._address = "\0" + self._address[1:]
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    @property
    def is_active(self) -> bool:
        return bool(self._address)

    def ready(self, status: str) -> None:
        """Started, or done reloading."""
        self._send("READY=1", _status(status))

    def status(self, text: str) -> None:
        """One line that `systemctl status` shows."""
        self._send(_status(text))

    def more_time(self, seconds: int) -> None:
        """A start takes so long yet, whatever TimeoutStartSec says; to be asked again before that is over."""
        self._send(f"EXTEND_TIMEOUT_USEC={seconds * 1_000_000}")

    def reloading(self, *, monotonic_ns: int) -> None:
        """Reading the configuration again; `monotonic_ns` is CLOCK_MONOTONIC, not engine time. `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns // NS_PER_US}")

    def stopping(self, status: str) -> None:
        self._send("STOPPING=1", _status(status))

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def readings(self) -> Iterator[Reading]:
        yield Reading("fieldgate_systemd_notify_failures_total", self._failures)

    def close(self) -> None:
        if self.is_active:
            self._socket.close()
            self._address = ""

    def _send(self, *lines: str) -> None:
        if not self.is_active:
            return
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            self._failures += 1


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())


@dataclass(frozen=True, slots=True)
class WatchdogTimeout:
    """After how long without a feed the service manager ends the process."""

    ns: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, pid: int) -> WatchdogTimeout | None:
        """None when there is no watchdog, or when it is meant for another process. Raises NotifyEnvironmentInvalid."""
        text = environment.get("WATCHDOG_USEC", "")
        if not text or environment.get("WATCHDOG_PID", str(pid)) != str(pid):
            return None
        if not (text.isascii() and text.isdigit() and int(text) > 0):
            raise NotifyEnvironmentInvalid(f"WATCHDOG_USEC={text}: no number of microseconds; unset it to run without")
        return cls(ns=int(text) * NS_PER_US)


class Watchdog:
    """Asked often (each second or oftener), it feeds four times in the timeout, if there is reason to.

    `timeout` None: no watchdog, nothing happens.
    """

    def __init__(self, *, notifier: Notifier, timeout: WatchdogTimeout | None) -> None:
        self._notifier = notifier
        self._timeout = timeout
        self._beats: dict[str, int] = {}
        self._fed_ns: int | None = None
        self._fed = 0
        self._withheld = 0
        self.stuck: tuple[str, ...] = ()
        """The heartbeats that had not moved when the watchdog was last due; empty when it was fed."""
        self._is_told = False

    @property
    def poll_every_s(self) -> float:
        """How often to ask, so that no feed is missed."""
        if self._timeout is None:
            return 1.0
        return min(1.0, self._timeout.ns / NS_PER_S / FEEDS_PER_TIMEOUT / 2)

    def poll(self, now_ns: int, beats: Mapping[str, int]) -> bool:
        """Feed if due and deserved; returns whether it was fed.

        `beats` are counters by name, of the threads that are meant to run now. One that is new counts as moved; one
        that is gone (its loops were removed by a reload) is not waited for.
        """
        if self._timeout is None:
            return False
        if self._fed_ns is not None and now_ns - self._fed_ns < self._timeout.ns // FEEDS_PER_TIMEOUT:
            return False
        self.stuck = tuple(name for name, beat in beats.items() if self._beats.get(name) == beat)
        if self.stuck or not beats:
            self._withheld += 1
            return False
        self._beats = dict(beats)
        self._fed_ns = now_ns
        self._fed += 1
        self._notifier.watchdog()
        return True

    def news(self) -> tuple[Severity, str, str] | None:
        """Severity, kind and message of the event: once when a heartbeat stops, and once when all beat again."""
        if bool(self.stuck) == self._is_told:
            return None
        self._is_told = bool(self.stuck)
        if not self.stuck:
            return Severity.NOTICE, "watchdog.fed", "all heartbeats are back"
        names = " and ".join(self.stuck)
        message = f"no heartbeat of {names}; the service manager will restart us"
        return Severity.ERROR, "watchdog.withheld", message

    def readings(self) -> Iterator[Reading]:
        yield Reading("fieldgate_systemd_watchdog_fed_total", self._fed)
        yield Reading("fieldgate_systemd_watchdog_withheld_total", self._withheld)
