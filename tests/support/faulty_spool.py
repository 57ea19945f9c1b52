"""A spool in a process of its own, that does what it is told line by line and says what came of it, in JSON lines.

put N    put N drafts and flush: {"flushed": made so far}, or {"failed": why}
lay N    put N drafts, as the engine does, and wait for nothing: {"laid": made so far}
stop     {"stopped": whether everything reached the disk}
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from gateway.core.events import Event
from gateway.core.record import RecordDraft
from gateway.spool.records import StoreUnavailable
from gateway.spool.store import Store
from gateway.spool.worker import SpoolWorker
from tests.support.spool import draft, encode


def say(**what: Any) -> None:
    """From any thread: one write, so that lines stay whole."""
    os.write(1, json.dumps(what).encode() + b"\n")


def heard(event: Event) -> None:
    say(event=event.kind, message=event.message)


async def main(path: Path, first: int, noise_bytes: int) -> None:
    """Drafts are numbered from `first` on; so many bytes in each body do not compress."""

    def noisy(record: RecordDraft) -> bytes:
        return encode(record)[:-1] + b',"noise":"' + os.urandom(noise_bytes).hex().encode() + b'"}'

    worker = SpoolWorker(store=Store(path, bytes_max=1 << 30), encode=noisy, now_ns=time.time_ns, emit=heard)
    worker.start()
    made = first
    say(ready=True)
    while line := (await asyncio.to_thread(sys.stdin.readline)).split():
        if line[0] == "stop":
            say(stopped=await asyncio.to_thread(worker.stop, 10.0))
            return
        for _ in range(int(line[1])):
            worker.put(draft(made, samples=100))
            made += 1
        if line[0] == "lay":
            say(laid=made)
            continue
        try:
            await worker.flush()
        except StoreUnavailable as error:
            say(failed=str(error))
        else:
            say(flushed=made)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
