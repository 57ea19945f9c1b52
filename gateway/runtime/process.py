"""The daemon's process: what must be there before the daemon can be, then the daemon, until it ends."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from pathlib import Path

import uvloop

from gateway.core.events import Event
from gateway.core.symbols import Symbols
from gateway.runtime.clock import resume_clock
from gateway.runtime.daemon import EXIT_FAILED, START_FAILURES, Daemon
from gateway.runtime.eventbook import EventBook
from gateway.runtime.groundwork import Groundwork
from gateway.runtime.logs import log_event, set_up_logs
from gateway.runtime.statedir import StateInUse, hold_state_dir
from gateway.runtime.status import LinkStates
from gateway.runtime.uplink import LEASE_KEY, Way, open_first
from gateway.settings.schema import Settings

_log = logging.getLogger("fieldgate")


async def _run(settings: Settings, environment: Mapping[str, str], groundwork: Groundwork) -> int:
    link_states = LinkStates()

    def log(event: Event) -> None:
        link_states.note(event)
        log_event(event)

    book = EventBook(log)
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        held = hold_state_dir(settings.state_dir)
        store = open_first(settings.state_dir, settings.uplinks)
        clock = resume_clock(int(store.read_meta(LEASE_KEY, "0")))
    except (*START_FAILURES, StateInUse) as error:
        _log.error("cannot start: %s", _said(error, settings.state_dir))
        return EXIT_FAILED
    symbols = Symbols()
    way = Way(store, gateway_id=settings.gateway_id, clock=clock, book=book, text_of=symbols.text_of)
    daemon = Daemon(
        settings,
        environment,
        loop=asyncio.get_running_loop(),
        clock=clock,
        book=book,
        link_states=link_states,
        symbols=symbols,
        way=way,
        groundwork=groundwork,
    )
    try:
        return await daemon.run()
    finally:
        held.close()


def run_daemon(settings: Settings, environment: Mapping[str, str], groundwork: Groundwork) -> int:
    """Run until stopped; the exit code."""
    set_up_logs(level=settings.log_level, environment=environment, stream=sys.stderr)
    code: int = uvloop.run(_run(settings, environment, groundwork))
    return code


def _said(error: Exception, state_dir: Path) -> str:
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    why = f"{error.filename or state_dir}: {error.strerror.lower()}"
    return f"{why}; `state_dir` in [gateway] is {state_dir}, and must be ours to write"
