"""The broker amqtt as a process of its own: python -m tests.conformance.amqtt_broker PORT [PASSWORD_FILE]."""

from __future__ import annotations

import asyncio
import sys

from amqtt.broker import Broker


async def serve(port: int, password_file: str | None) -> None:
    plugins: dict[str, dict[str, object]] = {}
    if password_file is None:
        plugins["amqtt.plugins.authentication.AnonymousAuthPlugin"] = {"allow_anonymous": True}
    else:
        plugins["amqtt.plugins.authentication.FileAuthPlugin"] = {"password_file": password_file}
    broker = Broker({"listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}, "plugins": plugins})
    await broker.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
