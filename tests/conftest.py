"""Before the first test: one kernel cache for this process and all that it starts, and Ctrl-C as a terminal has it."""

from __future__ import annotations

import os
import signal

from gateway.kernelcache import choose

choose(os.environ)
# A shell that runs the tests in the background has them ignore SIGINT, which every child would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
