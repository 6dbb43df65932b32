"""dlt's DuckDB destination as raw needs it: each file is loaded in one transaction, and can be loaded again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import dlt
from dlt.common.configuration import configspec
from dlt.common.configuration.container import Container
from dlt.common.destination.capabilities import DestinationCapabilitiesContext
from dlt.common.destination.client import FollowupJobRequest, LoadJob, RunnableLoadJob
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.normalizers.naming import NamingConvention
from dlt.common.schema import TSchemaTables
from dlt.common.storages.load_package import LoadPackageStateInjectableContext, destination_state
from dlt.destinations.impl.duckdb.configuration import DuckDbClientConfiguration, DuckDbCredentials
from dlt.destinations.impl.duckdb.duck import DuckDbClient

from sluice.config.column_names import FILE, LINE
from sluice.engine.raw import QUARANTINE, attached_databases
from sluice.sql import listed, literal

CATALOG = "raw"
"""What DuckDB calls the database in the file raw.duckdb."""
EXCHANGED = "exchanged"
"""Key in the state of a load package: names of the tables whose files take their place in raw as a whole."""
GONE = "gone"
"""Key in the state of a load package: by table, the source's files of which only some rows are loaded, each with the
lines to delete: all after the line `after`, and `lines`."""


class _LoadParquet(RunnableLoadJob):
    """Loads the rows of one Parquet file into raw: they replace the whole table, or the rows with the same keys.

    One statement or one transaction, with the same result when it is repeated after a kill. dlt's own job writes
    every row twice, first to a staging table, and would have to know which of the two steps a killed run had done.
    """

    _job_client: DuckDbClient

    def __init__(self, file_path: str, gone: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(file_path)
        self._gone = gone

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
            if sql.execute_sql(f"select 1 from {name} limit 1"):
                self._delete_replaced(name, file, columns)
            sql.execute_sql(f"insert into {name} by name select * from {file}")

    def _delete_replaced(self, name: str, file: str, columns: Mapping[str, Any]) -> None:
        """Delete the rows of the table that those of the file replace."""
        for hint in ("primary_key", "merge_key"):
            if key := [self._escaped(c) for c in columns if columns[c].get(hint)]:
                # comparing rows is slow: the first part of a key narrows them down
                parts = [key[0], f"({', '.join(key)})"][: len(key)]
                same = " and ".join(f"{part} in (select {part} from {file})" for part in parts)
                if hint == "merge_key" and self._gone:
                    same += f" and {FILE} not in ({listed(self._gone)})"
                self._job_client.sql_client.execute_sql(f"delete from {name} where {same}")
        for statement in _deletions(self._gone, name, file):
            self._job_client.sql_client.execute_sql(statement)

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


class _Later(RunnableLoadJob):
    """The file of a table that is exchanged when the package completes."""

    def run(self) -> None:
        return


class _RawClient(DuckDbClient):
    """Loads files with `_LoadParquet`, and looks only at raw in the information schema.

    Tables that are exchanged are left alone until the package completes. Then their rows, types and quarantines, the
    schema and the state (which counts once the package is in `_dlt_loads`) change in one transaction.

    Sources are attached to the same DuckDB while they are read; dlt would take a table of theirs, in a schema named
    like the source, for the one in raw.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        components = self.sql_client._get_information_schema_components

        def in_raw(*tables: str) -> Any:
            return (CATALOG, *components(*tables)[1:])

        self.sql_client._get_information_schema_components = in_raw  # type: ignore[method-assign]

    def __enter__(self) -> Self:
        """Rows may stand in raw in another order than in their file.

        To keep theirs, DuckDB 1.5.5 stores them twice when the file's row groups are not exactly as large as its own:
        45 % of the CPU of an insert, and a database file of twice the size.
        """
        super().__enter__()
        self.sql_client.execute_sql("set session preserve_insertion_order = false")
        return self

    def is_storage_initialized(self) -> bool:
        with attached_databases:
            return super().is_storage_initialized()

    def get_storage_tables(self, table_names: Iterable[str]) -> Iterable[tuple[str, Any]]:
        with attached_databases:
            return list(super().get_storage_tables(table_names))

    def create_load_job(
        self, table: PreparedTableSchema, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        if file_path.endswith(".parquet"):
            is_later = str(table["name"]).removesuffix(QUARANTINE) in _exchanged()
            gone = destination_state().get(GONE, {}).get(table["name"], {})
            return _Later(file_path) if is_later else _LoadParquet(file_path, gone)
        return super().create_load_job(table, file_path, load_id, restore)

    def update_stored_schema(
        self,
        only_tables: Any = None,
        expected_update: Any = None,
        force: bool = False,
    ) -> TSchemaTables | None:
        if not _exchanged():
            return super().update_stored_schema(only_tables, expected_update, force)
        with self.maybe_ddl_transaction():
            tables = set(only_tables or self.schema.tables) - set(_exchanged())
            return self._execute_schema_update_sql(tables, store_schema=False)

    def complete_load(self, load_id: str) -> None:
        if not _exchanged():
            super().complete_load(load_id)
            return
        with self.sql_client.begin_transaction():
            for table in _exchanged():
                self._exchange(table)
            # with all earlier ones: dlt takes a schema that was stored before for one that raw has, and would not
            # create its tables and columns
            self._delete_schema_in_storage(self.schema)
            self._update_schema_in_storage(self.schema)
            super().complete_load(load_id)

    def _exchange(self, table: str) -> None:
        """Let the package's rows of a table, and its bad ones, take the place of raw's."""
        sql, prepared = self.sql_client, self.prepare_load_table(table)
        typed = ", ".join(
            f"cast({column} as {self.type_mapper.to_destination_type(c, prepared)}) as {column}"
            for c in prepared["columns"].values()
            for column in [sql.escape_column_name(str(c["name"]))]
        )
        (file,) = _files(table)
        sql.execute_sql(
            f"create or replace table {sql.make_qualified_table_name(table)} as select {typed} from {file}"
        )
        bad = sql.make_qualified_table_name(table + QUARANTINE)
        if self.get_storage_table(table + QUARANTINE)[0]:
            sql.execute_sql(f"delete from {bad}")
        for file in _files(table + QUARANTINE):
            sql.execute_sql(f"insert into {bad} by name select * from {file}")

    def should_load_data_to_staging_dataset(self, table_name: str) -> bool:
        return False

    def should_truncate_table_before_load(self, table_name: str) -> bool:
        return False

    def create_table_chain_completed_followup_jobs(
        self, table_chain: Sequence[PreparedTableSchema], completed_table_chain_jobs: Any = None
    ) -> list[FollowupJobRequest]:
        return []


def _deletions(gone: Mapping[str, Mapping[str, Any]], table: str, file: str) -> Iterator[str]:
    """Statements that delete the lines which a file replaces or its source's files no longer have."""
    if gone:
        yield (
            f"delete from {table} as held using (select {FILE}, {LINE} from {file} where {FILE} in"
            f" ({listed(gone)})) as come where held.{FILE} = come.{FILE} and held.{LINE} = come.{LINE}"
        )
    for name, left in gone.items():
        conditions = [f"{LINE} > {left['after']}"] if left["after"] is not None else []
        conditions += [f"{LINE} in ({', '.join(map(str, left['lines']))})"] if left["lines"] else []
        if conditions:
            yield f"delete from {table} where {FILE} = {literal(name)} and ({' or '.join(conditions)})"


def _exchanged() -> list[str]:
    """Tables that the load package under way exchanges."""
    return list(destination_state().get(EXCHANGED, ()))


def _files(table: str) -> list[str]:
    """The files of a table in a package whose jobs have ended, in SQL."""
    package = Container()[LoadPackageStateInjectableContext]
    storage, load_id = package.storage, package.load_id
    return [
        f"read_parquet({literal(storage.storage.make_full_path(path))})"
        for state, job in storage.list_job_with_states_for_table(load_id, table)
        for path in [storage.get_job_file_path(load_id, state, job.file_name())]
    ]


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

    @cached_property
    def _resolved(self) -> DuckDbClientConfiguration:
        return self.configuration(self.spec(), accept_partial=True)

    def capabilities(
        self, config: DuckDbClientConfiguration | None = None, naming: NamingConvention | None = None
    ) -> DestinationCapabilitiesContext:
        """As dlt's own, which resolves its configuration anew each of the dozen times a load asks."""
        return super().capabilities(config or self._resolved, naming)


def raw_destination(path: Path) -> _Raw:
    """The destination of every pipeline: the DuckDB file `path`.

    One file after the other, each by all of DuckDB's threads: side by side they would only need more memory.
    By default dlt assumes that DuckDB has no transactions.
    """
    credentials = _File()
    credentials.database = str(path)
    credentials.resolve()
    return _Raw(credentials, supports_transactions=True, loader_parallelism_strategy="sequential")
