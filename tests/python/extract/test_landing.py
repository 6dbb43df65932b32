"""Files that rows land in."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.extract import landing
from pipelines.extract.landing import GROUP_ROWS, GroupedFile

SCHEMA = pa.schema([("_line", pa.int64()), ("_record", pa.string())])


def _written(path: Path, *batches: list[str]) -> GroupedFile:
    file = GroupedFile(path, SCHEMA)
    line = 0
    for records in batches:
        lines = range(line, line + len(records))
        file.write(pa.table({"_line": pa.array(lines, pa.int64()), "_record": records}, schema=SCHEMA))
        line += len(records)
    file.close()
    return file


def _groups(path: Path) -> list[int]:
    metadata = pq.read_metadata(path)
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def test_groups_are_as_duckdb_stores_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    _written(path, ["{}"] * 100_000, ["{}"] * 300_000, [], ["{}"] * 5)
    assert _groups(path) == [GROUP_ROWS, GROUP_ROWS, GROUP_ROWS, 400_005 - 3 * GROUP_ROWS]
    assert pq.read_table(path)["_line"].to_pylist() == list(range(400_005))


def test_groups_of_wide_rows_are_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "GROUP_BYTES", 100_000)
    path = tmp_path / "a.parquet"
    _written(path, *[["x" * 1000] * 60] * 5)
    assert _groups(path) == [120, 120, 60]


def test_a_file_without_rows_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    assert _written(path).is_exact
    assert pq.read_table(path).schema.equals(SCHEMA)


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
def test_long_numbers_are_seen_wherever_they_stand(tmp_path: Path, record: str, exact: bool) -> None:
    others = ["{}", '{"a": 1}', ""]
    file = _written(tmp_path / "a.parquet", others, [*others, record], others)
    assert file.is_exact is exact


def test_an_error_of_the_writer_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="no space left"):
        _written(tmp_path / "a.parquet", ["{}"])
