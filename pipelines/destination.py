"""dlt's DuckDB destination as raw needs it: every load job one transaction, and only raw's own catalog looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dlt
from dlt.common.destination.client import FollowupJobRequest
from dlt.common.destination.typing import PreparedTableSchema
from dlt.destinations.impl.duckdb.duck import DuckDbClient
from dlt.destinations.sql_client import SqlClientBase
from dlt.destinations.sql_jobs import SqlStagingReplaceFollowupJob

CATALOG = "raw"
"""What DuckDB calls the database in the file raw.duckdb."""


class _Swap(SqlStagingReplaceFollowupJob):
    """Puts a table made of the staging table in the old one's place.

    Deleting and inserting, even in one transaction, is not enough: DuckDB 1.5.5 lets a query that begins while a
    large commit is under way see the inserted rows beside the deleted ones.
    """

    @classmethod
    def generate_sql(
        cls, table_chain: Sequence[PreparedTableSchema], sql_client: SqlClientBase[Any]
    ) -> list[str]:
        statements = []
        for table in table_chain:
            own = str(table["name"])
            with sql_client.with_staging_dataset():
                staging = sql_client.make_qualified_table_name(own)
            columns = ", ".join(map(sql_client.escape_column_name, table["columns"]))
            name = sql_client.make_qualified_table_name(own)
            statements.append(f"create or replace table {name} as select {columns} from {staging}")
        return statements


class _RawClient(DuckDbClient):
    """Replaces tables by swapping them, and asks the information schema about raw only.

    Sources are attached to the same DuckDB while they are read; dlt would take a table of theirs, in a schema that
    is called like the source, for the one in raw.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        components = self.sql_client._get_information_schema_components

        def in_raw(*tables: str) -> Any:
            return (CATALOG, *components(*tables)[1:])

        self.sql_client._get_information_schema_components = in_raw  # type: ignore[method-assign]

    def _create_replace_followup_jobs(
        self, table_chain: Sequence[PreparedTableSchema]
    ) -> list[FollowupJobRequest]:
        return [_Swap.from_table_chain(table_chain, self.sql_client)]


class _Raw(dlt.destinations.duckdb):
    @property
    def destination_type(self) -> str:
        return "dlt.destinations.duckdb"  # as dlt's state has it

    @property
    def client_class(self) -> type[DuckDbClient]:
        return _RawClient


def raw_destination(path: Path) -> _Raw:
    """The destination of every pipeline: the DuckDB file `path`.

    dlt takes DuckDB for a database without transactions unless the statements hold DDL, and so deletes and inserts
    one by one; and it fills replaced tables in place unless told to go through a staging table.
    """
    return _Raw(str(path), replace_strategy="insert-from-staging", supports_transactions=True)
