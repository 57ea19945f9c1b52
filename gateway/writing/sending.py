"""One write to a device, and its read-back; what may come of it, by name."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Final

from gateway.protocol.modbus.errands import CrowdedError, ErrandError, NoAnswerError, Requester
from gateway.protocol.modbus.frames import DeviceRefusedError, ReplyError, exception_name
from gateway.protocol.modbus.pdu import read_data
from gateway.protocol.modbus.reactions import Reaction, rule_of
from gateway.writing.order import Order, confirmed, differs

BUSY_RETRIES: Final = 4
BUSY_RETRY_S: Final = 0.5


class Result(StrEnum):
    WRITTEN = "written"
    """The device confirmed it."""
    VERIFIED = "verified"
    """And holds the value."""
    DIFFERS = "differs"
    """The device confirmed it, and holds another value."""
    UNCERTAIN = "uncertain"
    """Sent, and not answered."""
    REFUSED = "refused"
    """Nothing was sent."""
    REJECTED = "rejected"
    """The device answered with an exception."""
    FAILED = "failed"
    """Nothing was sent, because of a fault."""


OK: Final = (Result.WRITTEN, Result.VERIFIED)


class Why(StrEnum):
    """What kind of no it is, for ways in that answer with a code."""

    NONE = ""
    FORBIDDEN = "forbidden"
    UNKNOWN = "unknown"
    VALUE = "value"
    BUSY = "busy"
    AWAY = "away"
    FAULT = "fault"


async def send(requester: Requester, order: Order, is_verified: bool) -> tuple[Result, Why, str]:
    """One write, and its read-back."""
    try:
        found = confirmed(order, await _patiently(requester, order.unit, order.request))
    except DeviceRefusedError as error:
        code = f"exception {error.code}, {exception_name(error.code)}"
        rule = rule_of(error.code)
        if rule.reaction is Reaction.UNREACHABLE:
            return Result.UNCERTAIN, Why.AWAY, f"a gateway on the way says: {code}"
        why = Why.BUSY if rule.reaction is Reaction.LATER else Why.FAULT
        return Result.REJECTED, why, f"the device refuses it with {code}: {rule.remedy}"
    except (NoAnswerError, ReplyError) as error:
        return Result.UNCERTAIN, Why.AWAY, f"{error}; it may have been carried out: read the tag before you try again"
    except ErrandError as error:
        return Result.FAILED, Why.BUSY if isinstance(error, CrowdedError) else Why.AWAY, str(error)
    if not is_verified:
        return Result.WRITTEN, Why.NONE, ""
    try:
        if not found:
            found = read_data(order.read, await _patiently(requester, order.unit, order.read))
    except (DeviceRefusedError, ErrandError, ReplyError) as error:
        return Result.DIFFERS, Why.FAULT, f"the device confirmed it, and cannot be read back: {error}"
    if differs(order, found):
        return Result.DIFFERS, Why.FAULT, f"the device confirmed it, and holds {found.hex(' ', 2)} (registers)"
    return Result.VERIFIED, Why.NONE, ""


async def _patiently(requester: Requester, unit: int, request: bytes) -> bytes:
    """A device that says that it is busy is asked again: the same value twice is the same value."""
    for _ in range(BUSY_RETRIES):
        try:
            return await requester.request(unit, request)
        except DeviceRefusedError as error:
            if rule_of(error.code).reaction is not Reaction.LATER:
                raise
        await asyncio.sleep(BUSY_RETRY_S)
    return await requester.request(unit, request)
