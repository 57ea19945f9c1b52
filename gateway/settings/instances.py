"""Instances: the named tables of a group, templates unrolled, names checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gateway.settings.section import Section
from gateway.settings.templates import NO_VARIABLES, Each, Variables, each, fill
from gateway.settings.units import WrongValueError, name


class Instance(NamedTuple):
    """`written` is the table as it stands in the file, shared by all instances of a template and without variables;
    `ordinal` counts these from 0; `variables` are the template's own."""

    name: str
    section: Section
    written: Section
    ordinal: int
    variables: Variables


def instances(root: Section, group: str, count_max: int) -> Iterator[Instance]:
    """Every table of a group such as `devices`, in the file's order."""
    seen: set[str] = set()
    for key, section in root.tables(group):
        template = section.get("each", each(count_max), None)
        if template is None and section.has("each"):
            continue  # reported; what its variables stand for is not known
        for instance in _unroll(key, section, template):
            if instance.name in seen:
                instance.section.wrong_here(f'makes "{instance.name}", which exists already; give it another name')
                continue
            if len(seen) == count_max:
                instance.section.wrong_here(f"makes more than {count_max} {group}; write fewer")
                return
            seen.add(instance.name)
            yield instance


def _unroll(key: str, section: Section, template: Each | None) -> Iterator[Instance]:
    if template is None:
        if has_name(key, section):
            yield Instance(key, section, section, 0, NO_VARIABLES)
        return
    unused = [variable for variable in template.values if f"{{{variable}}}" not in key]
    if unused:
        section.wrong_here(f"does not name {{{unused[0]}}}, so its instances would share a name; put it into the name")
        return
    for ordinal, variables in enumerate(template):
        note = f" (with {', '.join(f'{variable} = {value}' for variable, value in variables.items())})"
        one = Section(section.report, section.place, section.content, variables, note)
        one.has("each")
        try:
            filled = str(fill(key, variables))
        except WrongValueError as wrong:
            one.wrong_here(str(wrong))
            return
        if not has_name(filled, one):
            return
        yield Instance(filled, one, section, ordinal, variables)


def has_name(key: str, section: Section) -> bool:
    """Whether a table's key is a name; reports it when not."""
    if "{" in key and "each" not in section.content:
        section.wrong_here('has a variable in its name but none is given; write each = { n = "1..40" } inside')
        return False
    try:
        name(key)
    except WrongValueError as wrong:
        section.wrong_here(str(wrong))
        return False
    return True
