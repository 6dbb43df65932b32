"""The contract between extractors and the loader: what an extractor is given, and what it yields."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import duckdb

from sluice.config.column_names import FILE
from sluice.config.connections import Connections
from sluice.config.declaration import Source, Table
from sluice.engine.raw import RawTables
from sluice.extract.retries import log_retry


@dataclass(frozen=True)
class LoadOptions:
    """What a load is asked for beyond what is new."""

    full_refresh: bool = False
    """Load everything, as if raw were empty."""
    window: tuple[str | None, str | None] | None = None
    """A range of the cursor (from, to) to load again, whatever raw has."""
    retry_quarantine: bool = False
    """Read again what was quarantined: files with such rows, tables with such rows from their beginning."""


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
    memory: MemoryBudget = field(default_factory=MemoryBudget)

    @cached_property
    def raw(self) -> RawTables:
        return RawTables(self.con, full_refresh=self.options.full_refresh)


@dataclass(frozen=True)
class Files:
    """Rows come from whole files: they replace all rows that raw has of these files."""

    columns: ClassVar[tuple[str, ...]] = (FILE,)
    names: tuple[str, ...]
    """Every file that was read, also one without a good row."""


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
    rejected: str | None = None
    """A SELECT of rows that could not be read: `_reason`, `_record` (the original text), and their position."""
    state: Mapping[str, Any] = field(default_factory=dict)
    """Goes into the table's dlt state together with the rows."""
    on_commit: Callable[[], None] | None = None
    """Called after the rows are committed to raw, e.g. to acknowledge messages."""
    release: Callable[[], None] = lambda: None
    """Frees the staged rows; called once the relation has been read."""
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
