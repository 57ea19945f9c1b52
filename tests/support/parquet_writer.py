"""A process that sends records into a folder of Parquet files, to be killed: what was accepted it notes, a line each.

    python -m tests.support.parquet_writer FOLDER NOTED [UP_TO]

It begins some records before the first that is not noted, as a spool does that could not store the last
acknowledgements, and ends at UP_TO, or never. A log becomes files at 3 kB, so that mostly one is being converted.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from gateway.core.ports import LinkDown, Verdict
from gateway.settings.schema import ParquetAddress
from gateway.upstreams import parquet
from tests.contract.test_upstreams import record, send_all

AGAIN = 20
GROUP = 7


async def write(folder: Path, noted: Path, up_to: int) -> None:
    address = ParquetAddress(path=folder, rotate_bytes=3_000, rotate_every_ns=3_600 * 10**9, room_bytes=1 << 40)
    lines = noted.read_text().split() if noted.exists() else ["0"]
    number = max(1, int(lines[-1]) + 1 - AGAIN)
    while True:
        try:
            async with parquet.connect(address, wall_ns=time.time_ns) as upstream:
                sys.stdout.write("up\n")
                sys.stdout.flush()
                with noted.open("a") as notes:
                    while number <= up_to:
                        group = [record(n, stream=("samples", "events")[n % 2]) for n in range(number, number + GROUP)]
                        assert await send_all(upstream, group) == [Verdict.ACCEPTED] * GROUP
                        number += GROUP
                        notes.write(f"{number - 1}\n")
                        notes.flush()
                        await asyncio.sleep(0.002)
                return
        except LinkDown as error:
            # A conversion that outlived its gateway holds the lock.
            assert "somebody else writes there" in error.reason, error
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1 << 60))
