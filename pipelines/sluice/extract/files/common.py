"""A file at its source, and the buffer of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sluice.config.column_names import FILE, LINE, REASON, RECORD, normalized
from sluice.config.declaration import FilesTable, Table
from sluice.extract.contract import ExtractContext
from sluice.extract.row_buffer import RowBuffer, numbers
from sluice.sql import literal, quoted

HELD_BYTES = 32 * 2**20
"""Rows of one file up to this size are not buffered with others until it is settled."""
NAMES = pa.dictionary(pa.int32(), pa.string())
"""Files' names, each once for all of its rows."""


@dataclass(frozen=True)
class Found:
    """One file at the source, and its unpacked UTF-8 copy on this machine."""

    name: str
    """Path below the source's url: the file's identity."""
    remote: str
    version: str
    """Size and time or e-tag, as the store reports them: unchanged means not read again."""
    local: Path


class FileBuffer:
    """Collects rows as text (or JSON records) with file and line, by their columns.

    What a file brings can be taken back until it is settled: a small file waits until then, a large one is kept apart.
    """

    def __init__(self, context: ExtractContext, table: Table[FilesTable]) -> None:
        self._context = context
        self._table = table
        self._ordered: dict[tuple[str, ...], tuple[str, ...]] = {}
        """Columns as the first file with them has them."""
        self._shared: dict[tuple[str, ...], RowBuffer] = {}
        self._apart: dict[tuple[str, ...], RowBuffer] = {}
        self._held: dict[tuple[str, ...], list[pa.Table]] = {}
        self._held_bytes = 0
        self._files: list[RowBuffer] = []
        self._rows: dict[str, int] = {}
        self._headers: dict[str, None] = {}
        self._rejected: list[tuple[str, int, str, str]] = []
        self.raw_columns = {
            c
            for c in context.raw.columns(table)
            if not c.startswith("_") and c not in (table.load.columns.exclude or [])
        }

    def write(self, file: Found, columns: dict[str, Any], lines: Sequence[int] | pa.Int64Array) -> None:
        """Append text columns of equal length, and the line each row stands on."""
        rows = len(lines)
        self._rows[file.name] = self._rows.get(file.name, 0) + rows
        key = tuple(sorted(columns))
        ordered = self._ordered.setdefault(key, tuple(columns))
        schema = pa.schema([(FILE, NAMES), (LINE, pa.int64()), *((c, pa.string()) for c in ordered)])
        names = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), [file.name])
        arrays = [names, numbers(lines), *(columns[c] for c in ordered)]
        batch = pa.Table.from_arrays(arrays, schema=schema)
        self._held.setdefault(key, []).append(batch)
        self._held_bytes += batch.nbytes
        if self._held_bytes > HELD_BYTES:
            self._move(self._apart)
        self._context.progress(self._table.name, rows)

    def settle(self) -> None:
        """Keep the rows of this file for good."""
        self._move(self._apart or self._shared)
        for apart in self._apart.values():
            apart.close()
        self._apart = {}

    def take_back(self, file: Found) -> None:
        """Drop the rows that this file, which is not settled yet, has brought so far."""
        for apart in self._apart.values():
            apart.close()
            apart.release()
            self._files.remove(apart)
        self._held, self._held_bytes, self._apart = {}, 0, {}
        self._context.progress(self._table.name, -self._rows.get(file.name, 0))
        self._rows[file.name] = 0

    def _move(self, files: dict[tuple[str, ...], RowBuffer]) -> None:
        """Write what is held."""
        for key, batches in self._held.items():
            if key not in files:
                path = self._context.folder / f"{self._table.name}.extracted.{len(self._files)}.parquet"
                files[key] = RowBuffer(path, batches[0].schema, self._context)
                self._files.append(files[key])
            for batch in batches:
                files[key].write(batch)
        self._held, self._held_bytes = {}, 0

    @property
    def is_exact(self) -> bool:
        """Whether every number of the records fits a double exactly; known once it is closed."""
        return all(file.is_exact for file in self._files)

    def headers(self, names: Sequence[str]) -> None:
        """Remember the columns of a file: the files after it must have them, too."""
        self._headers.update(dict.fromkeys(names))
        self.raw_columns |= {normalized(name) for name in names}

    def reject(self, file: Found, line: int, reason: str, text: str) -> None:
        """Keep a line that is not a row."""
        self._rejected.append((file.name, line, reason, text))

    def undecodable(self, file: Found, first: int, last: int) -> str | None:
        """What is wrong with the first of these lines that could not be read."""
        reasons = (
            f"line {n}: {why}"
            for name, n, why, _ in self._rejected
            if name == file.name and first <= n <= last
        )
        return next(reasons, None)

    def forget(self, file: Found) -> None:
        """Drop what was rejected of a file that is not loaded, because its content is known."""
        self._rejected = [r for r in self._rejected if r[0] != file.name]

    def rejected(self) -> str | None:
        """The relation of all lines that are not rows."""
        if not self._rejected:
            return None
        path = self._context.folder / f"{self._table.name}.rejected.parquet"
        names = (FILE, LINE, REASON, RECORD)
        pq.write_table(pa.table(dict(zip(names, zip(*self._rejected, strict=True), strict=True))), path)
        return f"select * from read_parquet({literal(str(path))})"

    def columns(self) -> list[str]:
        """Typed nulls for a relation without rows: of the metadata and the columns of headers, or declarations and raw.

        The latter where every file is known already, so that no header was read.
        """
        declared = [*self._headers] or [c.name for c in self._table.columns if not c.name.startswith("_")]
        if not self._headers:
            have = {normalized(name) for name in declared}
            declared += sorted(name for name in self.raw_columns if name not in have)
        if self._table.load.format in ("json", "jsonl"):
            declared = [RECORD]
        texts = [f"cast(null as varchar) as {quoted(c)}" for c in declared]
        return (
            [f"cast(null as varchar) as {FILE}", f"cast(null as bigint) as {LINE}", *texts]
            if declared
            else []
        )

    def close(self) -> str | None:
        """The relation of all rows; None without any."""
        for shared in self._shared.values():
            shared.close()
        if not self._files:
            return None
        parts = [file.relation() for file in self._files if file.is_held]
        if paths := ", ".join(literal(str(file.path)) for file in self._files if not file.is_held):
            parts.append(f"select * from read_parquet([{paths}], union_by_name = true)")
        return " union all by name ".join(parts)

    def release(self) -> None:
        """Free rows in memory."""
        for file in self._files:
            file.release()
