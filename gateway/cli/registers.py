"""`fieldgate registers`: the register map as SCADA integrators need it.

The map goes to standard output and nothing else does; what there is to say about the lock file goes to standard error.
The command changes nothing unless `--write-lock` is given; the daemon records new addresses when it starts. Without
either, two runs over the same file and lock print the same map.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from gateway.cli.app import EXIT_FAILED, EXIT_WRONG_INPUT

if TYPE_CHECKING:
    from gateway.serving.scada.map import Point, RegisterMap
    from gateway.settings.schema import Settings

FORMS: Final = ("table", "csv", "json", "markdown", "kepware")
COLUMNS: Final = ("unit", "address", "modicon", "registers", "type", "access", "key", "engineering_unit")


@click.command(name="registers")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMS), default="table", show_default=True)
@click.option("--unit", type=click.IntRange(0, 255), help="Only this unit.")
@click.option("--write-lock", is_flag=True, help="Record new addresses in the lock file.")
def command(file: Path, form: str, unit: int | None, write_lock: bool) -> None:
    """Print the register map that SCADA reads.

    Addresses count from 0, as in the protocol; MODICON is the same place as 4xxxx (registers) or 1xxxx (bits).

    kepware is a CSV that KEPServerEX imports into a device of its driver Modbus TCP/IP Ethernet, and Ignition through
    it: one unit at a time (--unit), with the device's Zero-Based Addressing off and First Word Low off.
    """
    from gateway.cli.common import load_or_exit

    print_registers(load_or_exit(file), form, unit, write_lock=write_lock)


def print_registers(settings: Settings, form: str, unit: int | None, *, write_lock: bool) -> None:
    """The command, from settings on. Leaves by SystemExit when there is nothing to print or the lock is wrong."""
    from gateway.serving.scada.lock import LockError, load, save
    from gateway.serving.scada.map import MapError, build_map

    scada = settings.scada
    if scada is None:
        _leave(f"{settings.path}: no [scada] section, so there are no registers; add one", EXIT_WRONG_INPUT)
    try:
        registers = build_map(settings, scada, load(scada.lock_file))
    except (LockError, MapError) as error:
        _leave(str(error), EXIT_WRONG_INPUT)
    if unit is not None and unit not in registers.units:
        _leave(f"unit {unit} shows nothing; there are {', '.join(map(str, registers.units))}", EXIT_WRONG_INPUT)
    if registers.lock_changed and write_lock:
        try:
            save(scada.lock_file, registers.lock)
        except LockError as error:
            _leave(str(error), EXIT_FAILED)
    units = registers.units if unit is None else (unit,)
    _PRINTERS[form](registers, units)
    click.echo(_about_lock(scada.lock_file, registers, write_lock=write_lock), err=True)


def _about_lock(path: Path, registers: RegisterMap, *, write_lock: bool) -> str:
    if not registers.lock_changed:
        return f"{path}: up to date"
    if write_lock:
        return f"{path}: written"
    return f"{path}: would change (these addresses are not recorded yet; --write-lock records them, so does `run`)"


def _cells(point: Point) -> tuple[str | int, ...]:
    access = "read/write" if point.writable else "read"
    return (
        point.unit,
        point.address,
        point.modicon,
        point.registers,
        point.type.value,
        access,
        point.key,
        point.engineering_unit,
    )


def _lines(registers: RegisterMap, units: Iterable[int]) -> Iterable[tuple[str | int, ...]]:
    return (_cells(point) for unit in units for point in registers.points(unit))


def _print_table(registers: RegisterMap, units: Sequence[int]) -> None:
    rows = [tuple(column.replace("_", " ") for column in COLUMNS), *_lines(registers, units)]
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        click.echo("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_csv(registers: RegisterMap, units: Sequence[int]) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_lines(registers, units))
    click.echo(out.getvalue(), nl=False)


def _print_json(registers: RegisterMap, units: Sequence[int]) -> None:
    points = [dict(zip(COLUMNS, cells, strict=True)) for cells in _lines(registers, units)]
    click.echo(
        json.dumps({"lock_would_change": registers.lock_changed, "points": points}, ensure_ascii=False, indent=1)
    )


def _print_markdown(registers: RegisterMap, units: Sequence[int]) -> None:
    for unit in units:
        click.echo(f"## Unit {unit}\n")
        columns = COLUMNS[1:]
        click.echo(f"| {' | '.join(column.replace('_', ' ') for column in columns)} |")
        click.echo("| ---: | ---: | ---: | --- | --- | --- | --- |")
        for cells in _lines(registers, (unit,)):
            click.echo(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells[1:])} |")
        click.echo("")


KEPWARE_COLUMNS: Final = (
    *("Tag Name", "Address", "Data Type", "Respect Data Type", "Client Access", "Scan Rate", "Scaling", "Raw Low"),
    *("Raw High", "Scaled Low", "Scaled High", "Scaled Data Type", "Clamp Low", "Clamp High", "Eng Units"),
    *("Description", "Negate Value"),
)
KEPWARE_TYPES: Final = {
    "bool": "Boolean",
    "uint16": "Word",
    "uint32": "DWord",
    "int64": "LLong",
    "uint64": "QWord",
    "float32": "Float",
    "string": "String",
    "text": "String",
}
KEPWARE_SCAN_MS: Final = 1_000


def _print_kepware(registers: RegisterMap, units: Sequence[int]) -> None:
    if len(units) > 1:
        _leave(f"one file is one device there: name one with --unit: {', '.join(map(str, units))}", EXIT_WRONG_INPUT)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(KEPWARE_COLUMNS)
    writer.writerows(_kepware(point) for point in registers.points(units[0]))
    click.echo(out.getvalue(), nl=False)


def _kepware(point: Point) -> tuple[str | int, ...]:
    """A line. Names there have letters, digits and underscores, and dots between groups; addresses have six digits."""
    parts = point.key.replace("/", ".").split(".")
    name = ".".join(re.sub(r"\W", "_", part, flags=re.ASCII).strip("_") for part in parts)
    is_bit, is_text = point.type.value == "bool", point.type.value in ("string", "text")
    # Texts: the length in bytes, the high byte first.
    address = f"{1 if is_bit else 4}{point.address + 1:05d}" + (f".{2 * point.registers}H" if is_text else "")
    access = "R/W" if point.writable else "RO"
    kind = KEPWARE_TYPES[point.type.value]
    return (name, address, kind, 1, access, KEPWARE_SCAN_MS, *[""] * 8, point.engineering_unit, point.key, "")


_PRINTERS: Final = {
    "table": _print_table,
    "csv": _print_csv,
    "json": _print_json,
    "markdown": _print_markdown,
    "kepware": _print_kepware,
}


def _leave(message: str, code: int) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(code)
