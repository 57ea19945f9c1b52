"""The reference's keys of calculations."""

from __future__ import annotations

from gateway.settings import calculations
from gateway.settings.reference_key import NOTHING, REQUIRED, Key
from gateway.settings.units import flag, number, positive


def calculation_keys(at: str) -> tuple[Key, ...]:
    """One calculation of a tag."""
    return (
        Key(f"{at}.of", calculations.OF, REQUIRED, "What is computed."),
        Key(f"{at}.last", calculations.LENGTH, NOTHING, "Rolling: over the last so long."),
        Key(f"{at}.every", calculations.LENGTH, NOTHING, "Over intervals of this length; with `last`: given so often."),
        Key(f"{at}.samples", calculations.SAMPLES, NOTHING, "Over the last so many samples."),
        Key(f"{at}.gap", calculations.GAP, NOTHING, "Over samples that follow each other without a longer gap."),
        Key(f"{at}.calendar", calculations.calendar, NOTHING, "Over days, months or shifts of local time."),
        Key(f"{at}.late", calculations.LATE, "0s", "How long an interval that is over waits for late samples."),
        Key(f"{at}.corrections", flag, "false", "true: what comes later gives the interval or session once more."),
        Key(f"{at}.keep_samples", calculations.KEPT, "1000", "Samples kept for quantiles."),
        Key(f"{at}.state", number, "(any but 0)", "The value that on_time and edges are of."),
        Key(f"{at}.rollover", positive, "(a fall is a reset)", "Where a counter begins anew, for increase."),
    )
