"""While a start takes long: the service manager is asked for more time, and the log says what goes on.

The first start compiles kernels for some minutes on a small machine, longer than a service manager waits for one that
hangs. Asked for a minute again and again, it still ends a start that does not end by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.core.events import Severity
from gateway.runtime.status import Progress
from gateway.runtime.systemd import Notifier

ASK_EVERY_S: Final = 10
MORE_S: Final = 60
SAY_EVERY_S: Final = 30
LONGEST_S: Final = 1_800
"""Then nothing more is asked for: that is no compilation."""


async def hold_on(
    notifier: Notifier,
    progress: Progress,
    say: Callable[[Severity, str, str], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Until it is called off, or LONGEST_S are over."""
    for passed_s in range(0, LONGEST_S, ASK_EVERY_S):
        notifier.more_time(MORE_S)
        if passed_s and passed_s % SAY_EVERY_S == 0:
            say(Severity.INFO, "gateway.starting", f"{progress.detail}: {passed_s} s so far")
        await sleep(ASK_EVERY_S)
