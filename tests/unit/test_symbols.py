"""Texts and their numbers: the same text the same number, bounded, from several threads, restored in order."""

from __future__ import annotations

import threading

import pytest

from gateway.core.limits import SYMBOL_BYTES_MAX
from gateway.core.symbols import NO_SYMBOL, Symbols, SymbolsDiffer


def counted(symbols: Symbols) -> dict[str, float]:
    return {reading.name.removeprefix("fieldgate_symbols"): reading.value for reading in symbols.readings()}


def test_a_text_has_one_number_and_a_number_one_text() -> None:
    symbols = Symbols()
    texts = ["", "RUN", "STOP", "läuft", "運転", "RUN ", "\x00", "RU"]
    numbers = [symbols.intern(text) for text in texts]
    assert numbers == list(range(1, len(texts) + 1))
    assert [symbols.intern(text) for text in texts] == numbers
    assert [symbols.text_of(number) for number in numbers] == texts
    assert symbols.text_of(NO_SYMBOL) is None
    assert symbols.text_of(len(texts) + 1) is None
    assert symbols.text_of(-1) is None


def test_what_does_not_fit_is_refused_and_counted_and_what_is_known_goes_on() -> None:
    symbols = Symbols(capacity=3, bytes_max=100)
    assert [symbols.intern(text) for text in "abcda"] == [1, 2, 3, NO_SYMBOL, 1]
    assert counted(symbols) == {"": 3, "_bytes": 3, "_refused_total": 1, "_cut_total": 0}
    symbols = Symbols(capacity=100, bytes_max=10)
    assert [symbols.intern(text) for text in ("12345678", "12", "123", "12345678")] == [1, 2, NO_SYMBOL, 1]


def test_a_long_text_is_cut_at_a_character() -> None:
    symbols = Symbols()
    number = symbols.intern("x" + "ü" * SYMBOL_BYTES_MAX)
    assert symbols.text_of(number) == "x" + "ü" * ((SYMBOL_BYTES_MAX - 1) // 2)
    assert counted(symbols)["_cut_total"] == 1


def test_texts_are_restored_to_their_numbers() -> None:
    symbols = Symbols()
    for text in ("a", "b", "c"):
        symbols.intern(text)
    assert symbols.texts_since(1) == ("b", "c")
    assert symbols.texts_since(3) == ()
    again = Symbols()
    again.restore(symbols.texts_since(0))
    assert [again.text_of(number) for number in (1, 2, 3)] == ["a", "b", "c"]
    other = Symbols()
    other.intern("z")
    with pytest.raises(SymbolsDiffer, match="restore before use"):
        other.restore(["a"])


def test_threads_agree_on_every_number() -> None:
    symbols = Symbols()
    texts = [f"text {i % 500}" for i in range(4_000)]
    found: list[list[int]] = [[] for _ in range(4)]

    def work(mine: list[int], shift: int) -> None:
        for i in range(len(texts)):
            mine.append(symbols.intern(texts[(i + shift) % len(texts)]))

    threads = [threading.Thread(target=work, args=(mine, 37 * k)) for k, mine in enumerate(found)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(symbols) == 500
    for k, mine in enumerate(found):
        for i, number in enumerate(mine):
            assert symbols.text_of(number) == texts[(i + 37 * k) % len(texts)]
