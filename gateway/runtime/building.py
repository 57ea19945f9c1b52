"""How the daemon builds a plant: at the start in two parts, at a reload whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.core.letters import Keep
from gateway.core.symbols import Symbols
from gateway.runtime.clock import EngineClock
from gateway.runtime.cycle import HandOn
from gateway.runtime.eventbook import EventBook
from gateway.runtime.heart import Heart
from gateway.runtime.plant import Plant
from gateway.settings.schema import Settings
from gateway.spool.thread import Died
from gateway.writing.audit import Trail


class Builder:
    """What all plants of one run have in common. `hand_on` takes the engine's cycles, `keep` payloads that cannot be
    used."""

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
    ) -> None:
        self._clock = clock
        self._book = book
        self._symbols = symbols
        self._trail = trail
        self._hand_on = hand_on
        self._died = died
        self._keep = keep

    def heart(self, settings: Settings) -> Heart:
        """The first part, its kernels compiled."""
        heart = Heart(settings, now_ns=self._clock, emit=self._book.emit)
        heart.warm()
        return heart

    def around(self, heart: Heart, before: Plant | None = None) -> Plant:
        """The second; at a reload in place of the plant before."""
        plant = Plant(
            heart, clock=self._clock, book=self._book, symbols=self._symbols, trail=self._trail, hand_on=self._hand_on,
            died=self._died, keep=self._keep,
            executive=before.executive if before is not None else None,
            held=before.writer.arbiter.held if before is not None else None,
        )  # fmt: skip
        plant.warm()
        return plant

    async def around_beside(self, heart: Heart, going_on: Callable[[], None]) -> Plant:
        """The second part, while what goes on from the disk is done: both to their end, whatever fails."""
        building = asyncio.to_thread(self.around, heart)
        done, plant = await asyncio.gather(asyncio.to_thread(going_on), building, return_exceptions=True)
        for one in (done, plant):
            if isinstance(one, BaseException):
                raise one
        assert isinstance(plant, Plant)
        return plant

    def whole(self, settings: Settings, before: Plant) -> Plant:
        return self.around(self.heart(settings), before)
