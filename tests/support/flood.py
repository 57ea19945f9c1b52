"""Clients that mean harm, in a process of their own.

`python -m tests.support.flood HTTP-PORT SCADA-PORT SECONDS SEED HOSTS`: a thousand connections at a time, half of them
to each server of one gateway on 127.0.0.1, from as many addresses as HOSTS says, 127.0.0.2 and on. Each does one of a
few bad things, and begins again when it is cut off. It ends by itself, and prints as JSON how often each was begun. It
takes only what processor is left over, as somebody on another machine would.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import uvloop

HOST: Final = "127.0.0.1"
CONNECTIONS: Final = 1_000
AGAIN_S: Final = 1.0
"""After being cut off: with a thousand of them still a thousand new connections a second."""
SCRAPE: Final = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
READ: Final = bytes.fromhex("000100000006010300000001")


async def drip(writer: asyncio.StreamWriter, _: random.Random) -> None:
    """A request whose header never ends, a byte now and then (slow loris)."""
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.5)


async def long_header(writer: asyncio.StreamWriter, _: random.Random) -> None:
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n")
    for number in range(100):
        writer.write(b"X-%d: " % number + b"a" * 10_000 + b"\r\n")
        await writer.drain()


async def long_body(writer: asyncio.StreamWriter, _: random.Random) -> None:
    writer.write(
        b"POST /api/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9999999\r\n\r\n"
    )
    for _round in range(100):
        writer.write(b"[" * 100_000)
        await writer.drain()


async def chunked_body(writer: asyncio.StreamWriter, _: random.Random) -> None:
    writer.write(b"POST /api/login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _round in range(100):
        writer.write(b"ffff\r\n" + b"[" * 0xFFFF + b"\r\n")
        await writer.drain()


async def scrapes(writer: asyncio.StreamWriter, _: random.Random) -> None:
    """Asks for much and reads nothing of it."""
    for _round in range(1_000):
        writer.write(SCRAPE)
        await writer.drain()


async def noise(writer: asyncio.StreamWriter, random_: random.Random) -> None:
    for _round in range(50):
        writer.write(random_.randbytes(random_.randrange(1, 2_000)))
        await writer.drain()


async def silent(writer: asyncio.StreamWriter, _: random.Random) -> None:
    await asyncio.sleep(3_600)


async def long_frame(writer: asyncio.StreamWriter, _: random.Random) -> None:
    """A Modbus header that announces 65,535 bytes."""
    writer.write(bytes.fromhex("00010000ffff0103") + bytes(65_533))
    await writer.drain()


async def drip_frame(writer: asyncio.StreamWriter, _: random.Random) -> None:
    """Modbus requests byte by byte."""
    while True:
        for byte in READ:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.2)


async def reads(writer: asyncio.StreamWriter, _: random.Random) -> None:
    """Modbus requests as fast as they are taken; their answers are not read."""
    while True:
        writer.write(READ * 100)
        await writer.drain()


HTTP: Final = (drip, long_header, long_body, chunked_body, scrapes, noise, silent)
SCADA: Final = (noise, silent, long_frame, drip_frame, reads)
Harm = Callable[[asyncio.StreamWriter, random.Random], Awaitable[None]]


async def again_and_again(
    port: int, host: str, harm: Harm, name: str, begun: Counter[str], random_: random.Random
) -> None:
    await asyncio.sleep(random_.random())
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(HOST, port, local_addr=(host, 0))
            begun[name] += 1
            try:
                await first(harm(writer, random_), hung_up(reader) if harm is not reads else never())
            finally:
                writer.transport.abort()
        await asyncio.sleep(AGAIN_S)


async def hung_up(reader: asyncio.StreamReader) -> None:
    """Reads and forgets until the server hangs up."""
    while await reader.read(65_536):
        pass


async def never() -> None:
    await asyncio.sleep(3_600)


async def first(*works: Awaitable[None]) -> None:
    """Until one of them is over; raises what it raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def flood(http_port: int, scada_port: int, seconds: float, seed: int, hosts: int) -> Counter[str]:
    random_ = random.Random(seed)
    begun: Counter[str] = Counter()
    works = []
    for number in range(CONNECTIONS):
        kinds, port = (HTTP, http_port) if number % 2 else (SCADA, scada_port)
        harm = kinds[number // 2 % len(kinds)]
        name = f"{'http' if number % 2 else 'scada'} {harm.__name__}"
        works.append(
            asyncio.create_task(again_and_again(port, f"127.0.0.{2 + number // 2 % hosts}", harm, name, begun, random_))
        )
    await asyncio.sleep(seconds)
    for work in works:
        work.cancel()
    await asyncio.gather(*works, return_exceptions=True)
    return begun


def main() -> None:
    http_port, scada_port, seconds, seed, hosts = sys.argv[1:]
    os.nice(19)
    print(json.dumps(uvloop.run(flood(int(http_port), int(scada_port), float(seconds), int(seed), int(hosts)))))


if __name__ == "__main__":
    main()
