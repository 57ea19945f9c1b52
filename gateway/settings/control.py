"""Control as a whole: loops and blocks, who drives what, and that nothing goes in a circle.

One output under two loops is refused here, and one setpoint; what a single loop may say is in `loop`, a block's in
`blocks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from gateway.core import limits
from gateway.settings.addresses import WIDTHS
from gateway.settings.blocks import in_order, read_blocks
from gateway.settings.devices import Devices
from gateway.settings.instances import instances
from gateway.settings.links import Links
from gateway.settings.loop import Plant, Read, read_loop
from gateway.settings.schema import (
    Block,
    Commands,
    ModbusLink,
    ModbusPoint,
    MqttPoint,
    PidLoop,
    Signal,
    Tag,
    registers_of,
)
from gateway.settings.section import Section
from gateway.settings.signals import Signals, path_in_circle
from gateway.settings.units import show


class Loops(NamedTuple):
    """Each loop with the table it was written in, the names of all, those that could not be read among them, and all
    blocks, each after those that it takes."""

    read: list[tuple[PidLoop, Section]]
    names: list[str]
    blocks: tuple[Block, ...]


def read_loops(root: Section, links: Links, devices: Devices, *, are_inhibited: bool) -> Loops:
    """`are_inhibited`: no loop may write, whatever its own table says."""
    found = list(instances(root, "control", limits.LOOPS_MAX))
    tables = list(instances(root, "blocks", limits.BLOCKS_MAX))
    names = [instance.name for instance in found]
    signals = Signals(devices, frozenset(instance.name for instance in tables), frozenset(names))
    plant = Plant(devices, signals, frozenset(names), _slow_devices(links, devices), are_inhibited)
    blocks = read_blocks(tables, signals)
    read = [loop for one in found if (loop := read_loop(one.section, one.name, plant)) is not None]
    _check_outputs(read, links, devices)
    loops = _cascaded(read)
    sections = {f"control.{loop.name}": section for loop, section in loops}
    sections |= {f"blocks.{block.name}": section for block, section in blocks}
    every = [*(block for block, _ in blocks), *signals.hidden]
    if _check_circles(root, [loop for loop, _ in loops], every, sections):
        return Loops(loops, names, ())
    known = {block.name for block in every}
    sound = all(signal.name in known for block in every for signal in block.inputs if signal.of == "block")
    if len(every) > limits.BLOCKS_MAX:
        root.wrong("blocks", f"and loops make {len(every)} blocks of at most {limits.BLOCKS_MAX}; write fewer")
    return Loops(loops, names, in_order(every) if sound else ())


def _slow_devices(links: Links, devices: Devices) -> dict[str, str]:
    """Devices that are behind another Modbus link than plain TCP, and what kind that is."""
    slow = {link.name: link.kind for link in links.all() if isinstance(link, ModbusLink) and not link.is_plain_tcp}
    return {device.name: slow[device.link] for device in devices.devices if device.link in slow}


def _check_outputs(read: Sequence[Read], links: Links, devices: Devices) -> None:
    """Each register under one loop, and no more connections than there may be."""
    driven: dict[tuple[str, int, int], str] = {}
    used: set[str] = set()
    link_of = {device.name: device.link for device in devices.devices}
    endpoint_of = {link.name: link.place for link in links.all() if isinstance(link, ModbusLink)}
    for loop, section, _ in read:
        key = "follow" if loop.does_follow else "pid"
        if not loop.is_internal:
            output = devices.tags[loop.output]
            for register in _registers(output, endpoint_of.get(link_of[output.device], "")):
                other = driven.setdefault(register, loop.name)
                if other != loop.name:
                    section.wrong(key, f"drives {loop.output}, as loop {show(other)} does; give each output one loop")
        used.update(link_of[devices.tags[tag].device] for tag in registers_of(loop))
        if len(used) > limits.FAST_LINKS_MAX:
            section.wrong(key, f"brings the loops to more than {limits.FAST_LINKS_MAX} links; share connections")


def _registers(tag: Tag, endpoint: str) -> Iterator[tuple[str, int, int]]:
    """The registers behind a tag, or its topic: two tags may well be names of one."""
    if isinstance(tag.point, MqttPoint):
        yield f"{endpoint} {tag.point.write_topic}", 0, 0
    if isinstance(tag.point, ModbusPoint):
        for address in range(tag.point.address, tag.point.address + WIDTHS[tag.point.type]):
            yield endpoint, tag.point.unit, address


def _cascaded(read: Sequence[Read]) -> list[tuple[PidLoop, Section]]:
    """The loops, those that another one drives with their setpoint from it."""
    masters: dict[str, str] = {}
    for loop, section, drives in read:
        if drives and masters.setdefault(drives, loop.name) != loop.name:
            section.wrong(
                "pid", f"drives the setpoint of {drives}, as loop {show(masters[drives])} does; give each setpoint one"
            )
    loops = []
    for loop, section, _ in read:
        if loop.name in masters:
            if loop.setpoint_from is not None or loop.does_follow:
                section.wrong("pid", f"has its setpoint from loop {show(masters[loop.name])}; take setpoint_from out")
            master = Signal(of="loop", name=masters[loop.name], what="output")
            loop = msgspec.structs.replace(loop, setpoint_from=master)
        loops.append((loop, section))
    return loops


def _check_circles(
    root: Section, loops: Sequence[PidLoop], blocks: Sequence[Block], sections: dict[str, Section]
) -> bool:
    """Whether something takes, by way of others, what it gives. A loop's input is a measurement, and ends a way."""
    edges = {f"blocks.{block.name}": tuple(_takes(block.inputs)) for block in blocks}
    for loop in loops:
        taken = (loop.source, loop.setpoint_from, loop.feed_forward, loop.interlock, *(loop.gains or ()))
        edges[f"control.{loop.name}"] = tuple(_takes([signal for signal in taken if signal is not None]))
    path = path_in_circle(edges)
    if not path:
        return False
    shown = " → ".join(reversed(path))
    message = f"stands in a circle: {shown}; take one of these references out"
    place = next((sections[name] for name in path if name in sections), root)
    place.wrong_here(message)
    return True


def _takes(signals: Sequence[Signal]) -> Iterator[str]:
    for signal in signals:
        if signal.of == "block":
            yield f"blocks.{signal.name}"
        elif signal.of == "loop" and signal.what != "input":
            yield f"control.{signal.name}"


def check_commanders(loops: Loops, allowed: Mapping[Commands, Sequence[str]]) -> None:
    """Who may write points of a loop (by way) should be among those who may command it."""
    for loop, section in loops.read:
        for way, points in allowed.items():
            point = next((name for name in points if name.startswith(f"control.{loop.name}.")), None)
            if point is not None and way.value not in loop.commanders:
                section.warn("commands", f"leave out {way}, by which {point} may be written; add it to from")


def check_setpoints(loops: Loops, writable: frozenset[str]) -> None:
    """A setpoint that SCADA may write has a range that somebody chose."""
    for loop, section in loops.read:
        if f"control.{loop.name}.setpoint" in writable and loop.setpoint_min == loop.setpoint_max:
            section.wrong(
                "setpoint_limits",
                "is missing although SCADA may write the setpoint; write setpoint_limits = { min = 0, max = 100 }, "
                "or give the input tag valid = { low = 0, high = 100 }",
            )
