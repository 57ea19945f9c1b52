"""Rules of the Modbus server: which units and addresses a client may read and write, by the network it is in."""

from __future__ import annotations

import re
from typing import Final

from gateway.settings.addresses import network
from gateway.settings.forms import says
from gateway.settings.schema import ScadaRule
from gateway.settings.units import WrongValueError, array_of, show

RULES_MAX: Final = 100
SPANS_MAX: Final = 100
UNIT_MAX: Final = 247
ADDRESS_MAX: Final = 65_535
KEYS: Final = ("from", "units", "read", "write")
EXAMPLE: Final = 'write rules = [{ from = ["10.0.0.7"], units = [1], read = ["0-999"], write = ["100-109"] }]'
_SPAN: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
_FROM = array_of(network, '["10.0.0.7"]', 100)


def spans(value: object, highest: int) -> tuple[tuple[int, int], ...]:
    """Numbers and spans as `["0-99", 200]`."""
    if not isinstance(value, list) or len(value) > SPANS_MAX:
        raise WrongValueError(
            f'{show(value)} is not an array of up to {SPANS_MAX} numbers and spans like ["0-99", 200]'
        )
    return tuple(_span(each, highest) for each in value)


def _span(value: object, highest: int) -> tuple[int, int]:
    match = _SPAN.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if match is None:
        raise WrongValueError(f'{show(value)} is no number and no span; write 200, or "0-99"')
    first = int(match[1])
    last = int(match[2] or first)
    if not first <= last <= highest:
        raise WrongValueError(f"{show(value)} does not rise, or goes beyond {highest}; write a span like 0-99")
    return first, last


def _rules(value: object) -> tuple[ScadaRule, ...]:
    if not isinstance(value, list) or len(value) > RULES_MAX:
        raise WrongValueError(f"{show(value)} is not an array of up to {RULES_MAX} rules; {EXAMPLE}")
    return tuple(_rule(each) for each in value)


def _rule(value: object) -> ScadaRule:
    if not isinstance(value, dict) or "from" not in value:
        raise WrongValueError(f"has a rule without from; {EXAMPLE}")
    for key in value:
        if key not in KEYS:
            raise WrongValueError(f"has a rule with {show(key)}; a rule has {', '.join(KEYS)}")
    clients = _FROM(value["from"])
    if not clients:
        raise WrongValueError(f"has a rule whose from is empty; {EXAMPLE}")
    return ScadaRule(
        clients=clients,
        units=spans(value["units"], UNIT_MAX) if "units" in value else ((0, UNIT_MAX),),
        read=spans(value["read"], ADDRESS_MAX) if "read" in value else ((0, ADDRESS_MAX),),
        write=spans(value["write"], ADDRESS_MAX) if "write" in value else ((0, ADDRESS_MAX),),
    )


_SPANS_SCHEMA: Final = {"type": "array", "maxItems": SPANS_MAX, "items": {"type": ["integer", "string"]}}
RULES = says(
    _rules,
    'rules like { from = ["10.0.0.7"], units = [1], read = ["0-999"], write = ["100-109"] }',
    {
        "type": "array",
        "maxItems": RULES_MAX,
        "items": {
            "type": "object",
            "required": ["from"],
            "additionalProperties": False,
            "properties": {
                "from": {"type": "array", "items": {"type": "string"}},
                "units": _SPANS_SCHEMA,
                "read": _SPANS_SCHEMA,
                "write": _SPANS_SCHEMA,
            },
        },
    },
)
