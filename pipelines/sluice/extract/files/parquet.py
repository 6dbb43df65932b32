"""Parquet files, read by DuckDB itself except for values it would alter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sluice.config.column_names import FILE, LINE
from sluice.config.declaration import FilesTable, Table
from sluice.engine.types import NESTED, WIDEST, as_written
from sluice.errors import LoadError
from sluice.extract.contract import ExtractContext
from sluice.extract.files.common import FileBuffer, Found
from sluice.extract.files.header import check_complete, check_distinct
from sluice.sql import literal, quoted


class ParquetFiles:
    """All files of one load as one relation; a column whose type differs between them must be declared."""

    def __init__(self, table: Table[FilesTable], context: ExtractContext) -> None:
        self.types: dict[str, str] = {}
        """Raw types of the columns that arrive as texts."""
        self._table = table
        self._context = context
        self._required = {n for n in context.raw.columns(table) if n[0] != "_"} - table.excluded
        self._seen: dict[str, tuple[str, str]] = {}
        self._selects: list[str] = []
        self._names: dict[str, str] = {}
        """Names of the files by their paths on this machine."""

    def add(self, file: Found, table: Table[FilesTable], buffer: FileBuffer, loaded_before: set[str]) -> None:
        """Check a file's columns; raises LoadError when it, or one of them, cannot be read as it is."""
        where = f"{self._table.qualified}: {file.name}"
        self._names[str(file.local)] = file.name
        try:
            parquet = pq.ParquetFile(file.local)
            schema = parquet.schema_arrow
            # a column that has no type yet gets one with its first value
            typed = [field for field in schema if not pa.types.is_null(field.type)]
            self._check_names([field.name for field in schema], file, loaded_before)
            texts = {f.name for f in typed if _comes_as_text(f, parquet, where)}
            path = _with_texts(parquet, texts, file.local) if texts else file.local
            scan = f"read_parquet({literal(str(path))}, file_row_number = true)"
            left_out = ", ".join(["file_row_number", *(quoted(f.name) for f in schema if f not in typed)])
            described = self._context.con.execute(
                f"describe select * exclude ({left_out}) from {scan}"
            ).fetchall()
        except LoadError:
            raise
        except (duckdb.Error, pa.ArrowException, OSError, ValueError) as error:
            said = str(error).partition("\n")[0].replace(str(file.local), "it")
            raise LoadError(f"{where} cannot be read as Parquet: {said}; nothing was loaded") from None
        own, written = {field.name: field for field in typed}, []
        for name, kind, *_ in described:
            if name in texts:
                kind = str(own[name].type)
                self.types[self._table.raw_name(name)] = _raw_type(own[name].type)
            elif "FLOAT" in kind or NESTED.search(kind):
                # beside another file DuckDB would widen it, to digits or fields that nobody wrote
                value, kind = as_written(quoted(name), kind)
                if NESTED.search(kind):
                    value, kind = f"to_json({value})", "JSON"
                written.append(f"{value} as {quoted(name)}")
            other, first = self._seen.setdefault(name, (kind, file.name))
            if other != kind and self._table.raw_name(name) not in self._table.data_types:
                raise LoadError(
                    f"{self._table.qualified}.{name}: is {other.lower()} in {first}, but {kind.lower()} in "
                    f"{file.name}; declare its data_type"
                )
        buffer.count(file, parquet.metadata.num_rows)
        replaced = f"replace ({', '.join(written)})" if written else ""
        self._selects.append(
            f"select {literal(file.name)} as {FILE}, file_row_number + 1 as {LINE},"
            f" * exclude ({left_out}) {replaced} from {scan}"
        )

    def _check_names(self, names: Sequence[str], file: Found, loaded_before: set[str]) -> None:
        where = f"{self._table.qualified}: {file.name}"
        check_distinct(names, where, self._table)
        if file.name not in loaded_before:  # a file sent again may keep the layout it always had
            check_complete(names, self._required, where, self._table)
        if self._table.load.columns.include is None:
            self._required |= {self._table.raw_name(name) for name in names} - self._table.excluded

    def relation(self) -> str | None:
        """A SELECT of all rows; None without a file."""
        return " union all by name ".join(self._selects) or None

    def explain(self, error: Exception) -> Exception:
        """Name the file in DuckDB's error: it is damaged, though its end, which has the schema, is intact."""
        if not isinstance(error, duckdb.Error):
            return error
        said = str(error).partition("\n")[0]
        for path, name in self._names.items():
            said = said.replace(path, name)
        names = ", ".join(list(self._names.values())[:3])
        return LoadError(
            f"{self._table.qualified}: reading {names} as Parquet failed: {said}; nothing was loaded"
        )


def _comes_as_text(field: pa.Field, parquet: pq.ParquetFile, where: str) -> bool:
    """Whether DuckDB would alter a value of the column; LoadError where it cannot be carried as text either."""
    leaves = list(_leaf_types(field.type))
    if not any(map(_is_finer, leaves)) and not any(map(_is_wide, leaves)):
        return False
    if _is_wide(field.type):
        return True
    if any(map(_is_wide, leaves)):
        raise LoadError(
            f"{where}: the column {field.name} has decimals of more than {WIDEST} digits within nested values, which "
            "would be altered; nothing was loaded. Write them as text, or name it under columns: {exclude: [...]}"
        )
    if not _has_nanoseconds(field, parquet):
        return False
    old = any(
        parquet.schema.column(i).physical_type == "INT96"
        and parquet.schema.column(i).path.split(".")[0] == field.name
        for i in range(len(parquet.schema))
    )
    if field.type in leaves and not old:
        return not (pa.types.is_timestamp(field.type) and field.type.tz is None)
    if not old and all(pa.types.is_timestamp(leaf) and leaf.tz is None for leaf in leaves if _is_finer(leaf)):
        return False
    form = "in the old form INT96" if old else "within nested values"
    raise LoadError(
        f"{where}: the column {field.name} has nanoseconds {form}, which would be cut; nothing was loaded. Write it as "
        "timestamps of microseconds, or name it under columns: {exclude: [...]}"
    )


def _leaf_types(kind: pa.DataType) -> Iterator[pa.DataType]:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not pa.types.is_nested(kind):
        yield kind
        return
    for i in range(kind.num_fields):
        yield from _leaf_types(kind.field(i).type)


def _is_wide(kind: pa.DataType) -> bool:
    """Whether a decimal has more digits than DuckDB's, which reads it as a wrong double."""
    return bool(pa.types.is_decimal(kind) and kind.precision > WIDEST)


def _is_finer(kind: pa.DataType) -> bool:
    return bool((pa.types.is_timestamp(kind) or pa.types.is_time(kind)) and kind.unit == "ns")


def _has_nanoseconds(field: pa.Field, parquet: pq.ParquetFile) -> bool:
    for batch in parquet.iter_batches(columns=[field.name]):
        for array in _leaves(batch.column(0)):
            if not _is_finer(array.type):
                continue
            whole = array.cast(pa.int64())
            odd = pc.not_equal(whole, pc.multiply(pc.divide(whole, 1000), 1000))
            if pc.any(odd).as_py():
                return True
    return False


def _leaves(array: Any) -> Iterator[Any]:
    kind = array.type
    if pa.types.is_struct(kind):
        for inner in array.flatten():
            yield from _leaves(inner)
    elif pa.types.is_map(kind):
        yield from _leaves(array.keys)
        yield from _leaves(array.items)
    elif pa.types.is_nested(kind):
        yield from _leaves(array.flatten())
    else:
        yield array


def _with_texts(parquet: pq.ParquetFile, names: set[str], path: Path) -> Path:
    """A copy of a file in which these columns are texts."""
    copy = path.with_name(f"{path.name}.texts")
    schema = pa.schema(
        [pa.field(f.name, pa.string()) if f.name in names else f for f in parquet.schema_arrow]
    )
    with pq.ParquetWriter(copy, schema, compression="lz4") as writer:
        for batch in parquet.iter_batches():
            columns = [
                _texts(column) if name in names else column
                for name, column in zip(schema.names, batch.columns, strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return copy


def _texts(column: Any) -> Any:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ns", "UTC"))
    return column.cast(pa.string())


def _raw_type(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"DECIMAL({WIDEST},{min(max(kind.scale, 0), WIDEST)})"
    return "TIME" if pa.types.is_time(kind) else "TIMESTAMP WITH TIME ZONE"
