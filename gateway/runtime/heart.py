"""What of a plant there must be before it can go on from the disk: model, engine and pools.

The rest of a large plant (the tables of its sources, its register image) takes as long to build as the replay of its
journal; so a start builds this first, and then does both at once.
"""

from __future__ import annotations

from gateway.core.engine import Engine
from gateway.core.events import Emit
from gateway.core.ports import Clock
from gateway.core.spec import EngineSpec
from gateway.runtime.pools import Pools
from gateway.settings.schema import Settings


class Heart:
    """Of one plant (`gateway.runtime.plant`), and as old as that. `spec` and `engine` are of its settings."""

    def __init__(self, settings: Settings, spec: EngineSpec, engine: Engine, *, now_ns: Clock, emit: Emit) -> None:
        self.settings = settings
        self.model = spec.model
        self.spec = spec
        self.engine = engine
        self.pools = Pools(settings, self.model, self.engine, now_ns=now_ns, emit=emit)

    def warm(self) -> None:
        """As `warm_kernels` (`gateway.runtime.groundwork`), which comes first: what depends on formulas and curves."""
        self.engine.virtual.warm()
        self.engine.curves.warm()
