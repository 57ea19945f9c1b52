"""Sparkplug B from the other side: payloads made by Google's protobuf library, and an edge node that speaks by them.

The message types are those of the specification's sparkplug_b.proto, written down here as descriptors, so that neither
a compiler nor generated code is needed, and nothing of the gateway's own encoding is involved.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_F = descriptor_pb2.FieldDescriptorProto
_TYPES: Final = {
    "uint32": _F.TYPE_UINT32,
    "uint64": _F.TYPE_UINT64,
    "float": _F.TYPE_FLOAT,
    "double": _F.TYPE_DOUBLE,
    "bool": _F.TYPE_BOOL,
    "string": _F.TYPE_STRING,
    "bytes": _F.TYPE_BYTES,
}
PACKAGE: Final = "org.eclipse.tahu.protobuf"

# message: (number, name, type or message, repeated, in the oneof "value")
_MESSAGES: Final[dict[str, tuple[tuple[int, str, str, bool, bool], ...]]] = {
    "Parameter": ((1, "name", "string", False, False), (2, "type", "uint32", False, False)),
    "Template": (
        (1, "version", "string", False, False),
        (2, "metrics", "Metric", True, False),
        (3, "parameters", "Parameter", True, False),
        (4, "template_ref", "string", False, False),
        (5, "is_definition", "bool", False, False),
    ),
    "DataSet": ((1, "num_of_columns", "uint64", False, False), (2, "columns", "string", True, False)),
    "PropertyValue": (
        (1, "type", "uint32", False, False),
        (2, "is_null", "bool", False, False),
        (3, "int_value", "uint32", False, True),
        (4, "long_value", "uint64", False, True),
        (8, "string_value", "string", False, True),
    ),
    "PropertySet": ((1, "keys", "string", True, False), (2, "values", "PropertyValue", True, False)),
    "MetaData": ((1, "is_multi_part", "bool", False, False), (8, "description", "string", False, False)),
    "Metric": (
        (1, "name", "string", False, False),
        (2, "alias", "uint64", False, False),
        (3, "timestamp", "uint64", False, False),
        (4, "datatype", "uint32", False, False),
        (5, "is_historical", "bool", False, False),
        (6, "is_transient", "bool", False, False),
        (7, "is_null", "bool", False, False),
        (8, "metadata", "MetaData", False, False),
        (9, "properties", "PropertySet", False, False),
        (10, "int_value", "uint32", False, True),
        (11, "long_value", "uint64", False, True),
        (12, "float_value", "float", False, True),
        (13, "double_value", "double", False, True),
        (14, "boolean_value", "bool", False, True),
        (15, "string_value", "string", False, True),
        (16, "bytes_value", "bytes", False, True),
        (17, "dataset_value", "DataSet", False, True),
        (18, "template_value", "Template", False, True),
    ),
    "Payload": (
        (1, "timestamp", "uint64", False, False),
        (2, "metrics", "Metric", True, False),
        (3, "seq", "uint64", False, False),
        (4, "uuid", "string", False, False),
        (5, "body", "bytes", False, False),
    ),
}


def _payload_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package=PACKAGE, syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        if any(in_value for *_, in_value in fields):
            message.oneof_decl.add(name="value")
        for number, field_name, kind, repeated, in_value in fields:
            label = _F.LABEL_REPEATED if repeated else _F.LABEL_OPTIONAL
            field = message.field.add(name=field_name, number=number, label=label)
            if kind in _TYPES:
                field.type = _TYPES[kind]
            else:
                field.type = _F.TYPE_MESSAGE
                field.type_name = f".{PACKAGE}.{kind}"
            if in_value:
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Payload"))


Payload: Final[Any] = _payload_class()

INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64 = range(1, 9)
FLOAT, DOUBLE, BOOLEAN, STRING, DATETIME, TEXT, UUID, DATASET, BYTES, FILE, TEMPLATE = range(9, 20)
NOW_MS: Final = 1_700_000_000_000
BD_SEQ: Final = 7


def fill(metric: Any, datatype: int, value: Any) -> None:
    """The value into the field that the specification gives its type."""
    if datatype in (INT8, INT16, INT32):
        metric.int_value = value & 0xFFFFFFFF
    elif datatype in (UINT8, UINT16, UINT32):
        metric.int_value = value
    elif datatype in (INT64, UINT64, DATETIME):
        metric.long_value = value & 0xFFFFFFFFFFFFFFFF
    elif datatype == FLOAT:
        metric.float_value = value
    elif datatype == DOUBLE:
        metric.double_value = value
    elif datatype == BOOLEAN:
        metric.boolean_value = value
    elif datatype in (STRING, TEXT, UUID):
        metric.string_value = value
    elif datatype in (BYTES, FILE):
        metric.bytes_value = value
    else:
        raise ValueError(datatype)


def add_metric(
    payload: Any,
    value: Any,
    datatype: int = DOUBLE,
    *,
    name: str | None = None,
    alias: int | None = None,
    timestamp: int | None = NOW_MS,
    quality: int | None = None,
    is_birth: bool = False,
    historical: bool = False,
) -> Any:
    """A metric at the end of the payload; `value` None is null."""
    metric = payload.metrics.add()
    if name is not None:
        metric.name = name
    if alias is not None:
        metric.alias = alias
    if timestamp is not None:
        metric.timestamp = timestamp
    if is_birth:
        metric.datatype = datatype
    if historical:
        metric.is_historical = True
    if value is None:
        metric.is_null = True
    else:
        fill(metric, datatype, value)
    if quality is not None:
        metric.properties.keys.append("Quality")
        metric.properties.values.add(type=INT32, int_value=quality)
    return metric


class EdgeNode:
    """Gives out messages as an edge node would publish them: (topic, payload), numbered in the order of the calls."""

    def __init__(self, group: str = "plant", edge: str = "edge", bd_seq: int = BD_SEQ) -> None:
        self.group = group
        self.edge = edge
        self.bd_seq = bd_seq
        self.seq = 0

    def topic(self, verb: str, device: str = "") -> bytes:
        tail = f"/{device}" if device else ""
        return f"spBv1.0/{self.group}/{verb}/{self.edge}{tail}".encode()

    def _next(self) -> Any:
        payload = Payload(timestamp=NOW_MS, seq=self.seq)
        self.seq = (self.seq + 1) % 256
        return payload

    def nbirth(self, *metrics: dict[str, Any]) -> tuple[bytes, bytes]:
        self.seq = 0
        payload = self._next()
        add_metric(payload, self.bd_seq, INT64, name="bdSeq", is_birth=True)
        add_metric(payload, False, BOOLEAN, name="Node Control/Rebirth", is_birth=True)
        for metric in metrics:
            add_metric(payload, is_birth=True, **metric)
        return self.topic("NBIRTH"), payload.SerializeToString()

    def dbirth(self, device: str, *metrics: dict[str, Any]) -> tuple[bytes, bytes]:
        payload = self._next()
        for metric in metrics:
            add_metric(payload, is_birth=True, **metric)
        return self.topic("DBIRTH", device), payload.SerializeToString()

    def data(self, device: str, *metrics: dict[str, Any]) -> tuple[bytes, bytes]:
        payload = self._next()
        for metric in metrics:
            add_metric(payload, **metric)
        return self.topic("DDATA" if device else "NDATA", device), payload.SerializeToString()

    def ddeath(self, device: str) -> tuple[bytes, bytes]:
        return self.topic("DDEATH", device), self._next().SerializeToString()

    def ndeath(self, bd_seq: int | None = None) -> tuple[bytes, bytes]:
        payload = Payload(timestamp=NOW_MS)
        add_metric(payload, self.bd_seq if bd_seq is None else bd_seq, INT64, name="bdSeq")
        return self.topic("NDEATH"), payload.SerializeToString()
