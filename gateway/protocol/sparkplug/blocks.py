"""The metrics of births in the jitted decoder's tables: put down at each birth, moved together when these are full."""

from __future__ import annotations

from gateway.core.limits import SPARKPLUG_METRICS_MAX
from gateway.core.types import Kind, Samples
from gateway.protocol.sparkplug import table as t
from gateway.protocol.sparkplug.nodes import Member, Want
from gateway.protocol.sparkplug.wire import Metric


class Blocks:
    """`table` is what the decoder reads now; it is another one after it had to grow."""

    def __init__(self, nodes: int, wants: int) -> None:
        self.table = t.births(nodes, metrics=max(1_024, 2 * wants))
        self._topics: Samples | None = None
        self._members: list[Member] = []

    def bind(self, topics: Samples, first: int, members: list[Member]) -> None:
        """Members have the topics from `first` on, in turn."""
        self._topics = topics
        self._members = members
        for topic, member in enumerate(members, first):
            member.topic = topic

    def clear(self, member: Member) -> None:
        """Nothing of its metrics is known any more."""
        member.known = []
        if self._topics is not None and member.topic >= 0:
            self._topics[member.topic]["count"] = 0

    def put(self, member: Member) -> bool:
        """The metrics of a member's birth, as far as there is room; without them its data goes the slow way."""
        if self._topics is None or member.topic < 0:
            return True
        if not t.has_room(self.table, member.known) and not self._make_room(member):
            return False
        first = t.add_block(self.table, member.topic, member.known)
        self._topics[member.topic]["first"] = first
        self._topics[member.topic]["count"] = len(member.known)
        return True

    def _make_room(self, for_whom: Member) -> bool:
        """Tables twice as large as what lives needs, and that moved into them."""
        assert self._topics is not None
        living = [member for member in self._members if member is not for_whom and self._topics[member.topic]["count"]]
        metrics = sum(len(member.known) for member in (*living, for_whom))
        if metrics > SPARKPLUG_METRICS_MAX:
            return False
        names = sum(len(known.name) for member in (*living, for_whom) for known in member.known)
        larger = t.births(len(self.table.nodes), metrics=2 * metrics, name_bytes=max(65_536, 2 * names))
        larger.nodes[:] = self.table.nodes
        self.table = larger
        for member in living:
            self._topics[member.topic]["first"] = t.add_block(larger, member.topic, member.known)
        return True


def known(metric: Metric, want: Want | None) -> t.Known:
    assert metric.name is not None
    return t.Known(
        alias=metric.alias,
        name=metric.name.encode(),
        datatype=metric.datatype,
        row=t.UNWANTED if want is None else want.row,
        kind=int(Kind.F64) if want is None else int(want.kind),
        scale=1.0 if want is None else want.scale,
        offset=0.0 if want is None else want.offset,
    )
