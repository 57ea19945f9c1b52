"""`fieldgate scan`, the work: which units answer at an address, who they say they are, which registers they have.

Gentle on purpose, because what is there may be a plant at work: one connection to an address, one request at a time, a
pause after each, nothing but reads. A unit is there when anything answers for it, be it an exception, other than one by
which a gateway says that it does not reach it. One that says nothing for `SILENT_MAX` requests in a row is left alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.core.events import Event
from gateway.core.inbox import Lane
from gateway.core.symbols import Symbols
from gateway.protocol.modbus import pdu
from gateway.protocol.modbus.codes import READ_BITS_MAX, READ_REGISTERS_MAX, ModbusException
from gateway.protocol.modbus.discover import Readable, Search, find_readable
from gateway.protocol.modbus.errands import ErrandError, NotConnectedError
from gateway.protocol.modbus.frames import DeviceRefusedError, ReplyError
from gateway.settings.planning import READ_FUNCTIONS
from gateway.settings.schema import ModbusLink, Table
from gateway.sources.modbus.source import ModbusSource

SILENT_MAX: Final = 3
LOOK_EVERY_S: Final = 0.02
RECONNECT_S_MAX: Final = 5.0
OBJECTS: Final = {0: "vendor", 1: "product", 2: "revision", 3: "url", 4: "name", 5: "model", 6: "application"}
"""Device identification, category basic and regular (Application Protocol V1.1b3, 6.21)."""
IDENTIFICATION_PARTS_MAX: Final = 16
ABSENT: Final = (
    ModbusException.GATEWAY_PATH_UNAVAILABLE,
    ModbusException.GATEWAY_TARGET_FAILED_TO_RESPOND,
)


class Watcher(Protocol):
    """Who is told how far the scan is."""

    def doing(self, what: str) -> None: ...

    def done(self, steps: int) -> None: ...

    def more(self, steps: int) -> None:
        """There is more to do than was known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    units: Sequence[int]
    tables: Sequence[Table]
    """Of which the readable addresses are searched."""
    first: int
    last: int
    pause_s: float
    requests_max: int
    """In search of the addresses of one table."""


@dataclass(slots=True)
class FoundUnit:
    unit: int
    identification: dict[str, str] = field(default_factory=dict)
    tables: dict[Table, Readable] = field(default_factory=dict)
    went_silent: bool = False


@dataclass(slots=True)
class FoundLink:
    """`problem` says why there is no connection; then `units` is empty."""

    link: ModbusLink
    problem: str = ""
    units: list[FoundUnit] = field(default_factory=list)


class _SilentError(Exception):
    """The unit has stopped answering."""


class _Asker:
    """Asks one unit, one request after the other."""

    def __init__(self, source: ModbusSource, unit: int, pause_s: float) -> None:
        self._source = source
        self._unit = unit
        self._pause_s = pause_s
        self._silent = 0

    async def ask(self, request: bytes) -> bytes | None:
        """The reply, None without one. Raises DeviceRefusedError, ReplyError, and _SilentError after some without."""
        try:
            reply = await self._request(request)
        except NotConnectedError:
            raise
        except ErrandError:
            self._silent += 1
            if self._silent >= SILENT_MAX:
                raise _SilentError from None
            return None
        finally:
            await asyncio.sleep(self._pause_s)
        self._silent = 0
        return reply

    async def _request(self, request: bytes) -> bytes:
        """As the source does it; a connection that was lost on the way is waited for."""
        try:
            return await self._source.request(self._unit, request)
        except NotConnectedError:
            for _ in range(round(RECONNECT_S_MAX / LOOK_EVERY_S)):
                if self._source.is_connected:
                    return await self._source.request(self._unit, request)
                await asyncio.sleep(LOOK_EVERY_S)
            raise

    async def reads(self, table: Table, address: int, count: int) -> bool:
        request = pdu.read(READ_FUNCTIONS[table], address, count)
        for _ in range(SILENT_MAX):
            try:
                reply = await self.ask(request)
                if reply is not None:
                    pdu.read_data(request, reply)
                    return True
            except DeviceRefusedError:
                self._silent = 0
                return False
            except ReplyError:
                return False
        raise _SilentError


async def scan_link(link: ModbusLink, options: Options, watcher: Watcher) -> FoundLink:
    """Everything at one address. Never raises for what the other end does."""
    found = FoundLink(link)
    try:
        async with _connected(link) as source:
            for unit in options.units:
                watcher.doing(f"{link.place}, unit {unit}")
                if await _is_there(source, unit, options):
                    found.units.append(FoundUnit(unit))
                watcher.done(1)
            for seen in found.units:
                await _look_at(source, seen, options, watcher)
    except NotConnectedError as error:
        if not found.units:
            watcher.done(len(options.units))
            found.problem = str(error)
    return found


@asynccontextmanager
async def _connected(link: ModbusLink) -> AsyncIterator[ModbusSource]:
    """A source that polls nothing. Raises NotConnectedError, with the reason, when no connection is made."""
    told: list[Event] = []
    source = ModbusSource(
        link=link, tags=(), lane=Lane("scan", 1), symbols=Symbols(1, 1), now_ns=time.monotonic_ns, emit=told.append
    )
    running = asyncio.create_task(source.run())
    try:
        while not source.is_connected:
            if running.done():
                running.result()
            down = [event for event in told if event.kind == "link.down"]
            if down:
                raise NotConnectedError(down[0].message)
            await asyncio.sleep(LOOK_EVERY_S)
        yield source
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def _is_there(source: ModbusSource, unit: int, options: Options) -> bool:
    asker = _Asker(source, unit, options.pause_s)
    try:
        return await asker.ask(pdu.read(READ_FUNCTIONS[Table.HOLDING], options.first, 1)) is not None
    except DeviceRefusedError as error:
        return error.code not in ABSENT
    except ReplyError:
        return True


async def _look_at(source: ModbusSource, seen: FoundUnit, options: Options, watcher: Watcher) -> None:
    asker = _Asker(source, seen.unit, options.pause_s)
    place = f"{source.name}, unit {seen.unit}"
    try:
        watcher.doing(f"{place}: who it is")
        seen.identification = await _identify(asker)
        for table in options.tables:
            size_max = READ_REGISTERS_MAX if table in (Table.HOLDING, Table.INPUT) else READ_BITS_MAX
            search = find_readable(options.first, options.last, size_max=size_max, requests_max=options.requests_max)
            seen.tables[table] = await _search(asker, table, search, place, watcher)
    except _SilentError:
        seen.went_silent = True


async def _search(asker: _Asker, table: Table, search: Search, place: str, watcher: Watcher) -> Readable:
    address, count = next(search)
    while True:
        watcher.doing(f"{place}: {table} {address}")
        watcher.more(1)
        is_read = await asker.reads(table, address, count)
        watcher.done(1)
        try:
            address, count = search.send(is_read)
        except StopIteration as ended:
            result: Readable = ended.value
            return result


async def _identify(asker: _Asker) -> dict[str, str]:
    """What the unit says of itself; nothing where it does not know function 43."""
    objects: dict[int, bytes] = {}
    for category in (1, 2):
        first: int | None = 0
        for _ in range(IDENTIFICATION_PARTS_MAX):
            request = pdu.read_identification(first or 0, category)
            try:
                reply = await asker.ask(request)
                if reply is None:
                    return _named(objects)
                part = pdu.identification(request, reply)
            except (DeviceRefusedError, ReplyError):
                return _named(objects)
            objects |= part.objects
            first = part.next_object
            if first is None:
                break
    return _named(objects)


def _named(objects: dict[int, bytes]) -> dict[str, str]:
    texts = {name: objects[at].decode("utf-8", "replace").strip("\0 ") for at, name in OBJECTS.items() if at in objects}
    return {
        name: "".join(character for character in text if character.isprintable())
        for name, text in texts.items()
        if text
    }


async def scan(links: Sequence[ModbusLink], options: Options, watcher: Watcher, *, at_once: int) -> list[FoundLink]:
    """All addresses, at most `at_once` of them at a time, each by one connection."""
    gate = asyncio.Semaphore(at_once)

    async def one(link: ModbusLink) -> FoundLink:
        async with gate:
            return await scan_link(link, options, watcher)

    return list(await asyncio.gather(*(one(link) for link in links)))
