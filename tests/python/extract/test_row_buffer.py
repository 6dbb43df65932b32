"""Row buffers: in memory, and in files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sluice.extract import row_buffer
from sluice.extract.contract import MemoryBudget
from sluice.extract.row_buffer import GROUP_ROWS, RowBuffer

SCHEMA = pa.schema([("_line", pa.int64()), ("_record", pa.string())])


@dataclass
class _Written:
    """Row buffers of a context with a memory budget."""

    folder: Path
    context: Any = field(default_factory=lambda: _Context())

    def of(self, *batches: list[str], budget: int = 0) -> RowBuffer:
        self.context.memory.bytes_left = budget
        rows = RowBuffer(self.folder / "a.parquet", SCHEMA, self.context)
        line = 0
        for records in batches:
            lines = range(line, line + len(records))
            rows.write(pa.table({"_line": pa.array(lines, pa.int64()), "_record": records}, schema=SCHEMA))
            line += len(records)
        rows.close()
        return rows

    def lines(self, rows: RowBuffer) -> list[int]:
        return [
            line for (line,) in self.context.con.execute(f"select _line from ({rows.relation()})").fetchall()
        ]


@dataclass
class _Context:
    """The part of a context that a row buffer takes."""

    con: duckdb.DuckDBPyConnection = field(default_factory=duckdb.connect)
    memory: MemoryBudget = field(default_factory=MemoryBudget)


@pytest.fixture
def written(tmp_path: Path) -> Iterator[_Written]:
    made = _Written(tmp_path)
    yield made
    made.context.con.close()


def _groups(path: Path) -> list[int]:
    metadata = pq.read_metadata(path)
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def test_groups_are_as_duckdb_stores_rows(written: _Written) -> None:
    rows = written.of(["{}"] * 100_000, ["{}"] * 300_000, [], ["{}"] * 5)
    assert _groups(rows.path) == [GROUP_ROWS, GROUP_ROWS, GROUP_ROWS, 400_005 - 3 * GROUP_ROWS]
    assert written.lines(rows) == list(range(400_005))


def test_groups_of_wide_rows_are_smaller(written: _Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_buffer, "GROUP_BYTES", 100_000)
    rows = written.of(*[["x" * 1000] * 60] * 5)
    assert _groups(rows.path) == [120, 120, 60]


def test_no_rows_can_be_read(written: _Written) -> None:
    for budget in (0, 1000):
        rows = written.of(budget=budget)
        assert rows.is_exact
        assert written.lines(rows) == []
        assert [
            n for n, *_ in written.context.con.execute(f"describe {rows.relation()}").fetchall()
        ] == SCHEMA.names


def test_rows_stay_in_memory_while_the_budget_lasts(written: _Written) -> None:
    batches = [["{}"] * 200_000, ["{}"] * 200_000]
    rows = written.of(*batches, budget=10**8)
    assert not rows.path.exists()
    assert written.lines(rows) == list(range(400_000))
    taken = 10**8 - written.context.memory.bytes_left
    assert taken > 400_000 * 8
    rows.release()
    rows.release()
    assert written.context.memory.bytes_left == 10**8
    with pytest.raises(duckdb.CatalogException):
        written.context.con.execute('from "a"')
    rows = written.of(*batches, budget=taken - 1)
    assert rows.path.exists()
    assert written.lines(rows) == list(range(400_000))
    assert written.context.memory.bytes_left == taken - 1


@pytest.mark.parametrize(
    ("record", "exact"),
    [
        ('{"a": 1.25, "b": "12345678901234567890", "c": [1, -2.5]}', True),
        ('{"a": 1234567890123456789}', False),
        ('{"a":0.12345678901234567}', False),
        ('{"a": [1,-1.5e300]}', False),
        ('{"a": 1E5}', False),
    ],
)
def test_long_numbers_are_seen_wherever_they_stand(written: _Written, record: str, exact: bool) -> None:
    others = ["{}", '{"a": 1}', ""]
    for budget in (0, 10**6):
        rows = written.of(others, [*others, record], others, budget=budget)
        assert rows.is_exact is exact


def test_an_error_of_the_writer_is_raised(written: _Written, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="no space left"):
        written.of(["{}"])
