"""Records as rows of Parquet tables: one table a stream, with the columns that the Arrow encoding has, always all of
them. Needs pyarrow (`fieldgate[parquet]`).

Ahead of them each row says where it comes from: `time` (UTC), `gateway`, `segment` and `sequence` of its record, and
the record's `wall_offset_ns`, `time_quality`, `first_ns`, `last_ns` and `context_version`. `time` is the row's own time
plus `wall_offset_ns`: `time_ns`, of calculations `end_ns`, of what has no time of its own `last_ns`.

What is not of a row stands in the footer's metadata, as JSON:

    fieldgate.format       the version of the records
    fieldgate.identities   [[gateway, stream, segment, first, last], ...]: exactly which records are inside
    fieldgate.labels       {tag: [{"segment", "sequence", "labels": {value: name}}, ...]}: from which record on
    fieldgate.context      {context_version: {tag: {...}}}

What is no table (the end of a segment, a loss report), and what has something that these columns have no place for, is
a row of the table `reports`: who it is, and the whole record as JSON. So every record has its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from gateway.core.record import Identity
from gateway.core.segments import FORMAT
from gateway.protocol.records.arrow import BESIDE_VALUE, DICTIONARIES, batch_of
from gateway.protocol.records.columns import STREAMS, Column, Kind
from gateway.protocol.records.held import Held, Span

if TYPE_CHECKING:
    import pyarrow

REPORTS: Final = "reports"
IDENTITIES_KEY: Final = "fieldgate.identities"
ROW_GROUP_ROWS: Final = 250_000
COMBINE_BATCHES: Final = 256
"""Many small batches take more memory than their rows do."""
OF_RECORD: Final = ("wall_offset_ns", "time_quality", "first_ns", "last_ns", "context_version")
OWN_TIME: Final = {"samples": "time_ns", "events": "time_ns", "calculations": "end_ns"}
MEMBERS: Final = frozenset(
    {"gateway", "stream", "segment", "sequence", "format", "labels", "context", *OF_RECORD, *DICTIONARIES.values()}
)


def schema_of(table: str) -> pyarrow.Schema:
    import pyarrow

    word = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    whole, text = pyarrow.int64(), pyarrow.string()
    fields = [("time", pyarrow.timestamp("ns", "UTC")), ("gateway", word)]
    if table == REPORTS:
        fields += [("stream", word), ("segment", whole), ("sequence", whole), ("record", word), ("content", text)]
        return pyarrow.schema(fields[1:])
    fields += [("segment", whole), ("sequence", whole)]
    fields += [(name, word if name in ("time_quality", "context_version") else whole) for name in OF_RECORD]
    for column in STREAMS[table]:
        fields += _fields(column)
    return pyarrow.schema(fields)


def _fields(column: Column) -> list[tuple[str, pyarrow.DataType]]:
    import pyarrow

    if column.name in DICTIONARIES:
        return [(column.name, pyarrow.dictionary(pyarrow.int32(), pyarrow.string()))]
    if column.kind is Kind.VALUE:
        types = (pyarrow.float64(), pyarrow.int64(), pyarrow.uint64(), pyarrow.string())
        return list(zip((column.name, *BESIDE_VALUE), types, strict=True))
    number = pyarrow.float64() if column.kind is Kind.NUMBER else pyarrow.int64()
    return [(column.name, pyarrow.string() if column.kind is Kind.TEXT else number)]


class NoTable(Exception):
    """A record that does not fit the columns of its stream."""


class Table:
    """One file's rows as they gather, and what its footer is to say."""

    def __init__(self, name: str) -> None:
        self.schema = schema_of(name)
        self.rows = 0
        self._name = name
        self._batches: list[pyarrow.RecordBatch] = []
        self._combined: list[pyarrow.Table] = []
        self._held = Held()
        self._spans: list[Span] = []
        self._labels: dict[str, list[dict[str, Any]]] = {}
        self._context: dict[str, dict[str, Any]] = {}

    def add(self, identity: Identity, content: Mapping[str, Any], payload: bytes) -> None:
        """Raises NoTable unless it is that of the reports."""
        batch = self._report(identity, content, payload) if self._name == REPORTS else self._rows(identity, content)
        self._batches.append(batch)
        self.rows += batch.num_rows
        self._note(identity)
        for tag, labels in content.get("labels", {}).items() if self._name != REPORTS else ():
            told = self._labels.setdefault(tag, [])
            if not told or told[-1]["labels"] != labels:
                told.append({"segment": identity.segment, "sequence": identity.sequence, "labels": labels})
        if "context" in content and self._name != REPORTS:
            self._context.setdefault(str(content.get("context_version")), {}).update(content["context"])
        if len(self._batches) >= COMBINE_BATCHES:
            self._combine()

    def take(self) -> pyarrow.Table:
        """The rows gathered so far; they are not kept."""
        import pyarrow

        self._combine()
        taken, self._combined, self.rows = self._combined, [], 0
        return pyarrow.concat_tables(taken).unify_dictionaries().combine_chunks()

    def metadata(self) -> dict[str, str]:
        told: dict[str, object] = {IDENTITIES_KEY: self._spans}
        if self._labels:
            told["fieldgate.labels"] = self._labels
        if self._context:
            told["fieldgate.context"] = self._context
        return {"fieldgate.format": FORMAT} | {key: msgspec.json.encode(what).decode() for key, what in told.items()}

    def _note(self, identity: Identity) -> None:
        """Records come in order, so most lengthen the span before."""
        gateway, stream, segment, sequence = identity.gateway, identity.stream, identity.segment, identity.sequence
        for at in range(len(self._spans) - 1, max(-1, len(self._spans) - 3), -1):
            if self._spans[at][:3] == (gateway, stream, segment) and self._spans[at][4] == sequence - 1:
                self._spans[at] = (gateway, stream, segment, self._spans[at][3], sequence)
                return
        self._spans.append((gateway, stream, segment, sequence, sequence))

    def _combine(self) -> None:
        import pyarrow

        if self._batches:
            whole = pyarrow.Table.from_batches(self._batches, self.schema).unify_dictionaries().combine_chunks()
            self._combined.append(whole)
            self._batches = []

    def _report(self, identity: Identity, content: Mapping[str, Any], payload: bytes) -> pyarrow.RecordBatch:
        row = {
            "gateway": identity.gateway,
            "stream": identity.stream,
            "segment": identity.segment,
            "sequence": identity.sequence,
            "record": str(content.get("record", "table")),
            "content": payload.decode(errors="replace"),
        }
        return _batch({name: _filled(1, row[name], self.schema.field(name).type) for name in row}, self.schema)

    def _rows(self, identity: Identity, content: Mapping[str, Any]) -> pyarrow.RecordBatch:
        import pyarrow

        try:
            own = batch_of(content)
            if not (count := own.num_rows):
                raise NoTable("it has no rows")
            offset_ns = int(content["wall_offset_ns"])
            own_ns = content[OWN_TIME[self._name]] if self._name in OWN_TIME else [content["last_ns"]] * count
            times_ns = np.array(own_ns, np.int64) + np.int64(offset_ns)
            found: dict[str, pyarrow.Array] = {
                "time": pyarrow.array(times_ns.view("M8[ns]"), self.schema.field("time").type),
                "gateway": _filled(count, identity.gateway, self.schema.field("gateway").type),
                "segment": _filled(count, identity.segment, pyarrow.int64()),
                "sequence": _filled(count, identity.sequence, pyarrow.int64()),
            }
            for name in OF_RECORD:
                found[name] = _filled(count, content.get(name), self.schema.field(name).type)
            found |= dict(zip(own.schema.names, own.columns, strict=True))
        except (KeyError, TypeError, ValueError, OverflowError, NotImplementedError) as error:
            raise NoTable(f"{type(error).__name__} {error}") from error
        columns = {name for name, value in content.items() if isinstance(value, list)} - set(DICTIONARIES.values())
        unknown = (set(content) - MEMBERS - columns) | (set(found) - set(self.schema.names))
        if unknown or any(array.type != self.schema.field(name).type for name, array in found.items()):
            raise NoTable(f"it has more than the columns of {self._name}")
        return _batch(found, self.schema)


def _batch(found: dict[str, pyarrow.Array], schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    """In the schema's order, null where there is nothing."""
    import pyarrow

    count = len(next(iter(found.values())))
    arrays = [found[field.name] if field.name in found else pyarrow.nulls(count, field.type) for field in schema]
    return pyarrow.RecordBatch.from_arrays(arrays, schema=schema)


def _filled(count: int, value: object, kind: pyarrow.DataType) -> pyarrow.Array:
    """One value in all rows."""
    import pyarrow

    if value is None:
        return pyarrow.nulls(count, kind)
    if pyarrow.types.is_dictionary(kind):
        return pyarrow.DictionaryArray.from_arrays(
            pyarrow.array(np.zeros(count, np.int32)), pyarrow.array([value], kind.value_type)
        )
    return pyarrow.repeat(pyarrow.scalar(value, kind), count)
