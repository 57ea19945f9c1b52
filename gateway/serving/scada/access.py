"""Access: from which networks clients may connect, from which of these they may write, and what each may reach.

Plain Modbus knows no users, so the address is all there is to go by. It keeps mistakes out, a wrong master on the
plant's network, say; whoever can forge addresses there is kept out by the network, or by certificates (`tls`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gateway.protocol.modbus.codes import ModbusException
from gateway.protocol.modbus.server import ReadBits, ReadRegisters, Request, WriteRegisters
from gateway.settings.schema import ScadaRule

Spans = Sequence[tuple[int, int]]


class Access:
    """Networks as `10.0.0.0/24`; an empty list of them lets everybody in."""

    def __init__(
        self, *, clients: Iterable[str], write_clients: Iterable[str], rules: Iterable[ScadaRule] = ()
    ) -> None:
        self._clients = [ip_network(network) for network in clients]
        self._writers = [ip_network(network) for network in write_clients]
        self._rules = [(rule, [ip_network(network) for network in rule.clients]) for rule in rules]

    def rule_of(self, host: str) -> ScadaRule | None:
        """The first that names the address; None: nothing is kept from it."""
        return next((rule for rule, networks in self._rules if _holds(networks, host)), None)

    def may_connect(self, host: str) -> bool:
        return _holds(self._clients, host)

    def read_only(self, host: str) -> str:
        """Why it may not write; empty: it may."""
        if _holds(self._writers, host):
            return ""
        return "its address is in none of the networks under write_clients in [scada]"


def _holds(networks: list[IPv4Network | IPv6Network], host: str) -> bool:
    if not networks:
        return True
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


def refusal_of(rule: ScadaRule, unit: int, request: Request) -> tuple[ModbusException, str] | None:
    """Why the rule keeps it from the client: a unit or registers that are not there for it, or are read only."""
    if not _within(rule.units, unit, 1):
        return ModbusException.GATEWAY_PATH_UNAVAILABLE, f"unit {unit} is not in the rule for its address in [scada]"
    match request:
        case ReadRegisters(_, address, count) | ReadBits(_, address, count):
            if not _within(rule.read, address, count):
                what = (
                    f"{count} from {address} of unit {unit} are not under read in the rule for its address in [scada]"
                )
                return ModbusException.ILLEGAL_DATA_ADDRESS, what
        case WriteRegisters():
            if not _within(rule.write, request.address, request.quantity):
                return ModbusException.ILLEGAL_FUNCTION, "it is not under write in the rule for its address in [scada]"
    return None


def _within(spans: Spans, first: int, count: int) -> bool:
    """Whether one of the spans has all of `count` from `first` on."""
    return any(low <= first and first + count - 1 <= high for low, high in spans)
