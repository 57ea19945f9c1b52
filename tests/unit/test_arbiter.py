"""Who commands a loop: rank, hold, take-over, release, and a random course beside a slow twin."""

from __future__ import annotations

import random

import pytest

from gateway.core.types import NS_PER_S
from gateway.writing.arbiter import Arbiter, Commander, CommandRefusedError
from tests.support.control import loop

HOLD_NS = 30 * NS_PER_S
OPERATOR = Commander("local", "anna")
MASTER = Commander("scada", "10.0.0.7")
OTHER_MASTER = Commander("scada", "10.0.0.8")
SENDER = Commander("mqtt", "'recipe' as it says")


def arbiter(hold_ns: int = HOLD_NS, ways: tuple[str, ...] = ("local", "page", "scada", "mqtt")) -> Arbiter:
    return Arbiter([loop(name="oven", command_hold_ns=hold_ns, commanders=ways)], {})


def command(of: Arbiter, by: Commander, now_s: float, *, is_taking: bool = False) -> str:
    now_ns = round(now_s * NS_PER_S)
    of.check("oven", by, now_ns, is_taking=is_taking)
    return of.took("oven", by, now_ns)


def test_a_command_holds_the_loop_for_its_time_and_every_further_one_holds_it_anew() -> None:
    one = arbiter()
    assert command(one, MASTER, 0) == "10.0.0.7 by scada has loop oven"
    assert command(one, MASTER, 20) == "", "the same one goes on"
    with pytest.raises(CommandRefusedError, match=r"loop oven is held by 10.0.0.7 by scada for 15 s more$") as refused:
        command(one, SENDER, 35)
    assert refused.value.is_held
    assert one.shown("oven", 49 * NS_PER_S) == "10.0.0.7 by scada"
    assert one.shown("oven", 50 * NS_PER_S) == "nobody"
    assert command(one, SENDER, 50) == "'recipe' as it says by mqtt has loop oven"


def test_the_more_important_takes_over_and_is_told_and_the_less_important_waits() -> None:
    one = arbiter()
    command(one, SENDER, 0)
    assert command(one, OPERATOR, 1) == "anna by local took loop oven over from 'recipe' as it says by mqtt"
    for by in (MASTER, SENDER):
        with pytest.raises(CommandRefusedError, match="held by anna by local for 29 s more"):
            command(one, by, 2)


def test_one_of_the_same_importance_must_say_that_it_takes_over() -> None:
    one = arbiter()
    command(one, MASTER, 0)
    with pytest.raises(CommandRefusedError, match=r'write "take" to control.oven.hold to take it over'):
        command(one, OTHER_MASTER, 1)
    assert "took loop oven over" in command(one, OTHER_MASTER, 1, is_taking=True)
    with pytest.raises(CommandRefusedError):
        command(one, SENDER, 2, is_taking=True)


def test_a_loop_that_is_released_is_free_and_without_a_hold_the_last_command_wins() -> None:
    one = arbiter()
    command(one, OPERATOR, 0)
    assert one.release("oven", OPERATOR, NS_PER_S) == "anna by local released loop oven, which anna by local had"
    assert command(one, SENDER, 2)
    free = arbiter(hold_ns=0)
    for by in (OPERATOR, SENDER, MASTER):
        assert command(free, by, 0) == ""
    assert free.held == {}


def test_who_is_not_among_the_ways_never_commands_and_a_reload_keeps_who_holds() -> None:
    one = arbiter(ways=("scada", "local"))
    with pytest.raises(CommandRefusedError, match="loop oven takes commands by scada, local only") as refused:
        command(one, SENDER, 0)
    assert not refused.value.is_held
    command(one, MASTER, 0)
    after = Arbiter([loop(name="oven", command_hold_ns=HOLD_NS)], one.held)
    assert after.shown("oven", NS_PER_S) == "10.0.0.7 by scada"
    assert Arbiter([loop(name="kiln")], one.held).held == {}


def test_a_random_course_never_has_two_commanders_nor_a_less_important_one_in_a_holders_time() -> None:
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    one = arbiter()
    ways = ("local", "page", "scada", "mqtt")
    held: tuple[Commander, float] | None = None
    now_s = 0.0
    for _ in range(3_000):
        now_s += draw.choice((0.0, 1.0, 7.0, 31.0))
        by = Commander(draw.choice(ways), draw.choice("ab"))
        if held is not None and now_s >= held[1]:
            held = None
        is_refused = held is not None and held[0] != by and ways.index(by.way) >= ways.index(held[0].way)
        try:
            command(one, by, now_s)
        except CommandRefusedError:
            assert is_refused, f"seed {seed}"
        else:
            assert not is_refused, f"seed {seed}"
            held = by, now_s + 30.0
