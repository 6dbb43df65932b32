"""Reads a proposed table with the loader's own code, so that what is proposed loads; raw and dlt are not touched."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from sluice.config.column_names import RECORD, TECHNICAL, normalized
from sluice.config.connections import Connections
from sluice.config.declaration import KINDS, Column, Source, Table, table_model
from sluice.discover.contract import DiscoveredTable, Limits, distinct_name
from sluice.errors import SluiceError
from sluice.extract import extractor
from sluice.extract.contract import ExtractContext, Failed, JsonRecords, TypedRows
from sluice.load.normalise import normalise
from sluice.load.staging import end_transaction, read_parquet
from sluice.sql import first_value, literal, quoted


@dataclass(frozen=True)
class Trial:
    """What one reading of a proposed table brought."""

    relation: str | None = None
    """A FROM item with the good rows under raw's names; None without any."""
    rows: int = 0
    """Good rows."""
    bad_rows: int = 0
    problem: str = ""
    """Why the loader would refuse the table, in its words; empty if it loads."""
    warnings: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    """DuckDB types by raw's names, without the columns that loading adds."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The source's names by raw's, in the source's order."""


class TrialLoads:
    """Reads tables of one proposed source into Parquet files of a scratch folder."""

    def __init__(self, source: str, load: Mapping[str, Any], connections: Connections, root: Path) -> None:
        self._source = source
        self._load = load
        self._connections = connections
        self._root = root
        self._numbers = count()

    @contextmanager
    def opened(self) -> Iterator[TrialLoads]:
        """Holds the scratch folder; relations of the trials are valid inside."""
        with tempfile.TemporaryDirectory(prefix="sluice-discover-") as folder, duckdb.connect() as con:
            self._folder, self._con = Path(folder), con
            con.execute("set TimeZone = 'UTC'")
            con.execute(f"set temp_directory = {literal(self._folder / 'temp')}")
            yield self

    def table(self, name: str, load: Mapping[str, Any], columns: Mapping[str, str | None]) -> Table[Any]:
        """The table as the loader knows it; raises pydantic's ValidationError for keys that do not fit."""
        return Table(
            source=self._source,
            schema=self._source,
            name=name,
            load=table_model(str(self._load["kind"])).model_validate(dict(load)),
            columns=tuple(Column(name=column, data_type=kind) for column, kind in columns.items()),
            file=Path(f"{self._source}.yml"),
            line=1,
        )

    def source(self, *tables: Table[Any]) -> Source[Any, Any]:
        """The source as the loader knows it."""
        model = KINDS[str(self._load["kind"])].__pydantic_generic_metadata__["args"][0]
        return Source(
            name=self._source,
            schema=self._source,
            load=model.model_validate(dict(self._load)),
            tables=tables,
            file=Path(f"{self._source}.yml"),
            line=1,
            freshness={},
            declared=tables,
        )

    def read(self, table: Table[Any]) -> Trial:
        """Read a table as a load would; what goes wrong is in the result."""
        context = self.context()
        source = self.source(table)
        for extracted in extractor(source)(source, [table], context):
            if isinstance(extracted, Failed):
                return Trial(problem=self._connections.redact(str(extracted.error)))
            return self.stage(extracted, context)
        return Trial()

    def records(self, table: Table[Any]) -> list[JsonRecords]:
        """The records of a table, as a load would read them, kept in the scratch database."""
        source = self.source(table)
        found = []
        for extracted in extractor(source)(source, [table], self.context()):
            if isinstance(extracted, Failed):
                raise extracted.error
            if isinstance(extracted, JsonRecords):
                found.append(replace(extracted, relation=self.kept(extracted.relation)))
                extracted.release()
        return found

    def kept(self, select: str) -> str:
        """A SELECT of the same rows, which stay in the scratch database."""
        name = quoted(f"kept_{next(self._numbers)}")
        self._con.execute(f"create table {name} as {select}")
        return f"select * from {name}"

    def texts(self, records: Iterable[str]) -> str:
        """A SELECT of records, JSON texts, as they are given."""
        values = pa.table({RECORD: pa.array(list(records), pa.string())})
        self._con.register("given_records", values)
        try:
            return self.kept("select * from given_records")
        finally:
            self._con.unregister("given_records")

    def context(self) -> ExtractContext:
        """What an extractor works with: an empty folder of its own, and no memory of earlier loads."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        self._warnings: list[str] = []
        return ExtractContext(
            self._con,
            folder,
            self._connections,
            state=lambda table: {},
            progress=lambda table, rows: None,
            root=self._root,
            warned=lambda table, what: self._warnings.append(what),
        )

    def stage(self, extracted: TypedRows | JsonRecords, context: ExtractContext) -> Trial:
        """Normalise what was extracted, as a load does before it commits."""
        names = self._names(extracted)
        try:
            staged = normalise(extracted, context, "discover", datetime.now(UTC))
        except (SluiceError, duckdb.Error) as error:
            end_transaction(self._con)
            problem = self._connections.redact(str(error))
            return Trial(problem=problem, warnings=tuple(self._warnings), names=names)
        finally:
            extracted.release()
        bad = staged.quarantine.rows if staged.quarantine else 0
        file = staged.file or context.folder / f"{extracted.table.name}.normalised.parquet"
        relation = read_parquet(file) if file.exists() else None
        described = self._con.execute(f"describe from {relation}").fetchall() if relation else []
        return Trial(
            relation=relation,
            rows=int(first_value(self._con, f"select count(*) from {relation}")) if relation else 0,
            bad_rows=bad,
            problem=self._connections.redact(staged.refused or ""),
            warnings=tuple(self._warnings),
            columns={name: kind for name, kind, *_ in described if name not in TECHNICAL},
            names=names,
        )

    def _names(self, extracted: TypedRows | JsonRecords) -> dict[str, str]:
        """The source's names of the columns, by raw's."""
        if isinstance(extracted, JsonRecords):
            keys = f"select unnest(json_keys({RECORD})) as key, row_number() over () as place from "
            rows = self._con.execute(
                f"select key from ({keys} (select {RECORD} from ({extracted.relation}) where json_valid({RECORD})"
                f" and json_type({RECORD}) = 'OBJECT')) group by key order by min(place), key"
            ).fetchall()
        else:
            rows = self._con.execute(f"describe {extracted.relation}").fetchall()
        names = [name for name, *_ in rows if name not in TECHNICAL]
        return {extracted.table.raw_name(name): name for name in names}

    def scratch(self, name: str) -> Path:
        """A folder for files, which is removed with the trials."""
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def below(self, folder: Path) -> TrialLoads:
        """The same trials, of files that are in a folder of this machine."""
        other = copy(self)
        other._load = {"kind": "files", "url": str(folder)}
        return other

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        """The scratch database in which trials are read."""
        return self._con


def fill(
    con: duckdb.DuckDBPyConnection, source: str, table: DiscoveredTable, trial: Trial, limits: Limits
) -> None:
    """Put a trial's rows, whole or as a sample of all, into the scratch database; sets `relation` and `is_whole`."""
    if trial.relation is None or not table.columns or not limits.with_rows:
        return
    con.execute(f"create schema if not exists {quoted(source)}")
    taken = {
        name
        for (name,) in con.execute(
            "select table_name from duckdb_tables() where schema_name = ?", [source]
        ).fetchall()
    }
    relation = f"{quoted(source)}.{quoted(distinct_name(table.name, taken))}"
    selected = ", ".join(
        f"{quoted(raw)} as {quoted(column.name)}"
        for column in table.columns
        if (raw := raw_name(column.name, trial.columns)) is not None
    )
    sample = ""
    if trial.rows > limits.whole_rows:
        sample = f" using sample reservoir({limits.sample_rows} rows) repeatable (1)"
        table.is_whole = False
    con.execute(f"create table {relation} as select {selected} from {trial.relation}{sample}")
    table.relation = relation


def raw_name(column: str, raw: Mapping[str, str]) -> str | None:
    """What raw calls a column of the source; None if it is not among raw's."""
    return next((name for name in (column, normalized(column)) if name in raw), None)
