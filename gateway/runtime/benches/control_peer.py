"""The same loops as engineers write them in Python: asyncio, pymodbus and simple-pid, in a process of its own.

One task a link reads all inputs of its loops with one request on an absolute deadline, then steps each controller and
writes each output. A process of its own shares no GIL with the load, and it gets the executive's priority where that is
permitted: both are in its favour. Input to output is taken where bytes come and go: from the reply with the inputs
(pymodbus calls `trace_packet` there) until the transport took the write of each loop.

Prints one JSON object: lateness and input to output, as lists of ns.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from pymodbus.client import AsyncModbusTcpClient

from gateway.control.realtime import become_real_time
from gateway.core.types import NS_PER_S
from gateway.runtime.benches.control_plant import GAIN, INTEGRAL_S, OUTPUTS_AT, SETPOINT

SETTLE_S = 0.5
WRITE_SINGLE = 6
FUNCTION_BYTE = 7


class Link:
    """One connection and its loops."""

    def __init__(self, port: int, loops: int, period_ns: int) -> None:
        pid = importlib.import_module("simple_pid").PID
        self._loops = loops
        self._period_ns = period_ns
        period_s = period_ns / NS_PER_S
        self._pids: Sequence[Any] = [
            pid(GAIN, GAIN / INTEGRAL_S, 0.0, SETPOINT, sample_time=None, output_limits=(0, 100)) for _ in range(loops)
        ]
        self._period_s = period_s
        self._client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=1, trace_packet=self._trace)
        self._received_ns = 0
        self._is_writing = False
        self.lateness_ns: list[int] = []
        self.reaction_ns: list[int] = []

    def _trace(self, sending: bool, data: bytes) -> bytes:
        if not sending:
            if data[FUNCTION_BYTE : FUNCTION_BYTE + 1] != bytes([WRITE_SINGLE]):
                self._received_ns = time.monotonic_ns()
        else:
            self._is_writing = data[FUNCTION_BYTE] == WRITE_SINGLE
        return data

    def _watch_writes(self) -> None:
        """The output counts as sent once the transport took it, as the executive's does: after its `send`."""
        transport: Any = self._client.ctx.transport
        write = transport.write

        def timed(data: bytes) -> None:
            write(data)
            if self._is_writing:
                self.reaction_ns.append(time.monotonic_ns() - self._received_ns)

        transport.write = timed

    async def run(self, settled_ns: int, end_ns: int) -> None:
        await self._client.connect()
        self._watch_writes()
        due_ns = time.monotonic_ns() + self._period_ns
        is_settled = False
        while due_ns < end_ns:
            await asyncio.sleep(max(0, due_ns - time.monotonic_ns()) / NS_PER_S)
            now_ns = time.monotonic_ns()
            if not is_settled and now_ns > settled_ns:
                is_settled = True
                self.lateness_ns.clear()
                self.reaction_ns.clear()
            self.lateness_ns.append(now_ns - due_ns)
            due_ns += (1 + max(0, now_ns - due_ns) // self._period_ns) * self._period_ns
            await self._cycle()
        self._client.close()

    async def _cycle(self) -> None:
        reply = await self._client.read_input_registers(0, count=2 * self._loops)
        numbers = self._client.convert_from_registers(reply.registers, self._client.DATATYPE.FLOAT32)
        values = numbers if isinstance(numbers, list) else [numbers]  # a single number comes without a list
        for loop, value in enumerate(values):
            output = self._pids[loop](value, dt=self._period_s)
            await self._client.write_register(OUTPUTS_AT + loop, round(output * 10))


async def measure(port: int, links: int, loops: int, period_ns: int, seconds: float) -> dict[str, list[int]]:
    start_ns = time.monotonic_ns()
    settled_ns = start_ns + int(SETTLE_S * NS_PER_S)
    made = [Link(port, loops // links, period_ns) for _ in range(links)]
    await asyncio.gather(*(link.run(settled_ns, settled_ns + int(seconds * NS_PER_S)) for link in made))
    return {
        "lateness_ns": [ns for link in made for ns in link.lateness_ns],
        "reaction_ns": [ns for link in made for ns in link.reaction_ns],
    }


def main() -> None:
    port, links, loops, period_ns = (int(word) for word in sys.argv[1:5])
    become_real_time()
    told = asyncio.run(measure(port, links, loops, period_ns, float(sys.argv[5])))
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
