"""Debian's Prometheus beside a test: it scrapes one gateway twice a second and judges the shipped alerts, in a hurry.

`hurried` is all that is done to the rules: what they ask, their thresholds and last week are as shipped; only their
patience is not, or a test would take days. The rules as they are shipped are judged by promtool (`test_alerts`).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import pytest

from hil.ports import free_port
from tests.support.daemon import until
from tests.support.promtool import ALERTS, promtool

DASHBOARD = ALERTS.parents[1] / "grafana" / "fieldgate.json"
CHANGES_S_MAX = 100.0
"""Within so long an alert fires or clears, on a machine with much else to do. Ranges last up to 90 s, of restarts."""
WEEK_S = 7 * 86_400
NOTHING = "# EOF\n"
PAST_S = 1_200
"""What is written for last week begins a minute before the present of then, and lasts so long."""

CONFIG = """
global: { scrape_interval: 500ms, scrape_timeout: 400ms, evaluation_interval: 500ms }
rule_files: [ "alerts.yml" ]
scrape_configs:
  - job_name: fieldgate
    static_configs: [ { targets: [ "127.0.0.1:<port>" ] } ]
"""


def hurried(rules: str) -> str:
    """The rules, where a minute of a range lasts three seconds, a day thirty, and a week a week; `for` and the interval
    of a group last a second."""
    rules = re.sub(r"(for|interval): \w+", r"\1: 1s", rules)
    rules = re.sub(r"(\[|offset )(\d+)m", lambda found: f"{found[1]}{3 * int(found[2])}s", rules)
    return re.sub(r"(\[|offset )1d", r"\g<1>30s", rules)


def lasting(series: dict[str, float], begins_s: float) -> str:
    """OpenMetrics of series that stand still, a point every five seconds."""
    families: dict[str, list[str]] = {}
    for name, value in series.items():
        points = [f"{name} {value:g} {begins_s + at_s:.0f}\n" for at_s in range(0, PAST_S, 5)]
        families.setdefault(name.partition("{")[0], []).extend(points)
    return "".join(f"# TYPE {name} gauge\n{''.join(lines)}" for name, lines in families.items()) + NOTHING


class Prometheus:
    """`last_week` and `hours_ago` (two) are series of then: values by name and labels, without the instance."""

    def __init__(
        self,
        folder: Path,
        target_port: int,
        *,
        last_week: dict[str, float] | None = None,
        hours_ago: dict[str, float] | None = None,
    ) -> None:
        program = shutil.which("prometheus")
        if program is None:
            pytest.fail("prometheus is not installed: apt-get install -y prometheus")
        self._port = free_port()
        self._instance = f"127.0.0.1:{target_port}"
        for text in (
            lasting(self._named(last_week or {}), time.time() - WEEK_S - 60),
            lasting(self._named(hours_ago or {}), time.time() - 7_200),
        ):
            past = folder / "past.txt"
            past.write_text(text)
            if text != "# EOF\n":
                code, said = promtool(
                    "tsdb", "create-blocks-from", "openmetrics", str(past), str(folder / "prometheus")
                )
                assert code == 0, said
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

    def _named(self, series: dict[str, float]) -> dict[str, float]:
        return {
            f'{name.rstrip("}")}{"," if "{" in name else "{"}instance="{self._instance}",job="fieldgate"}}': value
            for name, value in series.items()
        }

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

    def scrapes(self) -> None:
        until(lambda: self.target()["health"] == "up", "the gateway is scraped", 60.0)

    def rehearse(self, names: set[str], fault: Callable[[], object], end: Callable[[], object]) -> None:
        """The alerts do not fire; each of them does in the fault; after its end none of them does.

        How long each took is printed: `pytest -rP` shows it."""
        self.until_quiet(names)
        fault()
        fired = self._seconds_until(names, self.firing, "fires")
        end()
        cleared = self._seconds_until(names, lambda: names - self.firing(), "clears")
        self.until_quiet(names)
        for name in sorted(names):
            print(f"{name} fires after {fired[name]:.1f} s and clears after {cleared[name]:.1f} s")

    def _seconds_until(self, names: set[str], found: Callable[[], set[str]], does: str) -> dict[str, float]:
        """How long it takes until each of the names was found once."""
        begun = time.monotonic()
        after: dict[str, float] = {}

        def all_found() -> bool:
            for name in found() & names:
                after.setdefault(name, time.monotonic() - begun)
            return names <= after.keys()

        until(all_found, f"each of {sorted(names)} {does}", CHANGES_S_MAX)
        return after

    def marks(self) -> dict[str, float]:
        """What the annotations of the shipped dashboard mark at present: the last value of each."""
        listed = json.loads(DASHBOARD.read_text())["annotations"]["list"]
        found = {mark["name"]: self.query(mark["expr"].replace("$instance", ".*")) for mark in listed}
        return {name: max(value for _, value in series) for name, series in found.items() if series}

    def until_quiet(self, names: set[str]) -> None:
        until(lambda: not names & self.firing(), f"{sorted(names)} do not fire", CHANGES_S_MAX)
