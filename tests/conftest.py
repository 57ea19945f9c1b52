"""Before the first test: one kernel cache for this process and all that it starts."""

from __future__ import annotations

import os

from gateway.kernelcache import choose

choose(os.environ)
