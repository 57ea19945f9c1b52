"""An edge node of Sparkplug B (3.0.0): what it says of itself and its devices, and the records as its data.

Says what to publish and publishes nothing; time is an argument. One object is one session: from a CONNECT, whose will
is the node's death certificate, to the end of the connection.

- Devices are the gateway's devices; a metric is a tag, under its name without the device's. Aliases number all metrics
  of the node. NBIRTH, then a DBIRTH for each device, tell names, types and present values; data has aliases only.
- `bdSeq` joins birth and death and moves with each CONNECT; `seq` numbers the messages from 0 at each NBIRTH.
- A metric that is not born, or whose type is another one now, has its device born again first.
- A device all of whose values are lost (no connection, no communication) is dead; with the next value it is born again.
- What was recorded before the present births is historical, and changes no present value.

The specification sends data at QoS 0, so a message may come twice, or not. Each message therefore carries who it is:
the metric `fieldgate/record` of the device, or of the node, a JSON text with gateway, stream, segment and sequence of
the record, and which part it is of how many. A host that keeps these with the data has each sample once and sees what
is missing. `fieldgate/event` and `fieldgate/loss`, of the node, are events and the loss ledger, as JSON.

Sparkplug has milliseconds; a sample's nanoseconds are cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gateway.core.segments import KIND_LEDGER, KIND_SEGMENT_END
from gateway.core.types import NS_PER_MS, NS_PER_S, Kind, Quality
from gateway.protocol.protobuf import Malformed
from gateway.protocol.sparkplug.datatypes import BOOLEAN_VALUE, DataType
from gateway.protocol.sparkplug.encode import Told, Value, payload
from gateway.protocol.sparkplug.nodes import Command
from gateway.protocol.sparkplug.topics import Address, state_topic
from gateway.protocol.sparkplug.wire import REBIRTH, parse

BD_SEQ: Final = "bdSeq"
SEQUENCE_NUMBERS: Final = 256
"""Of `seq` and of `bdSeq`: after 255 comes 0."""
RECORD: Final = "fieldgate/record"
EVENT: Final = "fieldgate/event"
LOSS: Final = "fieldgate/loss"
METRICS_PER_MESSAGE_MAX: Final = 1_000
LOST: Final = frozenset({int(Quality.BAD_NOT_CONNECTED), int(Quality.BAD_COMM_FAILURE)})
DEAD_AFTER_BACKLOG_NS: Final = 10 * NS_PER_S
"""A device whose backlog is being sent is not dead to the host: data of a dead device would be refused."""
INT64_MAX: Final = (1 << 63) - 1
TYPES: Final[Mapping[Kind, DataType]] = {
    Kind.F64: DataType.DOUBLE,
    Kind.I64: DataType.INT64,
    Kind.U64: DataType.UINT64,
    Kind.SYMBOL: DataType.STRING,
}
_NOT_IN_IDS: Final = str.maketrans("/+#", "___")


@dataclass(frozen=True, slots=True)
class Present:
    """A tag as it stands, for a birth. `value` None: it never had one."""

    device: str
    tag: str
    """Its full name, the device's in front."""
    datatype: DataType
    value: Value
    quality: int
    time_ms: int


@dataclass(slots=True)
class _Metric:
    name: str
    alias: int
    datatype: DataType
    value: Value = None
    quality: int = int(Quality.BAD_NOT_INITIALISED)
    time_ms: int = 0

    def born(self) -> Told:
        return Told(
            self.datatype, self.value, self.time_ms, self.name, self.alias, with_type=True, quality=self.quality
        )

    def set(self, value: Value, quality: int, time_ms: int) -> None:
        """The present value; a bad one leaves the last there, with its quality."""
        self.value = self.value if value is None else value
        self.quality, self.time_ms = quality, time_ms


@dataclass(slots=True)
class _Member:
    """The node itself, or one of its devices."""

    address: Address
    record: _Metric
    metrics: dict[str, _Metric] = field(default_factory=dict)
    is_born: bool = False
    is_changed: bool = False
    """Something of it is not born yet as it is now."""
    backlog_ns: int = -DEAD_AFTER_BACKLOG_NS

    @property
    def is_lost(self) -> bool:
        return bool(self.metrics) and all(metric.quality in LOST for metric in self.metrics.values())


class NotForSparkplug(Exception):
    """The record is none that can be said in Sparkplug; the text says why."""


class Edge:
    """`group` and `edge` are its name; `bd_seq` is of this session."""

    def __init__(self, group: str, edge: str, bd_seq: int) -> None:
        self._bd_seq = bd_seq % SEQUENCE_NUMBERS
        self._seq = 0
        self._aliases = 0
        self._bd_seq_alias = self._alias()
        self._node = self._member(Address(group, edge))
        self._event, self._loss = (self._metric(name, DataType.STRING) for name in (EVENT, LOSS))
        self._devices: dict[str, _Member] = {}
        self._device_of: dict[str, tuple[str, str]] = {}
        self.born_ns = 0
        """Engine time of the present births."""

    # -- births and deaths ----------------------------------------------------------------------------------------

    def death(self, wall_ms: int) -> Command:
        """The certificate: the will, and what is said before a connection is ended on purpose."""
        bd_seq = Told(DataType.INT64, self._bd_seq, wall_ms, BD_SEQ, with_type=True)
        return Command(self._node.address.topic("DEATH"), payload(wall_ms, [bd_seq], None), qos=1)

    def births(self, present: Iterable[Present], wall_ms: int, now_ns: int) -> list[Command]:
        """NBIRTH and a DBIRTH for each device, with the present values of these tags."""
        for each in present:
            _, metric = self._find(each.tag, each.device)
            if metric.datatype is not each.datatype:
                metric.datatype, metric.value = each.datatype, None
            if each.value is not None or each.time_ms >= metric.time_ms:
                metric.set(each.value, each.quality, each.time_ms)
        self.born_ns = now_ns
        self._seq = SEQUENCE_NUMBERS - 1
        node = self._node.address
        fixed = [
            Told(DataType.INT64, self._bd_seq, wall_ms, BD_SEQ, self._bd_seq_alias, with_type=True),
            Told(DataType.BOOLEAN, False, wall_ms, REBIRTH, with_type=True),
            *(metric.born() for metric in (self._node.record, self._event, self._loss)),
        ]
        commands = [Command(node.topic("BIRTH"), payload(wall_ms, fixed, self._next()))]
        return commands + [self._birth_of(device, wall_ms) for device in self._devices.values()]

    def _birth_of(self, device: _Member, wall_ms: int) -> Command:
        told = [metric.born() for metric in (device.record, *device.metrics.values())]
        device.is_born, device.is_changed = True, False
        return Command(device.address.topic("BIRTH"), payload(wall_ms, told, self._next()))

    def asks_for_births(self, topic: str, content: bytes) -> bool:
        """Whether this is the NCMD that asks for them (tck-id-operational-behavior-data-commands-ncmd-rebirth-*)."""
        if topic != self.command_topic:
            return False
        try:
            metrics = parse(content).metrics
        except Malformed:
            return False
        return any(each.name == REBIRTH and each.which == BOOLEAN_VALUE and each.raw == 1 for each in metrics)

    @property
    def command_topic(self) -> str:
        return self._node.address.topic("CMD")

    # -- records -----------------------------------------------------------------------------------------------------

    def messages(self, record: Mapping[str, Any], wall_ms: int, now_ns: int) -> list[Command]:
        """A record as messages, with the births and deaths that belong in front and behind. Raises NotForSparkplug."""
        try:
            kind = record.get("record")
            if kind is not None or record["stream"] == "events":
                return self._of_node(record, kind, wall_ms)
            if record["stream"] == "samples":
                return self._of_devices(record, wall_ms, now_ns)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise NotForSparkplug(f"it is no record of this format: {type(error).__name__} {error}") from error
        raise NotForSparkplug(f"Sparkplug has no place for the stream {record['stream']}")

    def _of_node(self, record: Mapping[str, Any], kind: str | None, wall_ms: int) -> list[Command]:
        more: dict[str, Any] = {}
        told: list[Told] = []
        if kind == KIND_SEGMENT_END:
            more = {"record": kind, "length": record["length"]}
        elif kind == KIND_LEDGER:
            told = [self._note(self._loss, loss, wall_ms) for loss in record["dropped"]]
        else:
            offset_ns = record["wall_offset_ns"]
            columns = ("time_ns", "severity", "kind", "subject", "message")
            for event in zip(*(record[name] for name in columns), strict=True):
                time_ms = (event[0] + offset_ns) // NS_PER_MS
                content = dict(zip(columns[1:], event[1:], strict=True))
                told.append(self._note(self._event, content, time_ms, record["last_ns"]))
            told.sort(key=lambda each: each.time_ms)
        chunks = list(_chunks(told)) or [[]]
        return [
            self._data(self._node, self._who(record, part, len(chunks), more), chunk, wall_ms)
            for part, chunk in enumerate(chunks, 1)
        ]

    def _note(self, metric: _Metric, content: object, time_ms: int, last_ns: int | None = None) -> Told:
        text = msgspec.json.encode(content).decode()
        is_historical = last_ns is not None and last_ns < self.born_ns
        if not is_historical:
            metric.set(text, int(Quality.GOOD), time_ms)
        return Told(DataType.STRING, text, time_ms, alias=metric.alias, is_historical=is_historical)

    def _of_devices(self, record: Mapping[str, Any], wall_ms: int, now_ns: int) -> list[Command]:
        is_historical = record["last_ns"] < self.born_ns
        found = [self._find(tag) for tag in record["tags"]]
        by_device: dict[str, list[Told]] = {}
        offset_ns = record["wall_offset_ns"]
        columns = (record[name] for name in ("tag", "time_ns", "value", "quality"))
        for place, time_ns, value, quality in zip(*columns, strict=True):
            device, metric = found[place]
            value = _fitting(device, metric, value)
            time_ms = (time_ns + offset_ns) // NS_PER_MS
            told = Told(
                metric.datatype, value, time_ms, alias=metric.alias, is_historical=is_historical, quality=quality
            )
            by_device.setdefault(device.address.device, []).append(told)
            if not is_historical:
                metric.set(value, quality, time_ms)
        parts = [
            (self._devices[name], chunk)
            for name, told in by_device.items()
            for chunk in _chunks(sorted(told, key=lambda each: each.time_ms))
        ]
        commands: list[Command] = []
        for part, (device, chunk) in enumerate(parts, 1):
            if device.is_changed or not device.is_born:
                commands.append(self._birth_of(device, wall_ms))
            commands.append(self._data(device, self._who(record, part, len(parts), {}), chunk, wall_ms, is_historical))
        for device in map(self._devices.__getitem__, by_device):
            if is_historical:
                device.backlog_ns = now_ns
            elif device.is_lost and now_ns - device.backlog_ns > DEAD_AFTER_BACKLOG_NS:
                device.is_born = False
                commands.append(Command(device.address.topic("DEATH"), payload(wall_ms, [], self._next())))
        return commands

    def _data(self, member: _Member, who: str, told: list[Told], wall_ms: int, is_historical: bool = False) -> Command:
        if not is_historical:
            member.record.set(who, int(Quality.GOOD), wall_ms)
        first = Told(
            DataType.STRING, who, told[0].time_ms if told else wall_ms,
            alias=member.record.alias, is_historical=is_historical,
        )  # fmt: skip
        return Command(member.address.topic("DATA"), payload(wall_ms, [first, *told], self._next()))

    def _who(self, record: Mapping[str, Any], part: int, parts: int, more: dict[str, Any]) -> str:
        names = ("gateway", "stream", "segment", "sequence")
        return msgspec.json.encode(
            {name: record[name] for name in names} | {"part": part, "parts": parts} | more
        ).decode()

    # -- who is who -----------------------------------------------------------------------------------------------

    def _find(self, tag: str, device: str = "") -> tuple[_Member, _Metric]:
        """The metric of a tag, made when it is a new one. Only a birth knows what is the device's part of a name."""
        if tag not in self._device_of:
            device = device or tag.rpartition(".")[0] or tag
            self._device_of[tag] = (device.translate(_NOT_IN_IDS), tag.removeprefix(device + ".") or tag)
        device, name = self._device_of[tag]
        if device not in self._devices:
            node = self._node.address
            self._devices[device] = self._member(Address(node.group, node.edge, device))
        member = self._devices[device]
        if name not in member.metrics:
            member.metrics[name] = self._metric(name, DataType.DOUBLE)
            member.is_changed = True
        return member, member.metrics[name]

    def _member(self, address: Address) -> _Member:
        return _Member(address, self._metric(RECORD, DataType.STRING))

    def _metric(self, name: str, datatype: DataType) -> _Metric:
        return _Metric(name, self._alias(), datatype)

    def _alias(self) -> int:
        self._aliases += 1
        return self._aliases

    def _next(self) -> int:
        self._seq = (self._seq + 1) % SEQUENCE_NUMBERS
        return self._seq


def _fitting(device: _Member, metric: _Metric, value: Value) -> Value:
    """The value as the metric's type has it; where it cannot, the metric gets the value's type, to be born again."""
    if value is None:
        return None
    if isinstance(value, str):
        wanted = DataType.STRING
    elif isinstance(value, float):
        wanted = DataType.DOUBLE
    elif metric.datatype is DataType.UINT64 and value >= 0:
        wanted = DataType.UINT64
    else:
        wanted = DataType.INT64 if value <= INT64_MAX else DataType.UINT64
    if metric.datatype is not wanted:
        metric.datatype, metric.value = wanted, None
        device.is_changed = True
    return value


def _chunks(told: list[Told]) -> Iterator[list[Told]]:
    for start in range(0, len(told), METRICS_PER_MESSAGE_MAX):
        yield told[start : start + METRICS_PER_MESSAGE_MAX]


class HostState:
    """What the primary host says of itself (tck-id-message-flow-edge-node-birth-publish-phid-*)."""

    def __init__(self, host: str) -> None:
        self.topic = state_topic(host)
        self.is_online = False
        self._timestamp_ms = -1

    def note(self, topic: str, content: bytes) -> None:
        """A message that is older than one before it, or none of the kind, says nothing."""
        if topic != self.topic:
            return
        try:
            found = msgspec.json.decode(content, type=_State)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if found.timestamp >= self._timestamp_ms:
            self._timestamp_ms, self.is_online = found.timestamp, found.online


class _State(msgspec.Struct):
    online: bool
    timestamp: int
