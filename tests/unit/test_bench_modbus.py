"""The parts of the Modbus benchmark: its simulator answers as a device does, and each client reads from it."""

from __future__ import annotations

import socket
import struct

import pytest
import uvloop

from gateway.core.types import NS_PER_MS
from gateway.protocol.modbus.polled import Line
from gateway.runtime.benches.modbus_clients import PACE_NS, floor, ours, simulator, theirs
from gateway.runtime.benches.modbus_dead_units import BYTE_NS, over_a_line, simulated


def test_the_simulator_answers_split_and_joined_requests_and_keeps_silent_for_dead_units() -> None:
    with simulator() as port, socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        dead = struct.pack(">HHHBBHH", 1, 0, 6, 200, 3, 7, 2)
        first = struct.pack(">HHHBBHH", 2, 0, 6, 1, 3, 7, 2)
        second = struct.pack(">HHHBBHH", 3, 0, 6, 9, 4, 0, 100)
        stream = dead + first + second
        for part in (stream[:5], stream[5:20], stream[20:]):
            client.sendall(part)
        reply = b""
        while len(reply) < 13 + 209:
            reply += client.recv(1_000)
        assert reply[:13] == struct.pack(">HHHBBBHH", 2, 0, 7, 1, 3, 4, 7, 8)
        assert struct.unpack(">HHHBBB3H", reply[13:28]) == (3, 0, 203, 9, 4, 200, 1, 2, 3)


def test_every_client_of_the_benchmark_reads() -> None:
    with simulator() as port:
        for phase in (
            uvloop.run(ours(port, PACE_NS, 0.2)),
            uvloop.run(ours(port, NS_PER_MS, 0.2)),
            uvloop.run(theirs(port, PACE_NS, 0.2)),
            uvloop.run(floor(port, 0.2)),
        ):
            assert phase.reads > 0
            assert phase.cpu_us_per_read > 0


@pytest.mark.parametrize("line", [None, Line(BYTE_NS)], ids=["tcp", "serial"])
def test_ten_simulated_minutes_with_three_units_dying_leave_the_others_their_reads(line: Line | None) -> None:
    assert simulated(line) >= 0.95


def test_the_units_of_the_line_are_read_and_three_of_them_die() -> None:
    """How many of its reads the rest keeps is the benchmark's to say, over longer."""
    assert uvloop.run(over_a_line(2.0, onset_s=1.0)) > 0.4
