"""promtool of Debian's Prometheus: it plays series to the shipped rules and says which alerts fire when."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ALERTS = Path(__file__).parents[2] / "packaging" / "prometheus" / "alerts.yml"


def promtool(*arguments: str) -> tuple[int, str]:
    tool = shutil.which("promtool")
    assert tool, "promtool is missing: apt-get install -y prometheus"
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=100)
    return done.returncode, done.stdout + done.stderr


def series(name: str, instance: str) -> str:
    at = f'instance="{instance}",job="fieldgate"'
    return name.replace("{", "{" + at + ",") if "{" in name else f"{name}{{{at}}}"


def fires(at: str, alerts: Mapping[str, set[str]]) -> dict[str, Any]:
    """At this time these alerts fire, by instance, and no other."""
    samples = [
        {"labels": f'{{alertname="{name}",instance="{instance}"}}', "value": 1}
        for instance, names in alerts.items()
        for name in names
    ]
    expr = 'group by (alertname, instance) (ALERTS{alertstate="firing"})'
    return {"expr": expr, "eval_time": at, "exp_samples": samples}


def play(
    folder: Path,
    interval: str,
    instances: Mapping[str, Mapping[str, str]],
    expected: Sequence[dict[str, Any]],
    judged: str | None = None,
) -> None:
    """All instances at once, which costs little more than one: a point every `interval`, the rules looked at every
    `judged` (the same unless told otherwise)."""
    played = {
        "interval": interval,
        "input_series": [
            {"series": series(name, instance), "values": values}
            for instance, given in instances.items()
            for name, values in given.items()
        ],
        "promql_expr_test": expected,
    }
    file = folder / "tests.yml"  # JSON is YAML
    suite = {"rule_files": [str(ALERTS)], "evaluation_interval": judged or interval, "tests": [played]}
    file.write_text(json.dumps(suite))
    code, said = promtool("test", "rules", str(file))
    assert code == 0, said
