"""Exponential back-off with a cap and a jitter that is a function of its arguments.

Devices that went down together must not all be tried again together, and a replay must try at the same instants: so
the jitter is a hash of (seed, attempt), not a random number. It only shortens a delay, so the cap is a cap.
"""

from __future__ import annotations

from dataclasses import dataclass

_MASK = (1 << 64) - 1
_DOUBLINGS_MAX = 62


def mix(value: int) -> int:
    """splitmix64's finaliser: every bit of the input moves every bit of the output."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


@dataclass(frozen=True, slots=True)
class Backoff:
    """`base_ns` before the second attempt, doubled with each further one up to `cap_ns`, up to a quarter shorter."""

    base_ns: int
    cap_ns: int

    def delay_ns(self, failures: int, seed: int = 0) -> int:
        """How long to wait after `failures` (1 or more) failures in a row. `seed` tells apart those who wait."""
        assert failures >= 1
        whole_ns = min(self.cap_ns, self.base_ns << min(failures - 1, _DOUBLINGS_MAX))
        jitter = mix(seed * 0x10001 + failures) % 1024
        return whole_ns - whole_ns * jitter // 4096
