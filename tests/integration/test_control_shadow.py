"""A loop in shadow computes and shows, and not one write reaches its device."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core.view import Mode
from tests.support.control import OUT_ROW, bench, wait_for
from tests.support.plc import VALVE, plc
from tests.support.settings import HEAD, LOOP, examine_text


def test_a_loop_in_shadow_computes_its_output_and_writes_nothing() -> None:
    with plc(level_m=0.2, valve=300) as device:
        with bench(device.port, is_shadow=True) as b:
            b.wait_for_mode(Mode.AUTO)
            wait_for(lambda: b.now["output"] > 90.0, "the output it would write, far from the 30 % that is there")
            device.registers[VALVE] = 440
            seen: list[float] = []
            wait_for(
                lambda: seen.extend(s["value"] for s in b.samples() if s["row"] == OUT_ROW) or 44.0 in seen,
                "what somebody else has the device hold, as the tag's value",
            )
            device.is_silent = True
            b.wait_for_mode(Mode.FAILSAFE)
            wait_for(lambda: b.now["output"] == 10.0, "the fail-safe output, shown")
            device.is_silent = False
            b.control.write_mode(0, Mode.MANUAL)
            b.wait_for_mode(Mode.MANUAL)
            with pytest.raises(ValueError, match="shadow"):
                b.control.write_output(0, 55.0)
            assert b.kinds().count("control.loop_shadow") == 1
            assert b.reading("fieldgate_control_shadow") == 1
        assert device.writes == [], "nor at the stop"
        assert device.valve == 440


def test_an_inhibited_gateway_has_every_loop_in_shadow(tmp_path: Path) -> None:
    free = examine_text(tmp_path, HEAD + LOOP).settings
    own = examine_text(tmp_path, HEAD + LOOP + "shadow = true\n").settings
    all_of_them = examine_text(tmp_path, HEAD.replace('id = "g"', 'id = "g"\ninhibit_writes = true') + LOOP).settings
    assert [s.loops[0].is_shadow for s in (free, own, all_of_them)] == [False, True, True]
