"""What every kind of source hands to the loader, and what it is given to do so.

An extractor is a function `extract(source, tables, job)` that yields, for each table, either what it
landed or the error that kept it from doing so; a table that fails never keeps its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import duckdb

from sluice.config.connections import Connections
from sluice.config.declaration import Source, Table
from sluice.errors import LoadError
from sluice.extract.retries import tell
from sluice.sql import literal, quoted


def unexplained(error: Exception) -> Exception:
    return error


def nothing() -> None:
    """What there is to do where nothing is."""


@dataclass(frozen=True)
class Landed:
    """Rows of one table, readable in the load's DuckDB connection.

    `relation` is a SELECT. `form` says how its columns are to be read:
    rows — columns have the source's own types;
    text — every column is VARCHAR exactly as in the file (columns that start with `_` are typed metadata);
    records — `_record` VARCHAR holds one JSON object a row (columns that start with `_` are typed metadata).
    """

    relation: str
    form: Literal["rows", "text", "records"] = "rows"
    is_exact: bool = False
    """Of records: no number in them is so long that it has to be looked at whether a double can hold it."""
    identity: tuple[str, ...] = ()
    """Metadata columns that name the delivery (a file) or the row (a stream's sequence)."""
    replaces: bool = False
    """True: all raw rows with a delivered `identity` are replaced (a file); False: it is a row's key."""
    types: dict[str, str] = field(default_factory=dict)
    """Raw type of a column for which neither the YAML nor raw has one; default: the relation's own."""
    keys: str | None = None
    """A SELECT of all primary keys alive at the source; raw rows without one get `_deleted_at`."""
    rejected: str | None = None
    """A SELECT of rows that could not be read: `_reason`, `_record` (the original text), and where they stand."""
    places: tuple[str, ...] = ()
    """With `replaces`: every delivered value of `identity`, also of files without a good row."""
    remember: dict[str, Any] = field(default_factory=dict)
    """Goes into the table's dlt state together with the rows."""
    committed: Callable[[], None] | None = None
    """Called after the rows are committed to raw, e.g. to acknowledge messages."""
    release: Callable[[], None] = nothing
    """Called when the relation is read no more: lets go of rows in memory."""
    explain: Callable[[Exception], Exception] = unexplained
    """Turns an error met while the relation is read into one for people, where it knows better."""
    doubtful: dict[str, str] = field(default_factory=dict)
    """Raw columns in which what arrived may not be what the source holds: an aggregate, over the column as it arrived,
    that is true where there may be such a value, or '' for texts that may be no UTF-8. Then `careful` is asked."""
    careful: Callable[[Exception | None, Sequence[str]], Landed | None] | None = None
    """Lands the table in a slower way that alters nothing, after an error while the relation was read, or doubtful
    values in these columns of raw; None: there is no need, or no way."""


@dataclass
class Room:
    """Memory that a source's landed rows may take, so that they need not be written to be read once."""

    left: int = 192 * 2**20
    """Bytes."""


@dataclass(frozen=True)
class Job:
    """What an extractor works with; one a source and run."""

    con: duckdb.DuckDBPyConnection
    """A cursor of the process's one DuckDB; raw is attached as the default database."""
    folder: Path
    """Empty scratch folder of this source, removed after the load."""
    connections: Connections
    state: Callable[[str], dict[str, Any]]
    """The dlt state of a table: a dict that is saved when the run's rows are."""
    progress: Callable[[str, int], None]
    """Tells how many more rows of a table were read."""
    root: Path
    """The project; relative file paths begin here."""
    full_refresh: bool = False
    """Load everything anew: what raw has is as if it were not there."""
    window: tuple[str | None, str | None] | None = None
    """A range of the cursor to load again (from, to), whatever raw has."""
    retried: Callable[[str, str], None] = tell
    """Tells that something is tried again for a table (its name), and why: a sentence without secrets."""
    room: Room = field(default_factory=Room)
    retry_quarantine: bool = False
    """Read again what was quarantined: files with such rows, tables with such rows from their begin."""

    known: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    """Columns of tables in raw, by schema and name, once asked for: they stay the same until rows are committed."""

    def raw_columns(self, table: Table[Any]) -> dict[str, str]:
        """Columns and types of the raw table; empty while it does not exist."""
        return {} if self.full_refresh else self.columns(table.schema, table.name)

    def columns(self, schema: str, name: str) -> dict[str, str]:
        """Columns and types of a table in raw's file; empty while it does not exist."""
        if (schema, name) not in self.known:
            self.known[schema, name] = self._described(schema, name)
        return self.known[schema, name]

    def _described(self, schema: str, name: str) -> dict[str, str]:
        (raw,) = self.con.execute("select current_database()").fetchone() or ("raw",)
        address = ".".join(map(quoted, (raw, schema, name)))
        try:  # not duckdb_columns(), which lists the attached source's whole catalog, too
            described = self.con.execute("select name, type from pragma_table_info(?)", [address]).fetchall()
        except duckdb.CatalogException:
            return {}
        return dict(described)

    def raw_maximum(self, table: Table[Any], column: str, where: str = "true") -> Any:
        """Highest value of a column in raw (Python value), or None: what was loaded is what counts."""
        if column not in self.raw_columns(table):
            return None
        row = self.con.execute(
            f'select max("{column}") from "{table.schema}"."{table.name}" where {where}'
        ).fetchone()
        return row[0] if row else None


Delivery = tuple[Table[Any], "Landed | Exception"]


class Extractor(Protocol):
    """The shape of `extract` in every module of this package."""

    def __call__(
        self, source: Source[Any, Any], tables: Sequence[Table[Any]], job: Job
    ) -> Generator[Delivery, None, None]: ...


def each_table(
    tables: Sequence[Table[Any]], land: Callable[[Table[Any]], Landed | None]
) -> Generator[Delivery, None, None]:
    """Land table by table; an error is delivered in the table's place, None means nothing new."""
    for table in tables:
        try:
            landed = land(table)
        except Exception as error:
            yield table, error
        else:
            if landed is not None:
                yield table, landed


__all__ = ["Delivery", "Extractor", "Job", "Landed", "LoadError", "each_table", "literal", "quoted"]
