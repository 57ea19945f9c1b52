"""An ingest where topics may appear by themselves: what `Newcomers` needs of the stream around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.core.inbox import Lane
from gateway.core.symbols import Intern, no_symbols
from gateway.core.types import Samples
from gateway.protocol.mqtt import state as s
from gateway.protocol.mqtt.codes import FRAME_BYTES_MAX
from gateway.protocol.mqtt.ingest import Ingest
from gateway.protocol.mqtt.lender import Wanted
from gateway.protocol.mqtt.newcomers import Newcomers
from gateway.protocol.mqtt.report import Report
from gateway.protocol.mqtt.step import Step
from gateway.protocol.mqtt.table import Feed, Topic
from gateway.protocol.sparkplug.host import Host


class AppearingIngest(Ingest):
    """`newcomers` takes care of topics that no feed names; `ask` is given its questions to the parking."""

    def __init__(
        self,
        feeds: Sequence[Feed],
        version: int,
        *,
        newcomers: Newcomers,
        ask: Callable[[list[Wanted]], None],
        frame_bytes_max: int = FRAME_BYTES_MAX,
        host: Host | None = None,
        intern: Intern = no_symbols,
        report: Report | None = None,
    ) -> None:
        super().__init__(
            feeds,
            version,
            frame_bytes_max=frame_bytes_max,
            host=host,
            intern=intern,
            report=report,
            templates=newcomers.templates,
            spare=newcomers.spare,
        )
        self._newcomers = newcomers
        self._ask = ask
        newcomers.attach(self._table, self._written, report)

    @property
    def must_wait(self) -> bool:
        """Whether topics that appeared wait for something; nothing more is taken in until they are through."""
        return bool(self._arrived) or self._newcomers.must_wait

    def step(self, lane: Lane, wall_offset_ns: int, shed_level: int = 0) -> Step:
        step = super().step(lane, wall_offset_ns, shed_level)
        self._receive(step, lane, wall_offset_ns)
        return step

    def advance(self, lane: Lane, wall_offset_ns: int) -> Step:
        """Go on with what waits, after the parking has answered or the lane has room."""
        step = Step(b"", is_full=False, error=None)
        self._receive(step, lane, wall_offset_ns)
        return step

    def tidy(self, lane: Lane, now_ns: int, wall_offset_ns: int) -> Step:
        """What is due by itself: idle tags leave, those called back come."""
        if not self.must_wait:
            self._newcomers.evict_idle(now_ns, self._usability.leave)
            self._newcomers.call_back(now_ns, self._usability.leave)
        return self.advance(lane, wall_offset_ns)

    def _receive(self, step: Step, lane: Lane, wall_offset_ns: int) -> None:
        """Messages of topics that the table did not know: after all others, so that nothing of a tag which leaves for
        one of them is still under way, nor waits for room in the lane."""
        newcomers = self._newcomers
        while self._flush(lane):
            newcomers.flush(lane, self._usability.is_usable)
            if not self._arrived or newcomers.must_wait:
                break
            name, payload, flags = self._arrived.popleft()
            t = self._place_of(name)
            if t is None:
                self._state[s.UNKNOWN_TOPIC] += 1
            else:
                self._take_slowly(step, lane, t, payload, s.PAYLOAD, flags, wall_offset_ns)
        wanted = newcomers.take_wanted()
        if wanted:
            self._ask(wanted)

    def _place_of(self, name: bytes) -> int | None:
        try:
            topic = name.decode()
        except UnicodeDecodeError:
            self._newcomers.refuse_bytes(name)
            return None
        t = self._newcomers.find(topic)
        return self._newcomers.appear(topic, self._arrival_ns, self._usability.leave) if t is None else t

    def _topic(self, t: int) -> Topic:
        return self.topics[t] if t < len(self.topics) else self._newcomers.topic(t)

    def _deliver(self, lane: Lane, t: int, topic: Topic, samples: Samples) -> None:
        if self._newcomers.is_pending(t):
            self._newcomers.wait(t, samples if self._report is None else self._report.pass_on(samples))
        else:
            super()._deliver(lane, t, topic, samples)
