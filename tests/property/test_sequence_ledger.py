"""The receiver's ledger against a set of everything it ever saw."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.record import Identity
from gateway.receiver import Offer, SequenceLedger

LENGTH = 8
offers = st.lists(st.tuples(st.integers(0, 3), st.integers(1, LENGTH)), max_size=80)


@given(offers)
def test_any_order_of_arrival_is_taken_exactly_once(arrivals: list[tuple[int, int]]) -> None:
    ledger = SequenceLedger()
    seen: set[tuple[int, int]] = set()
    for segment, sequence in arrivals:
        identity = Identity("g", "s", segment, sequence)
        offer = ledger.offer(identity)
        if sequence == LENGTH and offer is not Offer.DUPLICATE:
            ledger.segment_end(identity, LENGTH)
        assert (offer is Offer.DUPLICATE) == ((segment, sequence) in seen)
        seen.add((segment, sequence))
    missing = {
        (segment, sequence)
        for segment in {segment for segment, _ in seen}
        for sequence in range(1, max(n for s, n in seen if s == segment))
    } - seen
    reported = {
        (hole.segment, sequence)
        for hole in ledger.summary().ranges
        for first, last in hole.ranges
        for sequence in range(first, last + 1)
    }
    assert reported == missing
    assert ledger.summary().received == len(seen)
    for stream in ledger.state.streams.values():
        for segment in stream.open:
            assert len({n for s, n in seen if s == segment}) < LENGTH
