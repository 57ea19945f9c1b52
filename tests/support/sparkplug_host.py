"""A host application that watches an edge node: it decodes by Google's protobuf library, and asserts with each message
what Sparkplug 3.0.0 asks of edge nodes. The statement's identifier stands in the assertion.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.support import sparkplug as sp
from tests.support.sparkplug import Payload

ONLY_ONCE = ("Node Control/Rebirth",)


@dataclass
class Sample:
    device: str
    metric: str
    time_ms: int
    value: Any
    quality: int
    is_historical: bool
    record: dict[str, Any]

    @property
    def who(self) -> tuple[str, int, int, int]:
        return self.record["stream"], self.record["segment"], self.record["sequence"], self.record["part"]


@dataclass
class HostSide:
    """`take` messages in their order. `samples` is everything that came, `births` by device how often it was born."""

    group: str = "plant"
    edge: str = "boiler-house"
    samples: list[Sample] = field(default_factory=list)
    present: dict[tuple[str, str], Any] = field(default_factory=dict)
    births: dict[str, int] = field(default_factory=dict)
    deaths: list[str] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    """Identities of all data messages, in their order."""
    bd_seqs: list[int] = field(default_factory=list)
    _seq: int | None = None
    _names: dict[int, tuple[str, str, int]] = field(default_factory=dict)
    """By alias: device, name, type."""
    _alive: set[str] = field(default_factory=set)
    _is_data_begun: bool = False
    _will_bd_seq: int | None = None

    def expect_will(self, topic: str, content: bytes, qos: int, retain: bool) -> None:
        assert topic == f"spBv1.0/{self.group}/NDEATH/{self.edge}", (
            "tck-id-message-flow-edge-node-birth-publish-will-message-topic, tck-id-topics-ndeath-topic"
        )
        assert qos == 1, "tck-id-message-flow-edge-node-birth-publish-will-message-qos"
        assert not retain, "tck-id-message-flow-edge-node-birth-publish-will-message-will-retained"
        self._will_bd_seq = self._death(content)

    def take_all(self, messages: Iterable[tuple[str, bytes, int, bool]]) -> None:
        for message in messages:
            self.take(*message)

    def take(self, topic: str, content: bytes, qos: int = 0, retain: bool = False) -> None:
        assert not retain, "tck-id-payloads-*-retain"
        namespace, group, verb, edge, *rest = topic.split("/")
        device = "/".join(rest)
        assert (namespace, group, edge) == ("spBv1.0", self.group, self.edge), (
            "tck-id-message-flow-device-birth-publish-dbirth-match-edge-node-topic"
        )
        assert bool(device) == verb.startswith("D"), f"{verb} of {device!r}"
        if verb == "NDEATH":
            if self._death(content) == (self.bd_seqs or [None])[-1]:
                self._alive.clear()
                self.deaths.append("")
            return
        assert qos == 0, "tck-id-payloads-{nbirth,dbirth,ndata,ddata}-qos, tck-id-topics-ddeath-mqtt"
        payload = Payload.FromString(content)
        assert payload.HasField("timestamp"), "tck-id-payloads-{nbirth,dbirth,ndata,ddata,ddeath}-timestamp"
        assert payload.HasField("seq"), "tck-id-payloads-sequence-num-always-included"
        if verb == "NBIRTH":
            assert payload.seq == 0, "tck-id-topics-nbirth-seq-num"
        else:
            assert self._seq is not None, "tck-id-message-flow-device-birth-publish-nbirth-wait"
            assert payload.seq == (self._seq + 1) % 256, "tck-id-payloads-sequence-num-incrementing"
        self._seq = payload.seq
        getattr(self, f"_{verb.lower()}")(device, payload)

    def _death(self, content: bytes) -> int:
        payload = Payload.FromString(content)
        assert not payload.HasField("seq"), "tck-id-payloads-ndeath-seq, tck-id-topics-ndeath-seq"
        (metric,) = [each for each in payload.metrics if each.name == "bdSeq"]
        return int(metric.long_value)

    def _nbirth(self, device: str, payload: Any) -> None:
        self._alive = {""}
        self._names.clear()
        self._is_data_begun = False
        by_name = {metric.name: metric for metric in payload.metrics}
        assert "bdSeq" in by_name, "tck-id-payloads-nbirth-bdseq"
        bd_seq = int(by_name["bdSeq"].long_value)
        if self._will_bd_seq is not None:
            assert bd_seq == self._will_bd_seq, "tck-id-payloads-nbirth-bdseq-repeat"
        self.bd_seqs.append(bd_seq)
        rebirth = by_name["Node Control/Rebirth"]
        assert rebirth.datatype == sp.BOOLEAN, "tck-id-operational-behavior-data-commands-rebirth-datatype"
        assert not rebirth.boolean_value, "tck-id-operational-behavior-data-commands-rebirth-value"
        assert not rebirth.HasField("alias"), "tck-id-operational-behavior-data-commands-rebirth-name-aliases"
        self._birth("", payload)

    def _dbirth(self, device: str, payload: Any) -> None:
        assert "" in self._alive, "tck-id-message-flow-device-birth-publish-nbirth-wait"
        self._alive.add(device)
        self._names = {alias: known for alias, known in self._names.items() if known[0] != device}
        self._birth(device, payload)

    def _birth(self, device: str, payload: Any) -> None:
        self.births[device] = self.births.get(device, 0) + 1
        last_ms = 0
        for metric in payload.metrics:
            assert metric.name, "tck-id-topics-dbirth-metrics"
            assert metric.HasField("datatype"), "tck-id-payloads-metric-datatype-req"
            assert not metric.is_historical
            if metric.name not in ONLY_ONCE:
                assert metric.HasField("alias"), "tck-id-payloads-alias-birth-requirement"
                assert metric.alias not in self._names, "tck-id-payloads-alias-uniqueness"
                self._names[metric.alias] = (device, metric.name, metric.datatype)
            which = metric.WhichOneof("value")
            assert (which is None) == metric.is_null, "tck-id-operational-behavior-data-publish-dbirth-values"
            self.present[device, metric.name] = self._value(metric, metric.datatype)
            self._quality(metric)
            last_ms = max(last_ms, metric.timestamp)

    def _ndata(self, device: str, payload: Any) -> None:
        self._data("", payload)

    def _ddata(self, device: str, payload: Any) -> None:
        self._data(device, payload)

    def _data(self, device: str, payload: Any) -> None:
        assert device in self._alive, "tck-id-payloads-ddata-order: data of what is not born"
        self._is_data_begun = True
        record: dict[str, Any] = {}
        found = []
        last_ms = 0
        for metric in payload.metrics:
            assert not metric.name, "tck-id-payloads-alias-data-cmd-requirement"
            assert not metric.HasField("datatype"), "tck-id-payloads-metric-datatype-not-req"
            assert metric.alias in self._names, "tck-id-topics-dbirth-metric-reqs: an alias that no birth told"
            owner, name, datatype = self._names[metric.alias]
            assert owner == device
            if not metric.is_historical and name != "fieldgate/record":
                assert metric.timestamp >= last_ms, "tck-id-operational-behavior-data-publish-dbirth-order"
                last_ms = metric.timestamp
            value = self._value(metric, datatype)
            if name == "fieldgate/record":
                record = json.loads(value)
            else:
                found.append((name, metric.timestamp, value, self._quality(metric), metric.is_historical))
            if not metric.is_historical:
                self.present[device, name] = value
        assert record, "every message says who it is"
        self.records.append(record)
        self.samples += [Sample(device, *each, record) for each in found]

    def _ddeath(self, device: str, payload: Any) -> None:
        assert device in self._alive
        self._alive.discard(device)
        self.deaths.append(device)

    def _value(self, metric: Any, datatype: int) -> Any:
        which = metric.WhichOneof("value")
        if which is None:
            return None
        fields = {
            sp.DOUBLE: "double_value", sp.INT64: "long_value", sp.UINT64: "long_value",
            sp.STRING: "string_value", sp.BOOLEAN: "boolean_value",
        }  # fmt: skip
        assert which == fields[datatype], f"a {which} for data type {datatype}"
        value = getattr(metric, which)
        return value - (1 << 64) if datatype == sp.INT64 and value >= 1 << 63 else value

    def _quality(self, metric: Any) -> int:
        properties = metric.properties
        assert len(properties.keys) == len(properties.values), "tck-id-payloads-propertyset-keys-array-size"
        if "Quality" not in properties.keys:
            return 192
        value = properties.values[list(properties.keys).index("Quality")]
        assert value.type == sp.INT32, "tck-id-payloads-propertyset-quality-value-type"
        assert value.int_value in (0, 192, 500), "tck-id-payloads-propertyset-quality-value-value"
        return int(value.int_value)

    def once(self) -> list[Sample]:
        """Each message's samples the first time that it came: what a host that keeps identities has."""
        first: dict[tuple[Any, ...], int] = {}
        for sample in self.samples:
            first.setdefault(sample.who, id(sample.record))
        return [sample for sample in self.samples if first[sample.who] == id(sample.record)]
