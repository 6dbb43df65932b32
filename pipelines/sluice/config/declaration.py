"""What `sources/*.yml` may say: the models of `config.meta.load`, read with line numbers and checked offline.

A source file is a dbt source file first; only the keys below `config.meta.load` are ours. dbt reads
everything else, so unknown keys outside of `load` pass, inside of `load` they are mistakes.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from sluice.config.settings import find_project, make_importable
from sluice.errors import DeclarationError

IDENTIFIER = re.compile(r"^[a-z_][a-z0-9_]*$")
REFERENCE = re.compile(r"\$\{([a-zA-Z_][a-zA-Z0-9_]*)\.([a-zA-Z_][a-zA-Z0-9_]*)\}")
DURATION = re.compile(r"^(\d+)\s*(s|m|h|d)$")
SECRET_KEYS = re.compile(r"(password|passwd|secret|token|api_key|access_key)$", re.IGNORECASE)
"""Keys whose value is a secret in every kind; a literal there is refused."""
PASSWORD = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@$]+(?=@)")
"""User and password in a URL."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d|_dlt_.*)$")
"""Names that dlt does not give to files, or keeps for itself."""


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _duration(value: Any) -> Any:
    if isinstance(value, str) and (match := DURATION.match(value.strip())):
        unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[match[2]]
        return timedelta(**{unit: int(match[1])})
    if isinstance(value, timedelta):
        return value
    raise ValueError("write a number and a unit: 30s, 15m, 6h or 2d")


Tolerance = Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^(100|[0-9]{1,2})([.][0-9]+)?\s*%$")]
Names = Annotated[list[str], BeforeValidator(_one_or_many, json_schema_input_type=str | list[str])]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration, json_schema_input_type=Annotated[str, Field(pattern=DURATION.pattern)]),
]


class Strict(BaseModel):
    """A block of ours: a key that is not declared here is a typing mistake."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class Open(BaseModel):
    """A block of dbt's: only the keys we read are named here."""

    model_config = ConfigDict(extra="allow", defer_build=True)


class Columns(Strict):
    """Which columns of the source's table are loaded; all, if neither is given."""

    include: list[str] | None = None
    """Only these columns."""
    exclude: list[str] | None = None
    """All columns but these."""

    @model_validator(mode="after")
    def _either(self) -> Columns:
        if self.include is not None and self.exclude is not None:
            raise ValueError("give include or exclude, not both")
        return self


class TableLoad(Strict):
    """How one table is loaded; the keys every kind has."""

    primary_key: Names = []
    """Columns that identify a row; rows with a known key replace the old row (merge)."""
    cursor: str | None = None
    """Column that rises whenever a row changes; only rows at or above the highest loaded value are read."""
    lookback: Duration = timedelta(0)
    """How far below the highest loaded cursor to read again, for rows committed late: 30s, 15m, 6h, 2d."""
    write_disposition: Literal["merge", "replace", "append"] | None = None
    """Default: merge with a primary key; else append with a cursor; else replace."""
    columns: Columns = Columns()
    """Which columns of the source's table are loaded."""
    shrink_limit: float = Field(default=0.5, ge=0, le=1)
    """Share of raw's rows that must remain; a load that would replace or delete more of them is refused."""

    tolerance: Tolerance = 0
    """Bad rows a load may have and still pass, as a number or as a percentage of the rows read: 10, 0.5%."""
    soft_delete: str | None = None
    """Column in which the source marks deleted rows, by a time, true, or a number but 0: `_deleted_at` says when."""
    drift: Literal["evolve", "freeze", "quarantine"] = "evolve"
    """New columns at the source: evolve adds them, freeze refuses the load, quarantine sets rows with them apart."""

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
        return self

    def tolerated(self, rows: int) -> float:
        """How many bad rows may be among so many that were read."""
        if isinstance(self.tolerance, str):
            return rows * float(self.tolerance.rstrip("% ")) / 100
        return self.tolerance

    def has_range(self) -> bool:
        """Whether a part of the table can be asked for: from one value of its cursor to another."""
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
    deletes: Literal["compare_keys"] | None = None
    """compare_keys: every run compares the keys; rows gone at the source get `_deleted_at` in raw."""

    @model_validator(mode="after")
    def _deletes_need_a_key(self) -> DatabaseTable:
        if self.deletes and not self.primary_key:
            raise ValueError("deletes: compare_keys needs a primary_key")
        return self


class FilesTable(TableLoad):
    """Files of one shape; each is loaded once, and again when its content changes."""

    path: str
    """Glob below the source's url, e.g. `orders/*.csv` or `logs/**/*.log.gz`."""
    format: Literal["csv", "jsonl", "json", "parquet", "excel", "lines"]
    """Format of the files; .gz and .zst are unpacked by their ending."""
    delimiter: str = ","
    """csv: what separates the fields."""
    quote: str = '"'
    """csv: what encloses a field that holds a delimiter; empty for none."""
    encoding: str = "utf-8"
    """csv, lines, json, jsonl: a codec name Python knows, e.g. windows-1252."""
    header: bool = True
    """csv, excel: whether the first line names the columns; without one, the YAML's columns do, in order."""
    decimal: Literal[".", ","] = "."
    """csv, excel, lines: the decimal mark of columns declared as numbers."""
    nulls: list[str] = [""]
    """csv, excel, lines: texts that mean no value."""
    skip_lines: int = Field(default=0, ge=0)
    """csv, excel, lines: how many lines to pass over before the header or the first row."""
    sheet: str | None = None
    """excel: name of the sheet; default: the first."""
    range: str | None = Field(default=None, pattern=r"^[A-Za-z]{1,3}\d+:[A-Za-z]{1,3}\d+$")
    """excel: range of cells, e.g. A3:F200; default: all that are used."""
    pattern: str | None = None
    """lines: regular expression with named groups; each group is a column."""
    records: str | None = None
    """json: dotted path of the list of records in the document, e.g. data.items; default: the document."""

    @model_validator(mode="after")
    def _fits_format(self) -> FilesTable:
        if self.format == "lines":
            if not self.pattern:
                raise ValueError("format lines needs a pattern: a regular expression with named groups")
            try:
                groups = re.compile(self.pattern).groupindex
            except re.error as error:
                raise ValueError(f"pattern is not a regular expression: {error}") from None
            if not groups:
                raise ValueError("pattern has no named group; write (?P<name>...) for each column")
        if len(self.delimiter) != 1 or len(self.quote) > 1:
            raise ValueError("delimiter is one character, quote one or none")
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(f"encoding {self.encoding!r} is unknown; write utf-8, windows-1252, …") from None
        for key, formats in {
            "pattern": ["lines"],
            "sheet": ["excel"],
            "range": ["excel"],
            "records": ["json"],
            "delimiter": ["csv"],
            "quote": ["csv"],
            "header": ["csv", "excel"],
            "decimal": ["csv", "excel", "lines"],
            "nulls": ["csv", "excel", "lines"],
            "skip_lines": ["csv", "excel", "lines"],
            "encoding": ["csv", "lines", "json", "jsonl"],
        }.items():
            if key in self.model_fields_set and self.format not in formats:
                raise ValueError(
                    f"{key} means nothing for format {self.format}; it is for {', '.join(formats)}"
                )
        if self.cursor:
            raise ValueError("files have no cursor: each file is loaded once, and again when it changes")
        if self.write_disposition == "replace":
            raise ValueError(
                "a file replaces the rows it brought before, and no others; drop the write_disposition"
            )
        return self

    def disposition(self) -> Literal["merge", "replace", "append"]:
        """By key where there is one; a file's rows otherwise add to those of other files."""
        return "merge" if self.primary_key else "append"


class RestTable(TableLoad):
    """Records of one endpoint."""

    endpoint: dict[str, Any]
    """dlt's rest_api `endpoint`: path, method, params, json, paginator, data_selector, incremental, …"""
    include_from_parent: list[str] | None = None
    """dlt's rest_api key: fields of the parent's record that the child's records carry."""

    @model_validator(mode="after")
    def _cursor_is_dlts(self) -> RestTable:
        if self.cursor or self.lookback:
            raise ValueError(
                "an API's cursor is declared as dlt does it, endpoint.incremental: {cursor_path, initial_value, lag}"
            )
        return self

    def has_range(self) -> bool:
        """An API's cursor is declared as dlt does it."""
        parameters = (self.endpoint.get("params") or {}).values()
        return "incremental" in self.endpoint or any(
            isinstance(p, dict) and p.get("type") == "incremental" for p in parameters
        )

    def disposition(self) -> Literal["merge", "replace", "append"]:
        """With an incremental cursor only new records come, and add to those before them."""
        if self.has_range() and not self.primary_key and not self.write_disposition:
            return "append"
        return super().disposition()


class StreamTable(TableLoad):
    """Messages of one subject or topic."""

    stream: str | None = None
    """nats: name of the JetStream stream."""
    subject: str | None = None
    """nats: subject filter, e.g. web.page_views or sensors.>; default: the whole stream."""
    topic: str | None = None
    """kafka: topic."""
    consumer: str | None = None
    """Durable consumer (nats) or consumer group (kafka); default: sluice_<source>_<table>."""
    max_messages: int = Field(default=1_000_000, gt=0)
    """Upper bound of one load; what is left is loaded by the next."""
    start: Start | None = None
    """Where the first load begins; default: the oldest message kept."""
    on_gap: Literal["fail", "continue"] = "fail"
    """What to do when messages expired before they were loaded: fail, or warn and load what is left."""

    @model_validator(mode="after")
    def _messages_are_kept(self) -> StreamTable:
        if self.cursor or self.lookback:
            raise ValueError("a stream has no cursor: what raw holds says where to go on")
        if self.write_disposition == "replace":
            raise ValueError(
                "a stream cannot be replaced: its old messages are gone; drop the write_disposition"
            )
        return self

    def has_range(self) -> bool:
        """By sequence or time."""
        return True

    def disposition(self) -> Literal["merge", "replace", "append"]:
        """Messages are known by their place in the stream, so one that comes again replaces itself."""
        return "merge"


class Start(Strict):
    """A place in a stream: give one of the two."""

    time: str | None = None
    """ISO time with zone: messages from then on."""
    sequence: int | None = Field(default=None, ge=0)
    """nats: stream sequence; kafka: offset, in every partition."""

    @model_validator(mode="after")
    def _one(self) -> Start:
        if (self.time is None) == (self.sequence is None):
            raise ValueError("give either time or sequence")
        return self


class PythonTable(TableLoad):
    """Items of a dlt resource."""

    resource: str
    """Dotted path to a dlt resource, or to a function that returns one or yields items."""
    arguments: dict[str, Any] = {}
    """Arguments of the resource."""


class DatabaseSource(Strict):
    """A database: PostgreSQL, MySQL/MariaDB and SQLite directly, any other SQLAlchemy URL through dlt."""

    kind: Literal["database"]
    connection: str
    """Name of the connection whose `url` is read."""


class FilesSource(Strict):
    """Files in a folder, a bucket or on an SFTP server."""

    kind: Literal["files"]
    url: str
    """Where the paths of the tables begin: a folder (below the project), s3://bucket/prefix, sftp://host/path."""
    connection: str | None = None
    """Name of the connection that holds endpoint and keys."""

    @model_validator(mode="after")
    def _known_scheme(self) -> FilesSource:
        if "://" in self.url and self.url.split("://")[0] not in ("s3", "sftp", "file"):
            raise ValueError("url is a folder, s3://bucket/prefix or sftp://host/path")
        return self


class RestSource(Strict):
    """A web API, in the keys of dlt's rest_api source."""

    kind: Literal["rest"]
    client: dict[str, Any]
    """dlt's rest_api `client`: base_url, auth, headers, paginator; `${connection.key}` stands for a secret."""
    resource_defaults: dict[str, Any] = {}
    """dlt's rest_api `resource_defaults`, e.g. an `endpoint` block every table shares."""


class StreamSource(Strict):
    """A durable log: NATS JetStream or Kafka."""

    kind: Literal["stream"]
    connection: str
    """Name of the connection: `url` (nats://…) or `bootstrap_servers` (kafka), and credentials."""
    protocol: Literal["nats", "kafka"]
    """Which of the two."""


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
    name: str
    data_type: str | None = None
    """Type in raw; without one the source's own type is kept (files: text)."""
    config: ColumnConfig = ColumnConfig()

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
    columns: list[Column] = []


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

    @property
    def qualified(self) -> str:
        """The name people use: `source.table`."""
        return f"{self.source}.{self.name}"

    @property
    def data_types(self) -> dict[str, str]:
        """Declared SQL type by raw column name."""
        return {c.name: c.data_type for c in self.columns if c.data_type}

    @property
    def classed(self) -> set[str]:
        """Columns that hold personal data; their values never stand in a message."""
        return {c.name for c in self.columns if c.data_class}


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


@dataclass(frozen=True)
class Problem:
    """A mistake in a source file, with all that is needed to mend it."""

    file: Path
    line: int
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.where}: {self.message}"


class Lines:
    """A YAML file as plain values, and the line each of them stands on."""

    def __init__(self, node: yaml.Node | None) -> None:
        self.line_of: dict[tuple[str | int, ...], int] = {}
        self.value = None if node is None else self._convert(node, ())

    def _convert(self, node: yaml.Node, path: tuple[str | int, ...]) -> Any:
        self.line_of[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            mapping: dict[str, Any] = {}
            own = [str(key.value) for key, _ in node.value]
            for key, _ in node.value:
                if own.count(str(key.value)) > 1 and key.value != "<<":
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} stands here twice", problem_mark=key.start_mark
                    )
            yaml.SafeLoader("").flatten_mapping(node)
            for key, value in node.value:
                name = str(key.value)
                mapping[name] = self._convert(value, (*path, name))
                self.line_of[(*path, name)] = key.start_mark.line + 1
            return mapping
        if isinstance(node, yaml.SequenceNode):
            return [self._convert(item, (*path, i)) for i, item in enumerate(node.value)]
        return yaml.SafeLoader("").construct_object(node)  # a scalar, by YAML's own rules

    def line(self, path: Sequence[str | int]) -> int:
        """Line of the deepest part of `path` that stands in the file."""
        for length in range(len(path), -1, -1):
            if found := self.line_of.get(tuple(path[:length])):
                return found
        return 1


def read_sources(folder: Path) -> tuple[list[Source[Any, Any]], list[Problem]]:
    """All sources declared in `folder`, and every mistake found; needs no network.

    A source with a mistake is left out of the first list. Files without a `sources` key, and sources
    without `config.meta.load` (loaded by somebody else), are dbt's alone.
    """
    make_importable(find_project(folder))
    sources: list[Source[Any, Any]] = []
    problems: list[Problem] = []
    for file in sorted([*folder.rglob("*.yml"), *folder.rglob("*.yaml")]):
        try:
            lines = Lines(yaml.compose(file.read_text(encoding="utf-8"), Loader=LOADER))
        except yaml.MarkedYAMLError as error:
            line = (error.problem_mark.line + 1) if error.problem_mark else 1
            problems.append(Problem(file, line, "file", f"is not YAML: {error.problem}"))
            continue
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            problems.append(Problem(file, line, "file", "is not UTF-8"))
            continue
        entries = lines.value.get("sources") if isinstance(lines.value, dict) else None
        if entries is None:
            continue
        if not isinstance(entries, list):
            problems.append(Problem(file, lines.line(["sources"]), "sources", "must be a list"))
            continue
        for index, entry in enumerate(entries):
            source, found = _read_source(file, lines, index, entry)
            problems += found
            if source:
                sources.append(source)
    problems += _same_names(sources)
    return sources, problems


def load_sources(folder: Path, selection: Sequence[str] = ()) -> list[Source[Any, Any]]:
    """The declared sources, or those named in `selection` (`shop`, `shop.orders`); raises DeclarationError."""
    sources, problems = read_sources(folder)
    if problems:
        raise DeclarationError("\n".join(map(str, problems)))
    if not selection:
        return sources
    known = {s.name for s in sources} | {t.qualified for s in sources for t in s.tables}
    if unknown := [name for name in selection if name not in known]:
        raise DeclarationError(
            f"no source or table is called {', '.join(unknown)}; declared are: "
            + ", ".join(sorted(s.name for s in sources))
        )
    chosen = []
    for source in sources:
        tables = tuple(t for t in source.tables if source.name in selection or t.qualified in selection)
        if tables:
            chosen.append(Source(**{**source.__dict__, "tables": tables}))
    return chosen


def json_schema() -> dict[str, Any]:
    """JSON Schema of a source file, for editors; made from the models that also check it."""
    definitions: dict[str, Any] = {}
    variants: dict[str, Any] = {}
    for model in KINDS.values():
        schema = model.model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
        definitions |= schema.pop("$defs", {})
        variants[_title(model)] = schema
        table = model.__pydantic_generic_metadata__["args"][1]
        if not any(field.is_required() for field in table.model_fields.values()):
            for entry in ("TableEntry", "TableConfig", "TableMeta"):  # a table may do without a load block
                required = definitions[f"{entry}_{table.__name__}_"]["required"]
                required[:] = [key for key in required if key == "name"]
    for block in (*_blocks(Strict), *_blocks(Open)):
        properties = (definitions | variants).get(_title(block), {}).get("properties", {})
        for name, text in _attribute_docs(block).items():
            if name in properties:
                properties[name]["description"] = text
    load: dict[str, Any] = {"required": ["load"]}
    for key in ("meta", "config"):
        load = {"required": [key], "properties": {key: load}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sluice source file",
        "type": "object",
        "required": ["sources"],
        "properties": {
            "version": {"const": 2},
            "sources": {"type": "array", "items": {"if": load, "then": {"anyOf": list(variants.values())}}},
        },
        "$defs": definitions,
    }


def _title(model: type[BaseModel]) -> str:
    return re.sub(r"\W", "_", model.__name__)


def _blocks(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for block in model.__subclasses__():
        yield block
        yield from _blocks(block)


def _attribute_docs(model: type[BaseModel]) -> dict[str, str]:
    """What the source says below each field; read here only, for pydantic would read it whenever anything starts."""
    docs: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, (Strict, Open)) or "[" in base.__name__:
            continue  # parametrised: made by pydantic from a class that is in the order, too
        body = ast.parse(inspect.getsource(base)).body[0].body  # type: ignore[attr-defined]
        for field, text in pairwise(body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                    docs[name] = inspect.cleandoc(said)
    return docs


def _read_source(
    file: Path, lines: Lines, index: int, entry: Any
) -> tuple[Source[Any, Any] | None, list[Problem]]:
    at: list[str | int] = ["sources", index]
    name = entry.get("name", f"source {index + 1}") if isinstance(entry, dict) else f"source {index + 1}"
    if not isinstance(entry, dict):
        return None, [Problem(file, lines.line(at), name, "must be a mapping with name, config and tables")]
    load = _dig(entry, "config", "meta", "load")
    if load is None:
        if any(_dig(table, "config", "meta", "load") is not None for table in _list(entry, "tables")):
            where = f"{name}.config.meta.load"
            return None, [Problem(file, lines.line(at), where, f"is missing; kind is one of {_kinds()}")]
        return None, []
    kind = load.get("kind") if isinstance(load, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        path = [*at, "config", "meta", "load", "kind"]
        where = f"{name}.config.meta.load.kind"
        return None, [Problem(file, lines.line(path), where, f"is {_shown(kind)}; allowed are {_kinds()}")]
    # Tables without a load block get an empty one: for most kinds that is a complete declaration.
    for table in _list(entry, "tables"):
        if isinstance(table, dict) and _dig(table, "config", "meta", "load") is None:
            config = table.get("config") or {}
            table["config"] = {**config, "meta": {**(config.get("meta") or {}), "load": {}}}
    try:
        parsed = KINDS[kind].model_validate(entry)
    except ValidationError as error:
        return None, [_problem(file, lines, at, entry, detail) for detail in error.errors()]

    schema = parsed.schema_ or parsed.name
    line = lines.line(at)
    tables = tuple(
        Table(
            source=parsed.name,
            schema=schema,
            name=table.name,
            load=table.config.meta.load,
            columns=tuple(table.columns),
            file=file,
            line=lines.line([*at, "tables", i]),
        )
        for i, table in enumerate(parsed.tables)
    )
    source = Source(
        name=parsed.name,
        schema=schema,
        load=parsed.config.meta.load,
        tables=tables,
        file=file,
        line=line,
        freshness=_dig(entry, "config", "freshness") or {},
        declared=tables,
    )
    problems = [
        Problem(file, lines.line([*at, *path]), where, message)
        for path, where, message in _inconsistencies(source, entry)
    ]
    return (None if problems else source), problems


def _problem(file: Path, lines: Lines, at: Sequence[str | int], entry: Any, detail: Any) -> Problem:
    """One of pydantic's findings, in words for the person who wrote the file."""
    location = list(detail["loc"])
    value = entry
    for part in location:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            value = None
    named = [str(entry.get("name", "")), *_spoken(entry, location)]
    line = lines.line([*at, *location])
    where = ".".join(filter(None, named))
    kind = detail["type"]
    if kind == "extra_forbidden":
        allowed = _allowed(entry, location)
        return Problem(file, line, where, f"is not a key here; allowed are {', '.join(allowed)}")
    if kind == "missing":
        return Problem(file, line, where, "is missing")
    message = str(detail["msg"]).removeprefix("Value error, ")
    message = SAID.get(kind, message[0].lower() + message[1:]).replace("input should be", "allowed is")
    if kind == "string_pattern_mismatch" and detail["ctx"]["pattern"] == IDENTIFIER.pattern:
        message = "write lower-case letters, digits and _, beginning with a letter"
    if kind == "value_error" and isinstance(value, dict):
        return Problem(file, line, where, message)
    secret = any(SECRET_KEYS.search(str(part)) for part in location)
    return Problem(file, line, where, f"is {'a secret' if secret else _shown(value)}: {message}")


SAID = {
    "list_type": "write a list",
    "dict_type": "write a mapping, key: value",
    "model_type": "write a mapping, key: value",
    "string_type": "write a text",
}
"""Pydantic's kinds of error whose own words are a programmer's."""


def _shown(value: Any) -> str:
    """A value as it may stand in a message: without what might be a secret inside."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return "empty" if value is None else PASSWORD.sub("***", repr(value))


def _spoken(entry: Any, location: Sequence[str | int]) -> Iterator[str]:
    """`("tables", 3, "config", …)` as `orders.config…`: tables and columns by their names."""
    value = entry
    for part in location:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            value = None
        if isinstance(part, int):
            yield value.get("name", str(part)) if isinstance(value, dict) else str(part)
        elif location[-1] == part or not isinstance(value, list):
            yield str(part)


def _allowed(entry: Any, location: Sequence[str | int]) -> list[str]:
    """Keys that may stand where `location` found one that may not."""
    kind = _dig(entry, "config", "meta", "load", "kind")
    source_model, table_model = KINDS[kind].__pydantic_generic_metadata__["args"]
    model: Any = table_model if "tables" in location else source_model
    inside = location[location.index("load") + 1 : -1]
    for part in inside:
        annotation = model.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return sorted(model.model_fields)


def _inconsistencies(source: Source[Any, Any], entry: Any) -> Iterator[tuple[list[str | int], str, str]]:
    """Declarations that are well-formed and still cannot be meant: (path, where, message)."""
    from sluice.engine.types import declared_type_error

    load_path = ["config", "meta", "load"]
    for path, message in _secrets_and_references(entry["config"]["meta"]["load"], source.name):
        yield [*load_path, *path], f"{source.name}.config.meta.load.{'.'.join(map(str, path))}", message
    seen: dict[str, int] = {}
    for i, table in enumerate(source.tables):
        at: list[str | int] = ["tables", i]
        if RESERVED.match(table.name):
            yield [*at, "name"], table.qualified, "is a reserved name; call the table otherwise"
        if table.name in seen:
            yield at, table.qualified, "is declared twice in this source"
        seen[table.name] = i
        names = [c.name for c in table.columns]
        for j, column in enumerate(table.columns):
            if names.index(column.name) != j:
                yield [*at, "columns", j], f"{table.qualified}.{column.name}", "is declared twice"
            if column.data_type and (wrong := declared_type_error(column.data_type)):
                yield (
                    [*at, "columns", j, "data_type"],
                    f"{table.qualified}.{column.name}.data_type",
                    f"is {column.data_type!r}: {wrong}",
                )
        load = table.load
        used = {"primary_key": load.primary_key, "cursor": [load.cursor] if load.cursor else []}
        for key, columns in used.items():
            for name in columns:
                if names and name not in names and not name.startswith("_"):
                    yield (
                        [*at, *load_path, key],
                        f"{table.qualified}.{key}",
                        f"names {name!r}, which is not among the declared columns: {', '.join(names)}",
                    )
                if load.columns.exclude and name in load.columns.exclude:
                    yield [*at, *load_path, "columns"], table.qualified, f"excludes {name!r}, its {key}"
                if load.columns.include is not None and name not in load.columns.include:
                    yield (
                        [*at, *load_path, "columns"],
                        table.qualified,
                        f"does not include {name!r}, its {key}",
                    )
        raw_load = _dig(entry["tables"][i], "config", "meta", "load") or {}
        for path, message in _secrets_and_references(raw_load, source.name):
            yield [*at, *load_path, *path], f"{table.qualified}.{'.'.join(map(str, path))}", message
        yield from _kind_inconsistencies(source, table, at, load_path)


def _kind_inconsistencies(
    source: Source[Any, Any], table: Table[Any], at: list[str | int], load_path: list[str]
) -> Iterator[tuple[list[str | int], str, str]]:
    load = table.load
    if isinstance(load, FilesTable) and not load.header and not table.columns:
        yield [*at], table.qualified, "has no header, so its columns must be declared, in the files' order"
    if isinstance(load, StreamTable):
        needed, other = ("stream", "topic") if source.load.protocol == "nats" else ("topic", "stream")
        if getattr(load, needed) is None:
            yield [*at, *load_path], f"{table.qualified}.{needed}", f"is missing ({source.load.protocol})"
        if getattr(load, other) is not None:
            yield (
                [*at, *load_path, other],
                f"{table.qualified}.{other}",
                f"means nothing for {source.load.protocol}; write {needed}",
            )
    if isinstance(load, PythonTable) and (wrong := _import_error(load.resource)):
        yield [*at, *load_path, "resource"], f"{table.qualified}.resource", wrong


def _import_error(dotted: str) -> str | None:
    module, _, name = dotted.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None) if module else None
    except Exception as error:  # whatever a person's module raises while it is imported
        return f"is {dotted!r}: importing {module!r} fails: {type(error).__name__}: {error}"
    if not callable(found):
        return f"is {dotted!r}: write package.module.function, a dlt resource that can be imported"
    return None


def _secrets_and_references(
    value: Any, source: str, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Literal secrets anywhere inside a load block."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str) and SECRET_KEYS.search(str(key)) and not REFERENCE.search(inner):
                message = f"holds a secret; write ${{{source}.{key}}} and set it in the environment"
                yield (*path, key), message
            else:
                yield from _secrets_and_references(inner, source, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _secrets_and_references(inner, source, (*path, index))
    elif isinstance(value, str) and re.match(r"(Bearer|Basic|Token)\s+(?!\$)\S", value, re.IGNORECASE):
        yield path, f"holds a secret; write ${{{source}.token}} and set it in the environment"
    elif isinstance(value, str) and PASSWORD.search(value):
        yield path, f"holds a password; write ${{{source}.url}} and set it in the environment"


def _same_names(sources: Sequence[Source[Any, Any]]) -> Iterator[Problem]:
    for what in ("name", "schema"):
        seen: dict[str, Source[Any, Any]] = {}
        for source in sources:
            value = getattr(source, what)
            if first := seen.get(value):
                message = f"the {what} {value!r} is already taken in {first.file}:{first.line}"
                yield Problem(source.file, source.line, source.name, message)
            seen.setdefault(value, source)


def _dig(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _list(value: Any, key: str) -> list[Any]:
    found = _dig(value, key)
    return found if isinstance(found, list) else []


def _kinds() -> str:
    return ", ".join(KINDS)
