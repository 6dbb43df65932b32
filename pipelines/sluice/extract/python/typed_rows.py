"""Python values and Arrow data as Parquet, with the types they have and nothing altered."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sluice.config.declaration import PythonTable, Table
from sluice.engine.types import EXACT_IN_DOUBLE, WIDEST
from sluice.errors import LoadError
from sluice.extract.exact_json import dumps
from sluice.sql import literal, quoted

BATCH_ROWS = 20_000
"""Dicts are gathered up to this many before they become a batch; bounds memory."""
JSON = {b"sluice": b"json"}
INTERVAL = {b"sluice": b"interval"}
"""Metadata of fields whose Parquet type does not say what they are."""


@dataclass
class _Seen:
    """What is known about a column over all batches."""

    field: pa.Field
    largest: int = 0
    """Largest absolute integer that came."""
    digits: int = 0
    """Most digits before the point, of integers and decimals."""


class TypedRowWriter:
    """Takes items as they come and writes one Parquet file for each combination of column types.

    Raises LoadError that names the column and the two types when values of a column have no common type that
    keeps all of them.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.taken = 0
        """Rows so far."""
        self._has_dicts = False
        self._folder = folder
        self._name = name
        self._waiting: list[dict[str, Any]] = []
        self._writers: dict[str, tuple[Path, pq.ParquetWriter, pa.Schema]] = {}
        self._seen: dict[str, _Seen] = {}
        self._names: dict[str, None] = {}

    def add(self, item: Any) -> None:
        """Take a dict, a list of them, an Arrow table or batch, or a data frame."""
        if isinstance(item, dict):
            self._has_dicts = True
            self.taken += 1
            self._waiting.append(item)
            if len(self._waiting) >= BATCH_ROWS:
                self._flush()
        elif isinstance(item, list | tuple):
            for inner in item:
                self.add(inner)
        else:
            table = _as_arrow(item)
            self._flush()
            self._write(_plain(table))
            self.taken += table.num_rows

    def relation(self, raw: dict[str, str], table: Table[PythonTable]) -> str | None:
        """A SELECT of all rows; None when nothing came and neither raw nor the YAML says what columns there are.

        A column in which no value came has the type it has in raw, or the one declared, or is left out. Keys that
        no dict has are null if they are declared, as those of JSON records are.
        """
        self._flush()
        for _, writer, _ in self._writers.values():
            writer.close()
        known = {**table.data_types, **raw}
        if not self._writers:
            columns = [
                f"cast(null as {kind}) as {quoted(n)}" for n, kind in known.items() if not n.startswith("_")
            ]
            return f"select {', '.join(columns)} where false" if columns else None
        if self._has_dicts:
            keys = dict.fromkeys(map(table.raw_name, table.load.primary_key), "VARCHAR")
            delivered, known = set(map(table.raw_name, self._names)), {**keys, **known}
            self._names |= dict.fromkeys(n for n in (*keys, *table.data_types) if n not in delivered)
        known = {name: known[its] for name in self._names if (its := table.raw_name(name)) in known}
        parts = []
        for path, _, schema in self._writers.values():
            selected = ", ".join(filter(None, (self._column(schema, name, known) for name in self._names)))
            parts.append(f"select {selected or '1 as _none'} from read_parquet({literal(str(path))})")
        return " union all ".join(parts)

    def _column(self, schema: pa.Schema, name: str, known: dict[str, str]) -> str | None:
        seen = self._seen.get(name)
        if seen is None:
            return f"cast(null as {known[name]}) as {quoted(name)}" if name in known else None
        kind = _duckdb_type(seen.field, name)
        index = schema.get_field_index(name)
        if index < 0:
            return f"cast(null as {kind}) as {quoted(name)}" if kind else f"null as {quoted(name)}"
        field = schema.field(index)
        if kind == "INTERVAL":
            return f"to_microseconds({quoted(name)}) as {quoted(name)}"
        if kind == "JSON" and not field.metadata:
            return f"to_json({quoted(name)}) as {quoted(name)}"
        return f"cast({quoted(name)} as {kind}) as {quoted(name)}" if kind else quoted(name)

    def _flush(self) -> None:
        if self._waiting:
            rows, self._waiting = self._waiting, []
            self._write(self._table(rows))

    def _table(self, rows: list[dict[str, Any]]) -> pa.Table:
        first = rows[0].keys()
        if all(row.keys() == first for row in rows):
            columns = {name: [row[name] for row in rows] for name in first}
        else:
            names = dict.fromkeys(name for row in rows for name in row)
            columns = {name: [row.get(name) for row in rows] for name in names}
        fields, arrays = [], []
        for name, values in columns.items():
            if not isinstance(name, str):
                raise LoadError(f"the key {name!r} is not a text; columns are named by texts")
            self._names[name] = None
            if (made := _array(name, values)) is not None:
                fields.append(made[0])
                arrays.append(made[1])
        if not arrays:  # rows all of nulls still are rows
            fields, arrays = [pa.field("_none", pa.bool_())], [pa.nulls(len(rows), pa.bool_())]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def _write(self, table: pa.Table) -> None:
        if table.num_rows == 0 and table.num_columns == 0:
            return
        for field, column in zip(table.schema, table.columns, strict=True):
            if field.name != "_none":
                self._names[field.name] = None
                self._take(field, column)
        key = "; ".join(f"{f.name} {f.type} {f.metadata}" for f in table.schema)
        if key not in self._writers:
            path = self._folder / f"{self._name}.{len(self._writers)}.parquet"
            self._writers[key] = (path, pq.ParquetWriter(path, table.schema, compression="lz4"), table.schema)
        self._writers[key][1].write_table(table)

    def _take(self, field: pa.Field, column: pa.ChunkedArray) -> None:
        """Widen what is known about a column by this batch of it."""
        batch = _Seen(field)
        if pa.types.is_integer(field.type) or pa.types.is_decimal(field.type):
            ends = [v for v in pc.min_max(column).as_py().values() if v is not None]
            batch.digits = max((len(str(abs(int(v)))) for v in ends), default=0)
            if pa.types.is_integer(field.type):
                batch.largest = max(map(abs, ends), default=0)
        seen = self._seen.get(field.name)
        if seen is None:
            self._seen[field.name] = batch
            return
        seen.largest = max(seen.largest, batch.largest)
        seen.digits = max(seen.digits, batch.digits)
        seen.field = _common(field.name, seen, field)


# -- Python values ---------------------------------------------------------------------------------------


def _kind(python: type) -> str:
    """Name of the family a Python type belongs to; order matters, for bool is an int and datetime a date."""
    families: list[tuple[Any, str]] = [
        (bool, "bool"),
        (int, "int"),
        (float, "float"),
        (Decimal, "Decimal"),
        (str, "str"),
        (bytes | bytearray | memoryview, "bytes"),
        (dt.datetime, "datetime"),
        (dt.date, "date"),
        (dt.time, "time"),
        (dt.timedelta, "timedelta"),
        (dict | list | tuple, "dict or list"),
        (UUID, "UUID"),
    ]
    for family, name in families:
        if issubclass(python, family):
            return name
    return f"{python.__module__}.{python.__qualname__}"


def _kinds(values: list[Any]) -> set[str]:
    return {_kind(python) for python in set(map(type, values)) if python is not type(None)}


_NO_VALUE = {"pandas._libs.tslibs.nattype.NaTType", "pandas._libs.missing.NAType"}


def _array(name: str, values: list[Any]) -> tuple[pa.Field, pa.Array] | None:
    """A column of Python values in the narrowest type that keeps all of them; None when all are null."""
    kinds = _kinds(values)
    if foreign := {kind for kind in kinds if kind.startswith("numpy.") or kind in _NO_VALUE}:
        values = [
            None if _kind(type(v)) in _NO_VALUE else v.item() if _kind(type(v)) in foreign else v
            for v in values
        ]
        kinds = _kinds(values)
    if not kinds:
        return None
    if "datetime" in kinds:
        kinds.remove("datetime")
        kinds |= {
            "datetime with zone" if v.tzinfo else "datetime without zone"
            for v in values
            if isinstance(v, dt.datetime)
        }
    if "UUID" in kinds and not kinds - {"UUID", "str"}:
        return pa.field(name, pa.string()), pa.array(
            [v if v is None else str(v) for v in values], pa.string()
        )
    if kinds == {"dict or list"}:
        return pa.field(name, pa.string(), metadata=JSON), _json(name, values)
    if not kinds ^ {"int", "float"} and all(abs(v) <= EXACT_IN_DOUBLE for v in values if isinstance(v, int)):
        kinds = {"float"}
    if kinds <= {"int", "Decimal"}:
        return _exact(name, values, kinds)
    simple = {
        "bool": pa.bool_(),
        "float": pa.float64(),
        "str": pa.string(),
        "bytes": pa.binary(),
        "datetime with zone": pa.timestamp("us", "UTC"),
        "datetime without zone": pa.timestamp("us"),
        "date": pa.date32(),
        "time": pa.time64("us"),
        "timedelta": pa.int64(),
    }
    if len(kinds) > 1:
        raise _mixed(name, sorted(kinds))
    (kind,) = kinds
    if kind not in simple:
        raise LoadError(
            f"column {name}: {kind} has no type in the warehouse; turn it into a text or a number"
        )
    if kind == "timedelta":
        microseconds = [None if v is None else v // dt.timedelta(microseconds=1) for v in values]
        return pa.field(name, pa.int64(), metadata=INTERVAL), pa.array(microseconds, pa.int64())
    if kind.startswith("datetime") and any(getattr(v, "nanosecond", 0) for v in values):
        raise LoadError(
            f"column {name}: has nanoseconds, which Python values lose; yield an Arrow table or a frame"
        )
    if kind == "time" and any(v is not None and v.tzinfo for v in values):
        raise LoadError(
            f"column {name}: a time of day with a zone has no type in the warehouse; yield it as a text"
        )
    return pa.field(name, simple[kind]), pa.array(values, simple[kind])


def _exact(name: str, values: list[Any], kinds: set[str]) -> tuple[pa.Field, pa.Array]:
    """Integers and decimals: 64 bits where they suffice, else DECIMAL(38, scale)."""
    present = [v for v in values if v is not None]
    if kinds == {"int"} and min(present) >= -(2**63) and max(present) < 2**63:
        return pa.field(name, pa.int64()), pa.array(values, pa.int64())
    decimals = [Decimal(v) for v in present]
    if odd := [d for d in decimals if not d.is_finite()]:
        raise LoadError(f"column {name}: {odd[0]} has no place among decimals; yield null")
    exponents = [-int(d.as_tuple().exponent) for d in decimals]
    scale = max(0, *exponents)
    digits = max(d.adjusted() + 1 for d in decimals)
    if max(digits, 0) + scale > WIDEST:
        raise LoadError(
            f"column {name}: needs {digits + scale} digits; a decimal has at most {WIDEST}. Yield texts"
        )
    kind = pa.decimal128(WIDEST, scale)
    whole = [None if v is None else Decimal(v) for v in values]
    return pa.field(name, kind), pa.array(whole, kind)


def _json(name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array([None if v is None else dumps(v).decode() for v in values], pa.string())
    except TypeError as error:
        raise LoadError(f"column {name}: {error}; nested values become JSON") from None


def _mixed(name: str, kinds: Iterable[str]) -> LoadError:
    return LoadError(f"column {name}: has values of {' and '.join(kinds)}; yield one type a column")


# -- Arrow data ------------------------------------------------------------------------------------------


def _as_arrow(item: Any) -> pa.Table:
    if isinstance(item, pa.Table):
        return item
    if isinstance(item, pa.RecordBatch):
        return pa.Table.from_batches([item])
    module = type(item).__module__.partition(".")[0]
    if module == "pandas" and hasattr(item, "columns"):
        if any(name is not None for name in item.index.names):
            item = item.reset_index()  # an index that has a name is a column
        try:
            return pa.Table.from_pandas(item, preserve_index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise LoadError(f"a data frame has a column of more than one type: {error}") from None
    if module == "polars" and hasattr(item, "to_arrow"):
        table: pa.Table = item.to_arrow()
        return table
    raise LoadError(
        f"yields {type(item).__module__}.{type(item).__name__}; what can be loaded are dicts, lists of dicts, "
        "Arrow tables and batches, pandas and polars frames"
    )


def _plain(table: pa.Table) -> pa.Table:
    """The same data in the types that Parquet and DuckDB share; columns without any type are left out."""
    if len(set(table.column_names)) < table.num_columns:
        twice = sorted({n for n in table.column_names if table.column_names.count(n) > 1})
        raise LoadError(f"has more than one column called {', '.join(twice)}")
    fields, columns = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        kind, metadata = field.type, None
        if isinstance(kind, pa.BaseExtensionType):
            is_json = getattr(kind, "extension_name", "") == "arrow.json"
            metadata = JSON if is_json else None
            column, kind = column.cast(kind.storage_type), kind.storage_type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_null(kind):
            fields.append(pa.field(field.name, pa.null()))
            columns.append(column)
            continue
        target = _plain_type(kind)
        if pa.types.is_duration(kind):
            column, target, metadata = column.cast(pa.duration("us")).cast(pa.int64()), pa.int64(), INTERVAL
        if pa.types.is_float32(kind):  # as the number it is written as: 9.8, not 9.800000190734863
            column, target = column.cast(pa.string()), pa.float64()
        try:
            columns.append(column.cast(target))
        except pa.ArrowInvalid as error:
            raise LoadError(f"column {field.name}: does not fit {target}: {error}") from None
        fields.append(pa.field(field.name, target, metadata=metadata))
    kept = [i for i, field in enumerate(fields) if not pa.types.is_null(field.type)]
    if not kept:
        return pa.table({"_none": pa.nulls(table.num_rows, pa.bool_())})
    schema = pa.schema([fields[i] for i in kept])
    return pa.Table.from_arrays([columns[i] for i in kept], schema=schema)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    if pa.types.is_decimal(kind):
        return pa.decimal128(WIDEST, max(kind.scale, 0))
    if pa.types.is_float16(kind):
        return pa.float64()
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp("us", "UTC")
    if pa.types.is_date64(kind):
        return pa.date32()
    if pa.types.is_time(kind):
        return pa.time64("us")
    return kind


# -- types -----------------------------------------------------------------------------------------------


def _common(name: str, seen: _Seen, new: pa.Field) -> pa.Field:
    """The field that keeps what was seen of a column and what now comes."""
    old = seen.field
    a, b = old.type, new.type
    if a == b and old.metadata == new.metadata:
        return old
    if INTERVAL in (old.metadata, new.metadata):
        raise _mixed(name, _spoken([old, new]))
    if _is_nested(old) and _is_nested(new):
        return pa.field(name, pa.string(), metadata=JSON)
    if old.metadata or new.metadata:
        raise _mixed(name, _spoken([old, new]))
    if pa.types.is_integer(a) and pa.types.is_integer(b):
        signed = pa.types.is_signed_integer(a) and pa.types.is_signed_integer(b)
        wide = max(a.bit_width, b.bit_width)
        both = a if a.bit_width >= b.bit_width else b
        return pa.field(name, both if signed else pa.int64() if wide < 64 else pa.decimal128(WIDEST, 0))
    if _is_exact(a) and _is_exact(b):
        scale = max(k.scale for k in (a, b) if pa.types.is_decimal(k))
        if seen.digits + scale > WIDEST:
            raise LoadError(
                f"column {name}: needs {seen.digits + scale} digits; a decimal has at most {WIDEST}"
            )
        return pa.field(name, pa.decimal128(WIDEST, scale))
    if _is_number(a) and _is_number(b) and seen.largest <= EXACT_IN_DOUBLE:
        return pa.field(name, pa.float64())
    if pa.types.is_timestamp(a) and pa.types.is_timestamp(b) and a.tz == b.tz:
        units = ["s", "ms", "us", "ns"]
        return pa.field(name, pa.timestamp(max(a.unit, b.unit, key=units.index), a.tz))
    raise _mixed(name, _spoken([old, new]))


def _is_nested(field: pa.Field) -> bool:
    return bool(pa.types.is_nested(field.type) or field.metadata == JSON)


def _is_exact(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _spoken(fields: Sequence[pa.Field]) -> list[str]:
    return ["JSON" if f.metadata == JSON else "an interval" if f.metadata else str(f.type) for f in fields]


def _duckdb_type(field: pa.Field, name: str) -> str:
    """DuckDB's type of a column; empty for nested ones, which are taken as they are."""
    kind = field.type
    if field.metadata:
        return "JSON" if field.metadata == JSON else "INTERVAL"
    if pa.types.is_nested(kind):
        return ""
    if pa.types.is_decimal(kind):
        return f"DECIMAL({WIDEST},{kind.scale})"
    if pa.types.is_timestamp(kind):
        if kind.tz is not None:
            return "TIMESTAMP WITH TIME ZONE"
        return "TIMESTAMP_NS" if kind.unit == "ns" else "TIMESTAMP"
    names = {
        "bool": "BOOLEAN", "int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT",
        "uint8": "UTINYINT", "uint16": "USMALLINT", "uint32": "UINTEGER", "uint64": "UBIGINT",
        "double": "DOUBLE", "string": "VARCHAR", "binary": "BLOB",
        "date32[day]": "DATE", "time64[us]": "TIME",
    }  # fmt: skip
    if str(kind) not in names:
        raise LoadError(f"column {name}: the Arrow type {kind} has none in the warehouse; cast it before")
    return names[str(kind)]
