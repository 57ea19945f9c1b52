"""Where real-time priority and locked memory are not permitted, control runs all the same and says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.control.realtime import PRIORITY

ROOT = Path(__file__).parents[2]
PROGRAM = """
import time
from gateway.control.handle import ControlExecutive
from tests.support.control import TAGS, link, loop

events = []
control = ControlExecutive(
    loops=[loop()], tags=TAGS, links={"tank": link(1)}, now_ns=time.monotonic_ns, emit=events.append
)
control.start()
beat = control.heartbeat_ns
while beat() == 0:
    time.sleep(0.001)
control.stop(5.0)
print("\\n".join(event.message for event in events if event.kind == "control.not_real_time"))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    os.getuid() != 0 or not (shutil.which("setpriv") and shutil.which("prlimit")), reason="takes capabilities away"
)
def test_without_the_capabilities_it_runs_and_names_what_to_grant() -> None:
    without = ["setpriv", "--bounding-set=-sys_nice,-ipc_lock", "--inh-caps=-all"]
    limits = ["prlimit", "--rtprio=0", "--memlock=65536"]
    done = subprocess.run(
        [*without, *limits, sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert f"grant CAP_SYS_NICE or set LimitRTPRIO={PRIORITY} in the unit" in done.stdout
    assert "grant CAP_IPC_LOCK or set LimitMEMLOCK=infinity in the unit" in done.stdout
