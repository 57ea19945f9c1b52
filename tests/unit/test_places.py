"""Places at a server: what one client may have of them."""

from __future__ import annotations

import random

import pytest

from gateway.core.places import Places, Refusal, client_of


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("no address", "no address"),
    ],
)
def test_a_client_is_an_ipv4_address_or_an_ipv6_network(host: str, client: str) -> None:
    assert client_of(host) == client


def test_one_client_never_has_more_than_its_part_and_leaves_the_rest_to_others() -> None:
    places = Places(total_max=6, each_max=4)
    assert [places.take("a") for _ in range(6)] == [None] * 4 + [Refusal.CROWDED] * 2
    assert [places.take("b") for _ in range(3)] == [None, None, Refusal.FULL]
    places.give_back("a")
    assert places.take("b") is None
    assert (places.of("a"), places.of("b"), places.taken) == (3, 3, 6)


def test_a_crowd_is_news_once_until_the_client_let_go_of_half() -> None:
    places = Places(total_max=10, each_max=4)

    def fill() -> bool:
        while places.take("a") is None:
            pass
        return places.is_news("a")

    assert [fill(), fill()] == [True, False]
    places.give_back("a")
    assert not fill()
    places.give_back("a")
    places.give_back("a")
    assert fill()


def test_whatever_comes_and_goes_the_count_is_right_and_nothing_is_remembered_of_those_who_left() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    random_ = random.Random(seed)
    places = Places(total_max=12, each_max=5)
    held: list[str] = []
    for _ in range(5_000):
        client = random_.choice("abcd")
        if random_.random() < 0.55:
            refusal = places.take(client)
            expected = Refusal.FULL if len(held) == 12 else Refusal.CROWDED if held.count(client) == 5 else None
            assert refusal is expected
            if refusal is None:
                held.append(client)
            elif refusal is Refusal.CROWDED:
                places.is_news(client)
        elif client in held:
            held.remove(client)
            places.give_back(client)
        assert places.taken == len(held)
        assert all(places.of(each) == held.count(each) for each in "abcd")
    for client in held:
        places.give_back(client)
    assert (places.taken, places._of, places._told) == (0, {}, set())
