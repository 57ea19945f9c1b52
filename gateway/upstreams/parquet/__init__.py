"""A folder of Parquet files as an upstream: one file a stream and period, that any reader may take away.

    archive/samples/20261126T070000Z-000042.parquet     finished; nobody but the reader deletes these
    archive/_log/000043.log                             what was accepted since (`gateway.protocol.records.log`)
    archive/_log/lock                                   held by who writes here

A record is accepted once it is in the log and synced; sends that are under way together share one frame and one sync.
Each period, or at a size, the next log is begun, and a process of its own (`convert`) makes files of the one before. It
has the memory and the interpreter to itself, and may die at any moment:

    1  files are written beside the log, and synced
    2  the log is renamed to `.done`: from here on the files hold, and the log does not
    3  files get their names in the folders that readers look at, and `.done` is deleted

So a reader sees each record once, also when it takes files away as they come and the power fails at any of this. Where
a step was cut off, the next session goes on: `.done` with step 3, a log with step 1.

What is held is known from the newest log alone, whose first frame says what was held before it; the files may be gone.
What somebody asked for again is written all the same: it was in a file that got lost.
Only where there is no log at all, the footers of those that are there are asked.
"""

from gateway.upstreams.parquet.session import connect as connect
