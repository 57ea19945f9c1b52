"""Thinning: of each tag one sample in so long, and each change of its quality.

What is kept is the first sample after the pause has passed, so what is kept of a stream depends on its samples alone,
not on how they are cut into records. A sample older than the last one kept is left out, unless its quality differs.
"""

from __future__ import annotations

from numba import njit

from gateway.core.types import Int32s, Int64s, Samples


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def thin(samples: Samples, every_ns: int, last_ns: Int64s, last_quality: Int32s, kept: Samples, left: Int32s) -> int:
    """How many were copied to `kept`, in their order; `left` has the rows of the others.

    `last_ns` and `last_quality` are by row, of the sample kept last; a quality of -1 where none was yet. Samples of
    rows beyond them are kept.
    """
    used = 0
    for i in range(len(samples)):
        row = int(samples[i]["row"])
        quality = int(samples[i]["quality"])
        source_ns = samples[i]["source_ns"]
        is_known = 0 <= row < len(last_ns)
        if is_known and last_quality[row] == quality and source_ns - last_ns[row] < every_ns:
            left[i - used] = row
            continue
        if is_known:
            last_ns[row] = source_ns
            last_quality[row] = quality
        kept[used]["row"] = row
        kept[used]["quality"] = quality
        kept[used]["source_ns"] = source_ns
        kept[used]["arrival_ns"] = samples[i]["arrival_ns"]
        kept[used]["bits"] = samples[i]["bits"]
        used += 1
    return used
