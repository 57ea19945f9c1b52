"""Decoders with bounds checks: `python -m tests.fuzz.modbus_bounds SEED SECONDS`, with NUMBA_BOUNDSCHECK=1.

Points as they may be configured go through the planner, replies as anybody may send them through the framer and the
check of a reply; what passes is decoded from an array that ends where the reply ends. The last line tells how many were
decoded, and that a table which points behind the end was caught: without that the run would prove nothing.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

from gateway.kernelcache import VARIABLE

if __name__ == "__main__":
    import os

    assert os.environ.get("NUMBA_BOUNDSCHECK") == "1", "set NUMBA_BOUNDSCHECK=1"
    assert Path(os.environ[VARIABLE]).name == "numba-bounds", "a checked kernel must not get into the usual cache"

import numpy as np

from gateway.core.symbols import Symbols
from gateway.core.types import SAMPLE, Kind
from gateway.protocol.deadband import MEMORY, Deadband
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.decode import decode_block
from gateway.protocol.modbus.frames import DeviceRefusedError, ProtocolError, ReplyError, ResponseFramer, check_read
from gateway.protocol.modbus.plan import TABLES, Block, Point, ReadLimits, halved, plan
from gateway.protocol.modbus.points import WORDS, Encoding, Padding, WireType
from gateway.protocol.modbus.report import keep_news
from gateway.protocol.modbus.texts import decode_texts, scratch_bytes

SYMBOLS = Symbols(capacity=100, bytes_max=2_000)
SCRATCH = scratch_bytes()


def a_point(random_: random.Random, row: int) -> Point:
    function = random_.choice(list(TABLES))
    is_bit = function in (Function.READ_COILS, Function.READ_DISCRETE_INPUTS)
    wire = WireType.BOOL if is_bit else random_.choice(list(WireType))
    is_text = wire is WireType.STRING
    width = 16 * WORDS.get(wire, 1)
    first_bit = random_.randrange(width)
    is_divided = wire <= WireType.UINT64 and not is_bit and random_.random() < 0.3
    is_whole = wire < WireType.FLOAT32 or wire > WireType.FLOAT64
    return Point(
        row=row, name="t", device="d", unit=1, function=function, address=random_.randrange(60_000), wire=wire,
        kind=Kind.SYMBOL if is_text else Kind.I64 if is_whole and random_.random() < 0.5 else Kind.F64,
        period_ns=random_.choice((1, 2)), big_words=random_.random() < 0.5, big_bytes=random_.random() < 0.5,
        first_bit=first_bit if is_divided else 0, bits=random_.randint(1, width - first_bit) if is_divided else 0,
        absent=tuple(random_.randrange(4) for _ in range(random_.randrange(5))),
        text_registers=random_.randint(1, 125) if is_text else 0, encoding=random_.choice(list(Encoding)),
        padding=random_.choice(list(Padding)), limits=ReadLimits(gap_registers_max=random_.choice((0, 8, 124))),
        deadband=Deadband(heartbeat_ns=2, change=0.0) if random_.random() < 0.3 else None,
    )  # fmt: skip


def some_blocks(random_: random.Random) -> list[Block]:
    base = random_.randrange(60_000)
    drawn = [a_point(random_, row) for row in range(random_.randint(1, 40))]
    near = [point.__class__(**{**fields(point), "address": base + random_.randrange(200)}) for point in drawn]
    blocks = list(plan(near))
    return blocks + [half for block in blocks if len(block.points) > 1 for half in halved(block)]


def fields(point: Point) -> dict[str, object]:
    return {name: getattr(point, name) for name in Point.__slots__}


def a_reply(random_: random.Random, block: Block) -> bytes:
    """A frame: mostly what was asked for, with any data; sometimes anything else."""
    request = block.request
    size = request.reply_bytes if random_.random() < 0.8 else random_.randrange(252)
    fill = random_.choice(
        (random_.randbytes(size), bytes(size), b"\xff" * size, b"A " * (size // 2) + b"B" * (size % 2))
    )
    function = request.function if random_.random() < 0.95 else random_.randrange(256)
    body = bytes((request.unit, function, size if random_.random() < 0.95 else random_.randrange(256))) + fill
    length = len(body) if random_.random() < 0.98 else random_.randrange(300)
    return bytes(4) + length.to_bytes(2, "big") + body


def decode(block: Block, frame: bytes, piece: int) -> bool:
    """Whether the frame was a reply to the block, and so was decoded."""
    framer = ResponseFramer()
    done = False
    while frame:
        free = framer.free()
        part, frame = frame[: min(piece, len(free))], frame[min(piece, len(free)) :]
        free[: len(part)] = part
        framer.received(len(part))
        try:
            while (reply := framer.next_reply()) is not None:
                start = check_read(block.request, reply, framer.buffer)
                # The array ends where the reply does: a byte further is out of bounds.
                data = np.frombuffer(framer.buffer, np.uint8)[: reply.stop].copy()
                out = np.zeros(len(block.points), SAMPLE)
                decode_block(out, block.table, data, start, 1)
                if block.has_texts:
                    decode_texts(out, block.table, data, start, SYMBOLS.words, SCRATCH)
                if block.rules is not None:
                    keep_news(out, block.rules, np.zeros(len(block.points), MEMORY))
                done = True
        except (DeviceRefusedError, ReplyError):
            continue
        except ProtocolError:
            return done
    return done


def overrun_is_caught() -> bool:
    """Whether a table that points behind the end of the data is caught, for numbers, bits and texts."""
    for wire, function in ((WireType.UINT16, Function.READ_HOLDING_REGISTERS), (WireType.BOOL, Function.READ_COILS)):
        point = Point(
            row=0, name="t", device="d", unit=1, function=function, address=0, wire=wire, kind=Kind.U64, period_ns=1
        )
        (block,) = plan([point])
        block.table["at"] = 40
        try:
            decode_block(np.zeros(1, SAMPLE), block.table, np.zeros(4, np.uint8), 0, 1)
        except IndexError:
            continue
        return False
    text = Point(
        row=0, name="t", device="d", unit=1, function=Function.READ_HOLDING_REGISTERS, address=0, kind=Kind.SYMBOL,
        wire=WireType.STRING, period_ns=1, text_registers=9, padding=Padding.NONE,
    )  # fmt: skip
    (block,) = plan([text])
    try:
        decode_texts(np.zeros(1, SAMPLE), block.table, np.full(4, 65, np.uint8), 0, SYMBOLS.words, SCRATCH)
    except IndexError:
        return True
    return False


def main(seed: int, seconds: float) -> None:
    random_ = random.Random(seed)
    overrun = overrun_is_caught()
    end_s = time.monotonic() + seconds
    decoded = refused = 0
    while time.monotonic() < end_s:
        for block in some_blocks(random_):
            if decode(block, a_reply(random_, block), random_.choice((1, 7, 300))):
                decoded += 1
            else:
                refused += 1
    print(json.dumps({"seed": seed, "decoded": decoded, "refused": refused, "overrun_is_caught": overrun}))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
