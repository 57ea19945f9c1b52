"""Deadbands and values near them, for the property tests of report by exception."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from gateway.core.types import Kind
from gateway.protocol.deadband import Deadband

BANDS = st.builds(
    Deadband,
    change=st.sampled_from([0.0, 1.0, 10.0, math.inf]),
    fraction=st.sampled_from([math.inf, 0.01, 0.5]),
    hold_ns=st.sampled_from([0, 2, 3]),
    heartbeat_ns=st.sampled_from([4, 10, 1 << 40]),
)
BIG = 1 << 60
VALUES = {
    Kind.F64: st.sampled_from([-1.5, 0.0, 0.5, 1.0, 1.4, 2.0, 20.0, 20.1]),
    Kind.I64: st.sampled_from([-(1 << 63), -BIG, -2, 0, 1, 2, 15, BIG, BIG + 1, (1 << 63) - 1]),
    Kind.U64: st.sampled_from([0, 1, 2, 15, BIG, BIG + 1, 1 << 63, (1 << 64) - 1]),
}
