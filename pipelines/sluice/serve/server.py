"""An Arrow Flight SQL server over the published version of one audience.

Every call is authenticated, every statement checked, every query limited in time and memory, and each of them
leaves a row in the run store.
"""

from __future__ import annotations

import signal
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fnmatch import translate
from importlib.metadata import version as installed_version
from ipaddress import ip_address
from pathlib import Path
from re import IGNORECASE, match
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.flight as fl

from sluice.config.audiences import load_policy
from sluice.config.connections import Connections
from sluice.config.settings import Settings
from sluice.errors import SluiceError
from sluice.publish.keys import Keys
from sluice.publish.versions import Versions
from sluice.runs.store import RunStore
from sluice.serve import flight_sql
from sluice.serve.process_pool import ProcessPool, ServedVersion
from sluice.serve.query_process import Limits, QueryError, QueryProcess, QueryTimeoutError
from sluice.serve.statement_check import Refused, StatementCheck
from sluice.serve.statement_shape import StatementShape
from sluice.serve.tokens import Tokens
from sluice.sql import quoted

DETAIL_LENGTH = 2_000
"""Characters of a statement's shape that the run store keeps."""

MAX_SESSIONS = 10_000
"""Sessions that are remembered; beyond that, some get a second row for the same connection."""

ENDING_SECONDS = 2
"""How long running calls may take to end when the server stops."""


class _Caller(fl.ServerMiddleware):  # type: ignore[misc]  # pyarrow has no types
    """Who makes a call."""

    def __init__(self, who: str) -> None:
        self.who = who


class _Gate(fl.ServerMiddlewareFactory):  # type: ignore[misc]
    """Admits calls that carry a token of the audience."""

    def __init__(self, audience: str, tokens: Tokens, run_store: RunStore) -> None:
        super().__init__()
        self._audience = audience
        self._tokens = tokens
        self._run_store = run_store

    def start_call(self, info: Any, headers: dict[str, list[str]]) -> _Caller:
        values = next((v for k, v in headers.items() if k.lower() == "authorization"), [])
        token = _token(values)
        who = self._tokens.owner(self._audience, token) if token else None
        if who is None:
            reason = "wrong or revoked token" if token else "no token"
            self._run_store.serve(
                self._audience, None, "refused", None, "unknown", f"{reason}, {info.method.name}"
            )
            raise fl.FlightUnauthenticatedError("a valid token is needed: authorization: Bearer <token>")
        return _Caller(who)


class Server(fl.FlightServerBase):  # type: ignore[misc]
    """Serves until `shutdown`; `port` says where."""

    def __init__(
        self,
        settings: Settings,
        audience: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        certificate: Path | None = None,
        private_key: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        if bool(certificate) != bool(private_key):
            raise SluiceError("TLS needs both: --certificate and --private-key")
        if not certificate and not _is_loopback(host):
            raise SluiceError(
                f"{host} can be reached from other machines, which would send their tokens unencrypted: give "
                "--certificate and --private-key, or listen on 127.0.0.1"
            )
        declared = load_policy(settings.audiences).audience(audience)
        self.limits = limits or Limits()
        self._audience = audience
        self._run_store = RunStore(settings.ledger)
        self._check = StatementCheck()
        self._shape = StatementShape()
        self._slots = threading.BoundedSemaphore(self.limits.queries)
        self._planning = threading.BoundedSemaphore(self.limits.queries)
        keys = Keys(settings.home / "keys", Connections(settings.root, settings.connections))
        self._versions = Versions(settings.published)
        self._pool = ProcessPool(self._versions, audience, lambda: keys.find(declared), self.limits)
        with self._pool.process() as (served, _):
            self._note(None, "start", served.version, "server", None)
        self._sessions: set[str] = set()
        tls = [(certificate.read_bytes(), private_key.read_bytes())] if certificate and private_key else []
        super().__init__(
            location=f"grpc+{'tls' if tls else 'tcp'}://{host}:{port}",
            tls_certificates=tls,
            middleware={"gate": _Gate(audience, Tokens(settings.tokens), self._run_store)},
        )

    def run(self) -> bool:
        """Wait for SIGINT or SIGTERM, then stop; False when some calls did not end, as their clients do not read.

        Calls are answered from construction on. pyarrow's own `serve` would wait for running queries after Ctrl-C, and
        ignores SIGTERM.
        """
        signalled = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: signalled.set())
        signalled.wait()
        self._note(None, "stop", None, "server", None)
        ending = threading.Thread(target=self.shutdown, daemon=True)
        ending.start()
        ending.join(ENDING_SECONDS)
        return not ending.is_alive()

    def shutdown(self) -> None:
        """End all queries, and stop listening."""
        self._pool.close()  # first: running queries would be waited for
        super().shutdown()

    def get_flight_info(self, context: Any, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
        """The schema of what a command returns, and the ticket to fetch it with."""
        self._greet(context)
        name, message = self._unpack(context, descriptor.command)
        if name in ("CommandStatementQuery", "CommandPreparedStatementQuery"):
            sql = (
                message.query
                if name == "CommandStatementQuery"
                else self._statement(context, message.prepared_statement_handle)
            )
            schema = self._schema(context, sql)
            ticket = flight_sql.pack("TicketStatementQuery", statement_handle=sql.encode())
        else:
            schema, ticket = self._metadata(context, name, message).schema, descriptor.command
        return fl.FlightInfo(schema, descriptor, [fl.FlightEndpoint(ticket, [])], -1, -1)

    def get_schema(self, context: Any, descriptor: fl.FlightDescriptor) -> fl.SchemaResult:
        return fl.SchemaResult(self.get_flight_info(context, descriptor).schema)

    def do_get(self, context: Any, ticket: fl.Ticket) -> Any:
        """The rows of a ticket, in batches."""
        self._greet(context)
        name, message = self._unpack(context, ticket.ticket)
        if name == "TicketStatementQuery":
            return self._rows(context, self._statement(context, message.statement_handle))
        return fl.RecordBatchStream(self._metadata(context, name, message))

    def do_action(self, context: Any, action: fl.Action) -> Iterator[bytes]:
        """Prepared statements; the handle is the statement itself, so nothing is kept between calls."""
        self._greet(context)
        if action.type == "CreatePreparedStatement":
            _, message = self._unpack(context, action.body.to_pybytes())
            schema = self._schema(context, message.query)
            yield flight_sql.pack(
                "ActionCreatePreparedStatementResult",
                prepared_statement_handle=message.query.encode(),
                dataset_schema=schema.serialize().to_pybytes(),
            )
        elif action.type not in ("ClosePreparedStatement", "CloseSession"):
            self._refuse(
                context, Refused("this server is read-only and does not know the action", action.type)
            )

    def list_actions(self, context: Any) -> list[tuple[str, str]]:
        self._greet(context)
        return [("CreatePreparedStatement", "Prepare a query"), ("ClosePreparedStatement", "Discard it")]

    def do_put(self, context: Any, descriptor: fl.FlightDescriptor, reader: Any, writer: Any) -> None:
        """Refuses writes, and parameters of prepared statements."""
        self._refuse(
            context, Refused("data cannot be sent: this server is read-only and takes no parameters")
        )

    def do_exchange(self, context: Any, descriptor: fl.FlightDescriptor, reader: Any, writer: Any) -> None:
        self._refuse(context, Refused("data cannot be sent: this server is read-only"))

    def list_flights(self, context: Any, criteria: bytes) -> Iterator[fl.FlightInfo]:
        self._refuse(context, Refused("flights are not listed; ask for tables (CommandGetTables)"))

    def _rows(self, context: Any, sql: str) -> fl.GeneratorStream:
        if not self._slots.acquire(blocking=False):
            self._refuse(
                context, Refused(f"{self.limits.queries} queries are running already; try again"), sql
            )
        stack = ExitStack()
        stack.callback(self._slots.release)
        try:
            served, process = stack.enter_context(self._pool.process())
            statement = self._checked(context, sql, served)
            self._note(
                context, "query", served.version, self._who(context), self._shape.of(sql, served.names)
            )
            stack.enter_context(self._timed(process))
            schema, batches = self._query(context, process, statement)
        except BaseException:
            stack.close()
            raise
        rows = self._batches(context, batches, stack)
        weakref.finalize(rows, stack.close)  # for a client that is gone before the first batch
        return fl.GeneratorStream(schema, rows)

    def _batches(
        self, context: Any, batches: Iterator[pa.RecordBatch], stack: ExitStack
    ) -> Iterator[pa.RecordBatch]:
        with stack:
            try:
                for batch in batches:
                    if context.is_cancelled():
                        return
                    yield batch
            except QueryError as error:
                raise self._failed(context, error) from None

    def _schema(self, context: Any, sql: str) -> pa.Schema:
        with self._planning, self._pool.process() as (served, process):
            statement = self._checked(context, sql, served)
            with self._timed(process):
                schema, batches = self._query(context, process, statement, with_rows=False)
                for _ in batches:
                    pass  # there are none, but reading to the end frees the process
                return schema

    @contextmanager
    def _timed(self, process: QueryProcess) -> Iterator[None]:
        """Kill a query that takes longer than the limit."""
        late = QueryTimeoutError(f"the query took longer than {self.limits.seconds:g} s")
        timer = threading.Timer(self.limits.seconds, process.kill, [late])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _query(
        self, context: Any, process: QueryProcess, statement: str, *, with_rows: bool = True
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        try:
            return process.query(statement, with_rows=with_rows)
        except QueryError as error:
            raise self._failed(context, error) from None

    def _failed(self, context: Any, error: QueryError) -> Any:
        # DuckDB's message may quote the statement; it is for whoever sent that
        self._note(context, "failed", None, self._who(context), error.kind)
        return (fl.FlightTimedOutError if isinstance(error, QueryTimeoutError) else fl.FlightServerError)(
            str(error)
        )

    def _metadata(self, context: Any, name: str, message: Any) -> pa.Table:
        if name == "CommandGetCatalogs":
            return pa.table([["published"]], schema=flight_sql.CATALOGS)
        if name == "CommandGetDbSchemas":
            return pa.table([["published"], ["main"]], schema=flight_sql.DB_SCHEMAS)
        if name == "CommandGetTableTypes":
            return pa.table([["BASE TABLE"]], schema=flight_sql.TABLE_TYPES)
        if name == "CommandGetSqlInfo":
            return flight_sql.sql_info(installed_version("sluice"))
        if name != "CommandGetTables":
            self._refuse(context, Refused("this server is read-only and does not know the command", name))
        with self._planning, self._pool.process() as (served, process), self._timed(process):
            names = [n for n in sorted(served.tables) if _like(n, message.table_name_filter_pattern)]
            if message.table_types and "BASE TABLE" not in message.table_types:
                names = []
            columns: list[Any] = [
                ["published"] * len(names),
                ["main"] * len(names),
                names,
                ["BASE TABLE"] * len(names),
            ]
            if not message.include_schema:
                return pa.table(columns, schema=flight_sql.TABLES)
            schemas = []
            for table in names:
                schema, batches = self._query(
                    context, process, f"from published.{quoted(table)}", with_rows=False
                )
                schemas.append(schema)
                list(batches)
            columns.append([s.serialize().to_pybytes() for s in schemas])
            return pa.table(columns, schema=flight_sql.TABLES_AND_SCHEMAS)

    def _unpack(self, context: Any, command: bytes) -> tuple[str, Any]:
        try:
            return flight_sql.unpack(command)
        except ValueError as error:
            self._refuse(context, Refused("this is not a reading command of Flight SQL", str(error)))

    def _statement(self, context: Any, handle: bytes) -> str:
        """The statement in a handle; a client may send anything for it."""
        try:
            return handle.decode()
        except UnicodeDecodeError:
            self._refuse(context, Refused("this is not the handle of a statement"))

    def _checked(self, context: Any, sql: str, served: ServedVersion) -> str:
        try:
            return self._check.check(sql, served.tables)
        except Refused as refused:
            self._refuse(context, refused, sql, served)

    def _refuse(
        self, context: Any, refused: Refused, sql: str | None = None, served: ServedVersion | None = None
    ) -> NoReturn:
        shape = self._shape.of(sql, served.names if served else ()) if sql else None
        detail = f"{refused.reason}: {shape}" if shape else refused.reason
        self._note(context, "refused", served.version if served else None, self._who(context), detail)
        raise fl.FlightUnauthorizedError(f"not allowed: {refused}")

    def _who(self, context: Any) -> str:
        return str(context.get_middleware("gate").who)

    def _note(self, context: Any, event: str, version: str | None, who: str, detail: str | None) -> None:
        session = context.peer() if context else None
        if context:
            self._greet(context)
        self._run_store.serve(
            self._audience, session, event, version, who, detail[:DETAIL_LENGTH] if detail else None
        )

    def _greet(self, context: Any) -> None:
        """Record a session with its first call, whatever that asks for."""
        who, session = self._who(context), context.peer()
        if (known := f"{who} {session}") in self._sessions:
            return
        if len(self._sessions) >= MAX_SESSIONS:
            self._sessions.clear()
        self._sessions.add(known)
        self._run_store.serve(self._audience, session, "connect", self._versions.current, who, None)


def _token(headers: list[str]) -> str | None:
    """The token of `authorization: Bearer <token>`; the header may be repeated, but not with another value."""
    if len(set(headers)) != 1:
        return None
    scheme, _, token = headers[0].partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _like(name: str, pattern: str) -> bool:
    """SQL's LIKE, as far as patterns for table names need it."""
    return not pattern or bool(
        match(translate(pattern.replace("%", "*").replace("_", "?")), name, IGNORECASE)
    )
