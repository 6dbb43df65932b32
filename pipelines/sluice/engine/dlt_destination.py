"""dlt's DuckDB destination as raw needs it: each file is loaded in one transaction, and can be loaded again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dlt
from dlt.common.configuration import configspec
from dlt.common.destination.client import FollowupJobRequest, LoadJob, RunnableLoadJob
from dlt.common.destination.typing import PreparedTableSchema
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
from dlt.destinations.impl.duckdb.duck import DuckDbClient

from sluice.sql import literal

CATALOG = "raw"
"""What DuckDB calls the database in the file raw.duckdb."""


class _LoadParquet(RunnableLoadJob):
    """Loads the rows of one Parquet file into raw: they replace the whole table, or the rows with the same keys.

    One statement or one transaction, with the same result when it is repeated after a kill. dlt's own job writes
    every row twice, first to a staging table, and would have to know which of the two steps a killed run had done.
    """

    _job_client: DuckDbClient

    def run(self) -> None:
        sql = self._job_client.sql_client
        columns = {str(c["name"]): c for c in self._load_table["columns"].values()}
        name = sql.make_qualified_table_name(self.load_table_name)
        file = f"read_parquet({literal(self._file_path)})"
        if self._load_table["write_disposition"] == "replace":
            types = self._types(list(columns))
            values = ", ".join(
                f"cast({c} as {kind}) as {c}"
                for c, kind in zip(map(self._escaped, columns), types, strict=True)
            )
            # deleting and inserting, even in one transaction, is not enough: DuckDB 1.5.5 lets a query that begins
            # while a large commit is under way see the inserted rows beside the deleted ones
            sql.execute_sql(f"create or replace table {name} as select {values} from {file}")
            return
        with sql.begin_transaction():
            for hint in ("primary_key", "merge_key"):
                if key := [self._escaped(c) for c in columns if columns[c].get(hint)]:
                    # comparing rows is slow: the first part of a key narrows them down
                    parts = [key[0], f"({', '.join(key)})"][: len(key)]
                    same = " and ".join(f"{part} in (select {part} from {file})" for part in parts)
                    sql.execute_sql(f"delete from {name} where {same}")
            sql.execute_sql(f"insert into {name} by name select * from {file}")

    def _escaped(self, column: str) -> str:
        return self._job_client.sql_client.escape_column_name(column)

    def _types(self, columns: Sequence[str]) -> list[str]:
        """Types of the columns in raw: dlt creates or extends the table before it loads the file."""
        sql = self._job_client.sql_client
        with sql.execute_query(
            f"select {', '.join(map(self._escaped, columns))} from"
            f" {sql.make_qualified_table_name(self.load_table_name)} limit 0"
        ) as cursor:
            return [str(kind) for _, kind, *_ in cursor.native_cursor.description]


class _RawClient(DuckDbClient):
    """Loads files with `_LoadParquet`, and looks only at raw in the information schema.

    Sources are attached to the same DuckDB while they are read; dlt would take a table of theirs, in a schema named
    like the source, for the one in raw.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        components = self.sql_client._get_information_schema_components

        def in_raw(*tables: str) -> Any:
            return (CATALOG, *components(*tables)[1:])

        self.sql_client._get_information_schema_components = in_raw  # type: ignore[method-assign]

    def create_load_job(
        self, table: PreparedTableSchema, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        if file_path.endswith(".parquet"):
            return _LoadParquet(file_path)
        return super().create_load_job(table, file_path, load_id, restore)

    def should_load_data_to_staging_dataset(self, table_name: str) -> bool:
        return False

    def should_truncate_table_before_load(self, table_name: str) -> bool:
        return False

    def create_table_chain_completed_followup_jobs(
        self, table_chain: Sequence[PreparedTableSchema], completed_table_chain_jobs: Any = None
    ) -> list[FollowupJobRequest]:
        return []


@configspec(init=False)
class _File(DuckDbCredentials):
    """The path of raw as it is: dlt would parse a text as a URL with SQLAlchemy, which is slow to import."""

    def __str__(self) -> str:
        return str(self.database)


class _Raw(dlt.destinations.duckdb):
    @property
    def destination_type(self) -> str:
        return "dlt.destinations.duckdb"  # the name in dlt's state

    @property
    def client_class(self) -> type[DuckDbClient]:
        return _RawClient


def raw_destination(path: Path) -> _Raw:
    """The destination of every pipeline: the DuckDB file `path`.

    One file after the other, each by all of DuckDB's threads: side by side they would only need more memory.
    By default dlt assumes that DuckDB has no transactions.
    """
    credentials = _File()
    credentials.database = str(path)
    credentials.resolve()
    return _Raw(credentials, supports_transactions=True, loader_parallelism_strategy="sequential")
