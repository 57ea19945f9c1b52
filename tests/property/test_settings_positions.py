"""The scanner of positions against `tomllib`: every key has a place, and the key is what stands there."""

from __future__ import annotations

import re
import string
import tomllib
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.settings.positions import KeyPath, scan
from tests.support.settings import EXAMPLE

KEY_AT = re.compile(r'"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|[A-Za-z0-9_-]+')

bare_keys = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=4)
wild_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)


def quoted(text: str) -> str:
    escaped = "".join(
        f"\\u{ord(char):04x}" if ord(char) < 32 or ord(char) == 127 else "\\" + char if char in '"\\' else char
        for char in text
    )
    return f'"{escaped}"'


keys = st.one_of(bare_keys, wild_text.map(quoted), st.text("ab#=.[]{} ,", max_size=5).map(lambda text: f"'{text}'"))
blanks = st.sampled_from(["", " ", "\t", "  "])
breaks = st.sampled_from(["", "\n", " # a ] } \" ''' comment\n", "\n\n\t"])
scalars = st.one_of(
    st.integers(-99, 99).map(str),
    st.sampled_from(["true", "1.5e3", "inf", "0x1F", "1979-05-27", "1979-05-27 07:32:00Z", "07:32:00", "1_000"]),
    wild_text.map(quoted),
    st.text('ab#=.[]{} ,"', max_size=6).map(lambda text: f"'{text}'"),
    st.sampled_from(
        ['"""a\n[x]\nk = 1"""', '"""""two quotes"""""', "'''\n[y]\n'''", "'''''q'''''", '"""\\""" """', '""""""']
    ),
)


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda elements, gap, trailing: (
            "[" + gap + ("," + gap).join(elements) + ("," if trailing and elements else "") + gap + "]"
        ),
        st.lists(values, max_size=3),
        breaks,
        st.booleans(),
    )


def inline_tables(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda pairs, gap: "{" + gap + ", ".join(f"{key}{gap}={gap}{value}" for key, value in pairs) + gap + "}",
        st.lists(st.tuples(st.lists(keys, min_size=1, max_size=2).map(" . ".join), values), max_size=3),
        blanks,
    )


values = st.recursive(scalars, lambda inner: arrays(inner) | inline_tables(inner), max_leaves=6)
dotted = st.builds(lambda parts, gap: f"{gap}.{gap}".join(parts), st.lists(keys, min_size=1, max_size=3), blanks)
lines = st.one_of(
    st.builds(lambda key, gap, value: f"{gap}{key}{gap}={gap}{value}{gap}", dotted, blanks, values),
    st.builds(lambda key, gap: f"{gap}[{gap}{key}{gap}] # header", dotted, blanks),
    st.builds(lambda key, gap: f"[[{gap}{key}{gap}]]", dotted, blanks),
    st.sampled_from(["", "# [comment] = 1", "  # x = 'y'"]),
)


def paths_of(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths_of(inner, (*path, key))
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths_of(inner, (*path, index))


def key_at(text: str, offset: int) -> str:
    match = KEY_AT.match(text, offset)
    assert match is not None
    word = match[0]
    return str(tomllib.loads(f"k = {word}")["k"]) if word[0] in "\"'" else word


def accepted(document: list[str]) -> str:
    """The document with the lines left out that `tomllib` refuses, a key given twice for example."""
    kept: list[str] = []
    for line in document:
        try:
            tomllib.loads("\n".join([*kept, line]))
        except tomllib.TOMLDecodeError:
            continue
        kept.append(line)
    return "\n".join(kept)


@settings(max_examples=300, deadline=None)
@given(st.lists(lines, max_size=8))
def test_every_key_has_a_place_and_is_what_stands_there(document: list[str]) -> None:
    text = accepted(document)
    found = scan(text)
    paths = set(paths_of(tomllib.loads(text)))
    assert paths == set(found)
    for path in paths:
        if isinstance(path[-1], str):
            assert key_at(text, found[path]) == path[-1]


def test_the_example_has_a_place_for_every_key() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert set(paths_of(tomllib.loads(text))) == set(scan(text))


def test_an_element_of_an_array_stands_at_its_value() -> None:
    text = 'a = [\n  1, # one\n  [2, "x"],\n  { b = 3 }\n]\n'
    found = scan(text)
    assert text[found[("a", 0)]] == "1"
    assert text[found[("a", 1, 1)]] == '"'
    assert text[found[("a", 2, "b")]] == "b"


def test_tables_of_an_array_are_told_apart() -> None:
    text = "[[a]]\nx = 1\n[a.sub]\ny = 2\n[[a]]\nx = 3\n"
    found = scan(text)
    assert found[("a", 0, "x")] < found[("a", 0, "sub", "y")] < found[("a", 1, "x")]
