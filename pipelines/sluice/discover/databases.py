"""Databases: what their catalogs declare, and rows as the loader reads them."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from sluice.config.connections import Connections
from sluice.config.declaration import DatabaseSource, DatabaseTable, Source, Table
from sluice.discover.contract import DiscoveredSource, DiscoveredTable, Limits, Target
from sluice.discover.database_catalog import CatalogTable, read_catalog
from sluice.discover.database_tables import default_schema, describe, not_loadable, table_names
from sluice.engine import engine
from sluice.engine.types import Cast
from sluice.errors import SluiceError, UsageError, root_error
from sluice.extract.contract import ExtractContext
from sluice.extract.database import Server, scheme_of
from sluice.extract.database.common import DIALECTS
from sluice.extract.database.scan import Scan
from sluice.sql import first_value, literal, one_row, quoted

COUNTED_ROWS = 1_000_000
"""Of tables that are larger by the database's estimate the rows are not counted."""
SAMPLED = {
    "postgres": "random() < {share}",
    "mysql": "rand() < {share}",
    "sqlite": "abs(random()) % 1000000 < {share} * 1000000",
}
"""Conditions that let in a share of a table's rows, each with the same chance."""
SAMPLED_PAGES = (
    "ctid = any(array(select ctid from only {there} tablesample system ({percent}) repeatable (1)))"
)
"""The same for a table of PostgreSQL, of which only a share of the pages is read."""
TIMEOUTS = {
    "postgres": "set statement_timeout = {milliseconds}",
    "mysql": "set session max_statement_time = {seconds}",
}
TOO_LONG = re.compile(r"statement timeout|max_statement_time|execution was interrupted", re.IGNORECASE)
CUT = re.compile(r"(?s)^.*?Error: |\n.*$")
"""What stands before and after a server's own words."""


def discover_database(
    target: Target,
    con: duckdb.DuckDBPyConnection,
    limits: Limits,
    root: Path,
    connections: Connections,
) -> DiscoveredSource:
    """Tables and views of a database, with rows in `con`; raises ConnectionError if it cannot be reached."""
    name, key = target.name, target.connection_name
    url = connections.require(key, "url")
    source: Source[DatabaseSource, DatabaseTable] = Source(
        name, name, DatabaseSource(kind="database", connection=key), (), root / f"{name}.yml", 1, {}
    )
    found = DiscoveredSource(
        name, {"kind": "database", "connection": key}, [], {} if target.connection else {"url": url}
    )
    with TemporaryDirectory(prefix="sluice-discover-") as folder:
        context = ExtractContext(
            con=con.cursor(),
            folder=Path(folder),
            connections=connections,
            state=lambda table: {},
            progress=lambda table, rows: None,
            root=root,
        )
        if scheme_of(url, source) not in DIALECTS:
            from sluice.discover.other_databases import add_tables  # imports SQLAlchemy

            add_tables(found, url, source, context, con, limits)
            return found
        server = Server(url, source, context)
        found.keeps_types = server.dialect != "sqlite"
        try:
            with server.watched(limits.seconds * 2):
                _Look(server, con, source, limits, found).tables()
        finally:
            server.leave()
    return found


class _Look:
    """Looks at one database, table by table."""

    def __init__(
        self,
        server: Server,
        con: duckdb.DuckDBPyConnection,
        source: Source[DatabaseSource, DatabaseTable],
        limits: Limits,
        found: DiscoveredSource,
    ) -> None:
        self._server = server
        self._reader = server.context.con
        self._con = con
        self._source = source
        self._limits = limits
        self._found = found
        self._default = default_schema(server.url, server.dialect)

    def tables(self) -> None:
        """Add each table to what was found, or to what is left out."""
        self._server.ready()
        catalog = read_catalog(self._reader, self._server.catalog, self._server.dialect, self._limits)
        if not catalog:
            schemas = f" in {', '.join(self._limits.schemas)}" if self._limits.schemas else ""
            raise UsageError(
                f"{self._found.name}: the user of this connection sees no table{schemas}. Grant it the right to read "
                "them, or name another database or schema"
            )
        unnamed = {entry.shown: reason for entry in catalog if (reason := not_loadable(entry, catalog))}
        self._found.skipped |= unnamed
        catalog = [entry for entry in catalog if entry.shown not in unnamed]
        catalog.sort(key=lambda entry: (entry.schema != self._default, entry.schema, entry.name))
        names = table_names(catalog, self._default)
        self._con.execute(f"create schema if not exists {quoted(self._found.name)}")
        for entry in catalog:
            table = describe(entry, names, self._default)
            try:
                self._read(entry, table)
            except (SluiceError, duckdb.Error) as error:
                self._found.skipped[entry.shown] = self._reason(error)
            else:
                self._found.tables.append(table)

    def _read(self, entry: CatalogTable, table: DiscoveredTable) -> None:
        """Set the types that a load gives, and bring rows into the scratch database."""
        declared = Table(
            self._source.name,
            self._source.name,
            table.name,
            DatabaseTable(**table.load),
            (),
            self._source.file,
            1,
        )
        self._ready()
        scan = Scan(self._server.catalog, self._server.dialect, declared, self._server.context)
        names = list(scan.columns)
        if self._server.dialect == "sqlite":
            scan.take_odd_as_text(names, "true", every=False, suspects=())
        types = self._types(scan, declared, scan.relation(names, "true"))
        for column in table.columns:
            _, raw = types.get(column.name, ("", ""))
            column.data_type = "text" if raw == "VARCHAR" else raw.lower() or None
        if not self._limits.with_rows:
            return
        try:
            self._copy_rows(entry, table, declared, scan)
        except (SluiceError, duckdb.Error) as error:
            said = self._reason(error)
            if not TOO_LONG.search(said):
                raise
            table.questions.append(
                f"its rows were not looked at, for that took longer than {self._limits.seconds:.0f} s; which are its "
                "key and its cursor?"
            )

    def _ready(self) -> None:
        """A transaction on the server in which no statement takes too long."""
        self._server.ready()
        if statement := TIMEOUTS.get(self._server.dialect):
            seconds = round(self._limits.seconds)
            statement = statement.format(seconds=seconds, milliseconds=seconds * 1000)
            with suppress(duckdb.Error):  # MySQL's own spells it otherwise
                call = (
                    f"{self._server.dialect}_execute({literal(self._server.catalog)}, {literal(statement)})"
                )
                self._reader.execute(f"call {call}")

    def _copy_rows(
        self, entry: CatalogTable, table: DiscoveredTable, declared: Table[DatabaseTable], scan: Scan
    ) -> None:
        there = ".".join(scan.mark(part) for part in (entry.schema, entry.name) if part)
        if self._server.dialect == "sqlite" or (entry.rows or 0) < COUNTED_ROWS:
            table.rows = int(first_value(self._reader, self._asked(f"select count(*) as n from {there}")))
        table.is_whole = (table.rows or 0) <= self._limits.whole_rows
        condition = "" if table.is_whole else self._sampled(entry, there, table.rows or 0)
        names = list(scan.columns)
        if table.is_whole and self._server.dialect != "sqlite":  # values that would arrive altered
            scan.take_odd_as_text(names, "true", every=True, suspects=())
        file = self._server.context.folder / "rows.parquet"
        try:
            ways = self._copy(scan, condition, declared, file)
        except duckdb.Error:  # a value that the scanner cannot carry
            self._ready()
            if not scan.take_odd_as_text(names, "true", every=True, suspects=()):
                raise
            ways = self._copy(scan, condition, declared, file)
        rows = f"read_parquet({literal(str(file))})"
        self._declare_misfits_as_text(table, ways, rows)
        texts = {column.name for column in table.columns if column.data_type == "text"}
        shown = [
            f"{quoted(n) if n in texts or not way.keeps else way.value} as {quoted(n)}"
            for n, way in ways.items()
        ]
        table.relation = f"memory.{quoted(self._found.name)}.{quoted(table.name)}"
        self._con.execute(f"create table {table.relation} as select {', '.join(shown)} from {rows}")
        file.unlink()

    def _copy(
        self, scan: Scan, condition: str, declared: Table[DatabaseTable], file: Path
    ) -> dict[str, Cast]:
        """Write the rows to a file, and how its columns become what raw would have."""
        relation = scan.relation(list(scan.columns), condition or "true", by_server=bool(condition))
        ways = {
            name: engine().cast(quoted(name), own, raw)
            for name, (own, raw) in self._types(scan, declared, relation).items()
        }
        shown = [quoted(n) if way.keeps else f"{way.value} as {quoted(n)}" for n, way in ways.items()]
        self._reader.execute(
            f"copy (select {', '.join(shown)} from ({relation})) to {literal(str(file))} (format parquet)"
        )
        return {n: way if way.keeps else Cast(quoted(n)) for n, way in ways.items()}

    def _declare_misfits_as_text(self, table: DiscoveredTable, ways: dict[str, Cast], rows: str) -> None:
        """Declare columns as text that have values which a load would refuse for their type."""
        misfits = {
            n: f"count(case when {quoted(n)} is not null and not coalesce({way.keeps}, false) then 1 end)"
            for n, way in ways.items()
            if way.keeps
        }
        if not misfits:
            return
        counts = one_row(self._con, f"select {', '.join(misfits.values())} from {rows}")
        odd = {name: number for name, number in zip(misfits, counts, strict=True) if number}
        for column in table.columns:
            if column.name in odd:
                table.questions.append(
                    f"{column.name} is text, because {odd[column.name]:,} or more of its values do not fit "
                    f"{column.data_type}; may they be rounded, or corrected at the source?"
                )
                column.data_type = "text"

    def _types(self, scan: Scan, declared: Table[DatabaseTable], relation: str) -> dict[str, tuple[str, str]]:
        """By column, the type in which it arrives and that of raw."""
        described = self._reader.execute(f"describe {relation}").fetchall()
        wanted = scan.types()
        return {
            name: (own, engine().raw_type(wanted.get(declared.raw_name(name), own)).name)
            for name, own, *_ in described
        }

    def _sampled(self, entry: CatalogTable, there: str, rows: int) -> str:
        share = self._limits.sample_rows / rows
        if entry.has_pages:
            return SAMPLED_PAGES.format(there=there, percent=f"{share * 100:.6f}")
        return SAMPLED[self._server.dialect].format(share=f"{share:.8f}")

    def _asked(self, query: str) -> str:
        return (
            f"select * from {self._server.dialect}_query({literal(self._server.catalog)}, {literal(query)})"
        )

    def _reason(self, error: Exception) -> str:
        """What went wrong with a table, in one line without secrets."""
        said = str(root_error(error))
        if isinstance(error, duckdb.Error):
            said = CUT.sub("", re.sub(r'(?s)^.*?query ".*": ', "", said)) or said
        said = self._server.context.connections.redact(said).strip().partition("\n")[0]
        return re.sub(r"^.*\bERROR:\s*", "", said)
