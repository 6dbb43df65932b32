"""A file at its source, and the buffer of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sluice.config.column_names import FILE, LINE, REASON, RECORD
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
    """Path below the source's url: the file's identity; of a member of an archive the archive's, and its own."""
    remote: str
    version: str
    """Size and time or e-tag, as the store reports them: unchanged means not read again."""
    local: Path
    archive: str
    """Name of the file at the source: itself, or the archive it came in."""
    left_out: int | None = None
    """Lines after the header that the local copy lacks, because raw has their rows; None: it is the whole file."""


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
        self._left_to_duckdb: dict[str, str] = {}
        """By file, the SELECT that reads it."""
        self.reader: duckdb.DuckDBPyConnection | None = None
        """Reads the relation by one thread, where DuckDB does all of it."""
        self._rows: dict[str, int] = {}
        self._last: dict[str, int] = {}
        """By file, the line of its last row."""
        self._headers: dict[str, None] = {}
        self._rejected: list[tuple[str, int, str, str]] = []
        self._unreadable: set[str] = set()
        self.notes: list[str] = []
        """What is worth saying about files that were read."""
        self.raw_columns = {
            c for c in context.raw.columns(table) if not c.startswith("_") and c not in table.excluded
        }

    def write(self, file: Found, columns: dict[str, Any], lines: Sequence[int] | pa.Int64Array) -> None:
        """Append text columns of equal length, and the line each row stands on."""
        rows, places = len(lines), numbers(lines)
        if file.left_out:
            places = pc.add(places, file.left_out)
        if rows:
            self._last[file.name] = places[-1].as_py()
        key = tuple(sorted(columns))
        ordered = self._ordered.setdefault(key, tuple(columns))
        schema = pa.schema([(FILE, NAMES), (LINE, pa.int64()), *((c, pa.string()) for c in ordered)])
        names = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), [file.name])
        arrays = [names, places, *(columns[c] for c in ordered)]
        batch = pa.Table.from_arrays(arrays, schema=schema)
        self._held.setdefault(key, []).append(batch)
        self._held_bytes += batch.nbytes
        if self._held_bytes > HELD_BYTES:
            self._move(self._apart)
        self.count(file, rows)

    def leave_to_duckdb(self, file: Found, select: str, lines: range) -> None:
        """Let DuckDB read a file, each of these lines of which is a row."""
        self._left_to_duckdb[file.name] = select
        self._last[file.name] = lines[-1] + (file.left_out or 0)
        self.count(file, len(lines))

    def is_left_to_duckdb(self, file: Found) -> bool:
        return file.name in self._left_to_duckdb

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
        self._left_to_duckdb.pop(file.name, None)
        self._context.progress(self._table.name, -self._rows.get(file.name, 0))
        self._rows[file.name] = 0

    def give_up(self, file: Found) -> None:
        """Drop the rows of a file that cannot be read."""
        self.take_back(file)
        self._unreadable.add(file.name)

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
        self.raw_columns |= {self._table.raw_name(name) for name in names}

    def reject(self, file: Found, line: int, reason: str, text: str) -> None:
        """Keep a line that is not a row."""
        self._rejected.append((file.name, line + (file.left_out or 0), reason, text))

    def is_without_rows(self, file: Found) -> bool:
        """Whether a file that was read brought neither a row nor a line that is not one."""
        if file.name in self._unreadable or self._rows.get(file.name):
            return False
        return all(name != file.name for name, *_ in self._rejected)

    def count(self, file: Found, rows: int) -> None:
        """Note the number of rows that a file has brought."""
        self._rows[file.name] = self._rows.get(file.name, 0) + rows
        self._context.progress(self._table.name, rows)

    def note(self, said: str) -> None:
        """Keep something worth saying about a file that is read."""
        self.notes.append(said)

    def undecodable(self, file: Found, first: int, last: int) -> str | None:
        """What is wrong with the first of these lines that could not be read."""
        reasons = (
            f"line {n}: {why}"
            for name, n, why, _ in self._rejected
            if name == file.name and first <= n <= last
        )
        return next(reasons, None)

    def end(self, file: Found) -> tuple[int, int]:
        """How many rows a file brought, and the line of the last; no rows if some of its lines are not rows."""
        if not (rows := self._rows.get(file.name, 0)) or any(r[0] == file.name for r in self._rejected):
            return 0, 0
        return rows, self._last.get(file.name, 0)

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(self._rows.values())

    @property
    def read(self) -> int:
        """Rows of all files, and lines that are not rows."""
        return self.rows + len(self._rejected)

    @property
    def has_rejected(self) -> bool:
        """Whether some lines are not rows."""
        return bool(self._rejected)

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
            have = {self._table.raw_name(name) for name in declared}
            declared += sorted(name for name in self.raw_columns if name not in have)
        if self._table.load.format == "parquet" and not self.raw_columns:
            declared = []  # their types are those of the first file that has any
        if self._table.load.format in ("json", "jsonl"):
            declared = [RECORD]
        texts = [f"cast(null as varchar) as {quoted(c)}" for c in declared]
        return (
            [f"cast(null as varchar) as {FILE}", f"cast(null as bigint) as {LINE}", *texts]
            if declared
            else []
        )

    def close(self) -> str | None:
        """The relation of all rows; None without any. More may be written after it, and it closed again."""
        for shared in self._shared.values():
            shared.close()
        self._shared = {}
        if not self._files and not self._left_to_duckdb:
            return None
        if self._left_to_duckdb and not any(file.is_held for file in self._files):
            self.reader = _one_thread()
        parts = [*self._left_to_duckdb.values()]
        parts += [file.relation() for file in self._files if file.is_held]
        if paths := ", ".join(literal(str(file.path)) for file in self._files if not file.is_held):
            parts.append(f"select * from read_parquet([{paths}], union_by_name = true)")
        return " union all by name ".join(parts)

    def release(self) -> None:
        """Free rows in memory."""
        for file in self._files:
            file.release()
        if self.reader:
            self.reader.close()


def _one_thread() -> duckdb.DuckDBPyConnection:
    """A DuckDB of one thread; times are UTC.

    Records are numbered by one thread. Of two, the other one may wait for it busily: with DuckDB 1.5.5 half of all
    loads took twice the CPU.
    """
    con = duckdb.connect(config={"threads": 1, "memory_limit": "500MB"})
    con.execute("set TimeZone = 'UTC'")
    return con
