"""What a plant needs of nothing but its settings: model, spec, engine, and the kernels.

At the start two threads make these ready while the rest of the program is imported and what is on the disk is opened.
Importing holds Python's lock, but the memory of a large engine is touched without it, and so are most kernels loaded.

What fails here is done again, and fails again, where it is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from gateway.core.engine import Engine
from gateway.core.spec import EngineSpec
from gateway.core.warming import warm_up as warm_engine
from gateway.native import jit
from gateway.runtime.model import build_model, spec_of
from gateway.settings.schema import Settings
from gateway.spool.warming import warm_up as warm_spool

T = TypeVar("T")


def lay(settings: Settings) -> tuple[EngineSpec, Engine]:
    """The spec, which has the model, and an engine that remembers nothing."""
    spec = spec_of(settings, build_model(settings))
    return spec, spec.build()


def warm_kernels() -> None:
    """Compile what is not in the kernel cache yet, so that no first sample pays for it. Loading what is there is done
    without Python's lock for the most part."""
    jit.begin()
    warm_engine()
    warm_spool()


class Groundwork:
    """Of the first plant. A start that is given up leaves the threads behind: neither can be called off."""

    def __init__(self, settings: Settings) -> None:
        self.take = _Begun("ground", lambda: lay(settings))
        self.finish_kernels = _Begun("kernels", warm_kernels)


class _Begun(Generic[T]):
    """A call that a thread has begun; called, it waits and gives the result away."""

    def __init__(self, name: str, make: Callable[[], T]) -> None:
        self._make = make
        self._made: list[T] = []
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __call__(self) -> T:
        self._thread.join()
        return self._made.pop() if self._made else self._make()

    def _run(self) -> None:
        self._made.append(self._make())
