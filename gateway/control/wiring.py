"""From names to signals: which block takes what, which blocks a loop needs, what the engine has to hand over.

Blocks come sorted: each after those that it takes. A tag that a loop reads itself is that loop's input signal; any
other one is a feed. Pure: no socket, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.control import blocks as kernels
from gateway.control import layout as at
from gateway.core.limits import BLOCKS_MAX, FEEDS_MAX
from gateway.settings.schema import Block, PidLoop, Signal

OF_LOOP = {"input": at.OF_LOOP_INPUT, "setpoint": at.OF_LOOP_SETPOINT, "output": at.OF_LOOP_OUTPUT}


class Signals:
    """Places of all signals of one configuration; `feeds` grows as they are asked for."""

    def __init__(self, b: at.Blocks, loops: Sequence[PidLoop], blocks: Sequence[Block]) -> None:
        self.feeds: list[Signal] = []
        self._b = b
        self._loops = {loop.name: index for index, loop in enumerate(loops)}
        self._inputs = {loop.input: index for index, loop in enumerate(loops) if loop.source is None}
        self._blocks = {block.name: index for index, block in enumerate(blocks)}
        self._numbers: list[float] = []

    def place(self, signal: Signal) -> int:
        """Raises ValueError when there are too many."""
        if signal.of == "number":
            return self._number(signal.number)
        if signal.of == "block":
            return at.FIRST_BLOCK + self._blocks[signal.name]
        if signal.of == "loop":
            return at.OF_LOOP * self._loops[signal.name] + OF_LOOP[signal.what]
        if signal.what == "value" and signal.name in self._inputs:
            return at.OF_LOOP * self._inputs[signal.name] + at.OF_LOOP_INPUT
        if signal not in self.feeds:
            if len(self.feeds) == FEEDS_MAX:
                raise ValueError(f"control: more than {FEEDS_MAX} tags, scores and windows; use fewer")
            self.feeds.append(signal)
        return at.FIRST_FEED + self.feeds.index(signal)

    def loop(self, name: str) -> int:
        return self._loops[name]

    def _number(self, value: float) -> int:
        if value not in self._numbers:
            if len(self._numbers) == at.NUMBERS_MAX:
                raise ValueError(f"control: more than {at.NUMBERS_MAX} different numbers in blocks; use fewer")
            self._numbers.append(value)
            place = at.FIRST_NUMBER + len(self._numbers) - 1
            self._b.signals[place] = value
            self._b.signals_ns[place] = at.ALWAYS_NS
        return at.FIRST_NUMBER + self._numbers.index(value)


def fill(b: at.Blocks, loops: Sequence[PidLoop], blocks: Sequence[Block]) -> tuple[Signal, ...]:
    """Write signals and blocks into a record whose loops are there; the feeds in the order of their numbers."""
    if len(blocks) > BLOCKS_MAX:
        raise ValueError(f"control: {len(blocks)} blocks, but at most {BLOCKS_MAX} are possible; use fewer")
    signals = Signals(b, loops, blocks)
    for index, block in enumerate(blocks):
        row = b.program[index]
        row[at.STEP_KIND] = kernels.KINDS.index(block.kind)
        row[at.STEP_OUT] = at.FIRST_BLOCK + index
        row[at.STEP_INPUTS] = len(block.inputs)
        for i, signal in enumerate(block.inputs):
            row[at.FIRST_INPUT + i] = signals.place(signal)
        b.parameters[index, : len(block.parameters)] = block.parameters
    by_name = {block.name: block for block in blocks}
    order = {block.name: index for index, block in enumerate(blocks)}
    steps = 0
    for index, loop in enumerate(loops):
        _fill_loop(b, index, loop, signals)
        needed = sorted(order[name] for name in _closure(_roots(loop), by_name))
        if steps + len(needed) > at.STEPS:
            raise ValueError(f"control: loops need more than {at.STEPS} blocks in sum; use fewer")
        b.steps[steps : steps + len(needed)] = needed
        b.loops[index, at.STEPS_FROM], b.loops[index, at.STEPS_TO] = steps, steps + len(needed)
        steps += len(needed)
        if loop.acts_on_arrival and loop.source is not None:
            for leaf in _leaves(loop.source, by_name):
                b.pokes[signals.place(leaf), index] = 1
    b.words[at.FEEDS] = len(signals.feeds)
    return tuple(signals.feeds)


def _fill_loop(b: at.Blocks, index: int, loop: PidLoop, signals: Signals) -> None:
    state = b.loops[index]
    state[at.ON_ARRIVAL] = loop.acts_on_arrival
    state[at.CAN_CASCADE] = loop.setpoint_from is not None
    if loop.tracks:
        state[at.TRACKS] = signals.loop(loop.tracks)
    gains = loop.gains or (None, None, None)
    for field, signal in (
        (at.SOURCE, loop.source),
        (at.SETPOINT_FROM, loop.setpoint_from),
        (at.FEED_FORWARD, loop.feed_forward),
        (at.INTERLOCK, loop.interlock),
        (at.KP_FROM, gains[0]),
        (at.TI_FROM, gains[1]),
        (at.TD_FROM, gains[2]),
    ):
        if signal is not None:
            state[field] = signals.place(signal)


def _roots(loop: PidLoop) -> tuple[Signal, ...]:
    found = (loop.source, loop.setpoint_from, loop.feed_forward, loop.interlock, *(loop.gains or ()))
    return tuple(signal for signal in found if signal is not None)


def _closure(roots: Sequence[Signal], by_name: Mapping[str, Block]) -> set[str]:
    """The blocks behind these signals."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        signal = waiting.pop()
        if signal.of == "block" and signal.name not in found:
            found.add(signal.name)
            waiting += by_name[signal.name].inputs
    return found


def _leaves(source: Signal, by_name: Mapping[str, Block]) -> set[Signal]:
    """What comes from outside of the blocks."""
    blocks = _closure([source], by_name)
    inputs = [signal for name in blocks for signal in by_name[name].inputs] if blocks else [source]
    return {signal for signal in inputs if signal.of in ("tag", "loop")}
