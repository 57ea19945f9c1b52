"""A Modbus TCP device at compiled speed, to measure control against: it must never be what limits a figure.

Function 4 reads inputs, float32 in two registers each: another value around 50 at every read, so that a controller has
something to write in every cycle. Functions 3 and 6 read and write holding registers. Anything else, and a request
that is not in one piece, ends the connection; so does a peer that does not take its replies.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numba import njit

from gateway.control import frames
from gateway.core.types import Int64s
from gateway.native import libc
from gateway.native.jit import inner

HOLDING: Final = 256
REQUEST_BYTES: Final = 12
BUFFER_BYTES: Final = 2048
REPLY_BYTES: Final = 264
POLL_NS: Final = 50_000_000
SPREAD: Final = 4.0
_MIDDLE: Final = 50.0


@njit(cache=True, nogil=True, error_model="numpy")
def serve(descriptors: Any, buffers: Any, reply: Any, holding: Int64s, scratch: Int64s) -> None:
    """Answer on all connections until every one of them is closed. `scratch`: two words of time, one of noise."""
    open_count = len(descriptors)
    while open_count > 0:
        if libc.poll_for(descriptors, len(descriptors), scratch, POLL_NS) <= 0:
            continue
        for i in range(len(descriptors)):
            if (
                descriptors[i, 0] >= 0
                and descriptors[i, 1] >> 16
                and not answer_all(descriptors[i, 0], buffers[i], reply, holding, scratch)
            ):
                libc.libc_close(descriptors[i, 0])
                descriptors[i, 0] = -1
                open_count -= 1


@inner
def answer_all(descriptor: Any, buffer: Any, reply: Any, holding: Int64s, scratch: Int64s) -> bool:
    """Every request of one receipt; False when the connection is over."""
    got = libc.libc_recv(descriptor, buffer.ctypes, BUFFER_BYTES, libc.MSG_DONTWAIT)
    if got <= 0 or got % REQUEST_BYTES != 0:
        return False
    for start in range(0, got, REQUEST_BYTES):
        request = buffer[start : start + REQUEST_BYTES]
        size = answer(request, reply, holding, scratch)
        if size == 0 or libc.libc_send(descriptor, reply.ctypes, size, libc.MSG_NOSIGNAL) != size:
            return False
    return True


@inner
def answer(request: Any, reply: Any, holding: Int64s, scratch: Int64s) -> Any:
    """Fill `reply`; its length, or 0 for a request this device does not know."""
    function = request[7]
    address = frames.word(request, frames.ADDRESS_AT)
    count = frames.word(request, frames.COUNT_AT)
    for i in range(REQUEST_BYTES):
        reply[i] = request[i]
    if function == frames.WRITE_SINGLE and address < HOLDING:
        holding[address] = count
        return REQUEST_BYTES
    if function not in (3, 4) or count == 0 or count > 125 or (function == 3 and address + count > HOLDING):
        return 0
    reply[4] = 0
    reply[5] = 3 + 2 * count
    reply[8] = 2 * count
    bits = np.int64(0)
    for i in range(count):
        if function == 3:
            word = holding[address + i]
        elif (address + i) % 2 == 0:
            scratch[2] = (scratch[2] * 1_103_515_245 + 12_345) & 0x7FFFFFFF
            value = np.float32(_MIDDLE + SPREAD * ((scratch[2] >> 8) / 8_388_608.0 - 0.5))
            bits = np.int64(value.view(np.uint32))
            word = bits >> 16
        else:
            word = bits & 0xFFFF
        reply[9 + 2 * i] = word >> 8
        reply[10 + 2 * i] = word & 0xFF
    return 9 + 2 * count


def serve_connections(connections: Sequence[socket.socket]) -> None:
    """Until the peers have closed them all. The sockets are the device's from here on."""
    descriptors = np.zeros((len(connections), 2), np.int32)
    for row, connection in zip(descriptors, connections, strict=True):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        row[0] = connection.detach()
        row[1] = libc.POLLIN
    serve(
        descriptors,
        np.zeros((len(descriptors), BUFFER_BYTES), np.uint8),
        np.zeros(REPLY_BYTES, np.uint8),
        np.zeros(HOLDING, np.int64),
        np.array([0, 0, 1], np.int64),
    )
