"""The contract between extractors and the loader: what an extractor is given, and what it yields."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import duckdb

from sluice.config.column_names import FILE
from sluice.config.connections import Connections
from sluice.config.declaration import Source, Table
from sluice.config.reading import Changes
from sluice.engine.raw import RawTables
from sluice.extract.retries import log_retry

READ_WITH = "_read_with"
"""Key of a table's state: what its rows in raw were read with, as JSON text."""
AFTER_COMMIT = "_after"
"""Key of a table's state: steps of the last load that may not have been taken after its commit."""


@dataclass(frozen=True)
class LoadOptions:
    """What a load is asked for beyond what is new."""

    full_refresh: bool = False
    """Load everything, as if raw were empty."""
    window: tuple[str | None, str | None] | None = None
    """A range of the cursor (from, to) to load again, whatever raw has."""
    retry_quarantine: bool = False
    """Read again what was quarantined: files with such rows, tables with such rows from their beginning."""
    keep_rows: bool = False
    """Keep rows as they were read, although their table's declaration has changed."""


@dataclass
class MemoryBudget:
    """Memory that a source's extracted rows may take; rows beyond it are staged in files."""

    bytes_left: int = 192 * 2**20


@dataclass(frozen=True)
class ExtractContext:
    """What an extractor works with; one per source and run."""

    con: duckdb.DuckDBPyConnection
    """A cursor of the process's one DuckDB; raw is attached as the default database."""
    folder: Path
    """Empty scratch folder of this source, removed after the load."""
    connections: Connections
    state: Callable[[str], dict[str, Any]]
    """The dlt state of a table, by its name: a dict that is saved together with the run's rows."""
    progress: Callable[[str, int], None]
    """Reports how many more rows of a table were read."""
    root: Path
    """The project; relative file paths begin here."""
    options: LoadOptions = LoadOptions()
    retried: Callable[[str, str], None] = log_retry
    """Reports that something is tried again for a table (its name), and why: a sentence without secrets."""
    warned: Callable[[str, str], None] = lambda table, what: None
    """Notes what is doubtful about a table, although it loads: its name, and a sentence without secrets."""
    memory: MemoryBudget = field(default_factory=MemoryBudget)
    reloaded: dict[str, Changes] = field(default_factory=dict)
    """Tables, by their names, that are read from scratch because their declaration changed since they were loaded."""

    @cached_property
    def raw(self) -> RawTables:
        return RawTables(self.con, is_ignored=lambda table: self.refreshes(table.name))

    def refreshes(self, table: str) -> bool:
        """Whether a table, by its name, is read from scratch, as if raw and the state knew nothing of it."""
        return self.options.full_refresh or table in self.reloaded

    def kept(self, table: str) -> dict[str, Any]:
        """What the last load kept in the state of a table, by its name; empty if it is read from scratch."""
        return {} if self.refreshes(table) else self.state(table)


@dataclass(frozen=True)
class Files:
    """Rows come from whole files: they replace all rows that raw has of these files."""

    columns: ClassVar[tuple[str, ...]] = (FILE,)
    names: tuple[str, ...]
    """Every file that was read whole, also one without a good row."""
    missing: tuple[str, ...] = ()
    """Files that were loaded before and are gone; raw's rows of them get `_deleted_at`."""
    continued: tuple[str, ...] = ()
    """Files of which only what was appended was read; raw has the rest."""
    whole: Callable[[], TypedRows | JsonRecords | None] | None = None
    """Reads continued files whole: their rows cannot be judged alone. None if no file was continued."""


@dataclass(frozen=True)
class Messages:
    """Each row has a position in a stream, which is its key where the table declares none."""

    columns: tuple[str, ...]


@dataclass(frozen=True)
class LosslessFallback:
    """A slower way to read a table that alters no value."""

    suspects: Mapping[str, str]
    """Raw columns that are possibly lossy: an aggregate over the column as it arrived that is true where a value may
    have been altered, or '' for texts that may not be valid UTF-8."""
    read: Callable[[Exception | None, Sequence[str]], TypedRows | None]
    """Given the error met while the relation was read, or the raw columns that have suspicious values. None: it would
    bring the same."""


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """Rows of one table, readable in the context's DuckDB connection. Columns that start with `_` are metadata."""

    table: Table[Any]
    relation: str
    """A SELECT."""
    origin: Files | Messages | None = None
    is_whole: bool = False
    """Whether these are all rows that the source has, so that others in raw are gone there. Never true of files."""
    rejected: str | None = None
    """A SELECT of rows that could not be read: `_reason`, `_record` (the original text), and their position."""
    state: Mapping[str, Any] = field(default_factory=dict)
    """Goes into the table's dlt state together with the rows."""
    on_commit: Callable[[], None] | None = None
    """Called after the rows are committed to raw, e.g. to acknowledge messages."""
    release: Callable[[], None] = lambda: None
    """Frees the staged rows; called once the relation has been read."""
    unreadable: tuple[str, ...] = ()
    """Why parts of the table, such as files, could not be read: the load is refused after the rest has been checked."""
    message: str | None = None
    """What is worth saying about what was read, if it is loaded."""
    explain: Callable[[Exception], Exception] = lambda error: error
    """Turns an error met while the relation is read into one for people, where the extractor knows better."""


@dataclass(frozen=True, kw_only=True)
class TypedRows(Extracted):
    """Rows whose columns have the source's own types; of text files all are VARCHAR, exactly as in the file."""

    types: Mapping[str, str] = field(default_factory=dict)
    """Raw type of a column for which neither the YAML nor raw has one; default: the relation's own."""
    alive_keys: str | None = None
    """A SELECT of all primary keys that exist at the source; raw rows without one get `_deleted_at`."""
    fallback: LosslessFallback | None = None
    con: duckdb.DuckDBPyConnection | None = None
    """A connection that reads the relation with less work than the context's, which can read it, too."""
    expected: int | None = None
    """How many rows there are with those rejected; where the relation brings more or fewer, the fallback is used."""
    may_lack_columns: bool = False
    """Whether a column that raw has may be missing: of some rows, read from the middle on, no row may have it."""
    left_out: Collection[str] = ()
    """Columns that the source has and the relation lacks, because the declaration leaves them out."""


@dataclass(frozen=True, kw_only=True)
class JsonRecords(Extracted):
    """Rows with one JSON object each, as text in the column `_record`."""

    is_exact: bool = False
    """True if every number in the records fits a double exactly."""


@dataclass(frozen=True)
class Failed:
    """A table that could not be extracted; it never keeps its neighbours from being loaded."""

    table: Table[Any]
    error: Exception


Extraction = TypedRows | JsonRecords | Failed


class Extractor(Protocol):
    """Reads tables of one kind of source; a table without news yields nothing."""

    def __call__(
        self, source: Source[Any, Any], tables: Sequence[Table[Any]], context: ExtractContext
    ) -> Generator[Extraction, None, None]: ...


def each_table(
    tables: Sequence[Table[Any]], extract_table: Callable[[Table[Any]], TypedRows | JsonRecords | None]
) -> Generator[Extraction, None, None]:
    """Extract table by table; an error becomes `Failed`, None means nothing new."""
    for table in tables:
        try:
            extracted = extract_table(table)
        except Exception as error:
            yield Failed(table, error)
        else:
            if extracted is not None:
                yield extracted
