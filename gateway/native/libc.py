"""The calls of libc that the executive and the poll thread make, without the GIL and without Python.

Jitted code calls them as external functions, which Numba can cache. With the JIT off the same names are ctypes
functions with the same arguments, so that the executive can be debugged as plain Python. `errno` is never read: what
a call returned, together with what `ppoll` said before it, decides everything (a control socket that takes or gives
nothing when it should is broken, whatever the reason).
"""

from __future__ import annotations

import ctypes
import platform
from typing import Any, Final

import numpy as np
from numba import config, njit, types
from numba.core.types import ExternalFunction

from gateway.core.types import NS_PER_S, Int64s

CLOCK_MONOTONIC: Final = 1
TIMER_ABSTIME: Final = 1
MSG_DONTWAIT: Final = 0x40
MSG_NOSIGNAL: Final = 0x4000
POLLIN: Final = 0x001
POLLRDHUP: Final = 0x2000
PR_SET_TIMERSLACK: Final = 29
MCL_CURRENT: Final = 1
MCL_ONFAULT: Final = 4

EPOLL_CTL_ADD: Final = 1
EPOLL_IN: Final = 0x001
EPOLL_EVENT: Final = np.dtype(
    {
        "names": ["events", "data"],
        "formats": ["<u4", "<i4"],
        # The kernel packs this structure on x86-64 alone.
        "offsets": [0, 4 if platform.machine() == "x86_64" else 8],
        "itemsize": 12 if platform.machine() == "x86_64" else 16,
    }
)
"""`struct epoll_event`; `data` is the lower half of what the caller registered."""

# A pointer that is always null is written as an integer: jitted code has no null.
_SIGNATURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "clock_gettime": ("int32", ("int32", "voidptr")),
    "clock_nanosleep": ("int32", ("int32", "int32", "voidptr", "uint64")),
    "ppoll": ("int32", ("voidptr", "uint64", "voidptr", "uint64")),
    "send": ("int64", ("int32", "voidptr", "uint64", "int32")),
    "recv": ("int64", ("int32", "voidptr", "uint64", "int32")),
    "read": ("int64", ("int32", "voidptr", "uint64")),
    "write": ("int64", ("int32", "voidptr", "uint64")),
    "close": ("int32", ("int32",)),
    "epoll_ctl": ("int32", ("int32", "int32", "int32", "voidptr")),
    "epoll_wait": ("int32", ("int32", "voidptr", "int32", "int32")),
}

_CTYPES: dict[str, Any] = {
    "int32": ctypes.c_int32,
    "int64": ctypes.c_int64,
    "uint64": ctypes.c_uint64,
    "voidptr": ctypes.c_void_p,
}


def _external(name: str) -> Any:
    result, arguments = _SIGNATURES[name]
    if config.DISABLE_JIT:
        function = getattr(ctypes.CDLL(None), name)
        function.restype = _CTYPES[result]
        function.argtypes = [_CTYPES[argument] for argument in arguments]
        return function
    return ExternalFunction(name, getattr(types, result)(*[getattr(types, argument) for argument in arguments]))


_clock_gettime = _external("clock_gettime")
_clock_nanosleep = _external("clock_nanosleep")
_ppoll = _external("ppoll")
libc_send = _external("send")
libc_recv = _external("recv")
libc_read = _external("read")
libc_write = _external("write")
libc_close = _external("close")
libc_epoll_ctl = _external("epoll_ctl")
libc_epoll_wait = _external("epoll_wait")


@njit(cache=True, nogil=True, error_model="numpy")
def monotonic_ns(timespec: Int64s) -> Any:
    """CLOCK_MONOTONIC; `timespec` is scratch memory of two words."""
    _clock_gettime(CLOCK_MONOTONIC, timespec.ctypes)
    return timespec[0] * NS_PER_S + timespec[1]


@njit(cache=True, nogil=True, error_model="numpy")
def sleep_until(timespec: Int64s, deadline_ns: int) -> None:
    """Return when CLOCK_MONOTONIC has reached the deadline."""
    timespec[0] = deadline_ns // NS_PER_S
    timespec[1] = deadline_ns % NS_PER_S
    _clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, timespec.ctypes, 0)


@njit(cache=True, nogil=True, error_model="numpy")
def poll_for(descriptors: Any, count: int, timespec: Int64s, timeout_ns: int) -> Any:
    """How many descriptors have something to tell, after at most `timeout_ns`."""
    timeout_ns = max(timeout_ns, 0)
    timespec[0] = timeout_ns // NS_PER_S
    timespec[1] = timeout_ns % NS_PER_S
    return _ppoll(descriptors.ctypes, count, timespec.ctypes, 0)
