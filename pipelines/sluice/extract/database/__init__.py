"""Tables of a database, read by DuckDB's scanners (PostgreSQL, MySQL/MariaDB, SQLite) or through SQLAlchemy.

All tables of one run are read in one transaction, so orders and their lines belong together.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import duckdb

from sluice.config.declaration import DatabaseSource, DatabaseTable, Source, Table
from sluice.engine.duckdb import load_extension
from sluice.engine.raw import attached_databases
from sluice.errors import ConnectionError
from sluice.extract.contract import ExtractContext, Extraction, LosslessFallback, TypedRows, each_table
from sluice.extract.database import sqlalchemy as database_sqlalchemy
from sluice.extract.database.common import (
    BROKEN,
    CONNECT_SECONDS,
    DIALECTS,
    SILENCE_SECONDS,
    chosen_columns,
    explained_filter,
    key_and_cursor,
    server_of,
    some_are_late,
    stage_keys,
    wanted_range,
)
from sluice.extract.database.scan import Scan
from sluice.extract.unreachable import with_reason
from sluice.sql import literal

SETTINGS = {
    "mysql": [
        "mysql_tinyint1_as_boolean = false",  # else a 2 would be true
        "mysql_session_time_zone = '+00:00'",  # timestamps come without a zone: UTC, not the server's
        "mysql_query_timeout_enabled = false",  # a large table takes longer than five minutes
    ]
}
PATIENCE = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 30,  # a host that is gone, or a firewall that forgot us, is noticed a minute later
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""Parameters of a PostgreSQL connection, where its URL does not set them; seconds, the last one milliseconds."""


def extract(
    source: Source[DatabaseSource, DatabaseTable],
    tables: Sequence[Table[DatabaseTable]],
    context: ExtractContext,
) -> Generator[Extraction, None, None]:
    """Extract every table as a SELECT over the database itself; nothing is copied before it is normalised."""
    url = context.connections.require(source.load.connection, "url")
    if scheme_of(url, source) not in DIALECTS:
        yield from each_table(
            tables, lambda table: database_sqlalchemy.extract_table(url, table, source, context)
        )
        return
    server = Server(url, source, context)
    try:
        for table in tables:
            with server.watched():
                server.ready()
                yield from each_table([table], server.extract_table)
    finally:
        server.leave()


def scheme_of(url: str, source: Source[DatabaseSource, DatabaseTable]) -> str:
    """The scheme of a URL; ConnectionError, without any part that may be a password, if it is not a URL."""
    try:
        parts = urlsplit(url)
        if "," not in parts.netloc:  # of several hosts each may have a port
            _ = parts.port
    except ValueError:
        raise ConnectionError(
            f"{source.name}: connections.{source.load.connection}.url cannot be read. It is written as "
            "scheme://user:password@host:port/database, and in the user and the password each of :/?#[]@% as its code, "
            "such as %40 for @"
        ) from None
    return parts.scheme


class Server:
    """A database that DuckDB reads: attached as a catalog, and read in one transaction as long as none fails."""

    def __init__(
        self, url: str, source: Source[DatabaseSource, DatabaseTable], context: ExtractContext
    ) -> None:
        self.url = url
        self.source = source
        self.context = context
        self.dialect = DIALECTS[urlsplit(url).scheme]
        self.catalog = f"source_{source.name}"
        self._transaction = 0
        self._watch, self.where = server_of(url)

    @contextmanager
    def watched(self, seconds: float | None = None) -> Iterator[None]:
        """Bound the silence of the server, also while others read what was extracted."""
        with self._watch.on(seconds or SILENCE_SECONDS) if self._watch else nullcontext():
            yield

    def ready(self) -> None:
        """Attach and begin a transaction; again after an error, which ends it and may have its cause there."""
        if self._transaction:
            with suppress(duckdb.Error):
                if self._current() == self._transaction:
                    return
            self.leave()
        self._attach()
        self.context.con.execute("begin")
        self._transaction = self._current()

    def _current(self) -> int:
        """The number of DuckDB's transaction; fails in one that met an error, and differs when that one was ended."""
        (number,) = self.context.con.execute("select txid_current()").fetchone() or (0,)
        return int(number)

    def leave(self) -> None:
        self._transaction = 0
        with suppress(duckdb.Error):  # otherwise no transaction may be open, or its end would go unnoticed
            self.context.con.execute("rollback")
        with attached_databases:
            self.context.con.execute(f"detach database if exists {self.catalog}")

    def _attach(self) -> None:
        load_extension(self.context.con, f"{self.dialect}_scanner")
        for setting in SETTINGS.get(self.dialect, ()):
            self.context.con.execute(f"set {setting}")
        address = self._address()
        try:
            with self.watched(CONNECT_SECONDS * 2):  # longer than the driver's own time, where it has one
                options = f"type {self.dialect}, read_only{self._secret()}"
                self.context.con.execute(f"attach {literal(address)} as {self.catalog} ({options})")
        except duckdb.Error as error:
            said = self._said(error)
            raise ConnectionError(
                f"{self.source.name}: cannot connect to {self.where} (connection "
                f"{self.source.load.connection!r}): {with_reason(said, said)}"
            ) from None

    def _secret(self) -> str:
        """MySQL's password as a secret: in a URL, some of its characters would have a meaning."""
        password = urlsplit(self.url).password if self.dialect == "mysql" else None
        if not password:
            return ""
        made = f"create or replace temporary secret {self.catalog} (type mysql, password {literal(unquote(password))})"
        self.context.con.execute(made)
        return f", secret {self.catalog}"

    def _address(self) -> str:
        if self.dialect == "mysql":
            return _mysql_address(self.url)
        if self.dialect == "postgres":
            return _patient(self.url)
        address = self.url.removeprefix("sqlite:///")
        if not (self.context.root / address).is_file():
            raise ConnectionError(
                f"{self.source.name}: there is no SQLite file {address!r}; look at "
                f"connections.{self.source.load.connection}"
            )
        return str(self.context.root / address)

    def extract_table(self, table: Table[DatabaseTable]) -> TypedRows:
        """What to read; a connection that ended since the table before is opened again, once."""
        try:
            rows = self._rows(table)
        except duckdb.Error as error:
            if not self._is_broken(error):
                self.leave()  # after an error, the server may refuse everything in the transaction
                try:
                    lossless = self._read_lossless(table, error)  # an invalid text in a key stops the scanner
                except duckdb.Error as again:
                    raise self._explained(table, again) from None
                if lossless is None:
                    raise
                return lossless
            self.context.retried(table.name, f"{self._said(error)}; connecting to {self.where} once more")
            self.leave()
            self.ready()
            try:
                rows = self._rows(table)
            except duckdb.Error as again:
                raise self._explained(table, again) from None
        assert rows is not None
        return rows

    def _read_lossless(
        self, table: Table[DatabaseTable], error: Exception | None, suspects: Sequence[str] = ()
    ) -> TypedRows | None:
        """Read values that the scanner alters, or fails on, as texts from the server; None without such values."""
        if error and self._is_broken(error):
            return None
        self.ready()
        return self._rows(table, lossless=True, suspects=suspects)

    def _rows(
        self, table: Table[DatabaseTable], *, lossless: bool = False, suspects: Sequence[str] = ()
    ) -> TypedRows | None:
        """What to read of a table; `lossless`, None where no value (of the columns `suspects`, if any) needs it."""
        scan = Scan(self.catalog, self.dialect, table, self.context)
        chosen = chosen_columns(table, list(scan.columns), self.context)
        keys = None
        cursor = table.load.cursor or ""
        own = scan.ordered_as(cursor) if cursor else ""
        wanted = wanted_range(table, own, self.context)
        if table.load.deletes:
            if lossless and not scan.take_odd_as_text(chosen, "true", every=True, suspects=suspects):
                return None
            keys = stage_keys(table, self.context, scan.relation(key_and_cursor(table), "true"))
            if wanted and some_are_late(table, keys, wanted, self.context):
                wanted = None
        wanted = wanted and wanted.at_source(own)
        nulls = bool(wanted and wanted.nulls and scan.nullable[cursor])
        since = wanted.condition(*scan.orders(cursor, wanted), typed=False) if wanted else "true"
        within = f"{since} or {scan.mark(cursor)} is null" if nulls else since
        if (lossless and not table.load.deletes) or (not lossless and self.dialect == "sqlite"):
            found = scan.take_odd_as_text(chosen, within, every=lossless, suspects=suspects)
            if lossless and not found:
                return None
        return TypedRows(
            table=table,
            relation=scan.newer(chosen, cursor, wanted, nulls) if wanted else scan.relation(chosen, "true"),
            rejected=scan.undecodable(chosen, within),
            types=scan.types(),
            is_whole=wanted is None,
            alive_keys=keys,
            fallback=None
            if lossless
            else LosslessFallback(scan.suspects(chosen), partial(self._read_lossless, table)),
            explain=partial(self._explained, table),
        )

    def _is_broken(self, error: Exception) -> bool:
        return (
            isinstance(error, duckdb.Error) and self.dialect != "sqlite" and bool(BROKEN.search(str(error)))
        )

    def _explained(self, table: Table[DatabaseTable], error: Exception) -> Exception:
        """A ConnectionError if the connection failed, a LoadError for a wrong filter; otherwise the error itself."""
        if not self._is_broken(error):
            return explained_filter(table, error)
        return ConnectionError(
            f"{table.qualified}: the connection {self.source.load.connection!r} to {self.where} broke while the "
            f"table was read ({self._said(error)}). Nothing of it was loaded; load again"
        )

    def _said(self, error: Exception) -> str:
        """The message of the server's client, without the query and the address, in one line."""
        if self._watch and self._watch.reason:
            return self._watch.reason
        text = re.sub(r'(?s)^.*?(?:query|connect to [\w ]+ (?:at|with[^"]*)) ".*":', "", str(error))
        text = re.sub(r"^(?:\w+ )?Error: ", "", text.strip())
        return self.context.connections.redact(text).partition("\n")[0] or "the connection ended"


def _patient(url: str) -> str:
    """A PostgreSQL URL with the parameters of PATIENCE that it lacks."""
    given = dict(parse_qsl(urlsplit(url).query))
    more = urlencode({key: value for key, value in PATIENCE.items() if key not in given})
    return f"{url}{'&' if given else '?'}{more}"


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
