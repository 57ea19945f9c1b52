"""The executive on a link and a clock that follow a script; as a program it prints every byte that it sent.

The device is at the other end of a socket pair and answers between two turns, so nothing depends on how fast anything
is: the same script gives the same bytes, compiled or not. `python -m tests.support.scripted_link SEED`.
"""

from __future__ import annotations

import random
import socket
import struct
import sys

from gateway.control import executive, plan
from gateway.control import layout as at
from gateway.core.kernels.atomics import write_word
from gateway.core.types import NS_PER_MS
from gateway.core.view import Mode
from tests.support.control import TAGS, link, loop

TURNS = 400
START_NS = 10**12
LEVEL_BYTES = 4


def run(seed: int) -> list[str]:
    """Every request in hex, and the loop's mode whenever it changed."""
    draw = random.Random(seed)
    memory = at.allocate()
    b = memory[0]
    wanted = loop(kp=30.0, ti_s=0.8, td_s=0.05, output_rate_max=400.0, every_ns=10 * NS_PER_MS)
    plan.fill(b, [wanted], TAGS, {"tank": link(502)})
    device, ours = socket.socketpair()
    device.setblocking(False)
    ours.setblocking(False)
    b.link_words[at.OFFER_FD] = ours.detach()
    write_word(b.link_words, at.OFFER_GENERATION, 1)
    level, valve, now_ns = 0.4, 300, START_NS
    told: list[str] = []
    mode = -1
    for turn in range(TURNS):
        now_ns += draw.choice((1, 2, 5, 10, 13)) * NS_PER_MS
        if turn % 97 == 96:
            now_ns += 250 * NS_PER_MS  # overslept: periods are skipped, the input grows too old
        b.words[at.SCRIPT_NS] = now_ns
        if turn == 200:
            b.commands[at.MODE_WANTED] = Mode.MANUAL
        if turn == 240:
            b.commands[at.MODE_WANTED] = Mode.AUTO
        executive.run(memory)
        level = min(1.0, max(0.0, level + draw.uniform(-0.02, 0.02)))
        valve = answer(device, draw, level, valve, told)
        if int(b.loops[0, at.MODE]) != mode:
            mode = int(b.loops[0, at.MODE])
            told.append(f"turn {turn}: mode {mode}")
    told.append(f"output {b.published[0]['output'].hex()} cycles {b.published[0]['cycles']} {b.counters[0].tolist()}")
    device.close()
    return told


def answer(device: socket.socket, draw: random.Random, level: float, valve: int, told: list[str]) -> int:
    """Answer what came in, now and then with an exception, NaN or not at all; the valve as it is then."""
    try:
        requests = device.recv(4096)
    except BlockingIOError:
        return valve
    while requests:
        size = 6 + struct.unpack(">H", requests[4:6])[0]
        request, requests = requests[:size], requests[size:]
        told.append(request.hex())
        function, address, word = request[7], *struct.unpack(">HH", request[8:12])
        fate = draw.random()
        if function == 6:
            valve = word
            body = request[7:12]
        elif address == 0:
            shown = float("nan") if fate < 0.03 else level
            body = bytes([function, LEVEL_BYTES]) + struct.pack(">f", shown)
        else:
            body = bytes([function, 2]) + struct.pack(">H", valve)
        if 0.03 <= fate < 0.05:
            body = bytes([function | 0x80, 4])
        if fate < 0.98:
            device.sendall(request[:4] + struct.pack(">H", len(body) + 1) + request[6:7] + body)
    return valve


if __name__ == "__main__":
    print("\n".join(run(int(sys.argv[1]))))
