"""How a link's connection stands, and what is told of it: the same for every way of polling.

A link is up with its first reply or, when all units are silent, its first timeout; so a peer that accepts and hangs up
again does not make an event per attempt. One on which nothing came back for long is in doubt: it is connected anew, and
then is up only with a reply. When the bus behind it is dead, the new connection is a try of which nothing is told.
"""

from __future__ import annotations

from gateway.sources.modbus.tell import Teller


class Standing:
    """Of one link, whose changes go to `tell`."""

    def __init__(self, tell: Teller) -> None:
        self._tell = tell
        self._is_told_down = False
        self._is_in_doubt = False
        self._is_tried_anew = False
        self.is_up = False
        self.failures = 0
        """Attempts at a working connection, in a row."""

    def heard(self, now_ns: int) -> None:
        """Somebody answered: the connection has shown that it is one."""
        self.failures = 0
        self._is_in_doubt = False
        if not self.is_up:
            self.is_up = True
            self._tell.link_up(now_ns)

    def timed_out(self, now_ns: int) -> None:
        """Nobody answered; without a doubt in the connection, that is the units' matter."""
        if not self.is_up and not self._is_in_doubt:
            self.heard(now_ns)

    def doubted(self) -> None:
        """Nothing has come back for so long that the connection is closed for another one."""
        self._is_in_doubt = True
        self._is_tried_anew = self._tell.is_bus_dead

    def lost(self, reason: str, now_ns: int) -> bool:
        """There is no connection. Whether the link's tags are bad by it: not when the bus behind it is told dead."""
        if self._is_tried_anew:
            self._is_tried_anew = False
            self.failures = 0
            return False
        if self.is_up or not self._is_told_down:
            self._tell.link_down(reason, now_ns)
        self.is_up = False
        self._is_told_down = True
        return True
