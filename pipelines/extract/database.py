"""Tables of a database, read by DuckDB's scanners (PostgreSQL, MySQL/MariaDB, SQLite) or through SQLAlchemy.

All tables of one run are read in one transaction, so orders and their lines belong together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain
from math import ceil, floor
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import duckdb

from pipelines.declaration import DatabaseSource, DatabaseTable, Source, Table
from pipelines.engine import load_extension
from pipelines.errors import ConnectionError, LoadError
from pipelines.extract import Delivery, Job, Landed, each_table, literal, quoted
from pipelines.extract.database_scan import Scan
from pipelines.extract.silence import Watch
from pipelines.names import DELETED_AT, normalized
from pipelines.types import INTEGERS, NESTED, cast, declared_type, ordering, raw_type

DIALECTS = {
    "postgresql": "postgres",
    "postgres": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite": "sqlite",
}
"""URL schemes DuckDB reads itself, and the name of its extension."""
PORTS = {"postgres": 5432, "mysql": 3306}
SETTINGS = {
    "mysql": [
        "mysql_tinyint1_as_boolean = false",  # else a 2 would be true
        "mysql_session_time_zone = '+00:00'",  # timestamps come without a zone: UTC, not the server's
        "mysql_query_timeout_enabled = false",  # a large table takes longer than five minutes
    ]
}
CONNECT_SECONDS = 10
PATIENCE = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 30,  # a host that is gone, or a firewall that forgot us, is noticed a minute later
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""Parameters of a PostgreSQL connection, where its URL does not set them; seconds, the last one milliseconds."""
SILENCE_SECONDS = 1800.0
"""A server that sends nothing for so long while it is read is taken for gone; a slow query may think that long."""
BROKEN = re.compile(
    r"closed the connection|connection (?:was |has been )?(?:reset|closed|refused|timed out|not open|to server)|"
    r"could not (?:connect|receive|send)|no connection to the server|terminating connection|lost connection|"
    r"can't connect|gone away|ssl (?:syscall|error)|timeout expired|broken pipe|not connected|"
    r"failed to fetch result",
    re.IGNORECASE,
)
"""What PostgreSQL's and MySQL's clients say when the connection is the trouble."""


def extract(
    source: Source[DatabaseSource, DatabaseTable], tables: Sequence[Table[DatabaseTable]], job: Job
) -> Generator[Delivery, None, None]:
    """Land every table as a SELECT over the database itself; nothing is copied before it is shaped."""
    url = job.connections.require(source.load.connection, "url")
    scheme = urlsplit(url).scheme
    if scheme not in DIALECTS:
        yield from each_table(tables, lambda table: _through_sqlalchemy(url, table, source, job))
        return
    server = _Server(url, source, job)
    try:
        for table in tables:
            with server.watched():
                server.ready()
                yield from each_table([table], lambda table: server.land(table))
    finally:
        server.leave()


class _Server:
    """A database that DuckDB reads: attached as a catalog, and read in one transaction as long as none fails."""

    def __init__(self, url: str, source: Source[DatabaseSource, DatabaseTable], job: Job) -> None:
        self.url = url
        self.source = source
        self.job = job
        self.dialect = DIALECTS[urlsplit(url).scheme]
        self.catalog = f"source_{source.name}"
        self._transaction = 0
        self._watch, self.where = _place(url)

    @contextmanager
    def watched(self, seconds: float | None = None) -> Iterator[None]:
        """Bound the silence of the server, also while what was landed is read by others."""
        with self._watch.on(seconds or SILENCE_SECONDS) if self._watch else nullcontext():
            yield

    def ready(self) -> None:
        """Attach and begin; anew after an error, which ends the transaction for good and may have its cause there."""
        if self._transaction:
            with suppress(duckdb.Error):
                if self._current() == self._transaction:
                    return
            self.leave()
        self._attach()
        self.job.con.execute("begin")
        self._transaction = self._current()

    def _current(self) -> int:
        """The number of DuckDB's transaction; fails in one that met an error, and differs when that one was ended."""
        (number,) = self.job.con.execute("select txid_current()").fetchone() or (0,)
        return int(number)

    def leave(self) -> None:
        self._transaction = 0
        with suppress(duckdb.Error):  # none may be open, or nobody is there to hear of its end
            self.job.con.execute("rollback")
        self.job.con.execute(f"detach database if exists {self.catalog}")

    def _attach(self) -> None:
        load_extension(self.job.con, f"{self.dialect}_scanner")
        for setting in SETTINGS.get(self.dialect, ()):
            self.job.con.execute(f"set {setting}")
        address = self._address()
        try:
            with self.watched(CONNECT_SECONDS * 2):  # longer than the driver's own time, where it has one
                options = f"type {self.dialect}, read_only{self._secret()}"
                self.job.con.execute(f"attach {literal(address)} as {self.catalog} ({options})")
        except duckdb.Error as error:
            raise ConnectionError(
                f"{self.source.name}: cannot connect to {self.where} (connection "
                f"{self.source.load.connection!r}): {self._said(error)}"
            ) from None

    def _secret(self) -> str:
        """MySQL's password by a secret: within an address, some of its characters would have a meaning."""
        password = urlsplit(self.url).password if self.dialect == "mysql" else None
        if not password:
            return ""
        made = f"create or replace temporary secret {self.catalog} (type mysql, password {literal(unquote(password))})"
        self.job.con.execute(made)
        return f", secret {self.catalog}"

    def _address(self) -> str:
        if self.dialect == "mysql":
            return _mysql_address(self.url)
        if self.dialect == "postgres":
            return _patient(self.url)
        address = self.url.removeprefix("sqlite:///")
        if not (self.job.root / address).is_file():
            raise ConnectionError(
                f"{self.source.name}: there is no SQLite file {address!r}; look at "
                f"connections.{self.source.load.connection}"
            )
        return str(self.job.root / address)

    def land(self, table: Table[DatabaseTable]) -> Landed:
        """What to read; a connection that ended since the table before is made anew, once."""
        try:
            landed = _scanned(self.catalog, self.dialect, table, self.job)
        except duckdb.Error as error:
            if not self._is_broken(error):
                self.leave()  # the server may refuse all that comes in a transaction with an error
                careful = self._land_with_care(
                    table, error, ()
                )  # a key that is none stops the scanner already here
                if careful is None:
                    raise
                return careful
            self.job.retried(table.name, f"{self._said(error)}; connecting to {self.where} once more")
            self.leave()
            self.ready()
            try:
                landed = _scanned(self.catalog, self.dialect, table, self.job)
            except duckdb.Error as again:
                raise self._explained(table, again) from None
        assert landed is not None
        return replace(
            landed,
            explain=lambda error: self._explained(table, error),
            careful=lambda error, doubted: self._land_with_care(table, error, doubted),
        )

    def _land_with_care(
        self, table: Table[DatabaseTable], error: Exception | None, doubted: Sequence[str]
    ) -> Landed | None:
        """Read values that the scanner alters, or stops at, as the texts the server writes; None: there are none."""
        if error and self._is_broken(error):
            return None
        self.ready()
        landed = _scanned(self.catalog, self.dialect, table, self.job, with_care=True, doubted=doubted)
        return landed and replace(landed, explain=lambda error: self._explained(table, error))

    def _is_broken(self, error: Exception) -> bool:
        return (
            isinstance(error, duckdb.Error) and self.dialect != "sqlite" and bool(BROKEN.search(str(error)))
        )

    def _explained(self, table: Table[DatabaseTable], error: Exception) -> Exception:
        """The error as one of the connection, where it is one; itself otherwise."""
        if not self._is_broken(error):
            return error
        return ConnectionError(
            f"{table.qualified}: the connection {self.source.load.connection!r} to {self.where} broke while the "
            f"table was read ({self._said(error)}). Nothing of it was loaded; load again"
        )

    def _said(self, error: Exception) -> str:
        """What the server's client said, without the query and the address, in one line."""
        if self._watch and self._watch.seconds:
            return f"nothing came for {self._watch.seconds:.0f} seconds"
        text = re.sub(r'(?s)^.*?(?:query|connect to \w+ (?:at|with[^"]*)) ".*":', "", str(error))
        text = re.sub(r"^(?:\w+ )?Error: ", "", text.strip())
        return self.job.connections.redact(text).partition("\n")[0] or "the connection ended"


def _patient(url: str) -> str:
    """A PostgreSQL URL with the parameters of PATIENCE that it lacks."""
    given = dict(parse_qsl(urlsplit(url).query))
    more = urlencode({key: value for key, value in PATIENCE.items() if key not in given})
    return f"{url}{'&' if given else '?'}{more}"


def _place(url: str) -> tuple[Watch | None, str]:
    """A watch over connections to the server of a URL, where it has one, and how the place is called in messages."""
    parts = urlsplit(url)
    try:
        port = parts.port or PORTS.get(DIALECTS.get(parts.scheme, ""), 0)
    except ValueError:  # several hosts
        return None, parts.netloc.rpartition("@")[2] + parts.path
    if not parts.hostname:
        return None, parts.path
    return Watch(parts.hostname, port) if port else None, f"{parts.hostname}:{port}{parts.path}"


def _mysql_address(url: str) -> str:
    parts = urlsplit(url)
    fields = {
        "host": parts.hostname,
        "port": parts.port,
        "user": parts.username and unquote(parts.username),
        "database": parts.path.strip("/"),
        **dict(parse_qsl(parts.query)),
    }
    return " ".join(f'{key}="{value}"' for key, value in fields.items() if value)


def _scanned(
    catalog: str,
    dialect: str,
    table: Table[DatabaseTable],
    job: Job,
    *,
    with_care: bool = False,
    doubted: Sequence[str] = (),
) -> Landed | None:
    """What to read of a table; `with_care`, None where no value (of the columns `doubted`, if any) needs it."""
    scan = Scan(catalog, dialect, table, job)
    chosen = _chosen(table, list(scan.columns), job)
    keys = None
    cursor = table.load.cursor or ""
    own = scan.ordered_as(cursor) if cursor else ""
    wanted = _range(table, own, job)
    if (
        with_care
        and table.load.deletes
        and not scan.take_odd_as_text(chosen, "true", every=True, doubted=doubted)
    ):
        return None
    if table.load.deletes:
        keys = _keys(table, job, scan.relation(_keyed(table), "true"))
        if wanted and _some_are_late(table, keys, wanted, job):
            wanted = None
    if wanted:
        wanted = wanted.at_source(own)
    nulls = bool(wanted and wanted.nulls and scan.nullable[cursor])
    there = scan.mark(cursor)
    texts = bool(wanted and ordering(wanted.data_type) == "text" and dialect != "sqlite")
    since = wanted.condition(scan.bytewise(cursor) if texts else there, typed=False) if wanted else "true"
    if wanted and texts and wanted.end is None:  # it may rise as raw orders texts, or as the source does
        since = f"({since} or {wanted.condition(there, typed=False)})"
    within = f"{since} or {there} is null" if nulls else since
    if (with_care and not table.load.deletes) or (not with_care and dialect == "sqlite"):
        found = scan.take_odd_as_text(chosen, within, every=with_care, doubted=doubted)
        if with_care and not found:
            return None
    rejected = scan.undecodable(chosen, within)
    more: dict[str, Any] = {"types": scan.types(), "keys": keys, "rejected": rejected}
    if not with_care:
        more["doubtful"] = scan.doubtful(chosen)
    if wanted is None:
        return Landed(scan.relation(chosen, "true"), **more)
    # few rows, so PostgreSQL may find them by an index: DuckDB's scanner asks it for every page of the table.
    # What the scanner takes apart, as points, its query function does not
    asked = (dialect == "postgres" or texts) and not any(
        NESTED.search(scan.columns[name]) and not scan.needs_server([name]) for name in chosen
    )
    by_server = asked or scan.needs_server(chosen)
    place = there if by_server else quoted(cursor)
    newer = scan.relation(
        chosen, since if by_server else wanted.condition(place, typed=True), by_server=asked
    )
    if nulls:
        # a row without a cursor may have changed at any time; `or`, and in PostgreSQL `is null`, is not pushed down
        newer += f" union all {scan.relation(chosen, f'{place} is null', by_server=asked)}"
    return Landed(newer, **more)


def _chosen(table: Table[DatabaseTable], columns: Sequence[str], job: Job) -> list[str]:
    """Columns to read, in the source's order; a name the source lacks is an error.

    But for one that is excluded because the source no longer has it, while raw does.
    """
    wanted = table.load.columns
    raw = job.raw_columns(table)
    named = [*(wanted.include or []), *_keyed(table)]
    named += [name for name in wanted.exclude or [] if normalized(name) not in raw]
    if missing := [name for name in named if name not in columns]:
        raise LoadError(
            f"{table.qualified}: the source's table has no column {', '.join(missing)}; "
            f"it has {', '.join(columns)}"
        )
    if wanted.include is not None:
        return [name for name in columns if name in wanted.include]
    return [name for name in columns if name not in (wanted.exclude or [])]


def _keyed(table: Table[DatabaseTable]) -> list[str]:
    """Primary key and cursor, each once."""
    return list(dict.fromkeys([*table.load.primary_key, *filter(None, [table.load.cursor])]))


@dataclass(frozen=True)
class _Range:
    """Which cursor values to read; None: no bound on this side."""

    begin: Any
    end: Any
    """Not included."""
    data_type: str
    nulls: bool
    """Whether rows without a cursor are read, too."""

    def condition(self, place: str, *, typed: bool) -> str:
        """SQL over the column `place`: with typed literals as DuckDB reads them, or with texts as servers do."""
        sides = [(">=", self.begin), ("<", self.end)]
        texts = [(sign, literal(str(value))) for sign, value in sides if value is not None]
        return " and ".join(
            f"{place} {sign} {f'cast({text} as {self.data_type})' if typed else text}" for sign, text in texts
        )

    def at_source(self, own: str) -> _Range:
        """The same range in the source's type, where raw has another one."""
        return replace(
            self, begin=_converted(self.begin, own, floor), end=_converted(self.end, own, ceil), data_type=own
        )


def _converted(value: Any, own: str, whole: Callable[[Any], int]) -> Any:
    if isinstance(value, datetime) and own.startswith("TIMESTAMP"):
        if own.endswith("ZONE"):  # without one the server would take its own
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return whole(value) if own in INTEGERS and isinstance(value, (float, Decimal)) else value


def _range(table: Table[DatabaseTable], own: str, job: Job) -> _Range | None:
    """From the highest cursor raw has, less the look-back; or the window that is asked for. None: the whole table.

    `own` is the type of the cursor by which the source orders.
    """
    if not table.load.cursor:
        return None
    data_type = _cursor_type(table, own, job)
    highest = _highest(table, data_type, job)
    if job.window:
        return _asked_range(table, data_type, highest, job)
    if highest is None or table.load.disposition() == "replace" or job.retry_quarantine:
        return None
    if table.load.lookback:
        # a date has no hours: the look-back of one is whole days
        highest -= table.load.lookback if isinstance(highest, datetime) else _days(table.load.lookback)
    return _Range(highest, None, data_type, nulls=True)


def _cursor_type(table: Table[DatabaseTable], own: str, job: Job) -> str:
    """Raw's type of the cursor; refused where rows would be missed, for raw's highest need not be the source's."""
    cursor = table.load.cursor or ""
    declared = {normalized(name): declared_type(kind).name for name, kind in table.data_types.items()}
    name = normalized(cursor)
    raw = job.raw_columns(table).get(name) or declared.get(name) or raw_type(own).name
    if ordering(own) is None or ordering(own) != ordering(raw):
        raise LoadError(
            f"{table.qualified}: the cursor {cursor} is {own.lower()} at the source and {raw.lower()} in raw, and what "
            "is higher in the one need not be in the other, so rows would be missed. A cursor is a number, a time or a "
            "text in both: name another one, or none, or mend its data_type. Where its type changed at the source: "
            f"sluice load {table.qualified} --full-refresh"
        )
    if table.load.lookback and ordering(raw) != "moment":
        raise LoadError(
            f"{table.qualified}: lookback needs a cursor that is a time; {cursor} is {raw.lower()}"
        )
    return raw


def _highest(table: Table[DatabaseTable], data_type: str, job: Job) -> Any:
    """Where raw ends; a cursor that lies in the future, or at infinity, says nothing about what is new."""
    column = normalized(table.load.cursor or "")
    reached = "true"
    if data_type.startswith(("TIMESTAMP", "DATE")):
        reached = f"{quoted(column)} <= now() + interval 1 day"
    elif data_type == "DOUBLE":
        reached = f"isfinite({quoted(column)})"
    return job.raw_maximum(table, column, reached)


def _asked_range(table: Table[DatabaseTable], data_type: str, highest: Any, job: Job) -> _Range:
    way = cast("$1", "VARCHAR", data_type)
    value = f"case when {way.keeps} then {way.value} end" if way.keeps else way.value
    values = []
    for text in job.window or ():
        row = job.con.execute(f"select {value.replace('$1', '$1::varchar')}", [text]).fetchone() or (None,)
        if text is not None and row[0] is None:
            raise LoadError(
                f"{table.qualified}: --from and --to are values of the cursor {table.load.cursor}, which is "
                f"{data_type.lower()}; {text!r} is none"
            )
        values.append(row[0])
    begin, end = values
    if begin is not None and end is not None and begin >= end:
        raise LoadError(
            f"{table.qualified}: --from {begin} is not before --to {end}, so nothing lies between"
        )
    if begin is not None and (highest is None or begin > highest):
        # the next load begins at the highest cursor in raw
        ends = "has none of its rows" if highest is None else f"ends with {highest}"
        raise LoadError(
            f"{table.qualified}: raw {ends}, so what lies before --from {begin} would be missed by all later loads. "
            f"Load it first: sluice load {table.qualified}"
        )
    return _Range(begin, end, data_type, nulls=False)


def _days(span: timedelta) -> timedelta:
    return timedelta(days=-(-span // timedelta(days=1)))


def _keys(table: Table[DatabaseTable], job: Job, relation: str) -> str:
    """All keys of the source (and their cursors), read once; in raw's types, and null where those have no room."""
    file = job.folder / f"{table.name}.keys.parquet"
    known = job.raw_columns(table)
    shown = []
    for name, own, *_ in job.con.execute(f"describe {relation}").fetchall():
        way = cast(quoted(name), own, known.get(normalized(name), own))
        value = f"case when {way.keeps} then {way.value} end" if way.keeps else way.value
        shown.append(f"{value} as {quoted(name)}")
    job.con.execute(
        f"copy (select {', '.join(shown)} from ({relation})) to {literal(str(file))} (format parquet)"
    )
    return f"select * from read_parquet({literal(str(file))})"


def _some_are_late(table: Table[DatabaseTable], keys: str, wanted: _Range, job: Job) -> bool:
    """Whether the source has keys below the bound that raw lacks or holds as deleted.

    Such rows were committed late, or came back; the table is then read whole, and what raw has is dropped later.
    """
    if job.window:
        return False
    alive = f"where {DELETED_AT} is null" if DELETED_AT in job.raw_columns(table) else ""
    same = " and ".join(f"s.{quoted(k)} = r.{quoted(normalized(k))}" for k in table.load.primary_key)
    row = job.con.execute(
        f"select count(*) from ({keys}) s anti join"
        f" (select * from {quoted(table.schema)}.{quoted(table.name)} {alive}) r on {same}"
        f" where not ({wanted.condition('s.' + quoted(table.load.cursor or ''), typed=True)})"
    ).fetchone()
    return bool(row and row[0])


def _through_sqlalchemy(
    url: str, table: Table[DatabaseTable], source: Source[DatabaseSource, DatabaseTable], job: Job
) -> Landed:
    """Any other database: dlt's `sql_table` with its arrow backend, batch by batch into Parquet."""
    import sqlalchemy
    from sqlalchemy import Integer, Numeric

    schema, _, name = (table.load.table or table.name).rpartition(".")
    watch, where = _place(url)
    engine = sqlalchemy.create_engine(url)
    listening = ExitStack()
    try:
        if watch:
            with watch.on(CONNECT_SECONDS * 2):
                engine.connect().close()
            listening.enter_context(watch.on(SILENCE_SECONDS))
        reflected = sqlalchemy.inspect(engine).get_columns(name, schema or None)
        columns = [c["name"] for c in reflected]
        chosen = _chosen(table, columns, job)
        keys = None
        own = {c["name"]: _ordered_as(c["type"]) for c in reflected}.get(table.load.cursor or "", "")
        wanted = _range(table, own, job)
        if table.load.deletes:
            filtering = _keyed(table) if not table.load.filter else columns
            keys = _keys(table, job, _fetched(engine, table, filtering, None, job))
            if wanted and _some_are_late(table, keys, wanted, job):
                wanted = None
        wanted = wanted and wanted.at_source(own)
        relation = _fetched(engine, table, chosen if not table.load.filter else columns, wanted, job)
    except sqlalchemy.exc.NoSuchTableError:
        raise LoadError(
            f"{table.qualified}: the source has no table {table.load.table or table.name!r}; "
            "mend `table:` or the table's name, or grant the user the right to see it"
        ) from None
    except LoadError:
        raise
    except Exception as error:  # of the driver, of SQLAlchemy, or of Arrow, which has no room for every value
        cause: BaseException = error
        while cause.__cause__:
            cause = cause.__cause__
        said = (job.connections.redact(str(cause)).strip() or type(cause).__name__).splitlines()[0]
        if getattr(error, "connection_invalidated", False) or BROKEN.search(str(cause)):
            silence = f"nothing came for {watch.seconds:.0f} seconds" if watch and watch.seconds else said
            raise ConnectionError(
                f"{table.qualified}: the connection {source.load.connection!r} to {where} broke or was refused "
                f"({silence}). Nothing of the table was loaded; load again"
            ) from None
        raise LoadError(
            f"{table.qualified}: {said}; nothing was loaded. A column "
            "with values its type has no room for, such as the date 0000-00-00, can be declared as text"
        ) from None
    finally:
        listening.close()
        engine.dispose()
    filtered = f" where {table.load.filter}" if table.load.filter else ""
    types = {
        normalized(column["name"]): _decimal(column["type"])
        for column in reflected
        if isinstance(column["type"], (Integer, Numeric)) and _as_text(column["type"], engine.dialect)
    }
    return Landed(
        f"select {', '.join(map(quoted, chosen))} from ({relation}){filtered}", types=types, keys=keys
    )


def _ordered_as(kind: Any) -> str:
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
    types: dict[Any, str] = {
        sa.Integer: "BIGINT",
        sa.Float: "DOUBLE",
        sa.Numeric: "DECIMAL(38,10)",
        sa.Date: "DATE",
        sa.String: "VARCHAR",
        sa.Uuid: "UUID",
    }
    return next((name for base, name in types.items() if isinstance(kind, base)), type(kind).__name__)


def _as_text(kind: Any, dialect: Any) -> bool:
    """Whether a column of an SQLAlchemy type is read as the server's text of it: Arrow has no room for its values."""
    from sqlalchemy import Float, Integer, Numeric, Time

    if isinstance(kind, Numeric) and not isinstance(kind, Float):
        # a driver that is not known for decimals may give doubles; SQLite has no others
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


def _fetched(
    engine: Any, table: Table[DatabaseTable], columns: Sequence[str], wanted: _Range | None, job: Job
) -> str:
    """A SELECT of the columns of the rows in the wanted range."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import sqlalchemy as sa
    from dlt.sources.sql_database import sql_table
    from dlt.sources.sql_database.arrow_helpers import row_tuples_to_arrow

    declared = {normalized(c): declared_type(kind).name for c, kind in table.data_types.items()}
    texts: dict[str, Any] = {}
    own: dict[str, Any] = {}

    def adapt(reflected: Any) -> None:
        for column in reflected.c:
            own.setdefault(column.name, column.type)
            wanted = declared.get(normalized(column.name)) == "VARCHAR"
            if _as_text(column.type, engine.dialect) or (wanted and not isinstance(column.type, sa.String)):
                short = isinstance(column.type, (sa.Numeric, sa.Integer, sa.Date, sa.DateTime, sa.Time))
                texts[column.name] = sa.cast(column, sa.String(255 if short else None)).label(column.name)
                column.type = sa.String()
            elif isinstance(column.type, sa.Float) or (
                isinstance(column.type, sa.Numeric) and not engine.dialect.supports_native_decimal
            ):  # SQLAlchemy would round to a scale on the way to a decimal
                column.type = sa.Numeric(asdecimal=False)  # dlt's sign for a double
            elif isinstance(column.type, sa.types._Binary):  # Arrow's binaries of a length have exactly that
                column.type = sa.LargeBinary()

    def newer(_: Any, reflected: Any) -> Any:
        query = sa.select(*(texts.get(column.name, column) for column in reflected.c))
        if wanted is None:
            return query
        cursor = reflected.c[table.load.cursor]
        begin, end = (sa.bindparam(None, v, type_=own[cursor.name]) for v in (wanted.begin, wanted.end))
        within = [cursor >= begin] if wanted.begin is not None else []
        within += [cursor < end] if wanted.end is not None else []
        return query.where(sa.or_(sa.and_(*within), cursor.is_(None)) if wanted.nulls else sa.and_(*within))

    schema, _, name = (table.load.table or table.name).rpartition(".")
    resource = sql_table(
        engine,
        table=name,
        schema=schema or None,
        backend="pyarrow",
        reflection_level="full_with_precision",
        query_adapter_callback=newer,
        table_adapter_callback=adapt,
        included_columns=list(columns),
    )
    file = job.folder / f"{table.name}.{len(columns)}.fetched.parquet"
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
                types = [(f.name, pa.string() if pa.types.is_null(f.type) else f.type) for f in batch.schema]
                writer = pq.ParquetWriter(file, pa.schema(types))
            writer.write_table(batch.cast(writer.schema))
            job.progress(table.name, batch.num_rows)
    finally:
        if writer:
            writer.close()
    return f"select * from read_parquet({literal(str(file))})"
