"""Where rows land: in memory, and in files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sluice.extract import row_buffer as landing
from sluice.extract.contract import Room
from sluice.extract.row_buffer import GROUP_ROWS, LandedRows

SCHEMA = pa.schema([("_line", pa.int64()), ("_record", pa.string())])


@dataclass
class _Landing:
    """A landing file of a job with so many bytes of memory."""

    folder: Path
    job: Any = field(default_factory=lambda: _Job())

    def of(self, *batches: list[str], room: int = 0) -> LandedRows:
        self.job.room.left = room
        rows = LandedRows(self.folder / "a.parquet", SCHEMA, self.job)
        line = 0
        for records in batches:
            lines = range(line, line + len(records))
            rows.write(pa.table({"_line": pa.array(lines, pa.int64()), "_record": records}, schema=SCHEMA))
            line += len(records)
        rows.close()
        return rows

    def lines(self, rows: LandedRows) -> list[int]:
        return [line for (line,) in self.job.con.execute(f"select _line from ({rows.relation()})").fetchall()]


@dataclass
class _Job:
    """The part of a job that landing takes."""

    con: duckdb.DuckDBPyConnection = field(default_factory=duckdb.connect)
    room: Room = field(default_factory=Room)


@pytest.fixture
def written(tmp_path: Path) -> Iterator[_Landing]:
    made = _Landing(tmp_path)
    yield made
    made.job.con.close()


def _groups(path: Path) -> list[int]:
    metadata = pq.read_metadata(path)
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def test_groups_are_as_duckdb_stores_rows(written: _Landing) -> None:
    rows = written.of(["{}"] * 100_000, ["{}"] * 300_000, [], ["{}"] * 5)
    assert _groups(rows.path) == [GROUP_ROWS, GROUP_ROWS, GROUP_ROWS, 400_005 - 3 * GROUP_ROWS]
    assert written.lines(rows) == list(range(400_005))


def test_groups_of_wide_rows_are_smaller(written: _Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "GROUP_BYTES", 100_000)
    rows = written.of(*[["x" * 1000] * 60] * 5)
    assert _groups(rows.path) == [120, 120, 60]


def test_no_rows_can_be_read(written: _Landing) -> None:
    for room in (0, 1000):
        rows = written.of(room=room)
        assert rows.is_exact
        assert written.lines(rows) == []
        assert [
            n for n, *_ in written.job.con.execute(f"describe {rows.relation()}").fetchall()
        ] == SCHEMA.names


def test_rows_stay_in_memory_while_there_is_room(written: _Landing) -> None:
    batches = [["{}"] * 200_000, ["{}"] * 200_000]
    rows = written.of(*batches, room=10**8)
    assert not rows.path.exists()
    assert written.lines(rows) == list(range(400_000))
    taken = 10**8 - written.job.room.left
    assert taken > 400_000 * 8
    rows.release()
    rows.release()
    assert written.job.room.left == 10**8
    with pytest.raises(duckdb.CatalogException):
        written.job.con.execute('from "a"')
    rows = written.of(*batches, room=taken - 1)
    assert rows.path.exists()
    assert written.lines(rows) == list(range(400_000))
    assert written.job.room.left == taken - 1


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
def test_long_numbers_are_seen_wherever_they_stand(written: _Landing, record: str, exact: bool) -> None:
    others = ["{}", '{"a": 1}', ""]
    for room in (0, 10**6):
        rows = written.of(others, [*others, record], others, room=room)
        assert rows.is_exact is exact


def test_an_error_of_the_writer_is_raised(written: _Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="no space left"):
        written.of(["{}"])
