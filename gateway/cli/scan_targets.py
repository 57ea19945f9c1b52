"""What `fieldgate scan` is pointed at: addresses, ranges and serial ports as links."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, NetmaskValueError, ip_network
from typing import Final

from gateway.core.types import NS_PER_S
from gateway.settings.addresses import modbus_endpoint
from gateway.settings.modbuslinks import BAUDS, Port, line_place
from gateway.settings.schema import ModbusLink
from gateway.settings.schema_modbus import Framing, Parity, SerialPort
from gateway.settings.units import WrongValueError

HOSTS_UNASKED_MAX: Final = 32
"""More addresses are scanned only after a confirmation."""
HOSTS_MAX: Final = 1_024
CONNECT_TIMEOUT_NS: Final = NS_PER_S

_LINES: Final = {"rtu": Framing.RTU, "ascii": Framing.ASCII}
_RANGE = re.compile(r"((?:[0-9]{1,3}\.){3})([0-9]{1,3})-([0-9]{1,3})(:[0-9]{1,5})?")
_NETWORK = re.compile(r"([0-9.]+/[0-9]{1,2})(:[0-9]{1,5})?")


class WrongTarget(Exception):
    """The text says what is wrong and what to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How serial ports are set."""

    baud: int
    parity: Parity
    stop_bits: int


def links_of(targets: Sequence[str], *, line: Line, timeout_s: float) -> list[ModbusLink]:
    """Each address once, in order. Raises WrongTarget."""
    if line.baud not in BAUDS:
        raise WrongTarget(f"{line.baud} is no baud rate of a serial port; write one like 9600 or 19200")
    links: dict[str, ModbusLink] = {}
    for target in targets:
        for link in _links(target, line, round(timeout_s * NS_PER_S)):
            links.setdefault(link.name, link)
            if len(links) > HOSTS_MAX:
                raise WrongTarget(f"more than {HOSTS_MAX} addresses; scan them part by part")
    return list(links.values())


def _links(target: str, line: Line, timeout_ns: int) -> Iterator[ModbusLink]:
    framing, _, place = target.partition(":")
    try:
        if framing in _LINES:
            yield _line(place, _LINES[framing], line, timeout_ns)
            return
        if target.startswith("/"):
            raise WrongTarget(f"{target} is a serial port; say how it speaks: rtu:{target} or ascii:{target}")
        for host in _hosts(target):
            endpoint = modbus_endpoint(host)
            yield ModbusLink(
                name=str(endpoint),
                host=endpoint.host,
                port=endpoint.port,
                connect_timeout_ns=CONNECT_TIMEOUT_NS,
                response_timeout_ns=timeout_ns,
            )
    except WrongValueError as wrong:
        raise WrongTarget(str(wrong)) from None


def _line(place: str, framing: Framing, line: Line, timeout_ns: int) -> ModbusLink:
    where = line_place(place)
    if not isinstance(where, Port):
        return ModbusLink(
            name=f"{framing.value}:{where}",
            framing=framing,
            host=where.host,
            port=where.port,
            connect_timeout_ns=CONNECT_TIMEOUT_NS,
            response_timeout_ns=timeout_ns,
        )
    bits = 7 if framing is Framing.ASCII else 8
    serial = SerialPort(path=where.path, baud=line.baud, parity=line.parity, stop_bits=line.stop_bits, data_bits=bits)
    return ModbusLink(
        name=f"{framing.value}:{where.path}",
        framing=framing,
        serial=serial,
        connect_timeout_ns=CONNECT_TIMEOUT_NS,
        response_timeout_ns=timeout_ns,
        baud=line.baud,
    )


def _hosts(target: str) -> Iterator[str]:
    """One target as endpoints."""
    span = _RANGE.fullmatch(target)
    if span is not None:
        first, last = int(span[2]), int(span[3])
        if not first <= last <= 255:
            raise WrongTarget(f"{target} does not count up to at most 255; write it like 10.0.0.1-20")
        for number in range(first, last + 1):
            yield f"{_address(f'{span[1]}{number}')}{span[4] or ''}"
        return
    network = _NETWORK.fullmatch(target)
    if network is None:
        yield target
        return
    try:
        hosts = ip_network(network[1])
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise WrongTarget(f"{target} is not a network ({error}); write it like 10.0.0.0/28") from None
    if hosts.num_addresses > HOSTS_MAX + 2:
        raise WrongTarget(f"{target} has {hosts.num_addresses} addresses; scan at most {HOSTS_MAX} at a time")
    for host in hosts.hosts():
        yield f"{host}{network[2] or ''}"


def _address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError as error:
        raise WrongTarget(f"{text} is not an address ({error})") from None


def numbers(text: str, low: int, high: int, what: str, *, is_one_range: bool = False) -> list[int]:
    """`1-10,255`, in order and each once. Raises WrongTarget."""
    found: dict[int, None] = {}
    parts = text.split(",")
    for part in parts:
        match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part.strip())
        first = int(match[1]) if match else -1
        last = int(match[2] or match[1]) if match else -1
        if not low <= first <= last <= high or (is_one_range and len(parts) > 1):
            example = "0-499" if is_one_range else "1-10,255"
            raise WrongTarget(f"--{what} {text} cannot be used; write {low} to {high}, like {example}")
        found |= dict.fromkeys(range(first, last + 1))
    return list(found)
