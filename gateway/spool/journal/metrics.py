"""What the journal tells of itself."""

from __future__ import annotations

METRICS: tuple[tuple[str, str, str], ...] = (
    ("fieldgate_journal_cycles_total", "counter", "Engine cycles that reached the disk before their outputs left."),
    (
        "fieldgate_journal_uncovered_cycles_total",
        "counter",
        "Cycles whose outputs left without it, by reason.",
    ),
    ("fieldgate_journal_samples_total", "counter", "Samples written to the journal."),
    ("fieldgate_journal_written_bytes_total", "counter", "Bytes written to the journal."),
    ("fieldgate_journal_unavailable_total", "counter", "Writes that failed: disk full, or input/output error."),
    ("fieldgate_journal_available", "gauge", "1 while the journal takes cycles."),
    ("fieldgate_journal_queue_samples", "gauge", "Samples that wait to be written."),
    ("fieldgate_journal_bytes", "gauge", "Bytes of all files of the journal."),
    ("fieldgate_journal_limit_bytes", "gauge", "Bytes at which the oldest file is deleted."),
    ("fieldgate_journal_deleted_files_total", "counter", "Files deleted for their age, or to keep within the bytes."),
    ("fieldgate_journal_needed_deleted_total", "counter", "Deleted files that a restart would still have needed."),
    ("fieldgate_journal_commit_seconds", "histogram", "Time that a group took to reach the disk."),
)
