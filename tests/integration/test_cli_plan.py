"""`fieldgate plan`, the warning of `fieldgate check`, and their estimate against the scheduler."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.types import NS_PER_MS, NS_PER_S, Kind
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.frames import request_of
from gateway.protocol.modbus.line import AsciiFramer, RtuFramer
from gateway.protocol.modbus.load import Timing, bus_load
from gateway.protocol.modbus.plan import Point, plan
from gateway.protocol.modbus.points import WireType
from gateway.protocol.modbus.polling import Poller
from gateway.settings.planning import loads, points_of
from tests.support.settings import examine_text

HEAD = '[gateway]\nid = "g"\n[links.bus]\nmodbus_tcp = "10.0.0.5:502"\n'


def plan_text(tmp_path: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    words = [sys.executable, "-m", "gateway", "plan", str(path), *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def bus(tags: int, every: str, more: str = "") -> str:
    """Units of one tag each: as many reads as tags."""
    device = f'[devices."m-{{n}}"]\neach = {{ n = "1..{tags}" }}\nlink = "bus"\nunit = "{{n}}"\n'
    return HEAD + more + device + f'tags.t = {{ register = "holding 0", type = "float32", every = "{every}" }}\n'


def test_the_load_of_a_serial_bus_is_that_of_its_characters(tmp_path: Path) -> None:
    done = plan_text(tmp_path, bus(10, "1s", "baud = 9600\n"), "--json", "--round-trip", "5ms")
    (link,) = json.loads(done.stdout)["links"]
    # 8 characters there, 9 back, two silences of 3.5, each of 11 bits: 24 characters and the turnaround.
    read_ms = 24 * 11 / 9.6 + 5
    assert link["load_percent"] == pytest.approx(10 * read_ms / 10, abs=0.1)
    assert link["requests_per_s"] == 10
    assert [read["takes_ms"] for read in link["reads"]] == pytest.approx([read_ms] * 10, abs=0.01)
    assert link["worst_age_ms"] == pytest.approx(1_000 + 11 * read_ms, abs=0.1)
    # A silent unit is waited for four times as long as a read takes, and its characters; three times.
    assert link["older_when_a_unit_falls_silent_ms"] == pytest.approx(3 * (4 + 1) * read_ms, abs=0.1)
    assert link["probes_percent_max"] == 5


@pytest.mark.parametrize(
    ("framer", "line", "bits", "silences"),
    [
        (RtuFramer, 'modbus_rtu = "/dev/ttyS0"', 11, 2),
        (RtuFramer, 'modbus_rtu = "/dev/ttyS0"\nparity = "none"\nstop_bits = 1', 10, 2),
        (AsciiFramer, 'modbus_ascii = "/dev/ttyS0"', 10, 1),
        (AsciiFramer, 'modbus_ascii = "/dev/ttyS0"\ndata_bits = 8', 11, 1),
        (AsciiFramer, 'modbus_ascii = "10.0.0.5:4001"', 11, 1),
    ],
)
def test_the_load_of_a_line_is_that_of_its_frames_and_its_characters(
    tmp_path: Path, framer: type[RtuFramer | AsciiFramer], line: str, bits: int, silences: int
) -> None:
    text = bus(3, "1s").replace('modbus_tcp = "10.0.0.5:502"', f"{line}\nbaud = 9600")
    settings = examine_text(tmp_path, text).settings
    (load,) = loads(settings, 5 * NS_PER_MS).values()
    (block, *_) = plan(points_of(settings.tags))
    request = framer().frame(block.request, 1)
    # A reply is as long as the request of a write of as many bytes less two addresses and one count.
    reply = framer().frame(request_of(1, bytes([3, 4, 1, 2, 3, 4])), 1)
    characters = len(request) + len(reply) + silences * 3.5
    assert load.reads[0].read_ns == pytest.approx(characters * bits * NS_PER_S / 9_600 + 5 * NS_PER_MS, abs=1)


def test_a_serial_port_is_shown_as_what_it_is(tmp_path: Path) -> None:
    text = bus(3, "1s").replace('modbus_tcp = "10.0.0.5:502"', 'modbus_ascii = "/dev/ttyS0"')
    done = plan_text(tmp_path, text)
    assert "bus: /dev/ttyS0, Modbus ASCII at 19200 baud, 7E1, 3.0 reads a second" in done.stdout


def test_the_text_tells_reads_load_and_age_without_loading_numba(tmp_path: Path) -> None:
    done = plan_text(tmp_path, bus(50, "1s"))
    assert done.returncode == 0, done.stderr
    assert "bus: 10.0.0.5:502, 50.0 reads a second, 50 % loaded (a device answers in 10ms)" in done.stdout
    assert "1.51 s" in done.stdout
    assert "and 10 more: --json has them all" in done.stdout
    assert "values of the others may get up to 0.15 s older; probing it takes at most 5 % of the link" in done.stdout
    assert "falls silent" not in plan_text(tmp_path, bus(1, "1s")).stdout, "there are no others"
    code = "import sys, gateway.cli.plan, gateway.cli.check; print('numba' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert loaded.stdout.strip() == "False"
    assert plan_text(tmp_path, HEAD, "--round-trip", "5").returncode == 2


def test_a_link_over_its_load_is_warned_of_at_its_place_and_runs_all_the_same(tmp_path: Path) -> None:
    examined = examine_text(tmp_path, bus(100, "500ms"))
    (warning,) = examined.warnings
    assert str(warning).startswith(f"{tmp_path / 'gateway.toml'}:3:8: links.bus: is 200 % loaded, by 200.0 reads")
    assert "values may become 2.0 s old" in warning.message
    assert not examine_text(tmp_path, bus(100, "1500ms")).warnings


def test_a_link_that_a_device_brings_along_is_warned_of_there(tmp_path: Path) -> None:
    text = (
        '[gateway]\nid = "g"\n[devices.m]\nlink = { modbus_tcp = "h", baud = 1200 }\n'
        'tags.t = { register = "holding 0", every = "100ms" }\n'
    )
    (warning,) = examine_text(tmp_path, text).warnings
    assert (warning.line, warning.key) == (4, "devices.m.link")


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([100, 250, 1_000])), min_size=1, max_size=30),
    st.integers(1, 40),
    st.integers(1, 3),
    st.booleans(),
)
def test_no_value_gets_older_than_the_plan_says_not_even_when_a_unit_falls_silent(
    reads: list[tuple[int, int]], round_trip_ms: int, in_flight: int, one_dies: bool
) -> None:
    points = [
        Point(row=i, name="t", device=f"u{unit}", unit=unit, function=Function.READ_HOLDING_REGISTERS,
              address=100 * i, wire=WireType.UINT16, kind=Kind.F64, period_ns=every_ms * NS_PER_MS)
        for i, (unit, every_ms) in enumerate(reads)
    ]  # fmt: skip
    load = bus_load(points, Timing(round_trip_ns=round_trip_ms * NS_PER_MS, requests_in_flight=in_flight))
    late_ns = load.silence_ns if one_dies else 0
    worst = {(group.device, group.period_ns): group.worst_age_ns + late_ns for group in load.groups}
    dying, dies_ns = reads[0][0] if one_dies else None, 3 * NS_PER_S
    poller = Poller(plan(points), requests_in_flight=in_flight, response_timeout_ns=NS_PER_S)
    poller.begin(0)
    read_ns = dict.fromkeys(poller.polls, 0)
    flying: list[tuple[int, int]] = []
    now_ns = 0
    while now_ns < 10 * NS_PER_S:
        while (sent := poller.next_request(now_ns)) is not None:
            if now_ns < dies_ns or sent.poll.unit.id != dying:
                flying.append((now_ns + round_trip_ms * NS_PER_MS, sent.id))
        now_ns = min([poller.wake_ns(now_ns), *(at for at, _ in flying)])
        poller.expired(now_ns)
        for at, number in [reply for reply in flying if reply[0] <= now_ns]:
            flying.remove((at, number))
            answered = poller.take_reply(number, now_ns)
            assert answered is not None
            poller.read(answered, now_ns)
            poll = answered.poll
            assert now_ns - read_ns[poll] <= worst[poll.block.device, poll.block.period_ns]
            read_ns[poll] = now_ns
