"""What the engine counts: the names of its metrics, and where in the state each count lies."""

from __future__ import annotations

from gateway.core import tenancy
from gateway.core.state import Counter

METRICS: tuple[tuple[str, str, str], ...] = (
    ("fieldgate_engine_samples_total", "counter", "Samples of known tags taken by the engine."),
    ("fieldgate_engine_rejected_samples_total", "counter", "Samples of no row, and commands out of order."),
    ("fieldgate_engine_bad_samples_total", "counter", "Samples of bad quality; they change a tag's quality only."),
    ("fieldgate_engine_out_of_range_samples_total", "counter", "Samples outside the tag's valid range."),
    ("fieldgate_engine_time_replaced_samples_total", "counter", "Samples whose source time gave way to the arrival."),
    ("fieldgate_engine_late_samples_total", "counter", "Samples too old for a window, counted once a window."),
    ("fieldgate_engine_historical_samples_total", "counter", "Samples of the past, told later: for windows only."),
    ("fieldgate_engine_records_total", "counter", "Record drafts made, by stream."),
    ("fieldgate_engine_events_total", "counter", "Events made by the engine."),
    ("fieldgate_engine_dropped_events_total", "counter", "Events handed in while too many waited for the next record."),
    ("fieldgate_engine_skipped_grid_points_total", "counter", "Points of the time grid passed over after a pause."),
    ("fieldgate_multivariate_steps_total", "counter", "Steps of the multivariate scores of devices."),
    ("fieldgate_multivariate_skipped_total", "counter", "Steps left out because a tag had no value that counts."),
    ("fieldgate_engine_state_bytes", "gauge", "Memory of the tags' state."),
    ("fieldgate_engine_tags", "gauge", "Tags: those written down, and those that have a row lent."),
    *tenancy.METRICS,
)

COUNTED: tuple[tuple[str, Counter], ...] = (
    ("fieldgate_engine_samples_total", Counter.SAMPLES),
    ("fieldgate_engine_rejected_samples_total", Counter.REJECTED),
    ("fieldgate_engine_bad_samples_total", Counter.BAD),
    ("fieldgate_engine_out_of_range_samples_total", Counter.OUT_OF_RANGE),
    ("fieldgate_engine_time_replaced_samples_total", Counter.TIME_REPLACED),
    ("fieldgate_engine_late_samples_total", Counter.LATE),
    ("fieldgate_engine_historical_samples_total", Counter.HISTORICAL),
)
