"""Nothing is kept that nobody uses: no dead name, no setting that nothing reads."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from gateway.settings import schema, schema_brokers, schema_control, schema_modbus, schema_scada, schema_serving
from gateway.settings import schema_uplink as uplinks

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "gateway").rglob("*.py"))
TEXTS = {path: path.read_text(encoding="utf-8") for path in SOURCES}
WORD = re.compile(r"\w+")
WORDS = Counter(word for text in TEXTS.values() for word in WORD.findall(text))

_LOCATOR = "Numba asks its cache locators"
CALLED_FROM_OUTSIDE = {
    **dict.fromkeys(("from_function", "ensure_cache_path", "get_cache_path"), _LOCATOR),
    **dict.fromkeys(("get_source_stamp", "get_disambiguator"), _LOCATOR),
    "history_waiting": "tests look at the queue",
}
SCHEMAS = (schema, schema_brokers, schema_control, schema_modbus, schema_scada, schema_serving, uplinks)


def names(path: Path) -> Iterator[tuple[str, int]]:
    """What a module defines for others or itself: constants, functions and classes, methods that are no one's hook.

    What has a decorator (a command, a route, a property of a form, an overload) is called by whoever decorates it.
    """
    module = ast.parse(TEXTS[path])
    for node in module.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() if not node.decorator_list:
                yield node.name, node.lineno
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                yield name, node.lineno
        if isinstance(node, ast.ClassDef) and not node.bases:
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield inner.name, inner.lineno


def test_every_name_is_used() -> None:
    unused = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in SOURCES
        for name, line in names(path)
        if WORDS[name] < 2 and not name.startswith("__") and name not in CALLED_FROM_OUTSIDE
    ]
    assert not unused, "\n  ".join(("used by nothing in the package", *unused))


def settings() -> Iterator[tuple[str, str]]:
    for module in SCHEMAS:
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__module__ == module.__name__:
                yield from ((name, field.name) for field in msgspec.structs.fields(value))


def test_every_setting_is_read() -> None:
    outside = "\n".join(text for path, text in TEXTS.items() if not path.name.startswith("schema"))
    read = set(re.findall(r"\.(\w+)\b", outside))
    assert len(list(settings())) > 150
    assert sorted(f"{struct}.{field}" for struct, field in settings() if field not in read) == []
