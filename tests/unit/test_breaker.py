"""Back-off and circuit breaker."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.backoff import Backoff
from gateway.core.breaker import Breaker

BACKOFF = Backoff(base_ns=1_000, cap_ns=60_000)


@given(st.integers(1, 10_000), st.integers(0, 2**32))
def test_a_delay_doubles_up_to_its_cap_and_jitter_only_shortens_it(failures: int, seed: int) -> None:
    whole_ns = min(60_000, 1_000 * 2 ** min(failures - 1, 20))
    assert 0.75 * whole_ns <= BACKOFF.delay_ns(failures, seed) <= whole_ns
    assert BACKOFF.delay_ns(failures, seed) == BACKOFF.delay_ns(failures, seed)


def test_those_who_failed_together_do_not_try_again_together() -> None:
    assert len({BACKOFF.delay_ns(7, seed) for seed in range(100)}) > 80


def test_a_breaker_opens_after_its_failures_probes_rarely_and_closes_on_an_answer() -> None:
    breaker = Breaker(failures_max=3, backoff=BACKOFF)
    for _ in range(2):
        breaker.failed(0)
        assert breaker.allows(0)
    breaker.failed(0)
    assert breaker.is_open
    waits = []
    now_ns = 0
    for _ in range(8):
        assert not breaker.allows(now_ns)
        waits.append(breaker.retry_ns - now_ns)
        now_ns = breaker.retry_ns
        assert breaker.allows(now_ns)
        breaker.failed(now_ns)
    assert waits[0] <= 1_000
    assert 45_000 <= waits[-1] <= 60_000
    breaker.answered()
    assert breaker.allows(now_ns)


def test_failures_of_requests_sent_before_it_opened_do_not_lengthen_the_back_off() -> None:
    breaker = Breaker(failures_max=3, backoff=BACKOFF)
    for _ in range(8):
        breaker.failed(0)
    assert breaker.retry_ns <= 1_000
