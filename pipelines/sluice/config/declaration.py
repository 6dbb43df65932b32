"""What a source file declares: what each kind of source may say below `config.meta.load`, and the result of reading it.

A source file is a dbt source file first; only the keys below `config.meta.load` are ours. dbt reads
everything else, so unknown keys outside of `load` pass, inside of `load` they are mistakes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field, model_validator

from sluice.config.blocks import Columns, Duration, Expected, Names, Open, Strict, Tolerance
from sluice.config.column_names import DELETED_AT, STAMPS, earlier_name, normalized
from sluice.config.file_formats import check_format
from sluice.config.known_keys import MOMENT_KEYS
from sluice.config.marks import NOT_READING, Reads, own_type, place, without_access
from sluice.config.yaml_file import IDENTIFIER


class TableLoad(Strict):
    """How one table is loaded; the keys every kind has."""

    primary_key: Names = Field(default=[])
    """Columns that identify a row; rows with a known key replace the old row (merge)."""
    cursor: str | None = None
    """Column that rises whenever a row changes; only rows at or above the highest loaded value are read."""
    lookback: Annotated[Duration, NOT_READING] = timedelta(0)
    """How far below the highest loaded cursor to read again, for rows committed late: 30s, 15m, 6h, 2d."""
    write_disposition: Literal["merge", "replace", "append"] | None = None
    """Default: merge with a primary key; else append with a cursor; else replace."""
    columns: Columns = Columns()
    """Which columns of the source's table are loaded."""
    shrink_limit: Annotated[float, NOT_READING] = Field(default=0.5, ge=0, le=1)
    """Share of raw's rows that must remain; a load that would replace or delete more of them is refused."""

    tolerance: Annotated[Tolerance, NOT_READING] = 0
    """Bad rows a load may have and still pass, as a number or as a percentage of the rows read: 10, 0.5%."""
    soft_delete: str | None = None
    """Column in which the source marks deleted rows: by a time, true, a number other than 0, or a text other than ''
    and those that mean no (0, n, no, f, false). Sets `_deleted_at`."""
    deletes: Annotated[Literal["compare_keys"] | None, NOT_READING] = None
    """compare_keys: every run compares the keys; rows gone at the source get `_deleted_at` in raw."""
    drift: Annotated[Literal["evolve", "freeze", "quarantine"], NOT_READING] = "evolve"
    """New columns at the source: evolve adds them, freeze refuses the load, quarantine keeps rows with them apart."""

    @model_validator(mode="after")
    def _consistent(self) -> TableLoad:
        if self.write_disposition == "merge" and not self.primary_key:
            raise ValueError("write_disposition merge needs a primary_key")
        if self.write_disposition == "replace" and self.cursor:
            raise ValueError(
                "a table that is replaced is read whole: drop the cursor or the write_disposition"
            )
        if self.soft_delete and self.disposition() == "append" and not isinstance(self, FilesTable):
            raise ValueError(
                "soft_delete needs a primary_key: a row that is marked takes the place of the old one"
            )
        keys_come_apart = isinstance(self, DatabaseTable)
        if self.deletes and self.has_range() and not keys_come_apart:
            raise ValueError(
                "deletes: compare_keys needs a table that is read whole; with a cursor, and of a stream, only what is "
                "new is read, and deleted rows cannot be distinguished from old ones. Drop one of the two"
            )
        if self.deletes and not self.primary_key:
            raise ValueError("deletes: compare_keys needs a primary_key")
        if self.deletes and self.disposition() == "replace":
            raise ValueError(
                "deletes: compare_keys means nothing for a table that is replaced; drop one of the two"
            )
        return self

    def marks_deleted(self) -> bool:
        """Whether rows may get `_deleted_at`."""
        return bool(self.deletes or self.soft_delete)

    def tolerated(self, rows: int) -> float:
        """The number of bad rows allowed among `rows` that were read."""
        if isinstance(self.tolerance, str):
            return rows * float(self.tolerance.rstrip("% ")) / 100
        return self.tolerance

    def has_range(self) -> bool:
        """Whether a range of the cursor can be loaded again."""
        return bool(self.cursor)

    def disposition(self) -> Literal["merge", "replace", "append"]:
        """The declared write disposition, or the one that follows from the keys."""
        if self.write_disposition:
            return self.write_disposition
        return "merge" if self.primary_key else "append" if self.cursor else "replace"


class DatabaseTable(TableLoad):
    """A table or view of a database."""

    table: str | None = None
    """Name at the source, `schema.table` or `table`; default: the name of the dbt source table."""
    filter: str | None = None
    """SQL condition over the source's columns (DuckDB's dialect); rows outside are not loaded."""


class FilesTable(TableLoad):
    """Files with the same columns; each is loaded once, and again when its content changes."""

    path: str
    """Glob below the source's url, e.g. `orders/*.csv` or `logs/**/*.log.gz`."""
    format: Literal["csv", "jsonl", "json", "parquet", "excel", "lines"]
    """Format of the files; .gz and .zst are decompressed, and the members of .zip are read."""
    members: str | None = None
    """.zip: glob over the names of the archive's members, e.g. *.csv; default: all, where they are of one kind."""
    delimiter: str = ","
    """csv: the character or characters between fields."""
    row_terminator: str | None = Field(default=None, min_length=1)
    """csv: what ends a row, e.g. &|; a line break right behind it belongs to it. Default: a line break."""
    escape: Annotated[str | None, Expected("one character")] = Field(default=None, min_length=1, max_length=1)
    """csv: the character before one that stands for itself, e.g. a backslash; default: none."""
    quote: str = '"'
    """csv: the character around fields with a delimiter; empty for none."""
    encoding: str = "utf-8"
    """csv, lines, json, jsonl: name of a Python codec, e.g. windows-1252; a byte order mark comes first."""
    header: bool = True
    """csv, excel: whether the first line names the columns; without one, the YAML's columns do, in order."""
    decimal: Literal[".", ","] = "."
    """csv, excel, lines: the decimal mark of columns declared as numbers."""
    date_format: str | None = None
    """Not parquet: how texts write columns declared as date, as strptime names it, e.g. %d.%m.%Y; default: ISO."""
    timestamp_format: str | None = None
    """Not parquet: how texts write columns declared as timestamp, e.g. %d.%m.%Y %H:%M:%S; default: ISO."""
    time_format: str | None = None
    """Not parquet: how texts write columns declared as time, e.g. %I:%M %p; default: ISO."""
    formats: dict[str, str] = Field(default={})
    """Not parquet: the format of single columns, by name, where it is another."""
    nulls: list[str] = Field(default=[""])
    """csv, excel, lines: texts that stand for null."""
    skip_lines: int = Field(default=0, ge=0)
    """csv, excel, lines: how many lines to skip before the header or the first row."""
    sheet: str | None = None
    """excel: name of the sheet; default: the first."""
    range: Annotated[str | None, Expected("a range of cells: A3:F200")] = Field(
        default=None, pattern=r"^[A-Za-z]{1,3}\d+:[A-Za-z]{1,3}\d+$"
    )
    """excel: range of cells, e.g. A3:F200; default: all that are used."""
    pattern: str | None = None
    """lines: regular expression with named groups; each group is a column."""
    records: str | None = None
    """json: dotted path of the list of records in the document, e.g. data.items; default: the document."""
    missing_files: Annotated[Literal["keep", "delete", "fail"], NOT_READING] = "keep"
    """Files that are gone: keep their rows, delete (set `_deleted_at` on their rows) or fail."""

    @model_validator(mode="after")
    def _fits_format(self) -> FilesTable:
        check_format(self)
        if self.cursor:
            raise ValueError("files have no cursor: each file is loaded once, and again when it changes")
        if self.write_disposition == "replace":
            raise ValueError(
                "a file replaces the rows it brought before, and no others; drop the write_disposition"
            )
        return self

    def marks_deleted(self) -> bool:
        """Rows of missing files may be marked, too."""
        return super().marks_deleted() or self.missing_files == "delete"

    def disposition(self) -> Literal["merge", "replace", "append"]:
        """Merge by key; without a key, a file's rows are added to those of other files."""
        return "merge" if self.primary_key else "append"


class RestTable(TableLoad):
    """Records of one endpoint."""

    endpoint: Annotated[dict[str, Any], Reads(without_access)]
    """dlt's rest_api `endpoint`: path, method, params, json, paginator, data_selector, incremental, …"""
    include_from_parent: list[str] | None = None
    """dlt's rest_api key: fields of the parent's record that the child's records carry."""

    @model_validator(mode="after")
    def _cursor_is_dlts(self) -> RestTable:
        if self.cursor or self.lookback:
            raise ValueError(
                "an API's cursor is declared as dlt does it, endpoint.incremental: {cursor_path, initial_value, lag}"
            )
        if self.write_disposition == "replace" and self.has_range():
            raise ValueError(
                "a table that is replaced is read whole: drop endpoint.incremental or the write_disposition"
            )
        return self

    def has_range(self) -> bool:
        """An API's cursor is declared as dlt does it."""
        params = self.endpoint.get("params")
        return bool(self.endpoint.get("incremental")) or any(
            isinstance(param, dict) and param.get("type") == "incremental"
            for param in (params.values() if isinstance(params, dict) else ())
        )

    def disposition(self) -> Literal["merge", "replace", "append"]:
        """With an incremental cursor, new records are appended."""
        if self.has_range() and not self.primary_key and not self.write_disposition:
            return "append"
        return super().disposition()


class Start(Strict):
    """A place in a stream: give one of the two."""

    time: str | None = None
    """ISO time with zone: messages from this time on."""
    sequence: int | None = Field(default=None, ge=0)
    """nats: stream sequence; kafka: offset, in every partition."""

    @model_validator(mode="after")
    def _one(self) -> Start:
        if (self.time is None) == (self.sequence is None):
            raise ValueError("give either time or sequence")
        return self


class StreamTable(TableLoad):
    """Messages of one subject or topic."""

    stream: str | None = None
    """nats: name of the JetStream stream."""
    subject: str | None = None
    """nats: subject filter, e.g. sensors.berlin or sensors.>; default: the whole stream."""
    topic: str | None = None
    """kafka: topic."""
    consumer: Annotated[str | None, NOT_READING] = None
    """Durable consumer (nats) or consumer group (kafka); default: sluice_<source>_<table>."""
    max_messages: Annotated[int, NOT_READING] = Field(default=1_000_000, gt=0)
    """Maximum number of messages per load; the next load reads the rest."""
    start: Start | None = None
    """Where the first load begins; default: the oldest message kept."""
    on_gap: Annotated[Literal["fail", "continue"], NOT_READING] = "fail"
    """What to do if messages expired before they were loaded: fail, or warn and load the rest."""

    @model_validator(mode="after")
    def _messages_are_kept(self) -> StreamTable:
        if self.cursor or self.lookback:
            raise ValueError("a stream has no cursor: a load continues after the last message in raw")
        if self.write_disposition == "replace":
            raise ValueError(
                "a stream cannot be replaced: its old messages are gone; drop the write_disposition"
            )
        return self

    def has_range(self) -> bool:
        """By sequence or time."""
        return True

    def disposition(self) -> Literal["merge", "replace", "append"]:
        """A message is identified by its place in the stream, so one that is delivered again replaces itself."""
        return "merge"


class PythonTable(TableLoad):
    """Items of a dlt resource."""

    resource: str
    """Dotted path to a dlt resource, or to a function that returns one or yields items."""
    arguments: Annotated[dict[str, Any], Reads(without_access)] = Field(default={})
    """Arguments of the resource."""


class DatabaseSource(Strict):
    """A database: PostgreSQL, MySQL/MariaDB and SQLite directly, any other SQLAlchemy URL through dlt."""

    kind: Literal["database"]
    connection: Annotated[str, NOT_READING]
    """Name of the connection whose `url` is read."""


class FilesSource(Strict):
    """Files in a folder, a bucket or on an SFTP server."""

    kind: Literal["files"]
    url: Annotated[str, Reads(place)]
    """Root of the tables' paths: a folder (below the project), s3://bucket/prefix, sftp://host/path."""
    connection: Annotated[str | None, NOT_READING] = None
    """Name of the connection that holds endpoint and keys."""

    @model_validator(mode="after")
    def _known_scheme(self) -> FilesSource:
        if "://" in self.url and self.url.split("://")[0] not in ("s3", "sftp", "file"):
            raise ValueError("url is a folder, s3://bucket/prefix or sftp://host/path")
        return self


class RestSource(Strict):
    """A web API, in the keys of dlt's rest_api source."""

    kind: Literal["rest"]
    client: Annotated[dict[str, Any], Reads(without_access)]
    """dlt's rest_api `client`: base_url, auth, headers, paginator; `${connection.key}` stands for a secret."""
    resource_defaults: Annotated[dict[str, Any], NOT_READING] = Field(default={})
    """dlt's rest_api `resource_defaults`, e.g. an `endpoint` block every table shares."""


class StreamSource(Strict):
    """A durable log: NATS JetStream or Kafka."""

    kind: Literal["stream"]
    connection: Annotated[str, NOT_READING]
    """Name of the connection: `url` (nats://…) or `bootstrap_servers` (kafka), and credentials."""
    protocol: Literal["nats", "kafka"]
    """The protocol of the stream."""


class PythonSource(Strict):
    """Whatever a dlt resource yields."""

    kind: Literal["python"]


S = TypeVar("S", bound=Strict)
T = TypeVar("T", bound=TableLoad)


class ColumnMeta(Open):
    data_class: str | None = None
    """Class of personal data: email, phone, name, address, payment, device_id, …"""


class ColumnConfig(Open):
    meta: ColumnMeta = ColumnMeta()


class Column(Open):
    name: Annotated[str, NOT_READING]
    data_type: Annotated[str | None, Reads(own_type)] = None
    """Type in raw; without one the source's own type is kept (files: text)."""
    config: Annotated[ColumnConfig, NOT_READING] = ColumnConfig()

    @property
    def data_class(self) -> str | None:
        return self.config.meta.data_class


class TableMeta(Open, Generic[T]):
    load: T


class TableConfig(Open, Generic[T]):
    meta: TableMeta[T]


class TableEntry(Open, Generic[T]):
    name: Annotated[str, Field(pattern=IDENTIFIER.pattern)]
    config: TableConfig[T]
    columns: list[Column] = Field(default=[])


class SourceMeta(Open, Generic[S]):
    load: S
    owner: str | None = None


class SourceConfig(Open, Generic[S]):
    meta: SourceMeta[S]


class SourceEntry(Open, Generic[S, T]):
    name: Annotated[str, Field(pattern=IDENTIFIER.pattern)]
    database: Literal["raw"]
    """Always raw: the database the loader writes and dbt reads."""
    schema_: Annotated[str | None, Field(alias="schema", pattern=IDENTIFIER.pattern)] = None
    config: SourceConfig[S]
    tables: list[TableEntry[T]]


KINDS: dict[str, type[SourceEntry[Any, Any]]] = {
    "database": SourceEntry[DatabaseSource, DatabaseTable],
    "files": SourceEntry[FilesSource, FilesTable],
    "rest": SourceEntry[RestSource, RestTable],
    "stream": SourceEntry[StreamSource, StreamTable],
    "python": SourceEntry[PythonSource, PythonTable],
}


def table_model(kind: str) -> type[TableLoad]:
    """The load keys of a kind's tables; those that all kinds have where the kind is unknown."""
    if kind not in KINDS:
        return TableLoad
    model: type[TableLoad] = KINDS[kind].__pydantic_generic_metadata__["args"][1]
    return model


@dataclass(frozen=True)
class Table(Generic[T]):
    """One declared table: where it goes in raw, how it is loaded, what is said of its columns."""

    source: str
    schema: str
    name: str
    load: T
    columns: tuple[Column, ...]
    file: Path
    line: int
    raw_columns: frozenset[str] = frozenset()
    """Columns of the table in raw, known while it is loaded."""

    def raw_name(self, source: str) -> str:
        """What raw calls a column of the source; a name from before version 0.3 stays where it is in use."""
        if source in self.load.columns.rename:
            return self.load.columns.rename[source]
        name, earlier = normalized(source), earlier_name(source)
        return earlier if earlier in self._names_in_use and name not in self._names_in_use else name

    def moment_format(self, name: str, kind: str) -> tuple[str, str] | None:
        """The key and the format in which texts of a column (raw's name and type) write a date or time; None: ISO."""
        if not isinstance(self.load, FilesTable):
            return None
        own = {self.raw_name(column): form for column, form in self.load.formats.items()}
        key = "timestamp_format" if kind.startswith("TIMESTAMP") else f"{kind.lower()}_format"
        form = own.get(name) or (getattr(self.load, key) if key in MOMENT_KEYS else None)
        return ("formats" if name in own else key, form) if form else None

    def shown(self, sources: Iterable[str]) -> str:
        """Columns as the source has them, and after an arrow the name to declare where it is another."""
        names = ((source, self.raw_name(source)) for source in sources)
        return ", ".join(source if source == raw else f"{source!r} → {raw}" for source, raw in names)

    @cached_property
    def _names_in_use(self) -> frozenset[str]:
        """Names in raw and in the declaration."""
        load = self.load
        declared = {c.name for c in self.columns} | {
            *load.primary_key,
            load.cursor or "",
            load.soft_delete or "",
        }
        return self.raw_columns | declared | {*(load.columns.include or ()), *(load.columns.exclude or ())}

    @cached_property
    def excluded(self) -> frozenset[str]:
        """Raw's names of the columns that are left out."""
        return frozenset(map(self.raw_name, self.load.columns.exclude or ()))

    def is_chosen(self, source: str, name: str) -> bool:
        """Whether the declaration wants the column `source`, in raw called `name`; metadata always."""
        wanted = self.load.columns
        if name in (*STAMPS, DELETED_AT) and name in (wanted.exclude or []):  # the source's own
            return False
        if source.startswith("_") and name == source:
            return True
        if wanted.include is not None:
            return name in map(self.raw_name, wanted.include)
        return name not in self.excluded

    @property
    def qualified(self) -> str:
        """The name people use: `source.table`."""
        return f"{self.source}.{self.name}"

    @property
    def data_types(self) -> dict[str, str]:
        """Declared SQL type by raw column name."""
        return {self.raw_name(c.name): c.data_type for c in self.columns if c.data_type}

    @property
    def classed(self) -> set[str]:
        """Columns that hold personal data; their values never appear in a message."""
        return {self.raw_name(c.name) for c in self.columns if c.data_class}


@dataclass(frozen=True)
class Source(Generic[S, T]):
    """One declared source with its tables."""

    name: str
    schema: str
    load: S
    tables: tuple[Table[T], ...]
    file: Path
    line: int
    freshness: Mapping[str, Any]
    declared: tuple[Table[T], ...] = ()
    """All tables of the source, also those left out of `tables` by a selection: a table may need another."""

    @property
    def kind(self) -> str:
        return str(self.load.model_dump()["kind"])
