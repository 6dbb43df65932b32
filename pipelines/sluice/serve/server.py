"""An Arrow Flight SQL server over the published version of one audience.

Every call is authenticated, every statement checked, every query limited in time and memory, and each of them
leaves a trace in the audit.
"""

from __future__ import annotations

import re
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fnmatch import translate
from importlib.metadata import version as installed_version
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.flight as fl

from sluice.config.audiences import load_policy, read_policy
from sluice.config.connections import Connections
from sluice.config.settings import Settings
from sluice.engine import engine
from sluice.errors import PublishError, SluiceError, UsageError
from sluice.publish.keys import Keys
from sluice.publish.versions import Versions
from sluice.runs.store import refuse_other_store
from sluice.serve import flight_sql
from sluice.serve.audit import Audit
from sluice.serve.calls import Calls, Gate
from sluice.serve.failures import answered, internal_error, shortened
from sluice.serve.process_pool import ProcessPool, ServedVersion
from sluice.serve.query_process import EngineError, Limits, QueryError, QueryProcess, QueryTimeoutError
from sluice.serve.statement_check import Refused
from sluice.serve.statement_shape import StatementShape
from sluice.serve.tokens import Tokens
from sluice.sql import quoted

COMMAND_BYTES = 500_000
"""Of a call: a statement of 100,000 characters, each of four bytes, and what is around it."""
PATTERN_LENGTH = 1_000
"""Characters of a pattern for names of tables."""
SPENT = re.compile(r"/\*(\d{1,9}) ms\*/")
"""Begins a statement's handle: what its earlier calls took of its time. Without it, a handle is a new statement."""
WATCH_SECONDS = 0.5
"""Between two looks for revoked tokens, late calls and unused connections."""
WILDCARDS = str.maketrans({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"})
"""From SQL's LIKE to fnmatch."""

STORAGE_ERRORS = ("IOException", "SerializationException", "FatalException", "OSError")
"""What DuckDB raises, or an Arrow stream of it, where a file cannot be read."""

MAX_SESSIONS = 10_000
"""Sessions that are remembered; beyond that, some get a second row for the same connection."""

ENDING_SECONDS = 2
"""How long running calls may take to end when the server stops."""


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
            raise UsageError("TLS needs both: --certificate and --private-key")
        if not certificate and not _is_loopback(host):
            raise UsageError(
                f"{host} can be reached from other machines, which would send their tokens unencrypted: give "
                "--certificate and --private-key, or listen on 127.0.0.1"
            )
        refuse_other_store(settings.ledger)
        declared = load_policy(settings.audiences).audience(audience)
        self.limits = limits or Limits()
        self._audience = audience
        self._policy = settings.audiences
        self._tokens = Tokens(settings.tokens)
        self._calls = Calls(self.limits)
        self._shape = StatementShape()
        keys = Keys(settings.home / "keys", Connections(settings.root, settings.connections))
        self._versions = Versions(settings.published)
        if (version := self._versions.read_current()) and audience in version.audiences:
            self._versions.refuse_damage(
                version, [audience]
            )  # later ones, whoever made them current has read
            if (file := self._versions.path(version.version) / f"{audience}.duckdb").is_file():
                engine().refuse_other_storage(file)
        self._pool = ProcessPool(self._versions, audience, lambda: keys.find(declared), self.limits)
        try:
            served = self._pool.current()
        except BaseException:
            self._pool.close()
            raise
        self.audit = Audit(settings.serve_audit)
        self._sessions: set[str] = set()
        try:
            self._listen(host, port, certificate, private_key)
        except BaseException:
            self._pool.close()
            self.audit.close()
            raise
        self._note(None, "start", served.version, "server", None)
        self._is_ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _listen(self, host: str, port: int, certificate: Path | None, private_key: Path | None) -> None:
        """Begin to answer calls; raises SluiceError where that is not possible."""
        tls = [(certificate.read_bytes(), private_key.read_bytes())] if certificate and private_key else []
        try:
            super().__init__(
                location=f"grpc+{'tls' if tls else 'tcp'}://{host}:{port}",
                tls_certificates=tls,
                middleware={"gate": Gate(self._audience, self._tokens, self.audit, self._calls)},
            )
        except pa.ArrowException:  # says neither which of these it is
            pair = (
                f", or {certificate} and {private_key} are not a certificate and its key in PEM"
                if tls
                else ""
            )
            raise SluiceError(
                f"cannot listen on {host}:{port}: another process has the port (--port 0 takes a free one), the "
                f"address is not this machine's{pair}"
            ) from None

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
        with suppress(SluiceError):  # the log has it
            self.audit.flush()
        return not ending.is_alive()

    def shutdown(self) -> None:
        """End all queries, and stop listening."""
        self._is_ended.set()
        self._pool.close()  # first: running queries would be waited for
        super().shutdown()
        self.audit.close()

    def get_flight_info(self, context: Any, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
        """The schema of what a command returns, and the ticket to fetch it with."""
        return answered(self._info, context, descriptor)

    def do_get(self, context: Any, ticket: fl.Ticket) -> Any:
        """The rows of a ticket, in batches."""
        return answered(self._get, context, ticket)

    def do_action(self, context: Any, action: fl.Action) -> Iterator[bytes]:
        """Prepared statements; the handle is the statement itself, so nothing is kept between calls."""
        return iter(answered(self._act, context, action))

    def list_actions(self, context: Any) -> list[tuple[str, str]]:
        answered(self._greet, context)
        return [("CreatePreparedStatement", "Prepare a query"), ("ClosePreparedStatement", "Discard it")]

    def _info(self, context: Any, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
        name, message = self._unpack(context, descriptor.command)
        if name == "CommandStatementQuery":
            schema, handle = self._schema(context, message.query)
        elif name == "CommandPreparedStatementQuery":
            statement = self._statement(context, message.prepared_statement_handle)
            schema, handle = self._schema(context, statement)
        else:
            schema = self._metadata(context, name, message).schema
            return fl.FlightInfo(schema, descriptor, [fl.FlightEndpoint(descriptor.command, [])], -1, -1)
        ticket = flight_sql.pack("TicketStatementQuery", statement_handle=handle)
        return fl.FlightInfo(schema, descriptor, [fl.FlightEndpoint(ticket, [])], -1, -1)

    def _get(self, context: Any, ticket: fl.Ticket) -> Any:
        name, message = self._unpack(context, ticket.ticket)
        if name == "TicketStatementQuery":
            return self._rows(context, self._statement(context, message.statement_handle))
        return fl.RecordBatchStream(self._metadata(context, name, message))

    def _act(self, context: Any, action: fl.Action) -> list[bytes]:
        self._greet(context)
        if action.type == "CreatePreparedStatement":
            name, message = self._unpack(context, action.body.to_pybytes())
            if name != "ActionCreatePreparedStatementRequest":
                self._refuse(context, Refused("this action prepares a statement, and has another message"))
            schema, handle = self._schema(context, message.query)
            result = flight_sql.pack(
                "ActionCreatePreparedStatementResult",
                prepared_statement_handle=handle,
                dataset_schema=schema.serialize().to_pybytes(),
            )
            return [result]
        if action.type not in ("ClosePreparedStatement", "CloseSession"):
            refused = Refused("this server is read-only and does not know the action", action.type[:100])
            self._refuse(context, refused)
        return []

    @contextmanager
    def _process(self, context: Any) -> Iterator[tuple[ServedVersion, QueryProcess]]:
        """A process for one query of a call, until the call's deadline."""
        call = context.get_middleware("gate")
        try:
            with self._pool.process(call.who, call.deadline) as (served, process, place):
                call.place = place
                yield served, process
        except QueryError as error:
            raise self._failed(context, error) from None
        except PublishError as error:
            raise self._unpublished(context, error) from None

    def _rows(self, context: Any, sql: str) -> fl.GeneratorStream:
        stack = ExitStack()
        try:
            served, process = stack.enter_context(self._process(context))
            schema, batches = self._query(context, served, process, sql)
        except QueryError as error:
            stack.close()
            raise self._failed(context, error) from None
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
            except Exception as error:
                raise internal_error(type(error).__name__, error) from None

    def _schema(self, context: Any, sql: str) -> tuple[pa.Schema, bytes]:
        """The schema of a statement, and a handle that says what finding it took of the statement's time."""
        call = context.get_middleware("gate")
        with self._process(context) as (served, process):
            schema, batches = self._query(context, served, process, sql, with_rows=False)
            for _ in batches:
                pass  # there are none, but reading to the end frees the process
        spent = self.limits.seconds - (call.deadline - time.monotonic())
        return schema, f"/*{round(spent * 1000)} ms*/{sql}".encode()

    def _query(
        self, context: Any, served: ServedVersion, process: QueryProcess, sql: str, *, with_rows: bool = True
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        try:
            process.check(sql, with_rows=with_rows)
        except Refused as refused:
            self._refuse(context, refused, sql, served)
        if with_rows:
            shape = self._shape.of(sql, served.names)
            self._note(context, "query", served.version, self._who(context), shape)
        return process.answer()

    def _failed(self, context: Any, error: QueryError) -> Any:
        # DuckDB's message may quote the statement; it is for whoever sent that
        self._note(context, "failed", None, self._who(context), error.kind)
        if isinstance(error, EngineError):
            hint = "; if the published file is damaged, `sluice publish` finds it and writes it again"
            return internal_error(error.kind + hint * (error.kind in STORAGE_ERRORS))
        kind = fl.FlightTimedOutError if isinstance(error, QueryTimeoutError) else fl.FlightServerError
        return kind(shortened(str(error)))

    def _unpublished(self, context: Any, error: PublishError) -> Any:
        self._note(context, "failed", None, self._who(context), "no version can be read")
        reference = internal_error(str(error))
        return fl.FlightUnavailableError(f"no published version can be read at the moment; {reference}")

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
        if len(message.table_name_filter_pattern) > PATTERN_LENGTH:
            self._refuse(context, Refused(f"a pattern for names is longer than {PATTERN_LENGTH} characters"))
        with self._process(context) as (served, process):
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
                process.check(f"from published.{quoted(table)}", with_rows=False)
                schema, batches = process.answer()
                schemas.append(schema)
                list(batches)
            columns.append([s.serialize().to_pybytes() for s in schemas])
            return pa.table(columns, schema=flight_sql.TABLES_AND_SCHEMAS)

    def _unpack(self, context: Any, command: bytes | None) -> tuple[str, Any]:
        self._greet(context)
        try:
            if len(command or b"") > COMMAND_BYTES:
                raise ValueError(f"it is larger than {COMMAND_BYTES} bytes")
            return flight_sql.unpack(command or b"")
        except ValueError as error:
            self._refuse(context, Refused("this is not a reading command of Flight SQL", str(error)))

    def _statement(self, context: Any, handle: bytes) -> str:
        """The statement in a handle, of whose time earlier calls took a part; a client may send anything for it."""
        try:
            sql = handle.decode()
        except UnicodeDecodeError:
            self._refuse(context, Refused("this is not the handle of a statement"))
        if spent := SPENT.match(sql):
            context.get_middleware("gate").deadline -= int(spent[1]) / 1000
            sql = sql[spent.end() :]
        return sql

    def _refuse(
        self, context: Any, refused: Refused, sql: str | None = None, served: ServedVersion | None = None
    ) -> NoReturn:
        shape = self._shape.of(sql, served.names if served else ()) if sql else None
        detail = f"{refused.reason}: {shape}" if shape else refused.reason
        self._note(context, "refused", served.version if served else None, self._who(context), detail)
        raise fl.FlightUnauthorizedError(shortened(f"not allowed: {refused}"))

    def _who(self, context: Any) -> str:
        return str(context.get_middleware("gate").who)

    def _note(self, context: Any, event: str, version: str | None, who: str, detail: str | None) -> None:
        session = context.peer() if context else None
        self.audit.note(self._audience, session, event, version, who, detail)

    def _greet(self, context: Any) -> None:
        """Record a session with its first call, whatever that asks for."""
        who, session = self._who(context), context.peer()
        self._calls.locate(context.get_middleware("gate"), session)
        if (known := f"{who} {session}") in self._sessions:
            return
        if len(self._sessions) >= MAX_SESSIONS:
            self._sessions.clear()
        self._sessions.add(known)
        self.audit.note(self._audience, session, "connect", self._versions.current, who, None)

    def _watch(self) -> None:
        """End what should not go on: calls whose token was revoked, late calls, connections nobody uses."""
        while not self._is_ended.wait(WATCH_SECONDS):
            try:
                self._calls.is_open = self._is_declared()
                for call in self._calls.running:
                    if not self._calls.is_open or self._tokens.owner(self._audience, call.token) is None:
                        call.deadline = min(call.deadline, time.monotonic())
                        if call.place:
                            self._pool.lanes.end(call.place, QueryError("the token was revoked"))
                self._calls.end_connections(self.port)
            except Exception as error:
                internal_error(type(error).__name__, error)

    def _is_declared(self) -> bool:
        """Whether the audience is in the policy and the current version; True while neither can be read."""
        version, policy = self._versions.current, read_policy(self._policy)[0]
        if policy and self._audience not in {audience.name for audience in policy.audiences}:
            return False
        with suppress(OSError, ValueError):
            return version is None or self._audience in self._versions.read(version).audiences
        return True


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _like(name: str, pattern: str) -> bool:
    """SQL's LIKE, as far as patterns for table names need it."""
    return not pattern or bool(re.match(translate(pattern.translate(WILDCARDS)), name, re.IGNORECASE))
