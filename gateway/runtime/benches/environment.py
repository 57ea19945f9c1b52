"""Where a benchmark ran: without it no figure means anything."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

from gateway import __version__

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def environment() -> dict[str, object]:
    """CPU, cores, kernel, versions and load, as they are now."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "numba": version("numba"),
        "fieldgate": __version__,
        "load_1min": round(os.getloadavg()[0], 2),
    }


def cpu_model() -> str:
    """The first model name of /proc/cpuinfo; ARM kernels write none, there the machine type must do."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def resident_bytes() -> int:
    """Resident memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def process_cpu_ns(pid: int) -> int:
    """CPU time that a process has used so far, in steps of the kernel's clock tick."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_NS
