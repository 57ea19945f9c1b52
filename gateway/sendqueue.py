"""What was handed over to a connection and is still on this side of it."""

from __future__ import annotations

import fcntl
import struct
import termios


def unacknowledged(descriptor: int) -> int:
    """Bytes in a TCP socket that the other side's TCP has not acknowledged (SIOCOUTQ, tcp(7)).

    0 where the system does not say: then what was handed over counts as gone.
    """
    try:
        found = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):
        return 0
    return int(struct.unpack("i", found)[0])
