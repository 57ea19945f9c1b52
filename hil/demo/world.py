"""The demo's field side, in a process of its own: Modbus devices, and MQTT sensors that replay recordings.

Prints one JSON line with its ports when everything listens. The replay begins with the first line on standard input;
all of it ends when standard input closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys

import aiomqtt
import uvloop

from gateway.mqttclient import Client
from hil import recordings
from hil.demo.consumer import again_in
from hil.devices.instruments import MeterUnit, RotorUnit, TankUnit
from hil.devices.modbus import Endpoint, Unit

METERS = 10
MESSAGES_PER_S = 100
FIRST_SAMPLE = {"machine_temperature": 2_300, "ambient_temperature": 2_500}
"""Where the replay begins, so that a labelled anomaly of each passes by after the score's warm-up, within 45 s."""


async def publish(broker_port: int, name: str) -> None:
    """Replay one recording for ever, over and over, at MESSAGES_PER_S; reconnect when the broker is away."""
    recording = recordings.load(name)
    topic = f"plant/hall/{name}/value"
    at = FIRST_SAMPLE[name] % len(recording.value)
    loop = asyncio.get_running_loop()
    while True:
        try:
            async with Client("127.0.0.1", broker_port, identifier=f"sensor-{name}") as client:
                due_s = loop.time()
                while True:
                    await client.publish(topic, json.dumps({"value": round(float(recording.value[at]), 4)}))
                    at = (at + 1) % len(recording.value)
                    due_s += 1.0 / MESSAGES_PER_S
                    await asyncio.sleep(max(0.0, due_s - loop.time()))
        except aiomqtt.MqttError:
            await again_in(0.5)


async def main(broker_port: int) -> None:
    # pymodbus logs each illegal address at error level; here they are rehearsals.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    plc = Endpoint(Unit(1, TankUnit()))
    meters = Endpoint(*(Unit(number, MeterUnit(number)) for number in range(1, METERS + 1)))
    fan = Endpoint(Unit(1, RotorUnit()))
    for endpoint in (plc, meters, fan):
        await endpoint.start()
    print(json.dumps({"plc": plc.port, "meters": meters.port, "fan": fan.port}), flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.readline)
    sensors = [asyncio.create_task(publish(broker_port, name)) for name in recordings.NAMES]
    await loop.run_in_executor(None, sys.stdin.read)
    for sensor in sensors:
        sensor.cancel()
    await asyncio.gather(*sensors, return_exceptions=True)
    for endpoint in (plc, meters, fan):
        await endpoint.stop()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main(int(sys.argv[1])))
