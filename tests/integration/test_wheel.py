"""What the wheel carries: all that the daemon and its demo read at run time, and nothing that only developers need."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True, timeout=60)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return frozenset(archive.namelist())


@pytest.mark.parametrize("folder", ["gateway", "hil"])
def test_the_wheel_carries_every_file_of_a_package(names: frozenset[str], folder: str) -> None:
    files = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    expected = {str(path.relative_to(ROOT)) for path in files if path.suffix not in {".pyc", ".nbi", ".nbc"}}
    if folder == "gateway":
        expected |= {f"gateway/registers/{path.name}" for path in (ROOT / "config" / "registers").iterdir()}
    assert {name for name in names if name.startswith(f"{folder}/")} == expected


@pytest.mark.parametrize(
    "name",
    [
        "gateway/ARCHITECTURE.md",
        "gateway/registers/eastron_sdm630.csv",
        "gateway/serving/http/page/index.html",
        "hil/demo/plant.toml",
        "hil/recordings/NAB_LICENSE.txt",
        "hil/recordings/nab.npz",
        "hil/recordings/nab_corpus.npz.xz",
    ],
)
def test_the_wheel_carries_what_is_not_python(names: frozenset[str], name: str) -> None:
    assert name in names


def test_the_wheel_carries_the_licence_and_the_command(names: frozenset[str]) -> None:
    ends = ("dist-info/licenses/LICENSE", "dist-info/entry_points.txt")
    assert all(any(name.endswith(end) for name in names) for end in ends)


def test_the_wheel_carries_two_packages_and_no_tests(names: frozenset[str]) -> None:
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"gateway", "hil"}
