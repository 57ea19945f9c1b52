"""Who writes the wrong thing is told where it is wrong and what to do, with the exit code, and never by a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PLANT = """
version = 2
[gateway]
id = "a"
state_dir = "state"
[devices.boiler]
link = { modbus_tcp = "127.0.0.1:1" }
tags.temperature = { register = "holding 100", type = "float32" }
[uplink.cloud]
mqtt = "mqtt://127.0.0.1:1"
[http]
listen = "127.0.0.1:1"
"""
TWICE = '[gateway]\nid = "a"\nid = "b"\n'
TABLE = "time,value\n2026-01-01T00:00:00,1\n2026-01-01T00:00:01,1\n2026-01-01T00:00:02,1\n"

# The command line, its exit code, and what is said on stderr.
CASES = [
    ("chek", 2, "No such command 'chek'"),
    ("run", 2, "Missing option '--config'"),
    (
        "run --config absent.toml",
        2,
        "absent.toml:1:1: file: cannot be read (no such file or directory); check the path",
    ),
    (
        "check twice.toml",
        2,
        "twice.toml:3:9: syntax: cannot overwrite a value; the same key or table stands there twice",
    ),
    ("check open.toml", 2, "open.toml:1:9: syntax: expected ']' at the end of a table declaration; write [table]"),
    (
        "run --config there.toml",
        1,
        "cannot start: plant.toml: file exists; `state_dir` in [gateway] is plant.toml, and",
    ),
    (f"init {'n' * 300} --yes", 1, "nnn: file name too long; check the path and its permissions"),
    ("init", 2, "Missing argument 'FILE'"),
    ("init plant.toml --yes", 2, "plant.toml is there already; name another file, or move it away"),
    ("init absent/new.toml --yes", 1, "absent/new.toml: cannot be written (no such file or directory); check that"),
    ("init new.toml", 130, "interrupted, or nobody was there to answer; --help shows the options that do"),
    ("status --url nonsense", 2, "'nonsense' is not an address; write http://HOST:PORT"),
    ("status --config plant.toml", 1, "no gateway answers at http://127.0.0.1:1 (connection refused); is it running"),
    ("alarms --config plant.toml --json", 1, "no gateway answers at http://127.0.0.1:1 (connection refused)"),
    ("alarms acknowlege boiler.temperature/high", 2, "No such command 'acknowlege'"),
    (
        "write boiler.temperature 5 --config plant.toml",
        1,
        "no gateway is at work here: there is no state/operator.sock",
    ),
    (
        "history boiler.temperature --config plant.toml --from then",
        2,
        "--from, --to: 'then' is no duration like 6h and",
    ),
    ("explain gateway.idd", 2, 'gateway.idd is not a key; did you mean "gateway.id"?'),
    ("plan plant.toml --round-trip 10", 2, '"10" has no unit; write "10s"'),
    ("registers plant.toml", 2, "plant.toml: no [scada] section, so there are no registers; add one"),
    ("scan 127.0.0.1:99999", 2, "port 99999 does not exist; write one from 1 to 65535"),
    ("scan /dev/ttyS7", 2, "/dev/ttyS7 is a serial port; say how it speaks: rtu:/dev/ttyS7 or ascii:/dev/ttyS7"),
    ("spool status plant.toml", 1, "state/spool.db: there is no spool yet; the gateway makes it when it starts"),
    ("spool status plant.toml --uplink clod", 2, "there is no uplink clod; the configuration has: cloud"),
    (
        "dead-letters show plant.toml 5",
        1,
        "there is no dead letter 5; list them: fieldgate dead-letters list plant.toml",
    ),
    ("backup plant.toml --output absent/a.tar.gz", 1, "absent/a.tar.gz: cannot be written (no such file or directory)"),
    ("restore plant.toml --config b.toml", 1, "plant.toml: is not a whole backup (not a gzip file)"),
    (
        "support plant.toml --output absent/a.tar.gz",
        1,
        "absent/a.tar.gz: cannot be written (no such file or directory)",
    ),
    ("score table.csv --svg absent/a.svg", 1, "absent/a.svg: cannot be written (no such file or directory)"),
    ("score table.csv --png absent/a.png", 1, "absent/a.png: cannot be written (no such file or directory)"),
    ("replay table.csv", 2, "table.csv: a table has no plant of its own; add --config FILE"),
    ("tune plant.toml oven --step 5 --deviation 1", 2, "oven is not a loop of this configuration; it has none"),
    (
        "user add bob --config plant.toml",
        2,
        'plant.toml names no users file; write users_file = "fieldgate.users.toml"',
    ),
]


@pytest.mark.parametrize(("line", "code", "said"), CASES, ids=[case[0][:60] for case in CASES])
def test_wrong_input_is_answered_with_what_to_do(tmp_path: Path, line: str, code: int, said: str) -> None:
    for name, text in (
        ("plant", PLANT),
        ("there", PLANT.replace('"state"', '"plant.toml"')),
        ("twice", TWICE),
        ("open", '[gateway\nid = "a"\n'),
    ):
        (tmp_path / f"{name}.toml").write_text(text)
    (tmp_path / "table.csv").write_text(TABLE)
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *line.split()],
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr
