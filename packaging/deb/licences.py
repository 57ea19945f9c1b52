"""What fieldgate stands on and under which licence each part is, as Markdown: licences.py > LICENCES.md

Read from the metadata of what is installed beside it, in the versions of constraints.txt: the closure of the base
dependencies, then what each extra adds. The Debian package and the wheelhouse have the base, nats-py
and confluent-kafka.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sbom import licence_of

ROOT = Path(__file__).parents[2]
NOT_FOR_SERVICE = ("dev", "browser")
HEAD = """# Licences of what fieldgate stands on

Made by `packaging/deb/licences.py` from the packages' own metadata; a test holds it against what is installed. Each
package brings its licence's text in its `dist-info`. fieldgate itself is under Apache-2.0.
"""
TABLE = "| package | version | licence |\n| --- | --- | --- |\n"


def closure(requirements: Sequence[str], known: set[str]) -> Iterator[Distribution]:
    """Everything that these need here and that is not `known` yet, each once; adds to `known`."""
    waiting = [Requirement(one) for one in requirements]
    while waiting:
        wanted = waiting.pop()
        extras = wanted.extras or {""}
        name = canonicalize_name(wanted.name)
        if name in known or not (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:
            # What is built against a library of the system is not among what a developer installs.
            continue
        known.add(name)
        yield found
        for line in found.requires or ():
            one = Requirement(line)
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras):
                one.marker = None
                waiting.append(one)


def pinned() -> set[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(line.partition("==")[0]) for line in lines}


def rows(found: Iterator[Distribution]) -> str:
    """pip, which comes with Python and belongs to one of the libraries, has the version that is there."""
    named = {canonicalize_name(one.metadata["Name"]): one for one in found}
    versions = {name: one.version if name in pinned() else "any" for name, one in named.items()}
    return "".join(f"| {name} | {versions[name]} | {licence_of(one)} |\n" for name, one in sorted(named.items()))


def document() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known: set[str] = set()
    text = f"{HEAD}\n## Always\n\n{TABLE}{rows(closure(project['dependencies'], known))}"
    for extra, needs in project["optional-dependencies"].items():
        if extra not in NOT_FOR_SERVICE and (more := rows(closure(needs, set(known)))):
            text += f"\n## With `fieldgate[{extra}]`\n\n{TABLE}{more}"
    return text


if __name__ == "__main__":
    sys.stdout.write(document())
