"""Names of types that need not be looked up in DuckDB are DuckDB's all the same."""

from __future__ import annotations

import duckdb
import pytest

from sluice.config.data_types import COMMON, duckdb_type


@pytest.mark.parametrize("name", [*COMMON, "DECIMAL(9, 2)", "numeric(38,0)", "Timestamp With Time Zone"])
def test_a_common_type_is_what_duckdb_calls_it(name: str) -> None:
    described = duckdb.sql(f"describe select cast(null as {name}) as c").fetchone()
    assert described
    assert duckdb_type(name) == described[1]


@pytest.mark.parametrize("name", ["decimal(0,0)", "decimal(2,3)", "decimal(39,0)", "text(", "strin"])
def test_what_is_no_type_of_duckdb_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not an SQL type"):
        duckdb_type(name)
