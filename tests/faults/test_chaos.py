"""A small part of `make chaos`: whatever is killed and cut, every record arrives once and the books agree."""

from __future__ import annotations

import pytest

from tests.support.chaos import HARM, KINDS, rounds_of

SEED = 20_261_122


@pytest.mark.parametrize("kind", KINDS)
def test_after_kills_and_cuts_every_record_arrived_once(kind: str) -> None:
    verdict, done = rounds_of(kind, len(HARM) + 3, SEED)
    assert verdict.is_whole, f"seed {SEED}: {verdict}"
    assert verdict.received == verdict.produced > 100, f"seed {SEED}: {verdict}"
    assert all(done.values())
