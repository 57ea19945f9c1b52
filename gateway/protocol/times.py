"""Times that payloads bring: wall time against the gateway's own clock."""

from __future__ import annotations

from typing import Final

from numba import njit

REFUSED: Final = -1
MS_MAX: Final = 9_000_000_000_000
"""Wall time in ms from which ns would leave int64."""
WALL_NS_MAX: Final = 9_000_000_000_000_000_000
TIME_AGE_NS_MAX: Final = 3_600_000_000_000
TIME_AHEAD_NS_MAX: Final = 1_000_000_000
"""A time in a payload is believed from an hour before to a second after the message's arrival."""


HISTORICAL_AGE_NS_MAX: Final = 366 * 24 * TIME_AGE_NS_MAX
"""The same of a value that is told to be of the past."""


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def believed_ns(wall_ns: int, arrival_ns: int, arrival_wall_ns: int, age_ns_max: int = TIME_AGE_NS_MAX) -> int:
    """Engine time of a payload's wall time, or REFUSED when it is too far from the arrival to be believed."""
    if wall_ns <= 0 or wall_ns > WALL_NS_MAX:
        return REFUSED
    behind = arrival_wall_ns - wall_ns
    if behind > age_ns_max or behind < -TIME_AHEAD_NS_MAX:
        return REFUSED
    source_ns = arrival_ns - behind
    return source_ns if source_ns >= 0 else REFUSED
