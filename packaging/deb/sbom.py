"""The software bill of materials of an installation, as CycloneDX 1.5 JSON: sbom.py SITE-PACKAGES VERSION > sbom.json

What is in the folder is what is listed, by the metadata that each package brings, with the licence it names and the
SHA-256 of the list of its files (RECORD), which has the hash of every single one.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from typing import Any

PRODUCT = "fieldgate"


def component(found: Distribution) -> dict[str, Any]:
    name, version = found.metadata["Name"], found.version
    record = (found.read_text("RECORD") or "").encode()
    of = {
        "type": "application" if name == PRODUCT else "library",
        "bom-ref": f"pkg:pypi/{name.lower()}@{version}",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name.lower()}@{version}",
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(record).hexdigest()}],
        "properties": [{"name": "hashes:of", "value": "RECORD"}],
    }
    licence = licence_of(found)
    return of | ({"licenses": [{"license": {"name": licence}}]} if licence else {})


def licence_of(found: Distribution) -> str:
    """In one line: the expression, else what the classifiers say, else the first line of the old field."""
    expression = found.metadata.get("License-Expression")
    if expression:
        return str(expression)
    classifiers = found.metadata.get_all("Classifier") or []
    named = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License ::")]
    lines = str(found.metadata.get("License") or "").strip().splitlines()
    return "; ".join(named) or (lines[0][:200] if lines else "")


def components(site: str) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for found in sorted(distributions(path=[site]), key=lambda each: each.metadata["Name"].lower()):
        if found.metadata["Name"] not in seen:
            seen.add(found.metadata["Name"])
            yield component(found)


def bill(site: str, version: str) -> dict[str, Any]:
    listed = list(components(site))
    product = next((each for each in listed if each["name"] == PRODUCT), {"type": "application", "name": PRODUCT})
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {**product, "version": version}},
        "components": [each for each in listed if each["name"] != PRODUCT],
    }


if __name__ == "__main__":
    json.dump(bill(*sys.argv[1:3]), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
