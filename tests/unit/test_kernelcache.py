"""The kernel cache: a folder for each state of the sources, and never somebody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import kernelcache
from gateway.kernelcache import KEPT, VARIABLE, CacheNotOurs, choose


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
    assert choose(filled).parent == tmp_path / below


def test_changed_sources_have_another_folder_and_old_ones_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = []
    for state in range(KEPT + 3):
        monkeypatch.setattr(kernelcache, "digest", lambda state=state: f"{state:012x}")
        folders.append(choose({VARIABLE: str(tmp_path)}))
    assert len(set(folders)) == KEPT + 3
    left = set(tmp_path.iterdir())
    assert len(left) == KEPT + 1
    assert folders[-1] in left


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = choose({VARIABLE: str(tmp_path)})
    folder.chmod(0o777)
    with pytest.raises(CacheNotOurs, match="writable by others"):
        choose({VARIABLE: str(tmp_path)})
