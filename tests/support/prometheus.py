"""Debian's Prometheus beside a test: it scrapes one gateway twice a second and judges the shipped alerts, which fire
after a second where they would wait for minutes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import pytest

from hil.ports import free_port
from tests.support.daemon import until

ALERTS = Path(__file__).parents[2] / "packaging" / "prometheus" / "alerts.yml"
PATIENT = {"FieldgateClockUnsynchronised"}
"""These keep their time: a test machine has no time server."""

CONFIG = """
global: { scrape_interval: 500ms, scrape_timeout: 400ms, evaluation_interval: 500ms }
rule_files: [ "alerts.yml" ]
scrape_configs:
  - job_name: fieldgate
    static_configs: [ { targets: [ "127.0.0.1:<port>" ] } ]
"""


def hurried(rules: str) -> str:
    """The rules, their `for` a second each."""
    parts = re.split(r"(?=      - alert: )", rules)
    return "".join(
        part if any(f"alert: {name}\n" in part for name in PATIENT) else re.sub(r"for: \w+", "for: 1s", part)
        for part in parts
    )


class Prometheus:
    def __init__(self, folder: Path, target_port: int) -> None:
        program = shutil.which("prometheus")
        if program is None:
            pytest.fail("prometheus is not installed: apt-get install -y prometheus")
        self._port = free_port()
        (folder / "prometheus.yml").write_text(CONFIG.replace("<port>", str(target_port)))
        (folder / "alerts.yml").write_text(hurried(ALERTS.read_text()))
        self._log = (folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                program,
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/prometheus",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def __enter__(self) -> Prometheus:
        until(self._is_ready, "Prometheus is ready", 30.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/{path}", timeout=10) as answer:
            return json.loads(answer.read())["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series."""
        found = self.get(f"query?query={quote(expression)}")["result"]
        return [(each["metric"], float(each["value"][1])) for each in found]

    def firing(self) -> set[str]:
        return {each["labels"]["alertname"] for each in self.get("alerts")["alerts"] if each["state"] == "firing"}

    def target(self) -> dict[str, Any]:
        """What it says of its target: health, lastError. It finds it some seconds after it is ready."""
        found = self.get("targets")["activeTargets"]
        return dict(found[0]) if found else {"health": "unknown", "lastError": ""}

    def sick_rules(self) -> list[str]:
        """Rules that could not be judged."""
        groups = self.get("rules")["groups"]
        return [
            f"{rule['name']}: {rule.get('lastError')}"
            for group in groups
            for rule in group["rules"]
            if rule["health"] != "ok"
        ]
