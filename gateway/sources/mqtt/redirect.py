"""Where to connect: the configured broker, or where it sends us (MQTT 5, 4.13).

A broker is followed only if the settings allow it, over no more than `HOPS_MAX` brokers in a row; when the other one
fails, the configured one is asked again.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from gateway.settings.schema import BrokerAddress
from gateway.sources.mqtt.explain import Redirected

HOPS_MAX: Final = 3
_REFERENCE = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")


def address_in(reference: str, port: int) -> tuple[str, int] | None:
    """Host and port of the first server in a server reference; None when there is none to be read."""
    first = reference.split()[0] if reference.split() else ""
    match = _REFERENCE.fullmatch(first)
    if match is None or not 1 <= int(match["port"] or port) <= 65_535:
        return None
    return match["host"].strip("[]"), int(match["port"] or port)


class Redirects:
    """`broker` is where the next connection goes."""

    def __init__(self, configured: BrokerAddress, may_follow: bool) -> None:
        self.configured = configured
        self._may_follow = may_follow
        self._hops = 0
        self.broker = configured

    def stayed(self) -> None:
        """The broker took us."""
        self._hops = 0

    def failed(self, error: BaseException) -> bool:
        """A connection ended; whether the next one goes somewhere else at once."""
        if isinstance(error, Redirected) and self._may_follow and self._hops < HOPS_MAX:
            found = address_in(error.where, self.configured.port)
            if found is not None:
                self._hops += 1
                self.broker = msgspec.structs.replace(self.configured, host=found[0], port=found[1])
                return True
        self._hops = 0
        self.broker = self.configured
        return False
