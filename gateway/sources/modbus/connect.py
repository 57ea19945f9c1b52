"""How a link's connection is made. What cannot be made says why, in the words of whoever can mend it."""

from __future__ import annotations

import asyncio

from gateway.core.types import NS_PER_S
from gateway.settings.schema import ModbusLink
from gateway.sources.modbus.session import Session


class CannotConnectError(Exception):
    """The text goes on after the name of the place: "cannot be reached (...): check ..."."""


async def open_connection(link: ModbusLink, session: Session) -> None:
    """Connect, and give `session` the transport. Raises CannotConnectError."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(link.connect_timeout_ns / NS_PER_S):
            await loop.create_connection(lambda: session, link.host, link.port)
    except TimeoutError:
        raise CannotConnectError(
            "does not answer to the connection attempt: check address, cabling and firewall"
        ) from None
    except OSError as error:
        raise CannotConnectError(f"cannot be reached ({error}): check host, port, and that the device is on") from error
