"""How the daemon builds a plant: at the start in two parts, at a reload whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from gateway.core.letters import Keep
from gateway.core.symbols import Symbols
from gateway.runtime.clock import EngineClock
from gateway.runtime.cycle import HandOn
from gateway.runtime.eventbook import EventBook
from gateway.runtime.groundwork import Groundwork, lay
from gateway.runtime.heart import Heart
from gateway.runtime.plant import Plant
from gateway.settings.schema import Settings
from gateway.spool.thread import Died
from gateway.writing.audit import Trail

A = TypeVar("A")
B = TypeVar("B")


class Builder:
    """What all plants of one run have in common. `hand_on` takes the engine's cycles, `keep` payloads that cannot be
    used; `groundwork` is for the first of them."""

    def __init__(
        self,
        *,
        clock: EngineClock,
        book: EventBook,
        symbols: Symbols,
        trail: Trail,
        hand_on: HandOn,
        died: Died,
        keep: Keep,
        groundwork: Groundwork,
    ) -> None:
        self._clock = clock
        self._book = book
        self._symbols = symbols
        self._trail = trail
        self._hand_on = hand_on
        self._died = died
        self._keep = keep
        self._groundwork = groundwork

    async def heart(self, settings: Settings) -> Heart:
        """The first part, with the groundwork that was begun for these settings, and all kernels that do not depend on
        the plant."""
        (spec, engine), _ = await _both(self._groundwork.take, self._groundwork.finish_kernels)
        heart = Heart(settings, spec, engine, now_ns=self._clock, emit=self._book.emit)
        await asyncio.to_thread(heart.warm)
        return heart

    def around(self, heart: Heart, before: Plant | None = None) -> Plant:
        """The second; at a reload in place of the plant before."""
        plant = Plant(
            heart, clock=self._clock, book=self._book, symbols=self._symbols, trail=self._trail, hand_on=self._hand_on,
            died=self._died, keep=self._keep,
            before=before,
        )  # fmt: skip
        plant.warm()
        return plant

    async def around_beside(self, heart: Heart, going_on: Callable[[], None]) -> Plant:
        """The second part, while what goes on from the disk is done."""
        plant, _ = await _both(partial(self.around, heart), going_on)
        return plant

    def whole(self, settings: Settings, before: Plant) -> Plant:
        """Kernels that do not depend on the plant are ready since the start."""
        heart = Heart(settings, *lay(settings), now_ns=self._clock, emit=self._book.emit)
        heart.warm()
        return self.around(heart, before)


async def _both(first: Callable[[], A], second: Callable[[], B]) -> tuple[A, B]:
    """Each in a thread, both to their end whatever fails; then the failure of the second comes first."""
    one, other = await asyncio.gather(asyncio.to_thread(first), asyncio.to_thread(second), return_exceptions=True)
    if isinstance(other, BaseException):
        raise other
    if isinstance(one, BaseException):
        raise one
    return one, other
