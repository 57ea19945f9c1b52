"""What of a plant there must be before it can go on from the disk: model, engine and pools.

The rest of a large plant (the tables of its sources, its register image) takes as long to build as the replay of its
journal; so a start builds this first, and then does both at once.
"""

from __future__ import annotations

from gateway.core.events import Emit
from gateway.core.ports import Clock
from gateway.core.warming import warm_up as warm_engine
from gateway.runtime.model import build_model, spec_of
from gateway.runtime.pools import Pools
from gateway.settings.schema import Settings
from gateway.spool.warming import warm_up as warm_spool


def warm_kernels() -> None:
    """Compile what is not in the kernel cache yet, so that no first sample pays for it. Loading what is there is done
    without Python's lock for the most part."""
    warm_engine()
    warm_spool()


class Heart:
    """Of one plant (`gateway.runtime.plant`), and as old as that."""

    def __init__(self, settings: Settings, *, now_ns: Clock, emit: Emit) -> None:
        self.settings = settings
        self.model = build_model(settings)
        self.spec = spec_of(settings, self.model)
        self.engine = self.spec.build()
        self.pools = Pools(settings, self.model, self.engine, now_ns=now_ns, emit=emit)

    def warm(self) -> None:
        """As `warm_kernels`, which comes first: what depends on formulas and curves."""
        self.engine.virtual.warm()
        self.engine.curves.warm()
