"""The benchmark of encodings runs, small: a table, and the promised object behind it."""

from __future__ import annotations

import json

from click.testing import CliRunner

from gateway.cli.bench import command


def test_a_small_bench_of_encodings_prints_a_table_and_ends_in_one_json_object() -> None:
    result = CliRunner().invoke(command, ["encodings", "--records", "2"])
    assert result.exit_code == 0, result.output
    *table, last = result.stdout.splitlines()
    read = json.loads(last)
    assert len(table) == 1 + len(read["encodings"]) == 9
    assert read["missing"] == []
    for figures in read["encodings"].values():
        assert 0 < figures["bytes_per_sample"] < 60
        assert figures["write_ns"] > 0 < figures["read_ns"]
