"""Access: from which networks clients may connect, and from which of these they may write.

Modbus knows no users, so the address is all there is to go by. It keeps mistakes out, a wrong master on the plant's
network, say; whoever can forge addresses there is kept out by the network, not by this.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network


class Access:
    """Networks as `10.0.0.0/24`; an empty list of them lets everybody in."""

    def __init__(self, *, clients: Iterable[str], write_clients: Iterable[str]) -> None:
        self._clients = [ip_network(network) for network in clients]
        self._writers = [ip_network(network) for network in write_clients]

    def may_connect(self, host: str) -> bool:
        return _holds(self._clients, host)

    def may_write(self, host: str) -> bool:
        return _holds(self._writers, host)


def _holds(networks: list[IPv4Network | IPv6Network], host: str) -> bool:
    if not networks:
        return True
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
