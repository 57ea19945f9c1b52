"""Virtual tags: `formula = "boiler.power / max(fuel.flow, 0.1)"` in the place of a register or a topic.

They stand beside the other tags of a device, or alone in a device without a link. Formulas are read when all tags are
known, each at its own place in the file; then they are put into an order in which each follows what it looks at.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from gateway.core import limits
from gateway.core.formula import Formula, Statistic
from gateway.core.formulaparser import FormulaError, parse_formula
from gateway.core.types import Kind
from gateway.settings.problems import SUGGESTION_CANDIDATES_MAX
from gateway.settings.reads import EVERY
from gateway.settings.schema import FormulaPoint, Tag
from gateway.settings.section import Section
from gateway.settings.tags import Common, Defaults, read_common, tag_of
from gateway.settings.units import show, show_duration, text

_SOURCE: Final = "says where a value comes from, and this one is computed; take it or `formula` out"
ELSEWHERE: Final = {
    **dict.fromkeys(("register", "topic", "field", "metric", "bytes", "name", "type", "poll"), _SOURCE),
    **dict.fromkeys(("scale", "offset", "bits", "clamp"), "belongs to registers and topics; write it into the formula"),
    **dict.fromkeys(("write", "verify"), "has no meaning for what is computed; take it out"),
}
NO_LINK_ELSEWHERE: Final = dict.fromkeys(
    ("unit", "topic", "word_order", "byte_order", "sparkplug", "payload"),
    "belongs to devices behind a link, and this one has none: all its tags are computed; take it out",
)


class FormulaSpec(NamedTuple):
    """A virtual tag as it is written, before other tags are known."""

    section: Section
    common: Common
    text: str
    every_ns: int


def is_formula(section: Section) -> bool:
    return "formula" in section.content


def read_formula(section: Section, defaults: Defaults) -> FormulaSpec:
    written = section.require("formula", text, "", 'write formula = "100 * boiler.power / boiler.fuel", say')
    every_ns = section.get("every", EVERY, 0)
    spec = FormulaSpec(section, read_common(section, defaults, 0), written, every_ns)
    if spec.common.labels:
        section.wrong("labels", "name whole numbers of a device, and this value is computed; take them out")
    section.finish(ELSEWHERE)
    return spec


def bind_formula(spec: FormulaSpec, device: str, tag: str) -> Tag:
    return tag_of(
        device, tag, FormulaPoint(formula=Formula(spec.text, (), (), (), spec.every_ns)), Kind.F64, spec.common
    )


def complete_formulas(tags: dict[str, Tag], sections: Mapping[str, Section], incomplete: Mapping[str, None]) -> None:
    """Read the formulas of all virtual tags, and put these behind the other tags, in the order of what they look at.

    What refers to tags of `incomplete` devices is not wrong for that.
    """
    virtual = {name: tag for name, tag in tags.items() if isinstance(tag.point, FormulaPoint)}
    if not virtual:
        return
    if len(virtual) > limits.VIRTUAL_TAGS_MAX:
        beyond = next(islice(virtual, limits.VIRTUAL_TAGS_MAX, None))
        sections[beyond].wrong("formula", f"is one more than {limits.VIRTUAL_TAGS_MAX} virtual tags; write fewer")
        return
    read = {}
    inputs = 0
    for name, tag in virtual.items():
        found = _read_one(tag, tags, sections[name], incomplete)
        if found is None:
            continue
        before, inputs = inputs, inputs + len(found.inputs)
        if before <= limits.VIRTUAL_INPUTS_MAX < inputs:
            sections[name].wrong("formula", f"brings all inputs to more than {limits.VIRTUAL_INPUTS_MAX}; write fewer")
        read[name] = found
    _put_in_order(tags, read, sections)


def _read_one(tag: Tag, tags: Mapping[str, Tag], section: Section, incomplete: Mapping[str, None]) -> Formula | None:
    point = tag.point
    assert isinstance(point, FormulaPoint)
    written = point.formula.text
    unknown = [False]

    def resolve(word: str, is_pattern: bool) -> Sequence[str]:
        if is_pattern:
            match = re.compile(fnmatch.translate(word if "." in word else f"{tag.device}.{word}")).match
            hits = [name for name, one in tags.items() if match(name) and name != tag.name and _is_number(one)]
            if not hits and not incomplete:
                raise ValueError(f"{show(word)} matches no tag; write it like 'pump-*.flow'")
            unknown[0] |= not hits
            return hits
        name = word if "." in word else f"{tag.device}.{word}"
        if name not in tags:
            if name.partition(".")[0] in incomplete:
                unknown[0] = True
                return (name,)
            raise ValueError(f"{show(name)} is not a tag; {_near(name, tags)}")
        if name == tag.name:
            raise ValueError(f"looks at itself, {name}; write the tag that it is computed from")
        if not _is_number(tags[name]):
            raise ValueError(f"{name} is a text; formulas are of numbers")
        return (name,)

    if not written:
        return None
    try:
        formula = parse_formula(written, resolve, point.formula.every_ns)
        if not unknown[0]:
            _check_windows(formula, tags)
    except FormulaError as error:
        section.wrong("formula", f"column {error.column} of {show(written)}: {error}")
        return None
    return None if unknown[0] else formula


def _is_number(tag: Tag) -> bool:
    return tag.kind is not Kind.SYMBOL


def _near(name: str, tags: Mapping[str, Tag]) -> str:
    near = difflib.get_close_matches(name[:100], islice(tags, SUGGESTION_CANDIDATES_MAX), n=1, cutoff=0.6)
    if not near:
        return "write device.tag, in single quotes where a name has a -"
    return f"did you mean '{near[0]}'?" if "-" in near[0] else f"did you mean {near[0]}?"


def _check_windows(formula: Formula, tags: Mapping[str, Tag]) -> None:
    """Raises FormulaError."""
    for one in formula.inputs:
        if one.statistic is Statistic.VALUE or one.window_ns in tags[one.tag].windows_ns:
            continue
        named = ", ".join(show_duration(window) for window in tags[one.tag].windows_ns)
        remedy = f"it has {named}" if named else 'give it windows = ["1min"], say'
        raise FormulaError(1, f"{one.tag} has no window of {show_duration(one.window_ns)}; {remedy}")


def _put_in_order(tags: dict[str, Tag], read: Mapping[str, Formula], sections: Mapping[str, Section]) -> None:
    """Level by level: a tag's level is one above the highest that it looks at."""
    looks_at = {name: tuple(one.tag for one in formula.inputs if one.tag in read) for name, formula in read.items()}
    level_of: dict[str, int] = {}
    waiting = dict.fromkeys(read)
    while waiting:
        ready = [name for name in waiting if all(other in level_of for other in looks_at[name])]
        if not ready:
            circle = _circle(looks_at, waiting)
            sections[circle[0]].wrong(
                "formula",
                f"goes in a circle: {' looks at '.join(circle)}; take one of these out of the other's formula",
            )
            return
        for name in ready:
            level_of[name] = max((level_of[other] for other in looks_at[name]), default=0) + 1
            del waiting[name]
            if level_of[name] == limits.VIRTUAL_LEVELS_MAX + 1:
                sections[name].wrong(
                    "formula", f"is the end of a chain of more than {limits.VIRTUAL_LEVELS_MAX} formulas; write fewer"
                )
    places = {name: place for place, name in enumerate(tags)}
    for name in sorted(level_of, key=lambda name: (level_of[name], places[name])):
        tag = tags.pop(name)
        stale_ns = tag.stale_after_ns or max(tags[one.tag].stale_after_ns for one in read[name].inputs)
        tags[name] = msgspec.structs.replace(tag, point=FormulaPoint(formula=read[name]), stale_after_ns=stale_ns)


def _circle(looks_at: Mapping[str, Sequence[str]], waiting: Mapping[str, None]) -> list[str]:
    """A path that ends where it begins. Every tag that waits looks at one that waits."""
    path = [next(iter(waiting))]
    while path[-1] not in path[:-1]:
        path.append(next(other for other in looks_at[path[-1]] if other in waiting))
    return path[path.index(path[-1]) :]
