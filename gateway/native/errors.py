"""What the system says of an error, in words alone.

Python's text of it has a number before (`[Errno 111] Connection refused`), asyncio's the address behind (`Connect call
failed ('10.0.0.5', 502)`), which our message has already. TLS and the resolver have words of their own.
"""

from __future__ import annotations

import os
import socket
import ssl


def words(error: BaseException) -> str:
    """Empty where the error says nothing, as a time-out does."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError | socket.gaierror):
        if error.errno:
            return os.strerror(error.errno)
    elif isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    return str(error)
