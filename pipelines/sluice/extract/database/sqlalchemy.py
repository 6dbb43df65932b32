"""A table of a database that DuckDB does not read itself: by its SQLAlchemy dialect, batch by batch into Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from itertools import chain
from typing import Any

from sluice.config.declaration import DatabaseSource, DatabaseTable, Source, Table
from sluice.errors import ConnectionError, LoadError
from sluice.extract.contract import ExtractContext, TypedRows
from sluice.extract.database.common import (
    BROKEN,
    CONNECT_SECONDS,
    SILENCE_SECONDS,
    Range,
    chosen_columns,
    declared_types,
    explained_filter,
    key_and_cursor,
    server_of,
    some_are_late,
    stage_keys,
    wanted_range,
)
from sluice.extract.silence import Watch
from sluice.extract.unreachable import with_reason
from sluice.sql import literal, quoted

MYSQL = ("mysql", "mariadb")
"""What SQLAlchemy calls the dialects of MySQL."""


def extract_table(
    url: str,
    table: Table[DatabaseTable],
    source: Source[DatabaseSource, DatabaseTable],
    context: ExtractContext,
    limit: int | None = None,
) -> TypedRows:
    """Reads one table, or `limit` of its rows, with dlt's `sql_table` and its arrow backend."""
    import sqlalchemy

    watch, where = server_of(url)
    engine = connected(url, source, context)
    try:
        with watch.on(SILENCE_SECONDS) if watch else nullcontext():
            return _rows(engine, table, context, limit)
    except sqlalchemy.exc.NoSuchTableError:
        raise LoadError(
            f"{table.qualified}: the source has no table {table.load.table or table.name!r}; "
            "fix `table:` or the table's name, or grant the user the right to see it"
        ) from None
    except LoadError:
        raise
    except Exception as error:  # of the driver, of SQLAlchemy, or of Arrow, which cannot hold every value
        said = _said(error, watch, context)
        if getattr(error, "connection_invalidated", False) or BROKEN.search(said):
            raise ConnectionError(
                f"{table.qualified}: the connection {source.load.connection!r} to {where} broke or was refused "
                f"({said}). Nothing of the table was loaded; load again"
            ) from None
        raise LoadError(
            f"{table.qualified}: {said}; nothing was loaded. A column "
            "with values that its type cannot hold, such as the date 0000-00-00, can be declared as text"
        ) from None
    finally:
        engine.dispose()


def _rows(engine: Any, table: Table[DatabaseTable], context: ExtractContext, limit: int | None) -> TypedRows:
    """Fetch the keys, where deleted rows are to be found, and the rows that are new."""
    import sqlalchemy
    from sqlalchemy import Integer, Numeric

    schema, _, name = (table.load.table or table.name).rpartition(".")
    reflected = sqlalchemy.inspect(engine).get_columns(name, schema or None)
    columns = [c["name"] for c in reflected]
    chosen = chosen_columns(table, columns, context)
    keys = None
    own = {c["name"]: _ordered_as(c["type"], engine.dialect) for c in reflected}.get(
        table.load.cursor or "", ""
    )
    wanted = wanted_range(table, own, context)
    if table.load.deletes:
        filtering = key_and_cursor(table) if not table.load.filter else columns
        keys = stage_keys(table, context, _fetched(engine, table, filtering, None, context))
        if wanted and some_are_late(table, keys, wanted, context):
            wanted = None
    wanted = wanted and wanted.at_source(own)
    relation = _fetched(engine, table, chosen if not table.load.filter else columns, wanted, context, limit)
    filtered = f" where {table.load.filter}" if table.load.filter else ""
    types = {
        table.raw_name(column["name"]): _decimal(column["type"])
        for column in reflected
        if isinstance(column["type"], (Integer, Numeric)) and _as_text(column["type"], engine.dialect)
    }
    return TypedRows(
        table=table,
        relation=f"select {', '.join(map(quoted, chosen))} from ({relation}){filtered}",
        types=types,
        is_whole=wanted is None,
        alive_keys=keys,
        explain=partial(explained_filter, table),
    )


def connected(url: str, source: Source[DatabaseSource, DatabaseTable], context: ExtractContext) -> Any:
    """An engine that could connect; raises ConnectionError."""
    import sqlalchemy

    watch, where = server_of(url)
    where = f"{where} (connection {source.load.connection!r})"
    try:
        engine = sqlalchemy.create_engine(url)
    except (sqlalchemy.exc.NoSuchModuleError, ImportError) as error:
        raise ConnectionError(
            f"{source.name}: nothing here reads {where}: {_said(error, watch, context)}. Install the SQLAlchemy "
            "dialect of the database and its driver"
        ) from None
    except sqlalchemy.exc.ArgumentError:
        raise ConnectionError(
            f"{source.name}: the url of {where} cannot be read; write <system>://<user>:<password>@<host>/<database>"
        ) from None
    try:
        with watch.on(CONNECT_SECONDS * 2) if watch else nullcontext():
            engine.connect().close()
    except Exception as error:  # of any driver
        engine.dispose()
        raise ConnectionError(
            f"{source.name}: cannot connect to {where}: {with_reason(_said(error, watch, context), error)}. Check the "
            "url, and that the user may log in"
        ) from None
    return engine


def _said(error: Exception, watch: Watch | None, context: ExtractContext) -> str:
    """What the driver said, in one line without secrets."""
    if watch and watch.reason:
        return watch.reason
    cause: BaseException = error
    while cause.__cause__:
        cause = cause.__cause__
    return (context.connections.redact(str(cause)).strip() or type(cause).__name__).splitlines()[0]


def _is_single(kind: Any, dialect: Any) -> bool:
    """Whether an SQLAlchemy type has single precision in this database."""
    name = type(kind).__name__
    return (name == "REAL" and dialect.name != "sqlite") or (name == "FLOAT" and dialect.name in MYSQL)


def _ordered_as(kind: Any, dialect: Any) -> str:
    """The DuckDB type that orders values as those of an SQLAlchemy type, or the name of that."""
    import sqlalchemy as sa

    if isinstance(kind, sa.Enum) or type(kind).__name__ == "SET":
        return type(kind).__name__
    if isinstance(kind, sa.DateTime):
        return "TIMESTAMP WITH TIME ZONE" if kind.timezone else "TIMESTAMP"
    if isinstance(kind, sa.Time):
        return "time beyond a day" if hasattr(kind, "fsp") else "TIME"  # MySQL's
    if type(kind).__name__ == "YEAR":
        return "BIGINT"
    if _is_single(kind, dialect):
        return "FLOAT"
    types: dict[Any, str] = {
        sa.Integer: "BIGINT",
        sa.Float: "DOUBLE",
        sa.Numeric: "DECIMAL(38,10)",
        sa.Date: "DATE",
        sa.String: "VARCHAR",
        sa.Uuid: "UUID",
    }
    return next((name for base, name in types.items() if isinstance(kind, base)), type(kind).__name__)


def _within(cursor: Any, kind: Any, wanted: Range, dialect: Any) -> Any:
    """The condition on the rows of a range; None where the database cannot be asked for them."""
    import sqlalchemy as sa

    begin, end = (sa.bindparam(None, value, type_=kind) for value in (wanted.begin, wanted.end))

    def within(place: Any) -> Any:
        bounds = [place >= begin] if wanted.begin is not None else []
        return sa.and_(*bounds, *([place < end] if wanted.end is not None else []))

    rows = within(cursor)
    if isinstance(kind, sa.String):
        place = _bytewise(cursor, dialect)
        if place is None:
            return None
        # it may rise as raw orders texts, or as the source does
        rows = sa.or_(within(place), rows) if wanted.end is None else within(place)
    return sa.or_(rows, cursor.is_(None)) if wanted.nulls else rows


def _bytewise(column: Any, dialect: Any) -> Any:
    """A column of texts, ordered as raw orders texts; None where it is not known how that is said."""
    import sqlalchemy as sa

    if dialect.name in MYSQL:
        return sa.collate(sa.func.convert(column.op("using")(sa.text("utf8mb4"))), "utf8mb4_bin")
    names = {"postgresql": "C", "sqlite": "binary"}
    return sa.collate(column, names[dialect.name]) if dialect.name in names else None


def _as_text(kind: Any, dialect: Any) -> bool:
    """Whether a column of an SQLAlchemy type is read as the server's text of it: Arrow cannot hold its values."""
    from sqlalchemy import Float, Integer, Numeric, Time

    if isinstance(kind, Numeric) and not isinstance(kind, Float):
        # other drivers may return doubles for decimals; SQLite always does
        return dialect.name != "sqlite" and (not dialect.supports_native_decimal or not _fits(kind))
    if isinstance(kind, Integer):
        return bool(getattr(kind, "unsigned", False))
    # MySQL's times go beyond a day; its sets would come in any order
    return (isinstance(kind, Time) and hasattr(kind, "fsp")) or type(kind).__name__ == "SET"


def _fits(kind: Any) -> bool:
    """Whether a numeric type of SQLAlchemy's is one of DuckDB's."""
    return kind.precision is not None and 0 <= (kind.scale or 0) <= kind.precision <= 38


def _decimal(kind: Any) -> str:
    """Raw's type of a number that is read as text."""
    if not hasattr(kind, "precision"):
        return "DECIMAL(38,0)"
    return f"DECIMAL({kind.precision},{kind.scale or 0})" if _fits(kind) else "DECIMAL(38,10)"


class _Query:
    """What dlt's `sql_table` asks the database for: the rows of a range, in types that Arrow can hold."""

    def __init__(
        self, table: Table[DatabaseTable], wanted: Range | None, dialect: Any, limit: int | None
    ) -> None:
        self._table = table
        self._limit = limit
        self._wanted = wanted
        self._dialect = dialect
        self._declared_texts = {name for name, kind in declared_types(table).items() if kind == "VARCHAR"}
        self._written: dict[str, Any] = {}
        """Expressions for what the server would not give in full: mostly its own text."""
        self.single: set[str] = set()
        """Columns of single precision."""
        self._own: dict[str, Any] = {}
        """The columns' types as reflected."""

    def adapt(self, reflected: Any) -> None:
        """Change the types that a reflected table's columns are read as."""
        import sqlalchemy as sa

        for column in reflected.c:
            self._own.setdefault(column.name, column.type)
            is_text = isinstance(column.type, sa.String)
            wanted = self._table.raw_name(column.name) in self._declared_texts and not is_text
            if _as_text(column.type, self._dialect) or wanted:
                short = isinstance(column.type, (sa.Numeric, sa.Integer, sa.Date, sa.DateTime, sa.Time))
                self._written[column.name] = sa.cast(column, sa.String(255 if short else None)).label(
                    column.name
                )
                column.type = sa.String()
            elif _is_single(column.type, self._dialect):
                self.single.add(column.name)
                if self._dialect.name in MYSQL:  # by itself it writes six digits of one
                    self._written[column.name] = (column + sa.literal_column("0e0")).label(column.name)
                column.type = sa.Numeric(asdecimal=False)
            elif isinstance(column.type, sa.Float) or (
                isinstance(column.type, sa.Numeric) and not self._dialect.supports_native_decimal
            ):  # SQLAlchemy would round to a scale on the way to a decimal
                column.type = sa.Numeric(asdecimal=False)  # dlt's sign for a double
            elif isinstance(column.type, sa.types._Binary):  # Arrow's binaries of a length have exactly that
                column.type = sa.LargeBinary()

    def select(self, _: Any, reflected: Any) -> Any:
        """The query."""
        import sqlalchemy as sa

        query = sa.select(*(self._written.get(column.name, column) for column in reflected.c))
        query = query.limit(self._limit)
        if self._wanted is None:
            return query
        cursor = reflected.c[self._table.load.cursor]
        within = _within(cursor, self._own[cursor.name], self._wanted, self._dialect)
        return query if within is None else query.where(within)


def _fetched(
    engine: Any,
    table: Table[DatabaseTable],
    columns: Sequence[str],
    wanted: Range | None,
    context: ExtractContext,
    limit: int | None = None,
) -> str:
    """A SELECT of the columns of the rows in the wanted range, or of `limit` of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from dlt.sources.sql_database import sql_table
    from dlt.sources.sql_database.arrow_helpers import row_tuples_to_arrow

    schema, _, name = (table.load.table or table.name).rpartition(".")
    query = _Query(table, wanted, engine.dialect, limit)
    resource = sql_table(
        engine,
        table=name,
        schema=schema or None,
        backend="pyarrow",
        reflection_level="full_with_precision",
        query_adapter_callback=query.select,
        table_adapter_callback=query.adapt,
        included_columns=list(columns),
    )
    file = context.folder / f"{table.name}.{len(columns)}.fetched.parquet"
    hints: Any = resource.compute_table_schema()["columns"]
    writer = None
    try:
        for batch in chain(resource, [None]):
            if batch is None and writer is None:  # no row, but columns and their types
                empty = {c: hints.get(c, {"name": c}) for c in columns}
                batch = row_tuples_to_arrow([], columns=empty, tz="UTC")
            if batch is None:
                break
            if writer is None:  # a column that has no value yet may still get one: as text
                types = [
                    (
                        f.name,
                        pa.float32()
                        if f.name in query.single
                        else pa.string()
                        if pa.types.is_null(f.type)
                        else f.type,
                    )
                    for f in batch.schema
                ]
                writer = pq.ParquetWriter(file, pa.schema(types))
            writer.write_table(batch.cast(writer.schema))
            context.progress(table.name, batch.num_rows)
    finally:
        if writer:
            writer.close()
    return f"select * from read_parquet({literal(str(file))})"
