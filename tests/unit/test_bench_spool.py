"""The spool's benchmark runs, small, and its last output is the promised object."""

from __future__ import annotations

import json

from click.testing import CliRunner

from gateway.cli.bench import command


def test_a_small_spool_bench_ends_in_one_json_object() -> None:
    result = CliRunner().invoke(command, ["spool", "--json", "--seconds", "2"])
    assert result.exit_code == 0, result.output
    read = json.loads(result.stdout)
    assert set(read) == {"bench", "environment", "figures", "encodings", "peers", "ratios"}
    figures = read["figures"]
    assert figures["recovery_lost_records"] == 0
    assert figures["recovery_damaged"] == 0
    assert 0 < figures["disk_bytes_per_sample"] <= 6.0
    assert figures["drained_share"] > 0
    assert set(read["peers"]) == {"rows_executemany", "litequeue"}
