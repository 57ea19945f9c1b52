"""Records in the form that an uplink asks for, made between the spool and the upstream.

Encoding runs in a thread, one record at a time, so that it holds up neither the loop nor the order: the next record is
encoded while this one is under way. A record that an encoding cannot hold is refused for good, with the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from gateway.core.ports import Answer, LinkDown, Refusal, Resized, Upstream, as_given
from gateway.core.record import Identity
from gateway.protocol.records.form import Form, Unwritable, prepare, written


class EncodedUpstream:
    """An upstream that gets its records in `form`; `gateway.core.ports.Upstream`."""

    def __init__(self, upstream: Upstream, form: Form, resized: Resized = as_given) -> None:
        self._resized = resized
        self._upstream = upstream
        self._form = form
        self._turn = asyncio.Lock()

    async def send(self, identity: Identity, payload: bytes) -> Answer:
        # A lock lets in whoever came first, and behind it nothing is awaited before the upstream has the record.
        async with self._turn:
            try:
                encoded = await asyncio.to_thread(written, payload, self._form)
            except Unwritable as error:
                return Refusal(str(error))
            self._resized(identity, len(encoded) - len(payload))
        return await self._upstream.send(identity, encoded)


@asynccontextmanager
async def encoded(
    session: AbstractAsyncContextManager[Upstream], form: Form, resized: Resized = as_given
) -> AsyncIterator[Upstream]:
    """`session`, given records in `form`, or LinkDown."""
    try:
        await asyncio.to_thread(prepare, form)
    except ImportError as error:
        raise LinkDown(
            f"records cannot be written as {form.encoding.value}: {error}", "pip install 'fieldgate[arrow]'"
        ) from error
    async with session as upstream:
        yield EncodedUpstream(upstream, form, resized)
