"""Style that a person should not have to watch for, as tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*(ROOT / "gateway").rglob("*.py"), *(ROOT / "hil").rglob("*.py")])
NAMES = [str(path.relative_to(ROOT)) for path in SOURCES]

LINES_MAX = 400
LONGER_FOR_A_REASON: dict[str, str] = {}
STATEMENT_LINES_MAX = 60
LONG_FUNCTIONS_FOR_A_REASON: dict[str, str] = {}

CLOCKS = {"time", "monotonic", "perf_counter", "time_ns", "monotonic_ns", "perf_counter_ns"}
# Who may read a clock: the composition root (it hands the clock down), tools that measure, simulated devices; the
# time base of threads without the GIL is CLOCK_MONOTONIC itself, and `native.clock` sets its offset to engine time.
MAY_READ_A_CLOCK = ("gateway/runtime/", "gateway/cli/", "gateway/native/clock.py", "hil/")
# The supervisor restarts what fails for reasons nobody foresaw; nobody else may catch everything.
MAY_CATCH_ALL = ("gateway/runtime/supervisor.py",)
REDUCTIONS = {"sum", "mean", "std", "var", "dot", "prod"}
JIT_KEYWORDS = {"cache": True, "nogil": True, "error_model": "numpy"}
TEXT_FILES = [
    path
    for pattern in (
        "*.md",
        "gateway/**/*.md",
        "config/**/*",
        "packaging/**/*",
        "gateway/**/*.py",
        "hil/**/*.py",
        "tests/**/*.py",
        "Makefile",
        ".ci/*",
    )
    for path in ROOT.glob(pattern)
    if path.is_file() and path.suffix not in (".npz", ".pyc", ".png")
]


def tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"))


def calls(name: str) -> list[tuple[str, str, int]]:
    """(object, attribute, line) of every call `object.attribute(...)`; object is "" for a plain name."""
    found = []
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                base = node.func.value.id if isinstance(node.func.value, ast.Name) else "?"
                found.append((base, node.func.attr, node.lineno))
            elif isinstance(node.func, ast.Name):
                found.append(("", node.func.id, node.lineno))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_module_opens_with_its_theory(name: str) -> None:
    assert ast.get_docstring(tree(name)), f"{name} has no module docstring"


@pytest.mark.parametrize("name", NAMES)
def test_files_stay_small_enough_to_hold_in_the_head(name: str) -> None:
    lines = len((ROOT / name).read_text(encoding="utf-8").splitlines())
    assert lines <= LINES_MAX or name in LONGER_FOR_A_REASON, f"{name} has {lines} lines; split it by what it is about"


@pytest.mark.parametrize("name", NAMES)
def test_a_function_fits_on_a_screen(name: str) -> None:
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1].lineno if ast.get_docstring(node) and len(node.body) > 1 else node.body[0].lineno
            lines = (node.end_lineno or first) - first + 1
            key = f"{name}:{node.name}"
            assert lines <= STATEMENT_LINES_MAX or key in LONG_FUNCTIONS_FOR_A_REASON, (
                f"{key} has {lines} lines below its docstring"
            )


def test_exceptions_to_the_rules_are_still_needed() -> None:
    for name in LONGER_FOR_A_REASON:
        assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) > LINES_MAX, (
            f"{name} needs no exception any more"
        )
    for key in LONG_FUNCTIONS_FOR_A_REASON:
        name, function = key.split(":")
        assert any(
            isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name == function for n in ast.walk(tree(name))
        ), key


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith(MAY_READ_A_CLOCK)])
def test_time_is_an_argument(name: str) -> None:
    for base, attribute, line in calls(name):
        assert not (base == "time" and attribute in CLOCKS), (
            f"{name}:{line}: reads a clock; take the time as an argument"
        )
        assert not (base == "datetime" and attribute in ("now", "utcnow", "today")), f"{name}:{line}: reads a clock"


@pytest.mark.parametrize("name", NAMES)
def test_only_the_supervisor_catches_everything(name: str) -> None:
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else ""
            passes_on = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            broad = caught in ("", "Exception", "BaseException") and not passes_on
            assert not broad or name in MAY_CATCH_ALL, f"{name}:{node.lineno}: catches everything"


@pytest.mark.parametrize("name", NAMES)
def test_objects_are_whole_or_absent_and_nothing_is_evaluated(name: str) -> None:
    for base, attribute, line in calls(name):
        assert (base, attribute) not in {("", "hasattr"), ("", "eval"), ("", "exec")}, f"{name}:{line}: {attribute}()"


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("gateway/") and not n.startswith("gateway/cli/")])
def test_only_commands_print(name: str) -> None:
    for base, attribute, line in calls(name):
        assert (base, attribute) != ("", "print"), f"{name}:{line}: print(); emit an event"


@pytest.mark.parametrize("name", NAMES)
def test_kernels_are_compiled_one_way_and_reduce_nothing(name: str) -> None:
    """Array reductions sum in an order of their own, fastmath and parallel in any: results would differ by build."""
    for node in ast.walk(tree(name)):
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            if not ast.unparse(decorator).startswith(("njit", "numba.njit")):
                continue
            assert isinstance(decorator, ast.Call), f"{name}:{node.lineno}: bare @njit"
            given = {k.arg: k.value.value for k in decorator.keywords if isinstance(k.value, ast.Constant)}
            plain = {k: v for k, v in given.items() if k not in ("inline", "forceinline", "_nrt")}
            assert plain == JIT_KEYWORDS, (
                f"{name}:{node.lineno}: {node.name} must be @njit(cache=True, nogil=True, error_model='numpy')"
            )
            for inner in ast.walk(node):
                if (
                    isinstance(inner, ast.Call)
                    and isinstance(inner.func, ast.Attribute)
                    and inner.func.attr in REDUCTIONS
                ):
                    raise AssertionError(f"{name}:{inner.lineno}: {node.name} reduces an array by {inner.func.attr}()")


def test_nothing_speaks_of_the_machine_it_was_written_on() -> None:
    pattern = re.compile(r"/(?:work|root|tmp|home)/[a-z]")
    for path in TEXT_FILES:
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert not pattern.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
