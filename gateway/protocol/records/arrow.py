"""Records as Arrow IPC streams: a schema, and one batch with the columns. Needs pyarrow (`fieldgate[arrow]`).

Who the record is and what holds for all of it stands in the schema's metadata: `fieldgate.format` has the version,
`fieldgate.record` all of it as JSON. `tag` and `calculation` are dictionaries of texts. Of samples, `value` has the
numbers; where integers or texts are among them there are columns `integer`, `unsigned` (above 2^63 - 1) and `text`
beside it, null where the value stands elsewhere. A record without columns (the end of a segment, a loss report) is a
schema without fields.

The same record gives the same bytes with the same version of pyarrow. Columns that are not known are written and read
by their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from gateway.protocol.records.columns import INT64_MAX, STREAMS, Kind, Value, doubles

if TYPE_CHECKING:
    import pyarrow

RECORD_KEY: Final = b"fieldgate.record"
FORMAT_KEY: Final = b"fieldgate.format"
DICTIONARIES: Final = {"tag": "tags", "calculation": "calculations"}
BESIDE_VALUE: Final = ("integer", "unsigned", "text")


def prepare() -> None:
    """Raises ImportError."""
    import pyarrow  # noqa: F401


def encode(content: Mapping[str, Any]) -> bytes:
    """Raises KeyError, TypeError, ValueError or OverflowError when it is no record; ImportError without pyarrow."""
    import pyarrow

    batch = batch_of(content)
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, batch.schema) as stream:
        if batch.num_columns:
            stream.write_batch(batch)
    return bytes(sink.getvalue())


def batch_of(content: Mapping[str, Any]) -> pyarrow.RecordBatch:
    """Its columns."""
    import pyarrow

    kinds = {column.name: column.kind for column in STREAMS.get(content["stream"], ())}
    columns: dict[str, pyarrow.Array] = {}
    members: dict[str, Any] = {}
    is_table = "record" not in content
    for name, values in content.items():
        if not is_table or name in DICTIONARIES.values() or not isinstance(values, list):
            members[name] = values
        elif name in DICTIONARIES:
            columns[name] = pyarrow.DictionaryArray.from_arrays(
                pyarrow.array(np.array(values, np.int32)), pyarrow.array(content[DICTIONARIES[name]], pyarrow.string())
            )
        elif kinds.get(name) is Kind.VALUE:
            columns |= _values(values)
        else:
            columns[name] = _array(values, kinds.get(name))
    for name in DICTIONARIES.values():
        # They stand in the dictionary.
        if members.get(name) and is_table:
            del members[name]
    metadata = {FORMAT_KEY: str(content["format"]).encode(), RECORD_KEY: msgspec.json.encode(members)}
    return pyarrow.RecordBatch.from_pydict(columns).replace_schema_metadata(metadata)


def decode(payload: bytes) -> dict[str, Any]:
    """Raises KeyError, TypeError or ValueError; ImportError without pyarrow."""
    import pyarrow

    try:
        with pyarrow.ipc.open_stream(payload) as stream:
            table = stream.read_all()
    except OSError as error:
        raise ValueError(str(error)) from error
    content = msgspec.json.decode((table.schema.metadata or {})[RECORD_KEY], type=dict[str, Any])
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if name in DICTIONARIES and pyarrow.types.is_dictionary(column.type):
            content[DICTIONARIES[name]] = column.dictionary.to_pylist()
            content[name] = column.indices.to_pylist()
        elif content["stream"] == "samples" and name in BESIDE_VALUE:
            continue
        else:
            content[name] = column.to_pylist()
    if content["stream"] == "samples" and "value" in content:
        for name in set(BESIDE_VALUE) & set(table.column_names):
            _put_beside(content["value"], table.column(name))
    return content


def _array(values: list[Any], kind: Kind | None) -> pyarrow.Array:
    import pyarrow

    if kind in (Kind.COUNT, Kind.TIME):
        return pyarrow.array(np.array(values, np.int64))
    if kind is Kind.NUMBER:
        return pyarrow.array(doubles(values), pyarrow.float64(), from_pandas=True)
    return pyarrow.array(values, pyarrow.string() if kind is Kind.TEXT else None)


def _values(values: list[Value]) -> dict[str, pyarrow.Array]:
    import pyarrow

    types = set(map(type, values))
    if types <= {float, type(None)}:
        return {"value": pyarrow.array(doubles(values), from_pandas=True)}
    found = {
        "value": pyarrow.array([each if isinstance(each, float) else None for each in values], pyarrow.float64()),
        "integer": pyarrow.array(
            [each if isinstance(each, int) and each <= INT64_MAX else None for each in values], pyarrow.int64()
        ),
        "unsigned": pyarrow.array(
            [each if isinstance(each, int) and each > INT64_MAX else None for each in values], pyarrow.uint64()
        ),
        "text": pyarrow.array([each if isinstance(each, str) else None for each in values], pyarrow.string()),
    }
    return {name: array for name, array in found.items() if name == "value" or array.null_count < len(array)}


def _put_beside(values: list[Value], column: pyarrow.ChunkedArray) -> None:
    for row, value in enumerate(column.to_pylist()):
        if value is not None:
            values[row] = value
