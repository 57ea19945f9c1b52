"""Ten units, three of which die: what the others keep of their reads, with a poll a second and 3 s of time-out.

Over one TCP connection beside pymodbus's asynchronous client, and over a serial line (a pseudo-terminal that takes
the time of 9,600 baud), in real time; and both over ten minutes of simulated time, in which the schedule is the real
one. The onset is always part of it. A line carries what its time allows: ten reads of a register take a fifth of it.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from contextlib import suppress

import numpy as np

from gateway.core.inbox import Lane
from gateway.core.symbols import Symbols
from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Kind, Quality, Samples
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.plan import Point, plan
from gateway.protocol.modbus.points import WireType
from gateway.protocol.modbus.polled import Line
from gateway.protocol.modbus.polling import FRAMING_BYTES, Poller
from gateway.runtime.benches.modbus_clients import polled, tag, tasks
from gateway.settings.schema import ModbusLink
from gateway.settings.schema_modbus import Framing, SerialPort
from gateway.sources.modbus.source import ModbusSource

UNITS = 10
DYING = (150, 151, 152)
THEIR_DYING = (160, 161, 162)
TIMEOUT_S = 3
SECONDS = 20
ONSET_S = 3
"""On the line; over TCP the dying units answer three times."""
SIMULATED_S = 600
SIMULATED_ONSET_S = 60
TURNAROUND_NS = 5 * NS_PER_MS
BAUD = 9_600
BYTE_NS = 11 * NS_PER_S // BAUD
SAMPLES_MAX = 1 << 16


def good_reads(samples: Samples, live: int) -> int:
    """Of the first `live` rows."""
    return int(((samples["row"] < live) & (samples["quality"] == Quality.GOOD)).sum())


async def over_tcp(port: int, seconds: float = SECONDS) -> tuple[float, float]:
    """Share of the reads of live units that were answered, ours and pymodbus's, each over one connection of its own.

    The dying units answer three times and then never again: the onset is part of it.
    """
    from pymodbus.client import AsyncModbusTcpClient
    from pymodbus.exceptions import ModbusIOException

    live = list(range(1, UNITS - len(DYING) + 1))
    links = polled(port, [tag(unit, 0, NS_PER_S) for unit in (*live, *DYING)], timeout_s=TIMEOUT_S)
    out = np.zeros(SAMPLES_MAX, SAMPLE)
    good = 0
    answered = [0]

    async def poll() -> None:
        client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=TIMEOUT_S, retries=0)
        end_s = time.monotonic() + seconds
        while (begun_s := time.monotonic()) < end_s:
            for unit in (*live, *THEIR_DYING):
                if time.monotonic() >= end_s:
                    break
                if not client.connected:
                    await client.connect()
                with suppress(ModbusIOException):
                    reply = await client.read_holding_registers(0, count=1, device_id=unit)
                    answered[0] += not reply.isError() and unit in live
            await asyncio.sleep(max(0.0, 1.0 - (time.monotonic() - begun_s)))
        client.close()

    async with links.running():
        theirs_runs = asyncio.ensure_future(poll())
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            await asyncio.sleep(min(1.0, left_s))
            good += good_reads(out[: links.thread.waiting.take_into(out)], len(live))
    await theirs_runs
    due = seconds * len(live)
    return min(1.0, good / due), min(1.0, answered[0] / due)


async def over_a_line(seconds: float = SECONDS, onset_s: float = ONSET_S) -> float:
    """The same over a pseudo-terminal that takes the time of a serial line: our share."""
    from hil.devices.serial_line import SerialLine

    with SerialLine(byte_ns=BYTE_NS, turnaround_ns=TURNAROUND_NS) as line:
        lane = Lane("line", SAMPLES_MAX)
        source = ModbusSource(
            link=ModbusLink(
                name="line",
                framing=Framing.RTU,
                serial=SerialPort(path=line.path, baud=BAUD),
                baud=BAUD,
                connect_timeout_ns=NS_PER_S,
                response_timeout_ns=TIMEOUT_S * NS_PER_S,
            ),
            tags=[(unit - 1, tag(unit, 0, NS_PER_S)) for unit in range(1, UNITS + 1)],
            lane=lane,
            symbols=Symbols(),
            now_ns=time.monotonic_ns,
            emit=lambda _: None,
        )
        async with tasks(source.run()):
            await asyncio.sleep(onset_s)
            line.dead = set(range(UNITS - len(DYING) + 1, UNITS + 1))
            await asyncio.sleep(seconds - onset_s)
        out = np.zeros(SAMPLES_MAX, SAMPLE)
        live = UNITS - len(DYING)
        return min(1.0, good_reads(out[: lane.take_into(out)], live) / (seconds * live))


async def in_real_time(port: int, seconds: float = SECONDS) -> tuple[float, float, float]:
    """Ours over TCP, pymodbus's over TCP, ours over a line: at the same time, since all of them mostly wait."""
    (ours, theirs), line = await asyncio.gather(over_tcp(port, seconds), over_a_line(seconds))
    return ours, theirs, line


def simulated(line: Line | None = None) -> float:
    """Ten minutes in simulated time: the least share of reads that a live unit had answered."""
    dying = range(UNITS - len(DYING), UNITS)
    poller = Poller(
        plan(
            Point(
                row=0, name=f"u{unit}", device=f"u{unit}", unit=unit, function=Function.READ_HOLDING_REGISTERS,
                address=0, wire=WireType.UINT16, kind=Kind.F64, period_ns=NS_PER_S,
            )
            for unit in range(UNITS)
        ),
        requests_in_flight=1,
        response_timeout_ns=TIMEOUT_S * NS_PER_S,
        line=line,
    )  # fmt: skip
    trip_ns = TURNAROUND_NS
    if line is not None:
        trip_ns += (FRAMING_BYTES + 2 + 2) * line.byte_ns  # the body of the request, and one register
    reads = dict.fromkeys(range(UNITS), 0)
    replies: list[tuple[int, int]] = []
    now_ns = 0
    poller.begin(now_ns)
    while now_ns < SIMULATED_S * NS_PER_S:
        while replies and replies[0][0] <= now_ns:
            transaction = poller.take_reply(heapq.heappop(replies)[1], now_ns)
            if transaction is not None:
                poller.read(transaction, now_ns)
                reads[transaction.poll.unit.id] += 1
        poller.expired(now_ns)
        while (transaction := poller.next_request(now_ns)) is not None:
            if transaction.poll.unit.id not in dying or now_ns < SIMULATED_ONSET_S * NS_PER_S:
                heapq.heappush(replies, (now_ns + trip_ns, transaction.id))
        now_ns = min([poller.wake_ns(now_ns), *(due_ns for due_ns, _ in replies[:1])])
    return min(1.0, min(reads[unit] for unit in range(UNITS) if unit not in dying) / SIMULATED_S)
