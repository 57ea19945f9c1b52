"""The two ends of a connection that the poll thread has: how it is given away, and why it was closed, in words."""

from __future__ import annotations

import asyncio
import os
from typing import Any, cast

from gateway.protocol.modbus.frames import (
    LENGTH_MAX,
    LENGTH_MIN,
    DeviceRefusedError,
    ProtocolError,
    Reply,
    ReplyError,
    ResponseFramer,
    check_read,
)
from gateway.protocol.modbus.plan import Block
from gateway.sources.modbus import fast_memory as at


class Handover(asyncio.BufferedProtocol):
    """Takes a connection that was just made, and gives its descriptor away."""

    def __init__(self) -> None:
        self.descriptor = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made = cast(asyncio.Transport, transport)
        made.pause_reading()
        self.descriptor = os.dup(made.get_extra_info("socket").fileno())
        made.abort()


def why_closed(reason: int, detail: int, silence_s: float) -> str:
    """In the words that go on after the name of the place."""
    if reason == at.ASKED_TO:
        return f"has not answered for {silence_s:.0f} s: check the path to the device, and whether it still knows us"
    if reason in (at.BAD_PROTOCOL, at.BAD_LENGTH):
        error = (
            f"protocol id {detail} in place of 0: the peer does not speak Modbus TCP"
            if reason == at.BAD_PROTOCOL
            else f"frame length {detail}: Modbus TCP allows {LENGTH_MIN} to {LENGTH_MAX}"
        )
        return f"sends what is not Modbus TCP ({error}): check host, port and the device's protocol"
    what = "closed the connection" if reason == at.PEER_CLOSED else "connection lost"
    return f"{what}: check the device, and how many connections it allows"


def why_garbled(block: Block, report: Any) -> Exception:
    """The error of a reply that did not fit its request, as the check of frames words it."""
    frame = bytearray(report["data"][: int(report["size"])].tobytes())
    framer = ResponseFramer()
    framer.free()[: len(frame)] = frame
    framer.received(len(frame))
    try:
        reply = framer.next_reply()
        check_read(block.request, cast(Reply, reply), framer.buffer)
    except (ReplyError, DeviceRefusedError, ProtocolError) as error:
        return error
    raise AssertionError("the thread refuses only what the check refuses")
