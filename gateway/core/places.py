"""Places at a server: how many connections there may be, and how many of them one client may have.

A client is an address; an IPv6 client may have 2^64 of them, so its network counts as one. The limit of each leaves
room for the others: whoever opens as many connections as it can shuts out itself.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, ip_address, ip_network


class Refusal(StrEnum):
    """Why there is no place."""

    FULL = "all are taken"
    CROWDED = "the client has all of its own"


def client_of(host: str) -> str:
    """Who counts as one: an IPv4 address, the /64 of an IPv6 one. What is no address stands for itself."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, 64), strict=False))


class Places:
    """`total_max` at a time, `each_max` of them for one client."""

    def __init__(self, *, total_max: int, each_max: int) -> None:
        assert each_max >= 1
        assert total_max >= 1
        self.total_max = total_max
        self.each_max = each_max
        self.taken = 0
        self._of: dict[str, int] = {}
        self._told: set[str] = set()

    def of(self, client: str) -> int:
        return self._of.get(client, 0)

    def take(self, client: str) -> Refusal | None:
        """None: it has one more, which is to be given back."""
        if self.taken >= self.total_max:
            return Refusal.FULL
        if self.of(client) >= self.each_max:
            return Refusal.CROWDED
        self._of[client] = self.of(client) + 1
        self.taken += 1
        return None

    def give_back(self, client: str) -> None:
        left = self._of[client] - 1
        self.taken -= 1
        if left:
            self._of[client] = left
        else:
            del self._of[client]
        if left <= self.each_max // 2:
            self._told.discard(client)

    def is_news(self, client: str) -> bool:
        """Whether a client that is crowded was not so a while ago: once, until it has let go of half of its places."""
        assert self.of(client) >= self.each_max
        is_news = client not in self._told
        self._told.add(client)
        return is_news
