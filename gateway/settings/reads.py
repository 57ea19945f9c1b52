"""When tags are read and what one read may be: poll groups, and the limits of a device.

A tag says `every`, or names a poll group `[polls.NAME]` that has a period, a phase and a jitter.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.protocol.modbus.codes import READ_BITS_MAX, READ_REGISTERS_MAX
from gateway.protocol.modbus.plan import GAP_REGISTERS_MAX
from gateway.settings.forms import says
from gateway.settings.problems import did_you_mean
from gateway.settings.schema import Hole, ReadLimits, Table
from gateway.settings.section import Section
from gateway.settings.units import WrongValueError, array_of, duration, integer, name, show, show_duration, text

HOUR_NS: Final = 3_600 * NS_PER_S
REGISTERS: Final = 65_536
HOLES_MAX: Final = 64

EVERY = duration(NS_PER_MS, 24 * HOUR_NS)
PHASE = duration(0, 24 * HOUR_NS)
REGISTERS_PER_READ = integer(1, READ_REGISTERS_MAX)
BITS_PER_READ = integer(1, READ_BITS_MAX)
GAP = integer(0, READ_REGISTERS_MAX - 1)

_HOLE = re.compile(r"(coil|discrete|input|holding) +([0-9]{1,5})(?:(?:\.\.|-)([0-9]{1,5}))?")


def hole(value: object) -> Hole:
    """`"holding 100..109"`: addresses that must not be asked for."""
    match = _HOLE.fullmatch(text(value))
    if match is None:
        raise WrongValueError(f'{show(value)} is no range of addresses; write it like "holding 100..109"')
    first, last = int(match[2]), int(match[3] or match[2])
    if not first <= last < REGISTERS:
        raise WrongValueError(f"{show(value)} does not count up, from 0 to at most {REGISTERS - 1}; write it so")
    return Hole(Table(match[1]), first, last)


says(
    hole,
    'a table and addresses, like "holding 100..109"',
    {"type": "string", "pattern": "^(coil|discrete|input|holding) +[0-9]+((\\.\\.|-)[0-9]+)?$"},
)
HOLES = array_of(hole, '["holding 100..109", "input 40"]', HOLES_MAX)


class PollGroup(NamedTuple):
    """`phase_ns` None: wherever there is room in the period."""

    every_ns: int
    phase_ns: int | None = None
    jitter_ns: int = 0


class Polls:
    """The poll groups of a configuration."""

    def __init__(self, root: Section) -> None:
        self._report = root.report
        self._sections = dict(root.tables("polls"))
        self._groups = {key: _read(section) for key, section in self._sections.items()}
        self._used: set[str] = set()
        for key, section in self._sections.items():
            try:
                name(key)
            except WrongValueError as wrong:
                section.wrong_here(str(wrong))

    def of_tag(self, section: Section, default_every_ns: int) -> PollGroup:
        """When a tag is read: as it says itself, or as its group does."""
        every_ns = section.get("every", EVERY, default_every_ns)
        group = section.get("poll", text, None)
        if group is None:
            return PollGroup(every_ns)
        if "every" in section.content:
            section.wrong("every", f"is also said by the poll group {show(group)}; take one of them out")
        if group not in self._groups:
            section.wrong("poll", f"{show(group)} is not a poll group; {self._remedy(group)}")
            return PollGroup(every_ns)
        self._used.add(group)
        return self._groups[group]

    def _remedy(self, group: str) -> str:
        return did_you_mean(group, self._groups, f'write [polls.{group}] with every = "10s", or every here')

    def warn_of_unused(self) -> None:
        for key, section in self._sections.items():
            if key not in self._used:
                self._report.warn(section.place, "is used by no tag")


def _read(section: Section) -> PollGroup:
    every_ns = section.require("every", EVERY, NS_PER_S, 'write every = "10s"')
    phase_ns = section.get("phase", PHASE, None)
    jitter_ns = section.get("jitter", PHASE, 0)
    if section.is_sound("every"):
        for key, value_ns in (("phase", phase_ns), ("jitter", jitter_ns)):
            if value_ns is not None and value_ns >= every_ns and section.is_sound(key):
                longest = f"less than {show_duration(every_ns)}"
                section.wrong(key, f"does not lie within the period; write {longest}, the group's every")
    section.finish()
    return PollGroup(every_ns, phase_ns, jitter_ns)


def read_limits(section: Section) -> ReadLimits:
    """What one read of this device may be."""
    return ReadLimits(
        registers_max=section.get("registers_per_read", REGISTERS_PER_READ, READ_REGISTERS_MAX),
        bits_max=section.get("bits_per_read", BITS_PER_READ, READ_BITS_MAX),
        gap_registers_max=section.get("gap", GAP, GAP_REGISTERS_MAX),
        holes=section.get("holes", HOLES, ()),
    )


def check_reads(section: Section, limits: ReadLimits, table: Table, first: int, registers: int) -> None:
    """Whether the device lets a tag be read at all."""
    if not section.is_sound("register", "registers", "type"):
        return
    last = first + registers - 1
    if registers > limits.registers_max and table in (Table.HOLDING, Table.INPUT):
        section.wrong(
            "register",
            f"takes {registers} registers, and its device gives {limits.registers_max} at a time; "
            "write a higher registers_per_read, or a shorter type",
        )
    for found in limits.holes:
        if found.table is table and found.first <= last and first <= found.last:
            section.wrong(
                "register", f"lies in a hole of its device, {table} {found.first}..{found.last}; take one of them out"
            )
            return
