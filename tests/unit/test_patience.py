"""How long a session waits for answers: a narrow line is not a silent far end."""

from __future__ import annotations

from gateway.core.patience import Patience
from gateway.core.types import NS_PER_S

TIMEOUT_S = 10
SIZE = 5_000


def patience(records: int) -> tuple[Patience, list[int]]:
    """With so many handed over at 0 s."""
    one = Patience(TIMEOUT_S * NS_PER_S)
    return one, [one.sent(SIZE, 0) for _ in range(records)]


def over_at(one: Patience, queued: dict[int, int] | int, until_s: int = 60) -> int | None:
    """The second of the look at which it is given up. `queued` by second, or always."""
    for second in range(1, until_s + 1):
        bytes_now = queued if isinstance(queued, int) else queued[second]
        if one.is_over(bytes_now, second * NS_PER_S):
            return second
    return None


def test_nothing_under_way_is_never_over() -> None:
    one, numbers = patience(2)
    for number in numbers:
        one.ended(number, is_answered=True)
    assert over_at(one, 0) is None


def test_without_an_answer_the_time_counts_from_the_hand_over() -> None:
    one, _ = patience(3)
    assert over_at(one, 3 * SIZE) == TIMEOUT_S + 1, "nothing leaves"
    one, _ = patience(3)
    assert one.is_over(0, 1) is False
    assert over_at(one, 0) == TIMEOUT_S + 1, "all has left at once"


def test_while_bytes_leave_the_time_does_not_run_and_then_it_does() -> None:
    one = Patience(TIMEOUT_S * NS_PER_S)
    one.sent(100_000, 0)
    queued = {second: max(0, 100_000 - 4_000 * second) for second in range(1, 61)}
    assert over_at(one, queued) == 25 + TIMEOUT_S + 1, "100 kB at 4 kB/s, then silence"


def test_a_record_that_has_left_is_not_excused_by_those_behind_it() -> None:
    one, _ = patience(20)
    queued = {second: max(0, 20 * SIZE - 4_000 * second) for second in range(1, 61)}
    assert over_at(one, queued) == 2 + TIMEOUT_S + 1, "the first had left after two seconds"


def test_what_a_modem_holds_shows_in_the_answers() -> None:
    one, numbers = patience(32)
    for second in range(1, 97):
        assert not one.is_over(0, second * NS_PER_S), second
        if second % 3 == 0:  # one every three seconds: the last one is answered after 96 s
            one.ended(numbers[second // 3 - 1], is_answered=True)


def test_a_record_that_is_passed_over_has_its_own_time() -> None:
    one, _ = patience(1)
    for second in range(1, 12):
        one.ended(one.sent(SIZE, second * NS_PER_S - 1), is_answered=True)
        is_over = one.is_over(SIZE // 2, second * NS_PER_S)
        assert is_over is (second > TIMEOUT_S + 1), second


def test_what_ends_without_an_answer_excuses_nobody() -> None:
    one, (first, _) = patience(2)
    one.ended(first, is_answered=False)
    assert over_at(one, 2 * SIZE) == TIMEOUT_S + 1


def test_what_the_client_says_by_itself_moves_nothing() -> None:
    one, _ = patience(1)
    assert over_at(one, {second: 2 * (1 - second % 2) for second in range(1, 61)}) == TIMEOUT_S + 2, "pings come and go"
