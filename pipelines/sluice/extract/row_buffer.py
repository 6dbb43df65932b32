"""Extracted rows with bounded memory: held in memory, then in Parquet files."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sluice.config.column_names import FILE, KEY, RECORD, STREAM, SUBJECT
from sluice.config.declaration import Table
from sluice.extract.contract import ExtractContext, JsonRecords
from sluice.extract.exact_json import LONG_NUMBER
from sluice.sql import literal, quoted

FLUSH_ROWS = 20_000
FLUSH_BYTES = 32 * 2**20
"""Python values become Arrow's at whichever comes first, which take less memory."""
GROUP_ROWS = 122_880
"""Rows that DuckDB stores together; what comes in groups of another size it stores twice, to make them even."""
GROUP_BYTES = 64 * 2**20
"""A group is full when it has as many bytes; bounds the memory of a file to about thrice these a table."""
REPEATED = (FILE, KEY, STREAM, SUBJECT)
"""Texts of metadata that many rows share."""


class RowBuffer:
    """Takes Arrow tables: held in memory while the source's budget lasts, else in one Parquet file.

    Threads beside write the file, while more is read.
    """

    def __init__(self, path: Path, schema: pa.Schema, context: ExtractContext) -> None:
        self.path = path
        """Of the file, if there is one."""
        self.schema = schema
        self.is_exact = True
        """Whether every number of the JSON records in the column `_record` fits a double exactly."""
        self.is_held = True
        """Whether the rows are in memory."""
        self._context = context
        self._held: list[pa.Table] = []
        self._waiting: list[pa.Table] = []
        self._rows = self._bytes = 0
        self._writer: pq.ParquetWriter | None = None
        self._beside = ThreadPoolExecutor(2, thread_name_prefix="buffer")
        self._under_way: list[Future[None]] = []

    def write(self, table: pa.Table) -> None:
        """Append a table of the same schema."""
        self._waiting.append(table)
        self._rows += table.num_rows
        self._bytes += table.nbytes
        if self._rows < GROUP_ROWS and self._bytes < GROUP_BYTES:
            return
        waiting = pa.concat_tables(self._waiting)
        even = self._rows // GROUP_ROWS * GROUP_ROWS or self._rows
        for begin in range(0, even, GROUP_ROWS):
            self._send(waiting.slice(begin, min(GROUP_ROWS, even - begin)))
        rest = waiting.slice(even)
        self._waiting, self._rows, self._bytes = [rest], rest.num_rows, rest.nbytes

    def close(self) -> None:
        """Write what waits, and finish the file."""
        try:
            if self._rows:
                self._send(pa.concat_tables(self._waiting))
            self._settle()
        finally:
            self._beside.shutdown()
            if self._writer is not None:
                self._writer.close()

    def relation(self) -> str:
        """A SELECT of the rows, once they are closed."""
        if not self.is_held:
            return f"select * from read_parquet({literal(str(self.path))})"
        self._context.con.register(self._name, pa.concat_tables([self.schema.empty_table(), *self._held]))
        return f"select * from {quoted(self._name)}"

    def release(self) -> None:
        """Free rows in memory; nobody reads them any more."""
        self._context.con.unregister(self._name)
        self._context.memory.bytes_left += sum(group.nbytes for group in self._held)
        self._held = []

    @property
    def _name(self) -> str:
        return self.path.stem

    def _send(self, group: pa.Table) -> None:
        self._settle()
        self._under_way = []
        if self.is_held and group.nbytes <= self._context.memory.bytes_left:
            self._context.memory.bytes_left -= group.nbytes
            self._held.append(group.combine_chunks())
        else:
            if self._writer is None:
                self._writer = self._moved()
            self._under_way.append(self._beside.submit(self._writer.write_table, group))
        if self.is_exact and RECORD in group.schema.names:
            self._under_way.append(self._beside.submit(self._look, group[RECORD]))

    def _moved(self) -> pq.ParquetWriter:
        """The file, with what was in memory."""
        # read once, and soon: no dictionary for texts that hardly repeat, no statistics
        writer = pq.ParquetWriter(
            self.path,
            self.schema,
            compression="lz4",
            use_dictionary=[field.name for field in self.schema if field.name in REPEATED],
            write_statistics=False,
        )
        self.is_held = False
        for group in self._held:
            writer.write_table(group)
        self.release()
        return writer

    def _settle(self) -> None:
        """Wait for what is being written; raises what it raised."""
        for work in self._under_way:
            work.result()

    def _look(self, records: pa.ChunkedArray) -> None:
        self.is_exact = not any(map(_has_long_number, records.chunks))


class ValueBuffer(RowBuffer):
    """A row buffer that takes columns of Python values."""

    def __init__(self, path: Path, schema: pa.Schema, context: ExtractContext) -> None:
        super().__init__(path, schema, context)
        self.rows = 0
        self._columns: list[list[Any]] = [[] for _ in schema]
        self._size = 0

    def extend(self, *columns: Sequence[Any], size: int) -> None:
        """Append rows: one sequence per column, all of one length; `size` is about how many bytes they take."""
        for kept, more in zip(self._columns, columns, strict=True):
            kept.extend(more)
        self.rows += len(columns[0])
        self._size += size
        if len(self._columns[0]) >= FLUSH_ROWS or self._size >= FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        arrays = [
            texts(column) if column and isinstance(column[0], bytes) else pa.array(column, type=field.type)
            for column, field in zip(self._columns, self.schema, strict=True)
        ]
        self.write(pa.Table.from_arrays(arrays, schema=self.schema))
        self._columns = [[] for _ in self.schema]
        self._size = 0

    def extracted(self, table: Table[Any], **more: Any) -> JsonRecords:
        """The rows as what an extractor yields for a table; they have JSON in `_record`."""
        return JsonRecords(
            table=table, relation=self.relation(), is_exact=self.is_exact, release=self.release, **more
        )

    def close(self) -> None:
        """Write what waits, and finish the file."""
        if self._columns[0]:
            self._flush()
        super().close()


def _has_long_number(records: pa.StringArray) -> bool:
    """Whether some number in the JSON texts may not fit a double; all texts are searched as one, which is faster."""
    _, offsets, data = records.buffers()
    if not len(records) or data is None:
        return False
    places = pa.Array.from_buffers(pa.int32(), len(records) + 1, [None, offsets], offset=records.offset)
    begin, end = places[0].as_py(), places[-1].as_py()
    ends = pa.py_buffer(array("i", (0, end - begin)))
    whole = pa.Array.from_buffers(pa.binary(), 1, [None, ends, data.slice(begin, end - begin)])
    return bool(pc.match_substring_regex(whole, LONG_NUMBER)[0].as_py())


def texts(values: Sequence[bytes]) -> pa.StringArray:
    """UTF-8 bytes as an Arrow string array; pa.ArrowInvalid when they are not valid.

    Six times as fast as `pa.array(values, pa.string())`, which looks at every value on its own.
    """
    offsets = array("i", chain((0,), accumulate(map(len, values))))
    result = pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(b"".join(values)))
    result.validate(full=True)
    return result


def numbers(values: Sequence[int]) -> pa.Int64Array:
    """Whole numbers as an Arrow array; a range or an `array("q")` without looking at each."""
    if isinstance(values, range) and values.step == 1:
        ones = pa.repeat(pa.scalar(1, pa.int64()), len(values))
        return pc.cumulative_sum(ones, start=values.start - 1)
    if isinstance(values, array) and values.typecode == "q":
        return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])
    return pa.array(values, pa.int64())
