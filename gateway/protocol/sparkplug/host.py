"""A host application of Sparkplug B (3.0.0): what births say, in which order messages count, what deaths end.

An edge node gives all of its messages, those of its devices too, one running number (0 to 255). State of a node:

    state     until                                    data messages
    unborn    NBIRTH                                   dropped and counted; a rebirth is asked for
    alive     a number is missing                      taken in order; the jitted path may take them
    gap       the missing one comes -> alive;          kept, at most REORDER_MESSAGES_MAX
              the reorder time-out -> unborn           dropped: a birth may be among the missing
    dead      NBIRTH                                   dropped and counted; a rebirth is asked for

A metric is known by what its last birth said. Death makes a tag bad (not connected), losing the thread bad
(communication failure), and only a birth makes it good again. What a message asks for is collected in `out`
until somebody takes it; nothing here knows a clock, so `tick` must be called now and then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from gateway.core.events import Severity
from gateway.core.limits import DEVICES_MAX, SPARKPLUG_METRICS_MAX
from gateway.core.symbols import Intern, no_symbols
from gateway.core.types import NS_PER_S, Quality, Samples
from gateway.protocol.protobuf import Malformed
from gateway.protocol.sparkplug import table as t
from gateway.protocol.sparkplug import wire
from gateway.protocol.sparkplug.blocks import Blocks, known
from gateway.protocol.sparkplug.nodes import Command, Meaning, Member, Message, Node, Want
from gateway.protocol.sparkplug.outbox import Outbox
from gateway.protocol.sparkplug.topics import Address, Heading, encode_state, read_topic, says_offline, state_topic

REORDER_MESSAGES_MAX: Final = 64
"""Messages kept of one node while one is missing. One more, and the thread counts as lost."""
REBIRTH_EVERY_NS: Final = 10 * NS_PER_S
"""How often one node is asked for its births at most."""
SEQUENCE: Final = 256
BD_SEQ: Final = "bdSeq"


class Host:
    """All edge nodes behind one broker. Times are engine time; wall time is that plus `wall_offset_ns`."""

    def __init__(
        self, wants: Sequence[Want], *, host_id: str | None, reorder_ns: int, intern: Intern = no_symbols
    ) -> None:  # fmt: skip
        self.host_id = host_id
        self.out = Outbox(intern)
        self.births = self.deaths = self.rebirths_asked = self.dropped = self.malformed = 0
        self.reordered = self.unknown_metrics = 0
        self.refused = ""
        """Why the last malformed message was one."""
        self._reorder_ns = reorder_ns
        self._online_ms = 0
        self._strangers = 0
        self._nodes: dict[tuple[str, str], Node] = {}
        for want in wants:
            node = self._node(want.address)
            member = node.members.setdefault(want.address.device, Member(want.address))
            member.wants[want.metric] = want
        self._blocks = Blocks(len(self._nodes), len(wants))

    def _node(self, address: Address) -> Node:
        key = address.group, address.edge
        if key not in self._nodes:
            own = Address(*key)
            self._nodes[key] = Node(own, len(self._nodes), {"": Member(own)})
        return self._nodes[key]

    # What the scanner's table and the session need.

    @property
    def table(self) -> t.Births:
        """What the jitted decoder reads; it may be another one after a message."""
        return self._blocks.table

    def data_topics(self) -> list[tuple[str, int]]:
        """(name, node) of the data topics that are known from the start, nodes and devices in turn."""
        return [
            (member.address.topic("DATA"), node.index)
            for node in self._nodes.values()
            for member in node.members.values()
        ]

    def bind(self, topics: Samples, first: int) -> None:
        """`topics[first]` and on are the rows of `data_topics`, whose blocks of metrics a birth then fills in."""
        self._blocks.bind(topics, first, [m for node in self._nodes.values() for m in node.members.values()])

    def refuse(self, topic: bytes, now_ns: int, why: str) -> None:
        """A message that cannot be taken: of a birth, or of an unknown number of metrics."""
        heading = read_topic(topic)
        if heading is None or (node := self._nodes.get((heading.address.group, heading.address.edge))) is None:
            return
        self._refuse(node, heading, now_ns, why)

    def _refuse(self, node: Node, heading: Heading, now_ns: int, why: str) -> None:
        self.malformed += 1
        self.refused = why
        self.out.say(now_ns, Severity.WARNING, "sparkplug.malformed", heading.address, f"{heading.verb}: {why}")
        if heading.verb in ("NBIRTH", "DBIRTH"):
            self._lose(node, now_ns, "its birth cannot be read")

    def nodes(self) -> Iterable[Address]:
        return (node.address for node in self._nodes.values())

    def rows_of(self, address: Address) -> list[int]:
        """All tags of an edge node and its devices."""
        node = self._nodes[address.group, address.edge]
        return [want.row for member in node.members.values() for want in member.wants.values()]

    @property
    def alive(self) -> int:
        return sum(node.is_alive for node in self._nodes.values())

    def will(self, wall_ms: int) -> tuple[str, bytes] | None:
        """(topic, payload) of the will of the connection that is about to be made; None for a host without an id."""
        if self.host_id is None:
            return None
        self._online_ms = wall_ms
        return state_topic(self.host_id), encode_state(False, wall_ms)

    def begin(self, now_ns: int) -> None:
        """The session is up and subscribed: tell so, and wait for the births that may come by themselves."""
        if self.host_id is not None:
            self._tell_online()
        for node in self._nodes.values():
            self._forget(node)
            self._mark_live(node)
            node.gap_until_ns = now_ns + self._reorder_ns

    def _tell_online(self) -> None:
        assert self.host_id is not None
        self.out.commands.append(
            Command(state_topic(self.host_id), encode_state(True, self._online_ms), qos=1, retain=True)
        )

    def goodbye(self, wall_ms: int) -> tuple[str, bytes] | None:
        """(topic, payload) to publish before DISCONNECT."""
        return None if self.host_id is None else (state_topic(self.host_id), encode_state(False, wall_ms))

    # What comes in.

    def take(self, topic: bytes, raw: bytes, arrival_ns: int, wall_offset_ns: int) -> None:
        """One message of the namespace."""
        heading = read_topic(topic)
        if heading is None:
            return
        address = heading.address
        if heading.verb == "STATE":
            if address.group == self.host_id and says_offline(raw):
                self._tell_online()
            return
        node = self._nodes.get((address.group, address.edge))
        if node is None or heading.verb in ("NCMD", "DCMD"):
            return
        try:
            payload = wire.parse(raw)
            self._take(node, heading, payload, arrival_ns, wall_offset_ns)
        except Malformed as why:
            self._refuse(node, heading, arrival_ns, str(why))
        self._mark_live(node)

    def _take(
        self, node: Node, heading: Heading, payload: wire.Payload, arrival_ns: int, wall_offset_ns: int
    ) -> None:  # fmt: skip
        message = Message(heading.verb, heading.address, payload, arrival_ns, wall_offset_ns)
        if heading.verb == "NDEATH":
            self._node_death(node, message)
            return
        if payload.seq is None or not 0 <= payload.seq < SEQUENCE:
            raise Malformed("it has no sequence number from 0 to 255")
        if heading.verb == "NBIRTH":
            self._node_birth(node, message)
        elif not node.is_alive:
            self.dropped += 1
            self._ask(node, arrival_ns, "its birth was missed")
        elif payload.seq != self._expected(node):
            self._keep(node, payload.seq, message)
        else:
            self._apply(node, message)
            while node.is_alive and (due := node.waiting.pop(self._expected(node), None)) is not None:
                self.reordered += 1
                self._apply(node, due)
            if not node.waiting and node.is_alive:
                node.gap_until_ns = None

    def tick(self, now_ns: int) -> None:
        """What is due by now: reorder time-outs, rebirth requests, devices that did not come back."""
        for node in self._nodes.values():
            if node.gap_until_ns is not None and now_ns >= node.gap_until_ns:
                if node.is_alive:
                    self._lose(node, now_ns, "a message is missing")
                else:
                    node.gap_until_ns = None
                    self._ask(node, now_ns, "nothing is known of it")
            if not node.is_alive and node.asked_ns is not None and now_ns - node.asked_ns >= REBIRTH_EVERY_NS:
                self._ask(node, now_ns, "it has not answered")
            if node.devices_until_ns is not None and now_ns >= node.devices_until_ns:
                node.devices_until_ns = None
                for member in node.members.values():
                    if not member.is_born:
                        self.out.mark(member, Quality.BAD_NOT_CONNECTED, now_ns)

    # Sequence.

    def _expected(self, node: Node) -> int:
        return int(self.table.nodes[node.index, t.EXPECTED])

    def _expect(self, node: Node, seq: int) -> None:
        self.table.nodes[node.index, t.EXPECTED] = seq % SEQUENCE

    def _mark_live(self, node: Node) -> None:
        self.table.nodes[node.index, t.LIVE] = node.is_alive and not node.waiting

    def _keep(self, node: Node, seq: int, message: Message) -> None:
        if len(node.waiting) == REORDER_MESSAGES_MAX:
            self._lose(node, message.arrival_ns, f"a message is missing, and {REORDER_MESSAGES_MAX} came after it")
            return
        node.waiting[seq] = message
        if node.gap_until_ns is None:
            node.gap_until_ns = message.arrival_ns + self._reorder_ns

    def _lose(self, node: Node, now_ns: int, why: str) -> None:
        """The thread is lost: what came after the gap may mean something else than the last birth said."""
        self._forget(node)
        for member in node.members.values():
            self.out.mark(member, Quality.BAD_COMM_FAILURE, now_ns)
        self._ask(node, now_ns, why)
        self._mark_live(node)

    def _forget(self, node: Node) -> None:
        self.dropped += len(node.waiting)
        node.waiting.clear()
        node.gap_until_ns = node.asked_ns = node.devices_until_ns = None
        node.is_alive = False
        for member in node.members.values():
            self._unbear(member)

    def _ask(self, node: Node, now_ns: int, why: str) -> None:
        if node.asked_ns is not None and now_ns - node.asked_ns < REBIRTH_EVERY_NS:
            return
        if node.asked_ns is None:
            self.out.say(
                now_ns, Severity.WARNING, "sparkplug.rebirth", node.address, f"{why}; it is asked for its births"
            )
        node.asked_ns = now_ns
        self.rebirths_asked += 1
        self.out.commands.append(Command(node.address.topic("CMD"), b""))

    # Births, data, deaths.

    def _node_birth(self, node: Node, message: Message) -> None:
        self._forget(node)
        self.births += 1
        node.is_alive = True
        for metric in message.payload.metrics:
            if metric.name == BD_SEQ and isinstance(metric.raw, int):
                node.bd_seq = metric.raw
        assert message.payload.seq is not None
        self._expect(node, message.payload.seq + 1)
        node.devices_until_ns = message.arrival_ns + self._reorder_ns
        self._bear(node.members[""], message)

    def _apply(self, node: Node, message: Message) -> None:
        """The next message of a node that is alive."""
        assert message.payload.seq is not None
        self._expect(node, message.payload.seq + 1)
        device = message.address.device
        member = node.members.get(device)
        if message.verb == "DBIRTH":
            self.births += 1
            if member is None:
                if self._strangers == DEVICES_MAX:
                    self.dropped += 1
                    return
                self._strangers += 1
                member = node.members[device] = Member(message.address)
            self._bear(member, message)
        elif member is None or not member.is_born:
            self.dropped += 1
            self._ask(node, message.arrival_ns, f"the birth of {message.address} was missed")
        elif message.verb == "DDEATH":
            self.deaths += 1
            self._unbear(member)
            # Of a device by the edge node's time, of a node by our own (chapters 5.5 and 5.9).
            source_ns = self.out.time_of(message.payload.timestamp_ms, message)
            self.out.mark(member, Quality.BAD_NOT_CONNECTED, message.arrival_ns, source_ns)
            self.out.say(message.arrival_ns, Severity.WARNING, "sparkplug.death", member.address, "the device is gone")
        else:
            self._data(node, member, message)

    def _node_death(self, node: Node, message: Message) -> None:
        """Of an earlier session, which a new birth has replaced, it means nothing any more."""
        bd_seq = next((m.raw for m in message.payload.metrics if m.name == BD_SEQ), None)
        if node.is_alive and bd_seq != node.bd_seq:
            self.dropped += 1
            return
        self.deaths += 1
        was_alive = node.is_alive
        self._forget(node)
        for member in node.members.values():
            self.out.mark(member, Quality.BAD_NOT_CONNECTED, message.arrival_ns)
        if was_alive:
            self.out.say(message.arrival_ns, Severity.WARNING, "sparkplug.death", node.address, "the edge node is gone")

    def _bear(self, member: Member, message: Message) -> None:
        self._unbear(member)
        member.is_born = True
        if not member.wants:
            return
        metrics = [flat for metric in message.payload.metrics for flat in wire.flatten(metric)]
        for metric in metrics:
            if metric.name is None:
                continue
            meaning = Meaning(metric.name, metric.datatype, member.wants.get(metric.name))
            member.by_name[metric.name] = meaning
            if metric.alias is not None:
                member.by_alias[metric.alias] = meaning
            member.known.append(known(metric, meaning.want))
        if not self._blocks.put(member):
            limit = f"more than {SPARKPLUG_METRICS_MAX} metrics; the data of this member is decoded slowly"
            self.out.say(message.arrival_ns, Severity.WARNING, "sparkplug.limit", member.address, limit)
        for metric in metrics:
            if metric.name is not None and (want := member.wants.get(metric.name)) is not None:
                self.out.value(want, metric, metric.datatype, message, Quality.BAD_NOT_INITIALISED)
        self._tell_of_birth(member, message.arrival_ns)

    def _unbear(self, member: Member) -> None:
        member.is_born = False
        member.by_alias, member.by_name = {}, {}
        self._blocks.clear(member)

    def _tell_of_birth(self, member: Member, now_ns: int) -> None:
        absent = sorted(member.wants.keys() - member.by_name.keys())
        for name in absent:
            self.out.put(member.wants[name], Quality.BAD_CONFIG, now_ns, now_ns, 0)
        if absent:
            some = ", ".join(absent[:3]) + (", …" if len(absent) > 3 else "")
            message = f"its birth has no metric {some}; check the names of the tags' metrics"
            self.out.say(now_ns, Severity.ERROR, "sparkplug.metric", member.address, message)
        elif member.wants:
            message = f"born with {len(member.by_name)} metrics"
            self.out.say(now_ns, Severity.NOTICE, "sparkplug.birth", member.address, message)

    def _data(self, node: Node, member: Member, message: Message) -> None:
        if not member.wants:
            return
        for metric in message.payload.metrics:
            if metric.name is None and metric.alias in member.by_alias:
                # A template's members are named after it.
                metric.name = member.by_alias[metric.alias].name
            for flat in wire.flatten(metric):
                meaning = member.by_alias.get(flat.alias) if flat.alias is not None else None
                if meaning is None and flat.name is not None:
                    meaning = member.by_name.get(flat.name)
                if meaning is None:
                    self.unknown_metrics += 1
                    self._ask(node, message.arrival_ns, f"{message.address} sends a metric that its birth did not name")
                elif meaning.want is not None:
                    self.out.value(meaning.want, flat, meaning.datatype, message, Quality.BAD)
