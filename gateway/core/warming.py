"""The engine's kernels, compiled before a first sample is due."""

from __future__ import annotations

import msgspec
import numpy as np

from gateway.core.calculations import CalculationDefinition, Function, Output, Span
from gateway.core.engine import Engine
from gateway.core.histogram import SIZE
from gateway.core.kernels.histogram import observe_arrivals
from gateway.core.lending import Command, Lending, command, commands
from gateway.core.limits import GRID_NS
from gateway.core.model import DeviceDefinition, Model, Pool, TagDefinition
from gateway.core.record import Stream
from gateway.core.types import NS_PER_S, SAMPLE, Kind, Quality, Samples


def warm_up() -> None:
    """Compile, or load from the cache, every kernel of the engine: a tiny plant is run for three grid points."""
    mean = CalculationDefinition("mean", Span.TUMBLING, (Output("mean", Function.MEAN),), length_ns=GRID_NS)
    tag = TagDefinition("warm.up", 0, Kind.F64, "", NS_PER_S, (NS_PER_S,), calculations=(mean,))
    engine = Engine(
        Model(
            (DeviceDefinition("warm", "", together=(0,)),),
            (tag,),
            pools=(Pool("warm", "", 1, 1, (msgspec.structs.replace(tag, calculations=()),)),),
        ),
        aggregates_every_ns=GRID_NS,
        samples_every_ns=GRID_NS,
        streams=frozenset(Stream),
    )
    batch: Samples = np.zeros(1, SAMPLE)
    batch["quality"] = Quality.GOOD
    for now_ns in (0, GRID_NS, 2 * GRID_NS):
        engine.step(now_ns, batch)
    for generation, what in ((1, Command.LEND), (1, Command.EVICT)):
        lending = Lending(1, generation, "warm.down", "warm", 0, 0, "")
        engine.expect((lending,))
        engine.step(3 * GRID_NS, commands([command(what, 1, generation, 3 * GRID_NS)]))
    rows = np.zeros(1, np.int32)
    engine.view.live(rows)
    engine.view.aggregates(rows)
    engine.view.devices()
    engine.view.multivariate()
    engine.alarms.view()
    engine.calculations.view(0, GRID_NS)
    observe_arrivals(np.zeros(SIZE, np.int64), batch, GRID_NS)
