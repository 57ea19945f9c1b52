"""Imports point one way, and the core stays pure."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent

# From the top down. A module may import from its own layer (its own package only) and from every layer below.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"gateway.__main__"}),
    frozenset({"gateway.cli"}),
    frozenset({"gateway.runtime"}),
    frozenset(
        {
            "gateway.sources",
            "gateway.upstreams",
            "gateway.control",
            "gateway.spool",
            "gateway.writing",
            "gateway.serving.scada",
            "gateway.serving.http",
            "gateway.serving.operator",
            "gateway.receiver",
        }
    ),
    frozenset({"gateway.mqttclient", "gateway.serialport"}),
    frozenset({"gateway.settings"}),
    frozenset({"gateway.native", "gateway.sendqueue", "gateway.disk"}),
    frozenset({"gateway.protocol", "gateway.core"}),
)
PURE = ("gateway.core", "gateway.protocol")
IMPURE_MODULES = {
    "asyncio",
    "ctypes",
    "http",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "signal",
    "socket",
    "sqlite3",
    "sqlite_utils",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "uvloop",
    "zoneinfo",
}
MAY_IMPORT_NUMBA = (
    "gateway.core.kernels",
    "gateway.control",
    "gateway.protocol",
    "gateway.native",
    "gateway.sources.modbus",
)
# hil ships in the wheel for the demo and the benchmarks; the daemon itself must never load it.
MAY_IMPORT_HIL = (
    "gateway.cli.demo",
    "gateway.cli.bench",
    "gateway.cli.simulate",
    "gateway.runtime.benches",
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((ROOT / "gateway").rglob("*.py"))}


@cache
def imports_of(path: Path) -> list[tuple[str, int]]:
    """Every module that a file imports, anywhere in it, outside `if TYPE_CHECKING` or not."""
    return list(_imports_of(path))


def _imports_of(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides where it points"
            base = node.module or ""
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base, node.lineno


def inside(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def place(module: str) -> tuple[int, str] | None:
    for depth, packages in enumerate(LAYERS):
        for package in packages:
            if inside(module, package):
                return depth, package
    return None


# Each rule is one test that names all offenders: a test for each rule and module would take longer than the rules.
def imports() -> Iterator[tuple[str, str, str]]:
    """(module, what it imports, file:line) of every import of the package."""
    for module, path in MODULES.items():
        for imported, line in imports_of(path):
            yield module, imported, f"{path.relative_to(ROOT)}:{line}"


def test_imports_point_down_and_siblings_do_not_know_each_other() -> None:
    wrong = []
    for module, imported, where in imports():
        here, there = place(module), place(imported)
        if here is None or there is None:
            continue
        if there[0] < here[0]:
            wrong.append(f"{where}: {module} imports {imported}, which lies above it")
        if there[0] == here[0] and there[0] != len(LAYERS) - 1 and there[1] != here[1]:
            wrong.append(f"{where}: {module} imports its sibling {imported}")
    assert not wrong, "\n  ".join(("", *wrong))


def test_sources_and_upstreams_do_not_import_their_siblings() -> None:
    for package in ("gateway.sources", "gateway.upstreams"):
        for module in (m for m in MODULES if inside(m, package) and m != package):
            branch = module.split(".")[2]
            for imported, line in imports_of(MODULES[module]):
                if inside(imported, package) and imported != package:
                    assert imported.split(".")[2] == branch, f"{module}:{line} imports its sibling {imported}"


def test_the_core_has_no_clock_no_io_and_no_randomness() -> None:
    impure = [
        f"{where} imports {imported}"
        for module, imported, where in imports()
        if any(inside(module, pure) for pure in PURE) and imported.split(".")[0] in IMPURE_MODULES
    ]
    assert not impure, "\n  ".join(("pass what it gives as an argument", *impure))


def test_numba_and_hil_are_imported_only_where_they_belong() -> None:
    allowed = {"numba": MAY_IMPORT_NUMBA, "llvmlite": MAY_IMPORT_NUMBA, "hil": MAY_IMPORT_HIL}
    wrong = [
        f"{where} imports {imported}"
        for module, imported, where in imports()
        if (places := allowed.get(imported.split(".")[0])) and not any(inside(module, place) for place in places)
    ]
    assert not wrong, "\n  ".join(("", *wrong))


def test_there_is_no_import_cycle() -> None:
    edges = {module: {name for name, _ in imports_of(path) if name in MODULES} for module, path in MODULES.items()}
    done: set[str] = set()

    def walk(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, "import cycle: " + " -> ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for below in sorted(edges[module]):
                walk(below, (*trail, module))
            done.add(module)

    for module in sorted(MODULES):
        walk(module, ())


def test_every_package_has_a_place_in_the_layers() -> None:
    homeless = [
        m for m in MODULES if place(m) is None and m not in ("gateway", "gateway.serving", "gateway.kernelcache")
    ]
    assert homeless == []


def test_the_files_that_the_architecture_names_are_there() -> None:
    named = set(re.findall(r"`([\w./-]+\.(?:py|toml))`", (ROOT / "gateway" / "ARCHITECTURE.md").read_text("utf-8")))
    here = [
        f"/{path.relative_to(ROOT)}"
        for folder in ("gateway", "tests", "config")
        for path in (ROOT / folder).rglob("*.*")
    ]
    assert len(named) > 100
    assert [name for name in sorted(named) if not any(path.endswith(f"/{name}") for path in here)] == []
