"""`/api/history`: what a tag was, in at most so many points.

The history lies on the disk, and a point costs as much as all tags of its step. So it is read in one thread beside the
listener's, one question at a time, for no longer than `READ_S_MAX`; who asks while too many wait is told to come back.
Where it lies and how it is read is the reader's business, which is handed in.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from gateway.core.limits import HISTORY_POINTS_MAX
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.serving.http.query import QueryInvalid
from gateway.serving.http.query import whole as whole_number
from gateway.settings.units import WrongValueError, duration, show_duration

HISTORY_PATH: Final = "/api/history"
TAG_CHARS_MAX: Final = 200
POINTS_DEFAULT: Final = 500
READ_S_MAX: Final = 8.0
WAITING_MAX: Final = 8
RETRY_AFTER_S: Final = 2
FROM_DEFAULT: Final = "1d"
YEARS_MAX_NS: Final = 3_660 * 86_400 * NS_PER_S
BACK: Final = duration(NS_PER_S, YEARS_MAX_NS)
STEPS: Final = ("10s", "1min", "15min", "1d")


class Asked(NamedTuple):
    """Wall time. `step_ns` 0: the finest that reaches back that far in `points_max` points."""

    tag: str
    from_ns: int
    to_ns: int
    step_ns: int
    points_max: int


class Kept(NamedTuple):
    """`points` are (start_ns, mean, low, high, good), NaN where there was no value."""

    step_ns: int
    points: Iterable[tuple[int, float, float, float, float]]


class NotKept(Exception):
    """Of this tag, or at all, there is no history; the message says what to do."""


class NotReadable(Exception):
    """It cannot be read, or not in time."""


ReadHistory = Callable[[Asked], Kept]
"""Blocks. Raises NotKept or NotReadable."""


class HistoryPoint(msgspec.Struct, frozen=True):
    """One step: mean, least and greatest value, null where there was none; the part of it that was good."""

    start_ms: int
    mean: float | None
    low: float | None
    high: float | None
    good: float


class HistoryAnswer(msgspec.Struct, frozen=True):
    tag: str
    from_ms: int
    to_ms: int
    step_s: float
    points: tuple[HistoryPoint, ...]


class History:
    def __init__(self, read: ReadHistory | None, wall_ns: Callable[[], int]) -> None:
        self._read = read
        self._wall_ns = wall_ns
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="http-history")
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Questions that are being answered, or wait for it."""
        return self._waiting

    async def answer(self, request: Request) -> Response:
        asked = asked_of(request, self._wall_ns())
        if self._read is None:
            return _no(404, "no history is kept; it is with [history] in the configuration")
        if self._waiting >= WAITING_MAX:
            return _no(
                503, f"{WAITING_MAX} others wait for the history; try again", {"retry-after": str(RETRY_AFTER_S)}
            )
        self._waiting += 1
        try:
            kept = await asyncio.get_running_loop().run_in_executor(self._thread, self._read, asked)
        except NotKept as error:
            return _no(404, str(error))
        except NotReadable as error:
            return _no(503, str(error))
        finally:
            self._waiting -= 1
        points = tuple(
            HistoryPoint(start_ns // NS_PER_MS, _number(mean), _number(low), _number(high), good)
            for start_ns, mean, low, high, good in kept.points
        )
        told = HistoryAnswer(
            asked.tag, asked.from_ns // NS_PER_MS, asked.to_ns // NS_PER_MS, kept.step_ns / NS_PER_S, points
        )
        return Response(msgspec.json.encode(told), media_type="application/json")

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def asked_of(request: Request, wall_ns: int) -> Asked:
    """Raises QueryInvalid."""
    said = request.query_params
    tag = said.get("tag", "")
    if not 0 < len(tag) <= TAG_CHARS_MAX:
        raise QueryInvalid(f"tag: write the name of a tag, like boiler.temperature; at most {TAG_CHARS_MAX} characters")
    from_ns = moment("from", said.get("from", FROM_DEFAULT), wall_ns)
    to_ns = moment("to", said["to"], wall_ns) if said.get("to") else wall_ns
    if not 0 < to_ns - from_ns <= YEARS_MAX_NS:
        raise QueryInvalid(f"from, to: `from` must be earlier, by at most {show_duration(YEARS_MAX_NS)}")
    points_max = whole_number(request, "points", default=POINTS_DEFAULT, low=1, high=HISTORY_POINTS_MAX)
    step = said.get("step", "")
    if step not in ("", *STEPS):
        raise QueryInvalid(f"step: write {', '.join(STEPS)}, or leave it out")
    step_ns = BACK(step) if step else 0
    if step_ns and (to_ns - from_ns) // step_ns > HISTORY_POINTS_MAX:
        raise QueryInvalid(f"step: more than {HISTORY_POINTS_MAX} of {step}; a coarser step, or a shorter time")
    return Asked(tag, from_ns, to_ns, step_ns, points_max)


def moment(name: str, written: str, wall_ns: int) -> int:
    """A duration back from now, milliseconds since 1970, or ISO 8601 (UTC unless it says otherwise)."""
    if written.isascii() and written.isdigit() and len(written) < 15:
        return int(written) * NS_PER_MS
    try:
        return wall_ns - BACK(written)
    except WrongValueError:
        pass
    try:
        found = datetime.fromisoformat(written)
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1_000) * NS_PER_MS
    except (ValueError, OverflowError) as error:
        why = "write a duration back like 6h, a time like 2026-01-31T08:00, or milliseconds since 1970"
        raise QueryInvalid(f"{name}: {why}") from error


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _no(status_code: int, why: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{why}\n", status_code, headers=headers)
