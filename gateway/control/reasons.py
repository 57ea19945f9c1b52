"""Why an input, a cycle, a write or a link failed: one numbered list, so that a word of memory can carry it."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from gateway.control import layout as at
from gateway.core.types import Int64s


class Reason(IntEnum):
    NONE = 0
    NO_REPLY = 1
    EXCEPTION = 2
    BAD_FRAME = 3
    NOT_A_NUMBER = 4
    OUT_OF_RANGE = 5
    NOT_CONNECTED = 6
    TOO_OLD = 7
    OVER_BUDGET = 8
    OVER_PERIOD = 9
    PEER_CLOSED = 10
    SEND_REFUSED = 11
    STOPPED = 12
    BAD_SIGNAL = 13
    OVERRULED = 14
    COMMANDER_LOST = 15
    NOT_CONFIRMED = 16
    NOT_KNOWN = 17


TEXTS: dict[int, str] = {
    Reason.NONE: "none",
    Reason.NO_REPLY: "no reply within the link's response timeout",
    Reason.EXCEPTION: "the device answered with a Modbus exception",
    Reason.BAD_FRAME: "the reply did not match its request",
    Reason.NOT_A_NUMBER: "the input is not a finite number",
    Reason.OUT_OF_RANGE: "the input is outside its valid range",
    Reason.NOT_CONNECTED: "the link is down",
    Reason.TOO_OLD: "the input is older than permitted",
    Reason.OVER_BUDGET: "input to output took over 10 ms",
    Reason.OVER_PERIOD: "the cycle was not done when the next was due",
    Reason.PEER_CLOSED: "the device closed the connection",
    Reason.SEND_REFUSED: "the connection took no more data",
    Reason.STOPPED: "the gateway stopped",
    Reason.BAD_SIGNAL: "the tag, block or loop that it lives on is bad",
    Reason.COMMANDER_LOST: "nobody commanded it for as long as its dead man permits",
    Reason.NOT_CONFIRMED: "it was not confirmed within the loop's `output_within`",
    Reason.NOT_KNOWN: "the tag that tells it has no value yet",
    Reason.OVERRULED: "the device holds another output than was written",
}


class Reasons(NamedTuple):
    """What a loop's counters say in words; empty where nothing has happened yet."""

    misses_in_row: int
    last_miss: str
    last_failsafe: str
    output: str
    """Why the device does not take the output now."""

    @staticmethod
    def of(row: Int64s) -> Reasons:
        def text(field: int) -> str:
            reason = int(row[field - at.COUNTERS_FROM])
            return "" if reason == Reason.NONE else TEXTS[reason]

        return Reasons(
            misses_in_row=int(row[at.MISSES_IN_ROW - at.COUNTERS_FROM]),
            last_miss=text(at.MISS_REASON),
            last_failsafe=text(at.FAILSAFE_REASON),
            output=text(at.WRITE_REASON),
        )
