"""Style that a person should not have to watch for, as tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

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


# Each rule is one test that names all offenders: a test for each rule and file would take longer than the rules.
TREES = {name: ast.parse((ROOT / name).read_text(encoding="utf-8")) for name in NAMES}
NODES = {name: list(ast.walk(tree)) for name, tree in TREES.items()}
LINES = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in NAMES}


def calls(name: str) -> Iterator[tuple[str, str, str]]:
    """(object, attribute, file:line) of every call `object.attribute(...)`; object is "" for a plain name."""
    for node in NODES[name]:
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                base = node.func.value.id if isinstance(node.func.value, ast.Name) else "?"
                yield base, node.func.attr, f"{name}:{node.lineno}"
            elif isinstance(node.func, ast.Name):
                yield "", node.func.id, f"{name}:{node.lineno}"


def listed(what: str, places: list[str]) -> str:
    return "\n  ".join((what, *places))


def functions(name: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in NODES[name] if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_module_opens_with_its_theory() -> None:
    bare = [name for name in NAMES if not ast.get_docstring(TREES[name])]
    assert not bare, listed("no module docstring", bare)


def test_files_stay_small_enough_to_hold_in_the_head() -> None:
    known = LONGER_FOR_A_REASON
    long = [f"{name}: {lines}" for name, lines in LINES.items() if lines > LINES_MAX and name not in known]
    assert not long, listed("split it by what it is about", long)


def test_a_function_fits_on_a_screen() -> None:
    long = []
    for name in NAMES:
        for node in functions(name):
            first = node.body[1].lineno if ast.get_docstring(node) and len(node.body) > 1 else node.body[0].lineno
            lines = (node.end_lineno or first) - first + 1
            if lines > STATEMENT_LINES_MAX and f"{name}:{node.name}" not in LONG_FUNCTIONS_FOR_A_REASON:
                long.append(f"{name}:{node.lineno}: {node.name} has {lines} lines below its docstring")
    assert not long, listed("more than a screen", long)


def test_exceptions_to_the_rules_are_still_needed() -> None:
    assert [name for name in LONGER_FOR_A_REASON if LINES.get(name, 0) <= LINES_MAX] == []
    known = {f"{name}:{node.name}" for name in NAMES for node in functions(name)}
    assert set(LONG_FUNCTIONS_FOR_A_REASON) <= known


def test_time_is_an_argument() -> None:
    clocks = {*(("time", name) for name in CLOCKS), *(("datetime", name) for name in ("now", "utcnow", "today"))}
    named = (name for name in NAMES if not name.startswith(MAY_READ_A_CLOCK))
    read = [where for name in named for base, attribute, where in calls(name) if (base, attribute) in clocks]
    assert not read, listed("reads a clock; take the time as an argument", read)


def test_only_the_supervisor_catches_everything() -> None:
    broad = []
    for name in set(NAMES) - set(MAY_CATCH_ALL):
        for node in NODES[name]:
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else ""
                passes_on = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
                if caught in ("", "Exception", "BaseException") and not passes_on:
                    broad.append(f"{name}:{node.lineno}")
    assert not broad, listed("catches everything", broad)


def test_objects_are_whole_or_absent_and_nothing_is_evaluated() -> None:
    wrong = {("", "hasattr"), ("", "eval"), ("", "exec")}
    called = [f"{where}: {attr}()" for name in NAMES for base, attr, where in calls(name) if (base, attr) in wrong]
    assert not called, listed("not here", called)


def test_only_commands_print() -> None:
    silent = (name for name in NAMES if name.startswith("gateway/") and not name.startswith("gateway/cli/"))
    printed = [where for name in silent for base, attr, where in calls(name) if (base, attr) == ("", "print")]
    assert not printed, listed("emit an event", printed)


def test_kernels_are_compiled_one_way_and_reduce_nothing() -> None:
    """Array reductions sum in an order of their own, fastmath and parallel in any: results would differ by build."""
    compiled = 0
    for name in NAMES:
        for node in functions(name):
            for decorator in node.decorator_list:
                if not ast.unparse(decorator).startswith(("njit", "numba.njit")):
                    continue
                compiled += 1
                assert isinstance(decorator, ast.Call), f"{name}:{node.lineno}: bare @njit"
                given = {k.arg: k.value.value for k in decorator.keywords if isinstance(k.value, ast.Constant)}
                plain = {k: v for k, v in given.items() if k not in ("inline", "forceinline", "_nrt")}
                assert plain == JIT_KEYWORDS, (
                    f"{name}:{node.lineno}: {node.name} must be @njit(cache=True, nogil=True, error_model='numpy')"
                )
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
                        where = f"{name}:{inner.lineno}: {node.name} reduces an array by {inner.func.attr}()"
                        assert inner.func.attr not in REDUCTIONS, where
    assert compiled > 100


def test_nothing_speaks_of_the_machine_it_was_written_on() -> None:
    pattern = re.compile(r"/(?:work|root|tmp|home)/[a-z]")
    for path in TEXT_FILES:
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert not pattern.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
