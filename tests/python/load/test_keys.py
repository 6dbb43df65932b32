"""Files that may enter raw: how many different keys they have, however that is found, and how wide their rows are."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.load.keys import distinct_keys
from sluice.load.staging import FEW_ROWS, copy_to


def _distinct(folder: Path, types: str, keys: list[tuple[Any, ...]]) -> int:
    path, con = folder / "keys.parquet", duckdb.connect()
    con.execute(f"create table keys (a {types.split()[0]}, b {types.split()[1]})")
    if keys:
        con.register("rows", pa.table(list(map(list, zip(*keys, strict=True))), names=["a", "b"]))
        con.execute("insert into keys from rows")
    con.execute(f"copy keys to '{path}' (format parquet)")
    return distinct_keys(con, ["a", "b"], path, len(keys))


@settings(deadline=None, max_examples=30)
@given(
    st.one_of(
        st.lists(st.tuples(st.integers(-3, 9), st.integers(100, 103))),
        st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 1))),
        st.lists(st.tuples(st.sampled_from([-(2**63), 2**63 - 1]), st.integers(-128, 127))),
    ),
    st.sampled_from(["bigint smallint", "decimal(38,0) bigint", "varchar integer"]),
)
def test_each_way_counts_the_same(
    tmp_path_factory: pytest.TempPathFactory, keys: list[tuple[int, int]], types: str
) -> None:
    for order in (keys, sorted(keys)):
        assert _distinct(tmp_path_factory.mktemp("keys"), types, list(order)) == len(set(keys))


def test_one_twice_among_many(tmp_path: Path) -> None:
    days = [(date(2026, 1, 1) + timedelta(days=n), n) for n in range(5_000)]
    assert _distinct(tmp_path, "date integer", days) == 5_000
    assert _distinct(tmp_path, "date integer", [*days, days[2_500]]) == 5_000
    numbers = [(n, n % 7) for n in range(5_000, 0, -1)]
    assert _distinct(tmp_path, "integer integer", numbers) == 5_000
    assert _distinct(tmp_path, "integer integer", [*numbers, numbers[9]]) == 5_000


def test_wide_rows_are_written_in_small_groups(tmp_path: Path) -> None:
    con = duckdb.connect()
    con.execute(f"set memory_limit = '300MB'; set temp_directory = '{tmp_path}'; set threads = 2")
    wide = "select i as id, repeat(md5(i::varchar), 600) as body from range(30000) as numbers (i)"
    file = tmp_path / "wide.parquet"
    with pytest.raises(duckdb.OutOfMemoryException):
        con.execute(f"copy ({wide}) to '{file}' (format parquet, parquet_version v2)")
    assert copy_to(con, wide, file) == 30_000
    groups = con.execute(f"select max(row_group_num_rows) from parquet_metadata('{file}')").fetchone()
    assert groups == (FEW_ROWS,)
