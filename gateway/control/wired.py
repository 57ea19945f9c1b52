"""One configuration of loops over one record of memory, and what of another one goes on in it.

A loop is carried when its name and its way to the same output are the same; a link when it is the same connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gateway.control import layout as at
from gateway.control import plan, wiring
from gateway.control.connect import Connector
from gateway.control.feeds import Feeder
from gateway.core.types import SAMPLE, Samples
from gateway.native.libc import POLLIN
from gateway.settings.schema import Block, ModbusLink, OutputBy, PidLoop, Tag, registers_of


@dataclass(frozen=True)
class Wired:
    """`tags` gives row and tag by full name, `links` the link by device name."""

    loops: tuple[PidLoop, ...]
    tags: Mapping[str, tuple[int, Tag]]
    links: Mapping[str, ModbusLink]
    blocks: at.Blocks
    used: tuple[ModbusLink, ...]
    connectors: tuple[Connector, ...]
    function_blocks: tuple[Block, ...]
    feeder: Feeder

    @property
    def rows(self) -> frozenset[int]:
        """Rows whose samples come from here."""
        return frozenset(self.tags[name][0] for loop in self.loops for name in registers_of(loop))


def wire(
    b: at.Blocks,
    loops: Sequence[PidLoop],
    tags: Mapping[str, tuple[int, Tag]],
    links: Mapping[str, ModbusLink],
    blocks: Sequence[Block],
    wake_fd: int,
    ask_fd: int,
) -> Wired:
    """Into an empty record, with no connection yet. Raises ValueError, naming the loop."""
    used = plan.fill(b, loops, tags, links)
    feeds = wiring.fill(b, loops, blocks)
    if any(loop.acts_on_arrival for loop in loops):
        b.words[at.WAKE_FD] = wake_fd
        b.descriptors[len(used)] = wake_fd, POLLIN
    if any(b.loops[: len(loops), at.IS_CARRIED]):
        b.words[at.ASK_FD] = ask_fd
    connectors = tuple(Connector(link, b.link_words, index) for index, link in enumerate(used))
    feeder = Feeder(b, feeds, tags)
    return Wired(tuple(loops), tags, links, b, used, connectors, tuple(blocks), feeder)


def is_same_connection(a: ModbusLink, b: ModbusLink) -> bool:
    return (a.name, a.host, a.port, a.connect_timeout_ns) == (b.name, b.host, b.port, b.connect_timeout_ns)


def carry(old: Wired, new: Wired) -> Wired:
    """Mark in `new` what goes on there, with the commands given so far; its connectors are the old ones then.

    To be called while nobody gives commands.
    """
    b = new.blocks
    connectors = list(new.connectors)
    carried: dict[int, int] = {}
    for link, wanted in enumerate(new.used):
        for before, was in enumerate(old.used):
            if is_same_connection(was, wanted):
                carried[before] = link
                b.carried_links[link] = before + 1
                connectors[link] = old.connectors[before]
    before_of = {block.name: (place, block) for place, block in enumerate(old.function_blocks)}
    for index, block in enumerate(new.function_blocks):
        known = before_of.get(block.name)
        if known is not None and known[1].kind == block.kind:
            b.carried_blocks[index] = known[0] + 1
    for index, signal in enumerate(new.feeder.feeds):
        if signal in old.feeder.feeds:
            b.carried_feeds[index] = old.feeder.feeds.index(signal) + 1
    places = {loop.name: place for place, loop in enumerate(old.loops)}
    for index, loop in enumerate(new.loops):
        place = places.get(loop.name)
        if place is None or not _has_same_output(old, place, new, index, carried):
            continue
        b.carried_loops[index, at.CARRIED_LOOP] = place + 1
        b.carried_loops[index, at.CARRIED_HOW] = _how(old, place, new, index, carried)
        base, was_base = index * at.COMMANDS, place * at.COMMANDS
        b.commands[base : base + at.COMMANDS] = old.blocks.commands[was_base : was_base + at.COMMANDS]
        if loop.setpoint != old.loops[place].setpoint:
            b.commands[base + at.SETPOINT_VALUE] = np.float64(loop.setpoint).view(np.int64)
            b.commands[base + at.SETPOINT_VERSION] += 1
        if plan.wanted_mode(loop) != plan.wanted_mode(old.loops[place]):
            b.commands[base + at.MODE_WANTED] = plan.wanted_mode(loop)
    return replace(new, connectors=tuple(connectors))


def moved(samples: Samples, old: Wired, new: Wired) -> Samples:
    """Samples of the old configuration with their tags' rows in the new one; those without a row are left out."""
    rows = {row: new.tags[name][0] for name, (row, _) in old.tags.items() if name in new.tags}
    kept = np.zeros(len(samples), SAMPLE)
    count = 0
    for sample in samples:
        row = rows.get(int(sample["row"]))
        if row is not None:
            kept[count] = sample
            kept[count]["row"] = row
            count += 1
    return kept[:count]


def _has_same_output(old: Wired, place: int, new: Wired, index: int, carried: Mapping[int, int]) -> bool:
    if old.loops[place].is_internal or new.loops[index].is_internal:
        return old.loops[place].is_internal and new.loops[index].is_internal
    was, now = old.tags[old.loops[place].output][1], new.tags[new.loops[index].output][1]
    if old.loops[place].output_by is not new.loops[index].output_by:
        return False
    if new.loops[index].output_by is not OutputBy.EXECUTIVE:
        return was.point == now.point and was.name == now.name
    is_same_link = carried.get(int(old.blocks.loops[place, at.OUT_LINK])) == int(new.blocks.loops[index, at.OUT_LINK])
    return is_same_link and was.point == now.point and was.name == now.name


def _how(old: Wired, place: int, new: Wired, index: int, carried: Mapping[int, int]) -> int:
    was, now = old.loops[place], new.loops[index]
    if was.source is not None or now.source is not None:
        same = was.source == now.source and was.is_shadow == now.is_shadow
        return (at.KEPT if was == now else at.RETUNED) if same else at.INITIALISED
    link_before = int(old.blocks.blocks[old.blocks.loops[place, at.BLOCK], at.BLOCK_LINK])
    link_now = int(new.blocks.blocks[new.blocks.loops[index, at.BLOCK], at.BLOCK_LINK])
    same_input = old.tags[was.input][1].point == new.tags[now.input][1].point
    if not same_input or carried.get(link_before) != link_now or was.is_shadow != now.is_shadow:
        return at.INITIALISED
    return at.KEPT if was == now else at.RETUNED
