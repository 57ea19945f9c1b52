"""Rolling statistics of one window: panes, and the totals of those that are closed.

The current pane and the totals of the closed panes are two records side by side (`totals[2 * w]`,
`totals[2 * w + 1]`), so that a sample touches the ring only when a pane ends. At each such rotation the closed totals
are computed anew from the ring: an error, or a glitch of 1e12, lives no longer than the window. Within a pane the
update is Welford's, whose m2 cannot become negative: the new mean lies, rounded, between the old one and the
sample, so both factors of the increment have the same sign. Panes are merged in two passes around the first pane's
mean (Chan, Golub and LeVeque 1983, the pairwise formula for many groups at once), a sum of non-negative terms.

What each sample goes through is made part of its caller's code (`forceinline`).
"""

from __future__ import annotations

from numba import njit

from gateway.core.types import Samples


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def add_to_pane(panes: Samples, index: int, value: float, time_ns: int) -> None:
    """One value into one pane, or into totals of the same shape."""
    pane = panes[index]
    count = pane["count"] + 1
    pane["count"] = count
    if count == 1:
        pane["mean"] = value
        pane["m2"] = 0.0
        pane["min"] = value
        pane["max"] = value
        pane["first_ns"] = time_ns
        pane["first"] = value
        return
    distance = value - pane["mean"]
    mean = pane["mean"] + distance / count
    pane["mean"] = mean
    pane["m2"] += distance * (value - mean)
    if value < pane["min"]:
        pane["min"] = value
    if value > pane["max"]:
        pane["max"] = value
    if time_ns < pane["first_ns"]:
        pane["first_ns"] = time_ns
        pane["first"] = value


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def merge_ring(ring: Samples, start: int, panes: int, oldest: int, newest: int, out: Samples, index: int) -> None:
    """All panes of the ring `[start, start + panes)` with oldest <= pane <= newest, into `out[index]`."""
    count = 0
    shifted = pivot = low = high = first = 0.0
    first_ns = 0
    for slot in range(start, start + panes):
        pane = ring[slot]
        if pane["count"] == 0 or pane["pane"] < oldest or pane["pane"] > newest:
            continue
        if count == 0:
            pivot = pane["mean"]
            low = pane["min"]
            high = pane["max"]
            first_ns = pane["first_ns"]
            first = pane["first"]
        count += pane["count"]
        shifted += pane["count"] * (pane["mean"] - pivot)
        if pane["min"] < low:
            low = pane["min"]
        if pane["max"] > high:
            high = pane["max"]
        if pane["first_ns"] < first_ns:
            first_ns = pane["first_ns"]
            first = pane["first"]
    total = out[index]
    total["count"] = count
    if count == 0:
        return
    mean = pivot + shifted / count
    m2 = 0.0
    for slot in range(start, start + panes):
        pane = ring[slot]
        if pane["count"] == 0 or pane["pane"] < oldest or pane["pane"] > newest:
            continue
        distance = pane["mean"] - mean
        m2 += pane["m2"] + pane["count"] * distance * distance
    total["mean"] = mean
    total["m2"] = m2
    total["min"] = low
    total["max"] = high
    total["first_ns"] = first_ns
    total["first"] = first


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def rotate(windows: Samples, totals: Samples, ring: Samples, panes: int, w: int, pane: int) -> None:
    """Close the current pane of window `w` and make `pane`, a later one, the current."""
    start = w * panes
    current = totals[2 * w]
    slot = ring[start + windows[w]["pane"] % panes]
    slot["pane"] = windows[w]["pane"]
    slot["count"] = current["count"]
    slot["mean"] = current["mean"]
    slot["m2"] = current["m2"]
    slot["min"] = current["min"]
    slot["max"] = current["max"]
    slot["first_ns"] = current["first_ns"]
    slot["first"] = current["first"]
    windows[w]["pane"] = pane
    current["pane"] = pane
    current["count"] = 0
    merge_ring(ring, start, panes, pane - panes + 1, pane - 1, totals, 2 * w + 1)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def add_late(windows: Samples, totals: Samples, ring: Samples, panes: int, w: int, value: float, time_ns: int) -> bool:
    """A value older than the current pane, into its own pane if the ring still has that; False when it has not."""
    window = windows[w]
    pane = (time_ns + window["phase_ns"]) // window["pane_ns"]
    if pane <= window["pane"] - panes:
        return False
    index = w * panes + pane % panes
    if ring[index]["pane"] != pane:
        ring[index]["pane"] = pane
        ring[index]["count"] = 0
    add_to_pane(ring, index, value, time_ns)
    add_to_pane(totals, 2 * w + 1, value, time_ns)
    return True


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def add_to_window(
    windows: Samples, totals: Samples, ring: Samples, panes: int, w: int, value: float, time_ns: int, alpha: float
) -> bool:
    """One value into window `w`; False when it came too late for it.

    `alpha` is the EWMA's weight of this value. A value that is not newer than the last enters its pane, not the EWMA.
    """
    window = windows[w]
    if window["samples"] == 0:
        window["pane"] = (time_ns + window["phase_ns"]) // window["pane_ns"]
        window["ewma"] = value
        window["last"] = value
        window["last_ns"] = time_ns
    into_pane_ns = time_ns + window["phase_ns"] - window["pane"] * window["pane_ns"]
    if into_pane_ns < 0:
        if not add_late(windows, totals, ring, panes, w, value, time_ns):
            return False
    else:
        if into_pane_ns >= window["pane_ns"]:
            pane = (time_ns + window["phase_ns"]) // window["pane_ns"]
            rotate(windows, totals, ring, panes, w, pane)
        add_to_pane(totals, 2 * w, value, time_ns)
    window["samples"] += 1
    if time_ns >= window["last_ns"]:
        window["ewma"] += alpha * (value - window["ewma"])
        window["last"] = value
        window["last_ns"] = time_ns
    return True
