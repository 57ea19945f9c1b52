"""What the engine is built from, as one value: the plant and how its records are cut.

A journal and a checkpoint carry it, so that an engine like the one that wrote them can be built by whoever reads
them, whatever the configuration says by then. Its digest says whether two engines would do the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import msgspec

from gateway.core.engine import Engine
from gateway.core.model import Model
from gateway.core.record import Stream


@dataclass(frozen=True)
class EngineSpec:
    model: Model
    aggregates_every_ns: int
    samples_every_ns: int
    streams: tuple[Stream, ...]
    """In the order of their names."""

    @cached_property
    def encoded(self) -> bytes:
        return msgspec.msgpack.encode(
            (self.model, self.aggregates_every_ns, self.samples_every_ns, self.streams),
        )

    @cached_property
    def digest(self) -> str:
        """32 hexadecimal digits over all of it."""
        return hashlib.blake2b(self.encoded, digest_size=16).hexdigest()

    def build(self) -> Engine:
        return Engine(
            self.model,
            aggregates_every_ns=self.aggregates_every_ns,
            samples_every_ns=self.samples_every_ns,
            streams=frozenset(self.streams),
        )


def decode_spec(encoded: bytes) -> EngineSpec:
    """Raises msgspec.DecodeError when the bytes are not those of a spec."""
    model, aggregates_every_ns, samples_every_ns, streams = msgspec.msgpack.decode(
        encoded, type=tuple[Model, int, int, tuple[Stream, ...]]
    )
    return EngineSpec(model, aggregates_every_ns, samples_every_ns, streams)
