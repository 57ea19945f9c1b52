"""The benchmark runs, small, and its last output is the promised object."""

from __future__ import annotations

import json

from click.testing import CliRunner

from gateway.cli.bench import command


def test_a_small_pipeline_bench_ends_in_one_json_object() -> None:
    result = CliRunner().invoke(command, ["pipeline", "--json", "--seconds", "5", "--tags", "500"])
    assert result.exit_code == 0, result.output
    read = json.loads(result.stdout)
    assert set(read) == {"bench", "environment", "figures", "levels", "peers", "ratios"}
    assert read["figures"]["tags"] == 500
    assert read["levels"][0]["dropped"] + read["levels"][0]["unsent"] == 0
    assert 0 < read["figures"]["sample_to_aggregate_p50_ms"] <= read["figures"]["sample_to_aggregate_p99_ms"]
