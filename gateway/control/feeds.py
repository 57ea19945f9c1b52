"""The engine's side of the feeds: its live values, scores and windows, into the executive's memory once a cycle.

Only what changed gets a new version, so that a loop that acts on arrival acts once for each sample.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numba import njit

from gateway.control import layout as at
from gateway.core.kernels.atomics import begin_write, end_write, store_release
from gateway.core.types import Float64s, Int64s, Kind
from gateway.core.view import PlantView
from gateway.settings.schema import Signal, Tag

WAKE = 1


@njit(cache=True, nogil=True, error_model="numpy")
def publish(feeds: Int64s, words: Int64s, values: Float64s, qualities: Int64s, times_ns: Int64s, now_ns: int) -> Any:
    """Write the feeds that changed; how many did."""
    changed = 0
    for feed in range(len(values)):
        base = feed * at.FEED_WORDS
        bits = np.float64(values[feed]).view(np.int64)
        if (
            feeds[base + at.FEED_VERSION] != 0
            and feeds[base + at.FEED_VALUE] == bits
            and feeds[base + at.FEED_QUALITY] == qualities[feed]
            and feeds[base + at.FEED_NS] == times_ns[feed]
        ):
            continue
        begin_write(feeds, base + at.FEED_VERSION)
        feeds[base + at.FEED_VALUE] = bits
        feeds[base + at.FEED_QUALITY] = qualities[feed]
        feeds[base + at.FEED_NS] = times_ns[feed]
        end_write(feeds, base + at.FEED_VERSION)
        changed += 1
    store_release(words, at.FED_NS, now_ns)
    return changed


class Feeder:
    """Of one configuration. `tags` gives row and tag by full name."""

    def __init__(self, b: at.Blocks, feeds: Sequence[Signal], tags: Mapping[str, tuple[int, Tag]]) -> None:
        self._b = b
        self.feeds = tuple(feeds)
        self._rows = np.array([tags[signal.name][0] for signal in feeds], np.int32)
        self._kinds = [tags[signal.name][1].kind for signal in feeds]
        self._windows = [_window(signal, tags) for signal in feeds]
        windows = [tags[signal.name][1].windows_ns for signal in feeds]
        self._first = np.cumsum([0, *(len(each) for each in windows)])
        self._wants_windows = any(window is not None for window in self._windows)
        self._values = np.zeros(len(feeds))
        self._qualities = np.zeros(len(feeds), np.int64)
        self._times_ns = np.zeros(len(feeds), np.int64)

    def feed(self, view: PlantView, now_ns: int) -> None:
        """Hand over what the engine knows; on the engine's thread, once a cycle."""
        if not self.feeds:
            return
        live = view.live(self._rows)
        aggregates = view.aggregates(self._rows) if self._wants_windows else live[:0]
        for i, (signal, kind, window) in enumerate(zip(self.feeds, self._kinds, self._windows, strict=True)):
            record = live[i]
            self._times_ns[i] = record["arrival_ns"]
            self._qualities[i] = record["quality"]
            if window is not None:
                place, field = window
                self._values[i] = aggregates[self._first[i] + place][field]
            elif signal.what == "value":
                self._values[i] = record["value"] if kind is Kind.F64 else _whole(int(record["bits"]), kind)
            else:
                self._values[i] = record[signal.what]
        changed = publish(self._b.feeds, self._b.words, self._values, self._qualities, self._times_ns, now_ns)
        if changed and self._b.words[at.WAKE_FD] > 0:
            os.eventfd_write(int(self._b.words[at.WAKE_FD]), WAKE)


def _whole(bits: int, kind: Kind) -> float:
    return float(bits + 2**64 if kind is Kind.U64 and bits < 0 else bits)


def _window(signal: Signal, tags: Mapping[str, tuple[int, Tag]]) -> tuple[int, str] | None:
    """Place among the tag's windows, and field, of "10000000000/mean"."""
    length, slash, field = signal.what.partition("/")
    return (tags[signal.name][1].windows_ns.index(int(length)), field) if slash else None
