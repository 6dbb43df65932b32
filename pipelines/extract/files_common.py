"""A file at its source, and where its rows land."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.declaration import FilesTable, Table
from pipelines.extract import Job, literal, quoted
from pipelines.extract.landing import numbers
from pipelines.names import normalized


@dataclass(frozen=True)
class Found:
    """One file at the source, and its unpacked UTF-8 copy on this machine."""

    name: str
    """Path below the source's url: the file's identity."""
    remote: str
    version: str
    """Size and time or e-tag, as the store tells them: unchanged means not read again."""
    local: Path


class FileLanding:
    """Collects rows as text (or JSON records) with file and line, in Parquet files by their columns."""

    def __init__(self, job: Job, table: Table[FilesTable]) -> None:
        self._job = job
        self._table = table
        self._writers: dict[tuple[str, ...], pq.ParquetWriter] = {}
        self._files: list[Path] = []
        self._rows: dict[str, int] = {}
        self._headers: dict[str, None] = {}
        self._rejected: list[tuple[str, int, str, str]] = []
        self.raw_columns = {
            c
            for c in job.raw_columns(table)
            if not c.startswith("_") and c not in (table.load.columns.exclude or [])
        }

    def write(self, file: Found, columns: dict[str, Any], lines: Sequence[int] | pa.Int64Array) -> None:
        """Append text columns of equal length, and the line each row stands on."""
        schema = pa.schema(
            [("_file", pa.string()), ("_line", pa.int64()), *((c, pa.string()) for c in columns)]
        )
        rows = len(lines)
        self._rows[file.name] = self._rows.get(file.name, 0) + rows
        key = tuple(sorted(columns))
        if key not in self._writers:
            path = self._job.folder / f"{self._table.name}.landed.{len(self._writers)}.parquet"
            # read once, and soon: no dictionary for texts that hardly repeat, no statistics
            self._writers[key] = pq.ParquetWriter(
                path, schema, compression="lz4", use_dictionary=["_file"], write_statistics=False
            )
            self._files.append(path)
        arrays = [pa.repeat(pa.scalar(file.name), rows), numbers(lines), *columns.values()]
        batch = pa.Table.from_arrays(arrays, schema=schema).select(self._writers[key].schema.names)
        self._writers[key].write_table(batch)
        self._job.progress(self._table.name, rows)

    def headers(self, names: Sequence[str]) -> None:
        """Remember the columns of a file: the files after it must have them, too."""
        self._headers.update(dict.fromkeys(names))
        self.raw_columns |= {normalized(name) for name in names}

    def reject(self, file: Found, line: int, reason: str, text: str) -> None:
        """Keep a line that is no row."""
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
        """The relation of all lines that are no rows."""
        if not self._rejected:
            return None
        path = self._job.folder / f"{self._table.name}.rejected.parquet"
        names = ("_file", "_line", "_reason", "_record")
        pq.write_table(pa.table(dict(zip(names, zip(*self._rejected, strict=True), strict=True))), path)
        return f"select * from read_parquet({literal(str(path))})"

    def note(self, file: Found) -> None:
        """Remember a file although it may have no row."""
        self._rows.setdefault(file.name, 0)

    def columns(self) -> list[str]:
        """Typed nulls for a relation without rows: of the metadata and the columns of headers or declarations."""
        declared = [*self._headers] or [c.name for c in self._table.columns if not c.name.startswith("_")]
        if self._table.load.format in ("json", "jsonl"):
            declared = ["_record"]
        texts = [f"cast(null as varchar) as {quoted(c)}" for c in declared]
        return ["cast(null as varchar) as _file", "cast(null as bigint) as _line", *texts] if declared else []

    def close(self) -> tuple[str | None, list[str]]:
        """The relation of all rows (None without any), and the files that had none."""
        for writer in self._writers.values():
            writer.close()
        empty = [name for name, rows in self._rows.items() if not rows]
        if not self._files:
            return None, empty
        paths = ", ".join(literal(str(p)) for p in self._files)
        return f"select * from read_parquet([{paths}], union_by_name = true)", empty
