"""The benchmark runs, small, holds what it times against NumPy, and its last output is the promised object."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from gateway.cli.bench import command


@pytest.mark.slow
def test_a_small_engine_bench_ends_in_one_json_object() -> None:
    result = CliRunner().invoke(command, ["engine", "--json", "--seconds", "1", "--tags", "200"])
    assert result.exit_code == 0, result.output
    read = json.loads(result.stdout)
    assert {"bench", "environment", "figures", "cases", "held", "peers", "ratios", "memory"} <= set(read)
    assert read["is_right"]
    assert read["memory"]["state_bytes_grown"] == 0
    assert {case["operators"] for case in read["cases"]} >= {"default", "scores alone"}
    assert all(case["row_order_ns_per_update"] > 0 for case in read["cases"])
    assert {"ratio_to_numpy_row", "ratio_to_river", "ratio_to_pandas"} <= set(read["ratios"])
    assert read["held"]["rate_updates_per_s"] == 1_000_000
