"""What others ask of the spool thread: questions with an answer, and what goes along with its transactions."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Companion(Protocol):
    """What is stored in one transaction with the drafts that were put before it. The spool thread calls these."""

    def prepare(self) -> None: ...

    def write(self, connection: sqlite3.Connection) -> None:
        """Inside the transaction; again, after another `prepare`, when that did not happen."""
        ...

    def stored(self, connection: sqlite3.Connection) -> None: ...

    def given_up(self) -> None:
        """The thread has ended without storing it."""
        ...


class SpoolStopped(Exception):
    """The spool thread has ended; nothing more is stored or read."""


@dataclass(frozen=True, slots=True)
class Request:
    serve: Callable[[], None]
    refuse: Callable[[], None]


def nothing() -> None:
    return


def call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any) -> None:
    # A loop that was closed meanwhile has nobody left who waits.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *args)


def answer(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
