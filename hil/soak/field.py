"""The soak's field side, in a process of its own: the demo's Modbus devices, and a publisher of many readings.

Prints its ports as one JSON line when all listens, and publishes until a line comes in; then prints how many readings
it sent. It ends when standard input closes. Messages are prebuilt, each with a hundred readings, and only their times
are put in before they go, so that the load costs the machine little.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import threading
import time
from dataclasses import replace
from typing import Final

import uvloop

from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.runtime.benches.mqtt_frames import SHAPES, Ring
from gateway.runtime.benches.mqtt_publisher import connect
from hil.demo.world import METERS
from hil.devices.instruments import MeterUnit, RotorUnit, TankUnit
from hil.devices.modbus import Endpoint, Unit

FIRST_DEVICE: Final = 100
"""Numbers of three digits, so that all messages are of one length."""
DEVICES_MAX: Final = 900
TURNS: Final = 10
"""So many different values has a tag, one after the other."""
SHAPE: Final = replace(SHAPES["json-batch"], topic=lambda message: f"soak/{FIRST_DEVICE + message}")


class Publisher:
    """Sends a message of each device in turn, evenly in time; one that comes late sends late, and leaves none out."""

    def __init__(self, link: socket.socket, devices: int, messages_per_s: float) -> None:
        self._link = link
        self._rings = [Ring(SHAPE, devices * SHAPE.tags_per_message, seed) for seed in range(TURNS)]
        self._rate = messages_per_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self.sent = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> int:
        """Readings that were sent."""
        self._stop.set()
        self._thread.join()
        return self.sent * SHAPE.tags_per_message

    def _run(self) -> None:
        began_ns = time.monotonic_ns()
        while not self._stop.wait(NS_PER_MS / NS_PER_S):
            self._send(int((time.monotonic_ns() - began_ns) * self._rate / NS_PER_S) - self.sent)

    def _send(self, count: int) -> None:
        while count > 0 and not self._stop.is_set():
            turn, first = divmod(self.sent, len(self._rings[0]))
            ring = self._rings[turn % TURNS]
            after = min(first + count, len(ring))
            ring.stamp(first, after, self.sent, time.time_ns())
            self._link.sendall(ring.view[first * ring.frame_bytes : after * ring.frame_bytes])
            self.sent += after - first
            count -= after - first


async def main(broker_port: int, devices: int, messages_per_s: float) -> None:
    plc = Endpoint(Unit(1, TankUnit()))
    meters = Endpoint(*(Unit(number, MeterUnit(number)) for number in range(1, METERS + 1)))
    fan = Endpoint(Unit(1, RotorUnit()))
    for endpoint in (plc, meters, fan):
        await endpoint.start()
    publisher = Publisher(connect(broker_port, 0), devices, messages_per_s)
    print(json.dumps({"plc": plc.port, "meters": meters.port, "fan": fan.port}), flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.readline)
    publisher.start()
    await loop.run_in_executor(None, sys.stdin.readline)
    print(json.dumps({"readings": await loop.run_in_executor(None, publisher.stop)}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    for endpoint in (plc, meters, fan):
        await endpoint.stop()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
