"""What a link says to somebody who sends a single request by it (an errand): its answer, or why there is none."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class ErrandError(Exception):
    """The request was not answered. The text says why, and what to do."""


class NotConnectedError(ErrandError):
    """There is no connection: nothing was sent."""


class CrowdedError(ErrandError):
    """Too many errands wait for this link already: nothing was sent."""


class NoAnswerError(ErrandError):
    """It was sent, and nothing came back: a write may or may not have been carried out."""


@runtime_checkable
class Requester(Protocol):
    """A link that runs errands."""

    async def request(self, unit: int, pdu: bytes) -> bytes:
        """The reply's PDU. Raises ErrandError, DeviceRefusedError (an exception reply) and ReplyError."""
        ...
