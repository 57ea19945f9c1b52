"""What each encoding of records costs: bytes a sample as sent, and time to write and to read.

Records as an uplink gets them, full ones of the spool's benchmark (`spool_data`). Writing begins at the JSON that the
spool keeps, as at sending; reading ends at columns as lists, as a receiver has them. All forms take turns on each
record; the figures are medians over the records.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any, Final

from gateway.core.encode import envelope
from gateway.core.limits import RECORD_SAMPLES_MAX
from gateway.core.record import Identity
from gateway.protocol.records.form import Compression, Encoding, Form, prepare, read, written
from gateway.runtime.benches.environment import environment
from gateway.runtime.benches.spool_data import as_sent, batches

RECORDS: Final = 40
WARM_UP: Final = 2


def run(*, records: int = RECORDS) -> dict[str, Any]:
    """Arrow is left out where pyarrow is missing."""
    forms = [Form(encoding, compression) for encoding in Encoding for compression in Compression]
    missing = _missing()
    costs = {form: _Cost() for form in forms if form.encoding.value not in missing}
    for number, batch in enumerate(batches(records + WARM_UP)):
        payload = envelope(Identity("bench", "samples", 1, number + 1), as_sent(batch))
        for form, cost in costs.items():
            cost.add(payload, form, is_counted=number >= WARM_UP)
    return {
        "bench": "encodings",
        "environment": environment(),
        "samples_per_record": RECORD_SAMPLES_MAX,
        "records": records,
        "missing": missing,
        "encodings": {_name(form): cost.figures() for form, cost in costs.items()},
    }


def table(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    lines = [f"{'encoding':<16}{'B a sample':>12}{'ns to write':>13}{'ns to read':>12}"]
    for name, figures in result["encodings"].items():
        size, write, took = (figures[key] for key in ("bytes_per_sample", "write_ns", "read_ns"))
        lines.append(f"{name:<16}{size:>12.2f}{write:>13.0f}{took:>12.0f}")
    lines += [f"{name}: pip install 'fieldgate[arrow]'" for name in result["missing"]]
    return lines


def _missing() -> list[str]:
    try:
        prepare(Form(Encoding.ARROW))
    except ImportError:
        return [Encoding.ARROW.value]
    return []


def _name(form: Form) -> str:
    return form.encoding.value + (f" {form.content_coding}" if form.content_coding else "")


class _Cost:
    """Of one form, a sample."""

    def __init__(self) -> None:
        self._bytes: list[float] = []
        self._write_ns: list[float] = []
        self._read_ns: list[float] = []

    def add(self, payload: bytes, form: Form, *, is_counted: bool) -> None:
        began_ns = time.perf_counter_ns()
        sent = written(payload, form)
        written_ns = time.perf_counter_ns()
        read(sent, form.content_type, form.content_coding)
        read_ns = time.perf_counter_ns()
        if is_counted:
            self._bytes.append(len(sent) / RECORD_SAMPLES_MAX)
            self._write_ns.append((written_ns - began_ns) / RECORD_SAMPLES_MAX)
            self._read_ns.append((read_ns - written_ns) / RECORD_SAMPLES_MAX)

    def figures(self) -> dict[str, float]:
        return {
            "bytes_per_sample": round(median(self._bytes), 2),
            "write_ns": round(median(self._write_ns), 1),
            "read_ns": round(median(self._read_ns), 1),
        }
