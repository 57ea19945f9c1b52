"""Payloads meant to break a decoder: both ways take them alike, whole and byte by byte, and go on afterwards."""

from __future__ import annotations

import random
from typing import Final

import pytest

from gateway.core.types import Kind
from gateway.protocol.mqtt.codec import encode_string, frame
from gateway.protocol.mqtt.table import Feed
from tests.support.hostile import CORPUS, some_data, some_payload
from tests.support.payloads import READINGS, SENML, Twins, deep_feeds, named, struct_feeds
from tests.support.sparkplug_twins import SparkplugTwins

ROUNDS: Final = 2_000
PLAIN = (Feed("t", 0, "d", Kind.F64, ("v",)), Feed("t", 1, "d", Kind.I64, ("n",), ("t",)), Feed("t", 2, "d", Kind.F64))
NESTED = (Feed("t", 0, "d", Kind.F64, ("v", 0, "n")), Feed("t", 1, "d", Kind.F64, (0, "v"), quality_field=("v",)))
TWINS = {
    "plain": Twins(PLAIN),
    "nested": Twins(NESTED),
    "deep": Twins(deep_feeds("t")),
    "readings": Twins(named("t", READINGS)),
    "senml": Twins(named("t", SENML)),
    "struct": Twins(struct_feeds("t", kinds=(Kind.F64, Kind.U64))),
}


@pytest.mark.parametrize("layout", TWINS)
def test_both_ways_take_the_corpus_alike(layout: str) -> None:
    for payload in CORPUS:
        TWINS[layout].take(payload)
        TWINS[layout].take(payload, retained=True)


@pytest.mark.parametrize("layout", TWINS)
def test_both_ways_take_what_goes_on_from_the_corpus_alike(layout: str) -> None:
    seed = random.randrange(1 << 32)
    random_ = random.Random(seed)
    for round_ in range(ROUNDS // len(TWINS)):
        payload = some_payload(random_)
        try:
            TWINS[layout].take(payload)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, round {round_}: {payload!r}") from error


@pytest.mark.parametrize("layout", TWINS)
def test_cut_into_bytes_they_mean_the_same(layout: str) -> None:
    for payload in (payload for payload in CORPUS if len(payload) < 200):
        whole, _ = TWINS[layout].take(payload)
        twin = TWINS[layout]
        twin.begin()
        stream = frame(0x30, encode_string("t") + payload)
        assert twin.in_pieces(stream).tobytes() == whole.tobytes(), payload


def test_data_of_sparkplug_is_taken_alike_by_both() -> None:
    twins = SparkplugTwins()
    for payload in CORPUS:
        twins.take(payload)


def test_mutated_data_of_sparkplug_is_taken_alike_by_both() -> None:
    seed = random.randrange(1 << 32)
    random_ = random.Random(seed)
    twins = SparkplugTwins()
    for round_ in range(600):
        payload = some_data(random_)
        try:
            twins.take(payload)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, round {round_}: {payload!r}") from error
    assert twins.fast > 20, f"seed {seed}: too few went the fast way to prove anything"
