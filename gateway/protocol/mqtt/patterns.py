"""Topic patterns: `plant/{area}/{device}/{tag}`, and what a topic that fits is called.

A named field stands for one whole level, which must not be empty; the subscription is the pattern with `+` in their
place. As for any wildcard, a field at the start does not stand for a level that begins with `$` (MQTT 5, 4.7.2).

A device is called by the values of all fields but `{tag}`, in their order, joined by `/`; so two devices never share a
name because the areas that they are in were left out. Characters that a name cannot have are written `%XX`, by the
bytes of their UTF-8, a dot too: the first dot of a tag's name is the one behind its device.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

TAG: Final = "tag"
NAME_BYTES_MAX: Final = 512

_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,31})\}")
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")


class WrongPatternError(Exception):
    """The text is not a pattern; says why, and what to write."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern. `fields` are all named ones but {tag}; without a {tag}, every topic is the tag `tag_name`."""

    text: str
    tag_name: str | None
    fields: tuple[str, ...]
    wildcard: str
    """What to subscribe to."""
    _expression: re.Pattern[str] = field(repr=False)

    def match(self, topic: str) -> tuple[str, str] | None:
        """Device and tag of a topic; None when it does not fit."""
        found = self._expression.fullmatch(topic)
        if found is None:
            return None
        device = "/".join([escaped(found[name]) for name in self.fields])
        tag = escaped(found[TAG]) if self.tag_name is None else self.tag_name
        return device, tag


def parse(text: str, tag_name: str | None) -> Pattern:
    """Raises WrongPatternError."""
    levels = text.split("/")
    fields: list[str] = []
    expression = []
    for place, level in enumerate(levels):
        named = _FIELD.fullmatch(level)
        if named is None:
            if any(character in level for character in "{}+#"):
                raise WrongPatternError(
                    f"the level {level!r} is neither a name nor a field; write whole levels like {{area}} instead"
                )
            expression.append(re.escape(level))
            continue
        if named[1] in fields:
            raise WrongPatternError(f"has {level} twice; give each level a name of its own")
        fields.append(named[1])
        not_dollar = "(?![$])" if place == 0 else ""
        expression.append(f"(?P<{named[1]}>{not_dollar}[^/]+)")
    if tag_name is None and TAG not in fields:
        raise WrongPatternError('has no {tag}; write it for one level, or tag = "power" beside match')
    if tag_name is not None and TAG in fields:
        raise WrongPatternError("names its tags by {tag}; take out tag = beside match, or {tag}")
    of_device = tuple(name for name in fields if name != TAG)
    if not of_device:
        raise WrongPatternError("has no field for the device; write {device} for one level")
    wildcard = "/".join("+" if _FIELD.fullmatch(level) else level for level in levels)
    return Pattern(text, tag_name, of_device, wildcard, re.compile("/".join(expression)))


def escaped(level: str) -> str:
    """A level as a name, from which the level can be told."""
    if _FOREIGN.search(level) is None:
        return level
    return _FOREIGN.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), level)
