"""What the page, the API and the health checks show, and what the runtime hands over so that it can be made.

Two halves. `StatusSource` is asked: it gives the views, the model and the few facts that only the runtime knows. The
structs below are answered: frozen, one JSON object each, read by `page/app.js` and by whoever scripts against
`/api/`. A number that does not exist (a mean of nothing) is null there, never 0. Times in the answers are wall time in
milliseconds since 1970 (`_ms`), ages are seconds (`_s`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import msgspec

from gateway.core.directory import Directory
from gateway.core.events import Event
from gateway.core.model import Model
from gateway.core.readings import Measured
from gateway.core.symbols import TextOf
from gateway.core.types import Samples
from gateway.core.view import ControlView, PlantView
from gateway.core.wear import Wear
from gateway.serving.http.loops import LoopDetail as LoopDetail
from gateway.serving.http.loops import LoopsAnswer as LoopsAnswer
from gateway.serving.http.loops import LoopStatus as LoopStatus
from gateway.serving.http.loops import LoopTrend as LoopTrend
from gateway.serving.http.loops import QualityStatus as QualityStatus
from gateway.serving.http.loops import TrendPoint as TrendPoint
from gateway.serving.http.together import MultivariateStatus
from gateway.settings.schema import PidLoop


class Phase(StrEnum):
    """Where the gateway is in its life."""

    STARTING = "starting"
    READY = "ready"
    RELOADING = "reloading"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One latency that is promised: the histogram that counts it, and the budget (None: shown without one)."""

    title: str
    metric: str
    budget_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """What stays the same until the next reload, but for what the directory says of tags that come and go. The recorder
    compares it by identity: a reload makes a new one."""

    model: Model
    directory: Directory
    plant_view: PlantView
    text_of: TextOf
    loops: tuple[PidLoop, ...]
    control_view: ControlView
    calculations: Callable[[int, int], Samples]
    """RESULT records of a row's calculations as of an engine time."""
    outputs: tuple[str, ...]
    """What each output of a calculation is called."""
    alarms: Callable[[], Samples]
    """ALARM records of all alarms, in the order of `Model.alarms`."""
    stages: tuple[Stage, ...]
    details: Callable[[], Sequence[LoopDetail]] = lambda: ()
    """Of all loops in their order; none where nobody knows."""
    writable: frozenset[str] = frozenset()
    """Tags, and points of loops, that operators may write by the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The engine time at which a thread last finished a cycle, and how old that may become."""

    name: str
    last_ns: int
    stale_after_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """`heartbeats` holds only threads that have begun their cycles and are meant to run.

    `wall_offset_ns` added to engine time gives wall time; `wall_is_synchronised` says whether to believe it.
    """

    phase: Phase
    detail: str
    started_ns: int
    configuration_loaded: bool
    kernels_warm: bool
    first_cycle_done: bool
    heartbeats: tuple[Heartbeat, ...]
    wall_offset_ns: int
    wall_is_synchronised: bool
    configuration: str = ""
    """What is to be said of the last reload: on trial, or rolled back and why. Empty: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """`since_ns` is when the link came up or went down; `detail` is one short sentence, mostly why it is down."""

    name: str
    kind: str
    is_up: bool
    since_ns: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkState:
    """An uplink and the spool behind it. `oldest_ns` is None when nothing waits."""

    name: str
    is_connected: bool
    since_ns: int
    detail: str
    waiting_records: int
    waiting_bytes: int
    bytes_max: int
    oldest_ns: int | None
    segments: int
    delivered_records: int
    dropped_records: int
    dropped_samples: int
    """All that were left out, of raw samples and others, in records that were dropped or thinned."""
    pressure: float
    """0 to 1, and the step of the ladder that it has led to (`gateway.core.pressure`)."""
    pressure_step: int


class StatusSource(Protocol):
    """What the runtime implements. All are called from the http thread, about once a second, and must be cheap."""

    gateway_id: str
    version: str

    def health(self) -> Health: ...

    def plant(self) -> Plant | None:
        """None until the configuration is loaded and the engine's arrays exist."""
        ...

    def links(self) -> Sequence[LinkState]: ...

    def uplinks(self) -> Sequence[UplinkState]:
        """In the configuration's order."""
        ...

    def wear(self) -> Wear: ...

    def events(self) -> Sequence[Event]:
        """Those that are kept (`limits.EVENTS_KEPT`), oldest first."""
        ...

    def measured(self) -> Sequence[Measured]:
        """Every component that has readings, as of now."""
        ...


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    count: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p999_ms: float | None


class LatencyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`recent` covers about the last minute, `total` all since the start."""

    title: str
    budget_ms: float | None
    recent: Quantiles
    total: Quantiles


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Rates cover the last seconds; None until two readings lie far enough apart."""

    samples_per_s: float | None
    samples_total: int
    dropped_samples_total: int


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    kind: str
    is_up: bool
    since_ms: int
    since_s: float
    detail: str


class LinksStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Those that are down come first; `links` is cut to a page's worth."""

    total: int
    up: int
    links: tuple[LinkStatus, ...]


class DeviceStatus(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    link: str
    quality: QualityStatus
    tags_good: int
    tags: int
    samples: int
    score: float | None
    score_tag: str | None
    multivariate: MultivariateStatus | None
    in_maintenance: bool
    alarms: tuple[str, ...]


class DevicePage(msgspec.Struct, frozen=True, kw_only=True):
    """`total` counts what matched, `devices` is the part from `offset` on, those that need attention first."""

    total: int
    offset: int
    good: int
    devices: tuple[DeviceStatus, ...]


class UplinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    is_connected: bool
    since_s: float
    detail: str
    waiting_records: int
    waiting_bytes: int
    bytes_max: int
    oldest_age_s: float | None
    segments: int
    delivered_records: int
    dropped_records: int
    dropped_samples: int
    pressure: float
    pressure_step: int
    pressure_does: str
    """What the step does, for people; empty when it is calm."""
    delivered_per_s: float | None


class EventStatus(msgspec.Struct, frozen=True, kw_only=True):
    time_ms: int
    severity: str
    kind: str
    subject: str
    message: str


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    total: int
    offset: int
    events: tuple[EventStatus, ...]


class WindowStatus(msgspec.Struct, frozen=True, kw_only=True):
    window_s: float
    count: int
    mean: float | None
    sd: float | None
    min: float | None
    max: float | None
    rate_per_s: float | None
    ewma: float | None


class CalculationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One output of a calculation as of now: an interval that is not over as far as it has come. `coverage`: the share
    of it for which the value was known, 0 to 1."""

    name: str
    value: float | None
    count: int
    coverage: float
    start_ms: int
    quality: QualityStatus


class TagStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`value` is the last one that was not bad, with the age of its acquisition; `text` the same, ready to be shown
    (a browser's numbers end at 2⁵³, an energy counter does not; a value with a name is its name), `acquired_ms` the
    wall time of that acquisition. All four are null before the first value. `score_once_h`: as extreme as the
    tag itself was once in so many hours."""

    row: int
    name: str
    device: str
    unit: str
    value: float | int | str | None
    text: str | None
    age_s: float | None
    acquired_ms: int | None
    quality: QualityStatus
    score: float | None
    score_alarm: float | None
    score_quality: QualityStatus
    score_once_h: float | None
    persistent: float | None
    persistent_once_h: float | None
    reasons: tuple[str, ...]
    alarms: tuple[str, ...]
    in_maintenance: bool
    writable: bool
    """Operators may write it by the page."""
    windows: tuple[WindowStatus, ...]
    calculations: tuple[CalculationStatus, ...] = ()
    formula: str | None = None
    context: dict[str, str] = {}


class TagPage(msgspec.Struct, frozen=True, kw_only=True):
    """`total` counts what matched the search."""

    total: int
    offset: int
    limit: int
    tags: tuple[TagStatus, ...]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the page shows but the tags and the trends, which are asked for by the page's worth."""

    gateway_id: str
    version: str
    time_ms: int
    wall_is_synchronised: bool
    uptime_s: float
    phase: Phase
    detail: str
    is_healthy: bool
    is_ready: bool
    reasons: tuple[str, ...]
    configuration: str
    """What is to be said of the last reload: on trial, or rolled back and why. Empty: nothing."""
    rates: Rates
    latencies: tuple[LatencyStatus, ...]
    links: LinksStatus
    devices: DevicePage
    tags_total: int
    loops: tuple[LoopStatus, ...]
    uplink: UplinkStatus | None
    """The first one."""
    uplinks: tuple[UplinkStatus, ...]
    disk_bytes_per_day: float | None
    """What the gateway writes to its disk; null in the first minute."""
    disk_life_years: float | None
    """Of a new disk of `flash_endurance` at this rate."""
    events: tuple[EventStatus, ...]


class HealthAnswer(msgspec.Struct, frozen=True, kw_only=True):
    ok: bool
    reasons: tuple[str, ...]
