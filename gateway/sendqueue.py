"""What was handed over to a connection: how much is still on this side of it, how much has left."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from typing import Final

TCP_INFO_BYTES: Final = 120
"""In Linux's struct tcp_info: tcpi_bytes_acked, and tcpi_bytes_received behind it."""
TCP_BYTES: Final = struct.Struct("=QQ")


def unacknowledged(descriptor: int) -> int:
    """Bytes in a TCP socket that the other side's TCP has not acknowledged (SIOCOUTQ, tcp(7)).

    0 where the system does not say: then what was handed over counts as gone.
    """
    try:
        found = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):
        return 0
    return int(struct.unpack("i", found)[0])


def traffic(connection: socket.socket) -> tuple[int, int]:
    """Bytes that the other side's TCP has acknowledged since it began, and bytes that came (TCP_INFO, tcp(7)); 0 where
    the system does not say."""
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES + TCP_BYTES.size)
        acknowledged, came = TCP_BYTES.unpack_from(told, TCP_INFO_BYTES)
    except (OSError, struct.error):
        return 0, 0
    return acknowledged, came
