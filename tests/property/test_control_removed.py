"""Tests of tests: with anti-windup or bumpless transfer taken out of the controller, those that promise them fail."""

from __future__ import annotations

import types
from pathlib import Path

import pytest

from gateway.control import pid
from tests.property import test_control_kernels as kernels

HELD_BACK = """    elif held_back * growth > 0.0:
        growth = 0.0
"""
TRACKED = "    state[loop, INTEGRAL] = output - state[loop, KP] * weighted - state[loop, FEED_FORWARD]\n"


def without(text: str) -> types.ModuleType:
    """The controller as plain Python, that text of its source left out."""
    assert pid.__file__ is not None
    source = Path(pid.__file__).read_text(encoding="utf-8")
    assert source.count(text) == 1, "what is taken out is there, once"
    kept = source.replace(text, "").replace('@njit(cache=True, nogil=True, error_model="numpy")\n', "")
    module = types.ModuleType("pid_without")
    exec(compile(kept, "pid_without", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize(
    ("text", "test"),
    [
        (HELD_BACK, kernels.test_an_integral_that_was_held_back_leaves_the_limit_as_soon_as_the_error_turns),
        (HELD_BACK, kernels.test_an_integral_behind_the_rate_limit_does_not_wind_up_either),
        (TRACKED, kernels.test_from_manual_to_auto_the_output_does_not_jump),
    ],
)
def test_without_it_its_test_fails(text: str, test, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    test()
    monkeypatch.setattr(kernels, "pid", without(text))
    with pytest.raises(AssertionError):
        test()
