"""The operator's socket: who may do something to the running gateway, and what.

It is a Unix socket in the state directory with mode 0660: the file system decides who may connect (the service's user
and group, and root), and the kernel tells the user of each connection, which nobody can forge. There is no password to
keep. Every action is an event with the name of who asked for it; what is refused is one too.

An action is a name, the type of its arguments and a coroutine. It returns what to say, or raises `Refused`.
"""

from __future__ import annotations

import asyncio
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.core.events import Emit, Event, Severity
from gateway.core.ports import Clock
from gateway.core.readings import Reading
from gateway.serving.operator.messages import LINE_BYTES_MAX, Answered, Asked, short

CLIENTS_MAX: Final = 16
"""Connections at a time. One more is told so and closed."""
IDLE_S_MAX: Final = 60.0
ANSWER_S_MAX: Final = 30.0
SOCKET_MODE: Final = 0o660

METRICS: tuple[tuple[str, str, str], ...] = (
    ("fieldgate_operator_actions_total", "counter", "What operators did by the socket, by action and outcome."),
)


class Refused(Exception):
    """Nothing was done; the message says why, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Asker:
    """The user behind a connection, as the kernel says; or behind a session of the page."""

    name: str
    way: str = "local"
    """How they came in: `local`, or `page`."""


@dataclass(frozen=True, slots=True)
class Action:
    """`arguments` is the msgspec type that a request's `with` must have."""

    arguments: type[Any]
    do: Callable[[Asker, Any], Awaitable[str | Answered]]


class OperatorServer:
    def __init__(self, path: Path, actions: Mapping[str, Action], *, now_ns: Clock, emit: Emit) -> None:
        self._path = path
        self._actions = actions
        self._now_ns = now_ns
        self._emit = emit
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._counts = {(action, outcome): 0 for action in actions for outcome in ("done", "refused")}

    async def start(self) -> None:
        """Raises OSError when the socket cannot be made."""
        self._path.unlink(missing_ok=True)  # of a run that was killed: the state directory has one owner
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with short(self._path) as address:
                listening.bind(address)
            self._path.chmod(SOCKET_MODE)
            self._server = await asyncio.start_unix_server(self._accept, sock=listening, limit=LINE_BYTES_MAX)
        except OSError:
            listening.close()
            raise

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for client in tuple(self._clients):
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self._server = None
        self._path.unlink(missing_ok=True)

    def bodies(self) -> dict[str, type[Any]]:
        """The type of each action's arguments."""
        return {name: action.arguments for name, action in self._actions.items()}

    def readings(self) -> Iterator[Reading]:
        for (action, outcome), count in tuple(self._counts.items()):
            labels = (("action", action), ("outcome", outcome))
            yield Reading("fieldgate_operator_actions_total", count, labels)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            if len(self._clients) > CLIENTS_MAX:
                await _answer(writer, Answered(False, f"{CLIENTS_MAX} connections are open; try again later"))
                return
            await self._converse(reader, writer, asker_of(writer))
        except (ConnectionError, TimeoutError):
            return  # whoever asked is gone
        finally:
            self._clients.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asker: Asker) -> None:
        while True:
            try:
                line = await asyncio.wait_for(reader.readuntil(b"\n"), IDLE_S_MAX)
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                await _answer(writer, Answered(False, f"a request has at most {LINE_BYTES_MAX} bytes"))
                return
            await _answer(writer, await self._do(asker, line))

    async def _do(self, asker: Asker, line: bytes) -> Answered:
        try:
            asked = msgspec.json.decode(line, type=Asked)
        except msgspec.DecodeError as error:
            return Answered(False, f'that is no request ({error}); write {{"do": ACTION, "with": {{...}}}}')
        return await self.perform(asker, asked.do, asked.with_)

    async def perform(self, asker: Asker, do: str, arguments: bytes | msgspec.Raw) -> Answered:
        """Carry out what somebody asks for, by whichever way they came in. `arguments` is JSON."""
        action = self._actions.get(do)
        if action is None:
            self._count("other", "refused")
            return Answered(False, f"there is no action {do[:60]!r}; there are {', '.join(sorted(self._actions))}")
        try:
            read = msgspec.json.decode(arguments, type=action.arguments)
            done = await asyncio.wait_for(action.do(asker, read), ANSWER_S_MAX)
        except (msgspec.DecodeError, Refused) as error:
            return self._refuse(asker, do, str(error))
        except TimeoutError:
            return self._refuse(asker, do, f"no outcome within {ANSWER_S_MAX:g} s")
        self._count(do, "done")
        return done if isinstance(done, Answered) else Answered(True, done)

    def _refuse(self, asker: Asker, action: str, why: str) -> Answered:
        self._count(action, "refused")
        message = f"{action} by {asker.name} was refused: {why}"
        self._emit(Event(self._now_ns(), Severity.WARNING, "operator.refused", action, message))
        return Answered(False, why)

    def _count(self, action: str, outcome: str) -> None:
        self._counts[action, outcome] = self._counts.get((action, outcome), 0) + 1


async def _answer(writer: asyncio.StreamWriter, answer: Answered) -> None:
    writer.write(msgspec.json.encode(answer) + b"\n")
    await writer.drain()


def asker_of(writer: asyncio.StreamWriter) -> Asker:
    """Who is at the other end (SO_PEERCRED, unix(7))."""
    peer = writer.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"user {uid}"
    return Asker(name)
