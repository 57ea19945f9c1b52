"""The watchdog, the messages to the service manager, and the log lines."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from gateway.core.events import Event, Severity
from gateway.core.types import NS_PER_S
from gateway.runtime.holdingon import hold_on
from gateway.runtime.logs import JournalPrefix, is_journal, log_event, set_up_logs
from gateway.runtime.status import Progress
from gateway.runtime.systemd import Notifier, NotifyEnvironmentInvalid, Watchdog, WatchdogTimeout

PID = 4_321


class Manager:
    """The receiving end of the protocol: a real datagram socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(2.0)
        self.environment = {"NOTIFY_SOCKET": address.replace("\0", "@", 1)}

    def next(self) -> list[str]:
        return self.socket.recv(4_096).decode().split("\n")

    def has_more(self) -> bool:
        self.socket.setblocking(False)
        try:
            self.socket.recv(4_096)
        except BlockingIOError:
            return False
        return True


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/notify" if request.param == "path" else f"\0fieldgate-test-{os.getpid()}-{id(request)}"
        manager = Manager(address)
        yield manager
        manager.socket.close()


def test_each_message_arrives_as_one_datagram(manager: Manager) -> None:
    notifier = Notifier(manager.environment)
    notifier.ready("232 tags,\n3 loops")
    assert manager.next() == ["READY=1", "STATUS=232 tags, 3 loops"]
    notifier.reloading(monotonic_ns=7_000_999)
    assert manager.next() == ["RELOADING=1", "MONOTONIC_USEC=7000"]
    notifier.status("1 link down")
    assert manager.next() == ["STATUS=1 link down"]
    notifier.stopping("draining")
    assert manager.next() == ["STOPPING=1", "STATUS=draining"]
    notifier.close()


def test_a_long_start_asks_for_more_time_before_that_is_over_says_so_and_is_given_up_at_last(manager: Manager) -> None:
    said, waited, overdue = [], 0.0, 0.0

    async def sleep(seconds: float) -> None:
        nonlocal waited, overdue
        (asked,) = manager.next()
        granted_s = int(asked.removeprefix("EXTEND_TIMEOUT_USEC=")) / 1e6
        waited, overdue = waited + seconds, waited + granted_s

    def say(severity: Severity, kind: str, message: str) -> None:
        said.append((severity, kind, message))

    asyncio.run(hold_on(Notifier(manager.environment), Progress(detail="compiling"), say, sleep))
    assert said[:2] == [
        (Severity.INFO, "gateway.starting", "compiling: 30 s so far"),
        (Severity.INFO, "gateway.starting", "compiling: 60 s so far"),
    ]
    assert 1_800 == waited < overdue <= 1_860
    assert not manager.has_more()


def test_without_a_service_manager_nothing_happens() -> None:
    notifier = Notifier({})
    notifier.ready("fine")
    notifier.watchdog()
    assert not notifier.is_active
    assert [reading.value for reading in notifier.readings()] == [0]


def test_a_service_manager_that_is_gone_is_counted_and_harms_nobody(tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    notifier.ready("fine")
    notifier.status("fine")
    assert [reading.value for reading in notifier.readings()] == [2]
    notifier.close()


def test_a_service_manager_that_does_not_read_is_not_waited_for(manager: Manager) -> None:
    notifier = Notifier(manager.environment)
    for _ in range(2_000):
        notifier.watchdog()
    assert next(notifier.readings()).value > 0
    notifier.close()


def test_an_address_of_an_unknown_family_is_refused_by_name() -> None:
    with pytest.raises(NotifyEnvironmentInvalid, match="NOTIFY_SOCKET=vsock:2:1"):
        Notifier({"NOTIFY_SOCKET": "vsock:2:1"})


def test_the_timeout_is_read_in_microseconds() -> None:
    environment = {"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(PID)}
    timeout = WatchdogTimeout.from_environment(environment, pid=PID)
    assert timeout is not None
    assert timeout.ns == 10 * NS_PER_S


def test_a_watchdog_of_another_process_is_not_ours() -> None:
    environment = {"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(PID + 1)}
    assert WatchdogTimeout.from_environment(environment, pid=PID) is None
    assert WatchdogTimeout.from_environment({}, pid=PID) is None


@pytest.mark.parametrize("text", ["soon", "-5", "0", "1.5", "²"])
def test_a_timeout_that_is_no_number_is_refused_by_name(text: str) -> None:
    with pytest.raises(NotifyEnvironmentInvalid, match="WATCHDOG_USEC"):
        WatchdogTimeout.from_environment({"WATCHDOG_USEC": text}, pid=PID)


def make_watchdog(manager: Manager) -> Watchdog:
    return Watchdog(notifier=Notifier(manager.environment), timeout=WatchdogTimeout(ns=8 * NS_PER_S))


def test_the_watchdog_is_fed_four_times_in_the_timeout_while_all_hearts_beat(manager: Manager) -> None:
    watchdog = make_watchdog(manager)
    fed_s = [second for second in range(9) if watchdog.poll(second * NS_PER_S, {"engine": second, "executive": second})]
    assert fed_s == [0, 2, 4, 6, 8]
    assert manager.next() == ["WATCHDOG=1"]


@pytest.mark.parametrize("hung", ["engine", "executive"])
def test_one_heart_that_stands_still_starves_the_watchdog(manager: Manager, hung: str) -> None:
    watchdog = make_watchdog(manager)
    beats = {"engine": 1, "executive": 1}
    assert watchdog.poll(0, beats)
    manager.next()
    for second in range(2, 60):
        beats = {name: beat if name == hung else second for name, beat in beats.items()}
        assert not watchdog.poll(second * NS_PER_S, beats)
    assert watchdog.stuck == (hung,)
    assert not manager.has_more()


def test_a_heart_that_beats_again_feeds_the_watchdog_at_once(manager: Manager) -> None:
    watchdog = make_watchdog(manager)
    assert watchdog.poll(0, {"engine": 1})
    assert not watchdog.poll(5 * NS_PER_S, {"engine": 1})
    assert watchdog.poll(5 * NS_PER_S + 1, {"engine": 2})
    assert watchdog.stuck == ()


def test_a_reload_that_adds_or_removes_the_loops_does_not_starve_the_watchdog(manager: Manager) -> None:
    watchdog = make_watchdog(manager)
    assert watchdog.poll(0, {"engine": 1})
    assert watchdog.poll(2 * NS_PER_S, {"engine": 2, "executive": 0})
    assert watchdog.poll(4 * NS_PER_S, {"engine": 3})


def test_no_hearts_at_all_are_no_reason_to_feed(manager: Manager) -> None:
    assert not make_watchdog(manager).poll(0, {})


def test_without_a_watchdog_nothing_is_fed(manager: Manager) -> None:
    watchdog = Watchdog(notifier=Notifier(manager.environment), timeout=None)
    assert not watchdog.poll(0, {"engine": 1})
    assert not manager.has_more()


@pytest.fixture
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


EVENT = Event(1, Severity.NOTICE, "link.up", "plc", "connected")


@pytest.mark.usefixtures("root_logger")
def test_a_terminal_gets_the_time_and_the_level_in_words() -> None:
    stream = io.StringIO()
    set_up_logs(level="info", environment={}, stream=stream)
    log_event(EVENT)
    stamp, _, rest = stream.getvalue().partition(" ")
    assert rest == "notice link.up plc: connected\n"
    assert stamp.endswith("Z")


@pytest.mark.usefixtures("root_logger")
def test_the_level_that_is_set_holds() -> None:
    stream = io.StringIO()
    set_up_logs(level="warning", environment={}, stream=stream)
    log_event(EVENT)
    assert stream.getvalue() == ""


@pytest.mark.usefixtures("root_logger")
def test_the_journal_gets_the_severity_as_a_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with (tmp_path / "journal").open("w+") as stream:
        set_up_logs(level="info", environment=journal_environment(stream), stream=stream)
        for severity in Severity:
            log_event(Event(1, severity, "link.up", "plc", "connected"))
        stream.seek(0)
        prefixes = [line[:3] for line in stream]
    assert prefixes == ["<3>", "<4>", "<5>", "<6>"]


def journal_environment(stream: TextIO) -> dict[str, str]:
    status = os.fstat(stream.fileno())
    return {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}


def test_a_journal_variable_inherited_past_a_redirection_is_not_believed(tmp_path: Path) -> None:
    with (tmp_path / "a").open("w") as one, (tmp_path / "b").open("w") as other:
        assert is_journal(journal_environment(one), one)
        assert not is_journal(journal_environment(one), other)
        assert not is_journal({}, one)
    assert not is_journal({"JOURNAL_STREAM": "1:2"}, io.StringIO())


def test_every_line_of_a_traceback_carries_its_severity() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    lines = JournalPrefix().format(record).split("\n")
    assert len(lines) > 4
    assert all(line.startswith("<3>") for line in lines)
