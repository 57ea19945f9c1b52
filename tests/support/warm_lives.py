"""Preloaded by the fork server of `tests.support.lives`: kernels are there when a life begins."""

from __future__ import annotations

import zstandard

from gateway.core.warming import warm_up
from gateway.spool.journal.format import decode_cycles, encode_cycles, open_block
from tests.support import lives  # noqa: F401 - to be there
from tests.support.plants import cycle_of

warm_up()
list(decode_cycles(open_block(encode_cycles([cycle_of(1, 1)], zstandard.ZstdCompressor()), 0)))
