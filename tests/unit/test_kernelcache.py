"""The kernel cache: a folder for each state of a module and what it stands on, and never somebody else's."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from gateway import kernelcache
from gateway.kernelcache import KEPT, PACKAGE, VARIABLE, CacheNotOurs, KernelLocator, choose, imported, sources

FOLD = PACKAGE / "core" / "kernels" / "fold.py"
EXECUTIVE = PACKAGE / "control" / "executive.py"
POLL_THREAD = PACKAGE / "sources" / "modbus" / "fast_loop.py"


def test_the_folder_is_made_and_named_for_children(tmp_path: Path) -> None:
    environment = {VARIABLE: str(tmp_path / "kernels")}
    folder = choose(environment)
    assert folder.is_dir()
    assert environment[VARIABLE] == str(folder)
    assert choose(environment) == folder, "a child that inherits the variable must use the same folder"


@pytest.mark.parametrize(
    ("environment", "below"),
    [
        ({"CACHE_DIRECTORY": "{}"}, "kernels"),
        ({"XDG_CACHE_HOME": "{}"}, "fieldgate/kernels"),
        ({VARIABLE: "{}", "CACHE_DIRECTORY": "elsewhere"}, ""),
    ],
)
def test_the_most_particular_variable_counts(tmp_path: Path, environment: dict[str, str], below: str) -> None:
    filled = {key: value.format(tmp_path) for key, value in environment.items()}
    assert choose(filled) == tmp_path / below


def test_a_changed_module_has_another_folder_and_old_ones_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    folders = []
    for state in range(KEPT + 3):
        monkeypatch.setattr(kernelcache, "digest", lambda _, state=state: f"{state:012x}")
        locator = KernelLocator.from_function(test_the_folder_is_made_and_named_for_children, str(FOLD))
        assert locator is not None
        folders.append(Path(locator.get_cache_path()))
    assert len(set(folders)) == KEPT + 3
    left = set(tmp_path.iterdir())
    assert len(left) == KEPT + 1
    assert folders[-1] in left


def test_a_function_of_somebody_else_is_left_to_numba(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert KernelLocator.from_function(test_the_folder_is_made_and_named_for_children, __file__) is None


def test_a_kernel_stands_on_what_it_calls_and_on_nothing_else() -> None:
    names = {path.relative_to(PACKAGE).as_posix() for path in sources(FOLD)}
    assert {"core/kernels/fold.py", "core/kernels/windows.py", "core/kernels/novelty.py", "core/types.py"} <= names
    assert not any(name.startswith(("control/", "protocol/", "runtime/")) for name in names)


@pytest.mark.parametrize("path", [EXECUTIVE, POLL_THREAD], ids=lambda path: path.stem)
def test_a_changed_setting_compiles_neither_executive_nor_poll_thread_anew(path: Path) -> None:
    names = {path.relative_to(PACKAGE).as_posix() for path in sources(path)}
    assert not any(name.startswith(("settings/", "runtime/")) for name in names)


def test_the_imports_of_a_file_are_those_that_its_syntax_tree_has() -> None:
    for path in PACKAGE.rglob("*.py"):
        modules = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.module is not None, f"{path}: a relative import would be missed"
                modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        files = set()
        for module in modules:
            first, *below = module.split(".")
            if first == "gateway" and below:
                place = PACKAGE.joinpath(*below)
                files |= {file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()}
        assert imported(path) == files, path


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = choose({VARIABLE: str(tmp_path)})
    folder.chmod(0o777)
    with pytest.raises(CacheNotOurs, match="writable by others"):
        choose({VARIABLE: str(tmp_path)})
