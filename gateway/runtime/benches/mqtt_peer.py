"""The peers of the MQTT benchmark: a subscriber on aiomqtt or on gmqtt that does nothing but count, under uvloop.

`python -m gateway.runtime.benches.mqtt_peer aiomqtt PORT SHARED` says "ready" when it has subscribed, and counts until
its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import uvloop

from gateway.runtime.benches.mqtt_shared import RECEIVED, Words, attach

TOPICS = "bench/#"


async def aiomqtt_counts(port: int, words: Words) -> None:
    import aiomqtt

    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V311) as client:
        await client.subscribe(TOPICS)
        say("ready")
        count = 0
        async for _ in client.messages:
            count += 1
            words[RECEIVED] = count


async def gmqtt_counts(port: int, words: Words) -> None:
    import gmqtt

    subscribed = asyncio.Event()
    client = gmqtt.Client("bench-gmqtt")
    count = 0

    def on_message(*_: Any) -> int:
        nonlocal count
        count += 1
        words[RECEIVED] = count
        return 0

    client.on_message = on_message
    client.on_subscribe = lambda *_: subscribed.set()
    await client.connect("127.0.0.1", port, version=gmqtt.constants.MQTTv311)
    client.subscribe(TOPICS)
    await subscribed.wait()
    say("ready")
    await asyncio.Event().wait()


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


async def until_closed(name: str, port: int, words: Words) -> None:
    counts = {"aiomqtt": aiomqtt_counts, "gmqtt": gmqtt_counts}[name]
    task = asyncio.create_task(counts(port, words))
    closed = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait({task, closed}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    task.cancel()
    await asyncio.wait({task})


def main() -> None:
    name, port, shared = sys.argv[1:]
    uvloop.run(until_closed(name, int(port), attach(Path(shared))))


if __name__ == "__main__":
    main()
