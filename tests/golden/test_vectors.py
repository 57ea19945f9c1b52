"""Kernels and codecs give what they gave where the vectors were made, on whatever processor this is.

Bytes and whole numbers must be the same. A float may differ where compilers may choose (how a sum of products is
rounded, whose exponential it is): by 1e-9 of itself, a score, which is a float32, by 1e-5. How many differ at all is
printed.
"""

from __future__ import annotations

import json
import math
import platform
from pathlib import Path
from typing import Any

import pytest

from tests.golden.vectors import VECTORS

FLOAT32S = {"score", "persistent", "score_once_h", "persistent_once_h"}


def path_of(name: str) -> Path:
    return Path(__file__).parent / f"{name}.json"


class Differences:
    def __init__(self) -> None:
        self.floats = 0
        self.unequal = 0

    def compare(self, got: Any, want: Any, at: str) -> None:
        assert type(got) is type(want), at
        if isinstance(want, dict):
            assert got.keys() == want.keys(), at
            for key in want:
                self.compare(got[key], want[key], f"{at}.{key}")
        elif isinstance(want, list):
            assert len(got) == len(want), at
            for place, (one, other) in enumerate(zip(got, want, strict=True)):
                self.compare(one, other, f"{at}[{place}]")
        elif isinstance(want, float):
            self._compare_floats(got, want, at)
        else:
            assert got == want, at

    def _compare_floats(self, got: float, want: float, at: str) -> None:
        self.floats += 1
        if got == want or (math.isnan(got) and math.isnan(want)):
            return
        self.unequal += 1
        allowed = 1e-5 if at.split("[")[0].rsplit(".", 1)[-1] in FLOAT32S else 1e-9
        assert math.isclose(got, want, rel_tol=allowed, abs_tol=allowed * 1e-3), (at, got, want)


@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_is_what_it_was(name: str) -> None:
    want = json.loads(path_of(name).read_text(encoding="utf-8"))
    got = json.loads(json.dumps(VECTORS[name]()))
    differences = Differences()
    differences.compare(got, want, name)
    unequal = f"{differences.unequal} of {differences.floats} floats differ in their last bits"
    print(f"{name} on {platform.machine()}: {unequal}")
