"""From received bytes to samples in a lane, without a socket: what one subscriber knows between two reads.

The caller puts bytes into `free_space`, tells `received`, and calls `step` until it is no longer `is_full`; a step
takes in at most what its lane has room for, so that nothing is ever decoded and then dropped. What a step found out
is returned, and the caller acts on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np

from gateway.core.events import Event
from gateway.core.inbox import Lane
from gateway.core.limits import INTAKE_KEYS_MAX
from gateway.core.symbols import NO_SYMBOL, Intern, no_symbols
from gateway.core.types import SAMPLE, Int64s, Kind, Quality, Samples
from gateway.protocol.mqtt import state as s
from gateway.protocol.mqtt.aliases import no_aliases
from gateway.protocol.mqtt.codes import DISCONNECT_PROTOCOL_ERROR, FRAME_BYTES_MAX
from gateway.protocol.mqtt.counts import Counts
from gateway.protocol.mqtt.form import Layout
from gateway.protocol.mqtt.payloads import Cell, Unusable, read_payload
from gateway.protocol.mqtt.readings import read_readings
from gateway.protocol.mqtt.received import Received
from gateway.protocol.mqtt.recent import no_recent, remember
from gateway.protocol.mqtt.report import Report
from gateway.protocol.mqtt.scan import scan
from gateway.protocol.mqtt.step import Step
from gateway.protocol.mqtt.table import PRIORITIES, TAGS_PER_TOPIC_MAX, Feed, Topic, group
from gateway.protocol.mqtt.tablebuilder import build
from gateway.protocol.mqtt.usability import Usability
from gateway.protocol.sparkplug.host import Host
from gateway.protocol.sparkplug.topics import PREFIX
from gateway.protocol.times import believed_ns

STEP_SAMPLES_MAX: Final = 16_384
STEP_HANDED_MAX: Final = 256
"""Packets of one step that go the slow way. At these limits a step ends and says `is_full`; the loop gets a turn."""
STEP_ACKS_MAX: Final = 8_192
STEP_ROUNDS_MAX: Final = 256
"""Messages of one step after which the scanner is called anew."""

PACKET_IDENTIFIERS: Final = 65_536


HANDS_ON: Final = frozenset({s.PAYLOAD, s.OVERSIZED, s.NAMESPACE})
"""What may bring samples, so that those before it must go first."""


class Ingest(Counts):
    """All state of one subscriber. `feeds` say which topic carries which tag. Called from one thread.

    A message of more than `frame_bytes_max` bytes is skipped and counted as unusable; `topic_alias_maximum` is what
    CONNECT permits (MQTT 5). `is_durable`: repetitions of QoS 1 are told from new messages where that can be done.
    `host` takes the messages of Sparkplug; `intern` gives texts their numbers; `report` says what is passed on.
    `templates` and `spare` make room in the table for topics that appear (`appearing.py`).
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        version: int,
        *,
        frame_bytes_max: int = FRAME_BYTES_MAX,
        topic_alias_maximum: int = 0,
        host: Host | None = None,
        intern: Intern = no_symbols,
        is_durable: bool = False,
        report: Report | None = None,
        templates: Sequence[Topic] = (),
        spare: int = 0,
    ) -> None:
        self.topics = group(feeds)
        self.host = host
        self._intern = intern
        self._report = report
        self.samples = 0
        self.received_bytes = 0
        self.unusable_messages = 0
        self.slow_messages = 0
        data_topics = [] if host is None else host.data_topics()
        self._table = build(self.topics, data_topics, None if host is None else host.table, templates, spare)
        if host is not None:
            host.bind(self._table.topics, len(self.topics))
        self._data_topics = [name.encode() for name, _ in data_topics]
        self._written = len(self.topics) + len(data_topics)
        self._arrived: deque[tuple[bytes, bytes, int]] = deque()
        self._backlog: deque[Samples] = deque()
        super().__init__(np.zeros(s.STATE_FIELDS, np.int64))
        self._state[s.VERSION] = version
        self._state[s.FRAME_BYTES] = self._frame_bytes_max = frame_bytes_max
        self._aliases = no_aliases(topic_alias_maximum)
        self._state[s.DURABLE] = is_durable
        self._recent = no_recent(INTAKE_KEYS_MAX if is_durable else 1)
        self._seen = np.zeros(PACKET_IDENTIFIERS, np.uint8)
        self._keys_taken = 0
        self._received = Received(frame_bytes_max)
        self._arrival_ns = 0
        self._samples = np.zeros(STEP_SAMPLES_MAX, SAMPLE)
        self._handed = np.zeros(STEP_HANDED_MAX, s.HANDED)
        self._acks = np.zeros(STEP_ACKS_MAX, np.uint8)
        self._slow_samples = np.zeros(TAGS_PER_TOPIC_MAX, SAMPLE)
        self._usability = Usability(len(self._table.entries))
        self._state[s.PATTERNS] = spare > 0
        self._scan(room=0, arrival_wall_ns=0)  # compiles, or loads what is compiled, before the first message

    @property
    def samples_per_message_max(self) -> int:
        return len(self._table.found)

    def begin_connection(self) -> None:
        """Forget the bytes of the last connection; samples of unusable entries will be told again."""
        self._received.clear()
        self._state[[s.GREETED, s.SKIP, s.STRANGERS]] = 0
        self._aliases.sizes[:] = -1
        self._usability.begin_connection()
        if self._report is not None:
            self._report.forget()

    def go_on_after(self, before: Ingest) -> None:
        """Go on with the connection of another reader of the same link, where that stopped."""
        self._received.go_on_after(before._received)
        self._arrival_ns = before._arrival_ns
        self._state[[s.GREETED, s.SKIP]] = before._state[[s.GREETED, s.SKIP]]
        self._aliases.sizes[:] = before._aliases.sizes
        self._aliases.names[:] = before._aliases.names
        self._seen[:] = before._seen

    @property
    def is_behind(self) -> bool:
        """Whether samples wait that the lane had no room for."""
        return bool(self._backlog)

    def begin_session(self) -> None:
        """The broker knows nothing of an earlier session: its packet identifiers start afresh."""
        self._seen[:] = 0

    def remember(self, unreleased: Sequence[int], keys: Int64s) -> None:
        """Go on where an earlier run was: QoS 2 identifiers not released, keys of the last messages of QoS 1."""
        self._seen[np.array(unreleased, np.int64)] = 1
        for key in keys.tolist():
            remember(self._recent, key)
        self._keys_taken = int(self._recent.total[0])

    def take_keys(self) -> Int64s:
        """Keys of the messages since the last call."""
        count, size = int(self._recent.total[0]), len(self._recent.ring)
        places = np.arange(self._keys_taken, count) & (size - 1)
        self._keys_taken = count
        return self._recent.ring[places]

    def free_space(self) -> memoryview:
        """Where the next read goes; at most READ_BYTES_MAX."""
        return self._received.free_space()

    def received(self, size: int, now_ns: int) -> None:
        self._received.end += size
        self._arrival_ns = now_ns
        self.received_bytes += size

    def step(self, lane: Lane, wall_offset_ns: int, shed_level: int = 0) -> Step:
        """Take in what has arrived, as far as the lane has room. Wall time is engine time plus `wall_offset_ns`.

        Messages of QoS 0 whose topic's priority is below `shed_level` are left out and counted; those of the highest
        one only from where the room ends.
        """
        self._state[s.SHED_LEVEL] = min(shed_level, PRIORITIES - 1)
        self._state[s.SHED_ALL] = shed_level >= PRIORITIES
        step = Step(b"", is_full=True, error=None)
        for _ in range(STEP_ROUNDS_MAX):
            if not self._flush(lane):
                break
            self._round(step, lane, wall_offset_ns)
            if not self._state[s.AWAITED]:
                break
        return step

    @property
    def must_wait(self) -> bool:
        """Whether something must be done by the caller's `advance` before more is taken in."""
        return False

    def advance(self, lane: Lane, wall_offset_ns: int) -> Step:
        """Go on with what waits besides the lane's room."""
        return Step(b"", is_full=False, error=None)

    def _round(self, step: Step, lane: Lane, wall_offset_ns: int) -> None:
        """One call of the scanner, and what it handed back."""
        after = self._scan(min(lane.room, STEP_SAMPLES_MAX), self._arrival_ns + wall_offset_ns)
        state = self._state
        step.acks += self._acks[: state[s.ACK_BYTES]].tobytes()
        step.is_full = bool(state[s.IS_FULL] or state[s.AWAITED])
        error = int(state[s.ERROR])
        step.error = s.ERRORS[error] if error else None
        step.error_code = s.REASONS.get(error, DISCONNECT_PROTOCOL_ERROR)
        placed = 0
        for what, at, size, t, flags, place in self._handed[: state[s.HANDED_COUNT]].tolist():
            content = self._received.view[at : at + size].tobytes()
            if what in HANDS_ON:
                self._append(lane, self._samples[placed:place])
                placed = place
            if what == s.CONTROL:
                step.control.append((flags, content))
            elif what == s.STRANGER:
                step.strangers.append(content)
            elif what == s.NEWCOMER:
                behind, name_size = divmod(t, s.NAME_SIZES)
                self._arrived.append((content[:name_size], content[behind:], flags))
            elif what == s.NAMESPACE or len(self.topics) <= t < self._written:
                self._take_sparkplug(step, lane, what, t, content, flags, wall_offset_ns)
            else:
                self._take_slowly(step, lane, t, content, what, flags, wall_offset_ns)
        self._append(lane, self._samples[placed : state[s.SAMPLES]])
        self._received.taken_up_to(after)

    def take_again(self, lane: Lane, topic: str, payload: bytes, now_ns: int, wall_offset_ns: int) -> Step | None:
        """A payload from the dead letters, as if it came now; None when no tag names its topic any more."""
        step = Step(b"", is_full=False, error=None)
        name = topic.encode()
        t = next((t for t, known in enumerate(self.topics) if known.name == topic), None)
        if t is None and (self.host is None or not name.startswith(PREFIX)):
            return None
        arrival_ns, self._arrival_ns = self._arrival_ns, now_ns
        if t is None:
            place = len(name) * (s.NAME_SIZES + 1)
            self._take_sparkplug(step, lane, s.NAMESPACE, place, name + payload, 0, wall_offset_ns)
        else:
            self._take_slowly(step, lane, t, payload, s.PAYLOAD, 0, wall_offset_ns)
        self._arrival_ns = arrival_ns
        return step

    def tick(self, lane: Lane, now_ns: int) -> list[Event]:
        """What is due by itself: the time-outs of Sparkplug."""
        step = Step(b"", is_full=False, error=None)
        if self.host is not None:
            self._flush(lane)
            self.host.tick(now_ns)
            self._take_from_host(step, lane)
        return step.events

    def _take_sparkplug(
        self, step: Step, lane: Lane, what: int, t: int, content: bytes, flags: int, wall_offset_ns: int
    ) -> None:  # fmt: skip
        """A message for the host: of a data topic (the payload), or of a topic that is not in the table (all of it)."""
        assert self.host is not None
        self.slow_messages += 1
        if what == s.NAMESPACE:
            behind, size = divmod(t, s.NAME_SIZES)
            topic, payload = content[:size], content[behind:]
        else:
            topic, payload = self._data_topics[t - len(self.topics)], content
        malformed_before = self.host.malformed
        is_cut = what == s.OVERSIZED or bool(flags & s.CUT_OFF)
        if is_cut:
            self.host.refuse(topic, self._arrival_ns, f"it is longer than {self._frame_bytes_max} bytes")
        else:
            self.host.take(topic, payload, self._arrival_ns, wall_offset_ns)
        if self.host.malformed > malformed_before:
            step.write(lane.name, topic.decode(errors="replace"), payload, is_cut, self.host.refused, self._arrival_ns)
        self._take_from_host(step, lane)

    def _take_from_host(self, step: Step, lane: Lane) -> None:
        host = self.host
        assert host is not None
        self._append(lane, host.out.take_samples())
        step.events += host.out.events
        host.out.events.clear()
        if self._table.births is not host.table:
            self._table = self._table._replace(births=host.table)

    def _scan(self, room: int, arrival_wall_ns: int) -> int:
        after: int = scan(
            self._state,
            self._table,
            self._aliases,
            self._recent,
            self._seen,
            self._received.buffer,
            self._received.start,
            self._received.end,
            room,
            self._arrival_ns,
            arrival_wall_ns,
            self._samples,
            self._handed,
            self._acks,
        )
        return after

    def _append(self, lane: Lane, samples: Samples) -> None:
        """Into the lane; what has no room (a birth may bring more than was reckoned with) waits, in order."""
        if self._report is not None:
            samples = self._report.pass_on(samples)
        fits = 0 if self._backlog else min(lane.room, len(samples))
        if fits:
            self.samples += lane.append(samples[:fits])
        if fits < len(samples):
            self._backlog.append(samples[fits:].copy())

    def _flush(self, lane: Lane) -> bool:
        """What waits into the lane; whether nothing waits any more."""
        while self._backlog and lane.room:
            first = self._backlog.popleft()
            fits = lane.append(first[: lane.room])
            self.samples += fits
            if fits < len(first):
                self._backlog.appendleft(first[fits:])
        return not self._backlog

    def _take_slowly(
        self, step: Step, lane: Lane, t: int, payload: bytes, what: int, flags: int, wall_offset_ns: int
    ) -> None:
        """One handed-back message of topic t: its samples into the lane, its changes of state into the step."""
        topic = self._topic(t)
        self.slow_messages += 1
        if what == s.OVERSIZED:
            found: list[tuple[int, Cell | Unusable]] | Unusable = Unusable(
                f"it is longer than {self._frame_bytes_max} bytes"
            )
        else:
            found = self._read(payload, topic, self._arrival_ns + wall_offset_ns)
        cells = [(i, found) for i in range(len(topic.feeds))] if isinstance(found, Unusable) else found
        if len(cells) > len(self._slow_samples):
            self._slow_samples = np.zeros(2 * len(cells), SAMPLE)
        n = 0
        unusable: Unusable | None = None
        refused = False
        for i, cell in cells:
            entry, feed = topic.first + i, topic.feeds[i]
            if isinstance(cell, Cell):
                source_ns = self._source_ns(cell, wall_offset_ns)
                refused |= source_ns < 0 <= cell.wall_ns
                n = self._put(n, feed, cell, source_ns, flags)
                step.events += self._usability.found_usable(entry, feed, self._arrival_ns)
            else:
                unusable = unusable or cell
                if not self._usability.is_told(entry):
                    n = self._put_bad(n, feed)
                step.events += self._usability.found_unusable(entry, feed, cell, payload, self._arrival_ns)
        if unusable is not None:
            self.unusable_messages += 1
            step.write(lane.name, topic.name, payload, what == s.OVERSIZED, unusable.reason, self._arrival_ns)
        self._state[s.TIMES_REFUSED] += refused
        self._deliver(lane, t, topic, self._slow_samples[:n])

    def _topic(self, t: int) -> Topic:
        return self.topics[t]

    def _deliver(self, lane: Lane, t: int, topic: Topic, samples: Samples) -> None:
        """What the slow path made of a message."""
        self._table.topics[t]["held"] = self._usability.is_any_unusable(topic)
        self._append(lane, samples)

    def _read(self, payload: bytes, topic: Topic, arrival_wall_ns: int) -> list[tuple[int, Cell | Unusable]] | Unusable:
        """(index of a feed, what there is for it) in the payload's order, or why all of it is unusable."""
        if topic.form.layout is Layout.PLAIN:
            plain = read_payload(payload, topic.feeds)
            if isinstance(plain, Unusable):
                return plain
            return [(i, cell) for i, cell in enumerate(plain) if cell is not None]
        found = read_readings(payload, topic, arrival_wall_ns)
        if isinstance(found, Unusable):
            return found
        self._state[s.UNKNOWN_READINGS] += found.unknown
        self._state[s.SUMS] += found.sums
        return found.cells

    def _source_ns(self, cell: Cell, wall_offset_ns: int) -> int:
        """Engine time of the cell's own time; negative when it has none or none to be believed."""
        if cell.wall_ns < 0:
            return cell.wall_ns
        return int(believed_ns(cell.wall_ns, self._arrival_ns, self._arrival_ns + wall_offset_ns))

    def _put(self, n: int, feed: Feed, cell: Cell, source_ns: int, flags: int) -> int:
        sample = self._slow_samples[n]
        value = cell.value
        is_old = source_ns < 0 and flags & 1 and cell.quality is Quality.GOOD
        sample["row"] = feed.row
        sample["quality"] = Quality.UNCERTAIN_STALE if is_old else cell.quality
        sample["source_ns"] = source_ns if source_ns >= 0 else self._arrival_ns
        sample["arrival_ns"] = self._arrival_ns
        if isinstance(value, str):
            sample["bits"] = number = self._intern(value)
            if number == NO_SYMBOL:
                sample["quality"] = Quality.BAD
        elif feed.kind is Kind.F64:
            sample["value"] = value
        else:
            sample["bits"] = int(value) - (1 << 64) if value >= 1 << 63 else int(value)
        return n + 1

    def _put_bad(self, n: int, feed: Feed) -> int:
        self._slow_samples[n] = (feed.row, Quality.BAD_SENSOR_FAILURE, self._arrival_ns, self._arrival_ns, 0.0, 0)
        return n + 1
