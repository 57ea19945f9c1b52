"""The control benchmark runs, small, and its last output is the promised object."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from gateway.cli.bench import command
from gateway.runtime.benches import control
from gateway.runtime.benches.control_plant import Case


def test_a_small_control_bench_measures_executive_twin_and_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "BARE_SEND_S", 0.3)
    monkeypatch.setattr(control, "PEER_STARTUP_S", 0.5)  # the load of the peer ends before it, which only figures mind
    small = ["control", "--json", "--seconds", "6", "--loops", "4", "--period-ms", "20", "--load", "20000"]
    result = CliRunner().invoke(command, small)
    assert result.exit_code == 0, result.output
    read = json.loads(result.stdout)
    assert [case["load_samples_per_s"] for case in read["cases"]] == [0, 20_000]
    for case in read["cases"]:
        assert case["loops"] == 4
        assert case["cycles"] >= 4
        for who in ("executive", "asyncio_pymodbus_simple_pid"):
            figures = case[who]
            assert 0 < figures["input_to_output_p50_ms"] <= figures["input_to_output_p99_ms"]
            assert 0 < figures["wake_lateness_p50_ms"] <= figures["wake_lateness_p999_ms"]
        assert case["twin"]["wake_lateness_p99_ms"] > 0
        assert case["ratios"]["wake_p99_to_twin"] > 0
        assert case["bare_send"]["input_to_output_p50_ms"] > 0


@pytest.mark.parametrize(("loops", "links"), [(1, 1), (8, 1), (9, 3), (32, 4), (64, 8), (7, 1), (13, 13)])
def test_loops_are_spread_evenly_over_as_few_links_as_hold_them(loops: int, links: int) -> None:
    assert Case(loops, 1).links == links
