"""The connection to a NATS server: credentials, errors, and another try where it breaks."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import nats
from nats.aio.client import Client
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from sluice.config.connections import sandbox_hint
from sluice.config.declaration import StreamTable, Table
from sluice.errors import ConnectionError
from sluice.extract import retries
from sluice.extract.contract import ExtractContext
from sluice.extract.unreachable import CLOSED, why_unreachable

T = TypeVar("T")
CONNECT_SECONDS = 10
TRIES = 3
BROKEN = (OSError, TimeoutError, nats.errors.Error)
"""Errors of a connection that breaks."""


class UnreachableError(ConnectionError):
    """No server answers; a moment later one may."""


class Connection:
    """The connection that a table is read over."""

    def __init__(self, name: str, table: Table[StreamTable], context: ExtractContext) -> None:
        self.name = name
        self.table = table
        self.context = context
        self.keys = context.connections.all(name) or {}
        self._last: Exception | None = None
        self.ended = asyncio.Event()
        """Set when the connection has ended."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Client]:
        async def remember(
            error: Exception,
        ) -> None:  # of tries to connect; others are raised where a call is awaited
            self._last = error

        async def closed() -> None:
            ended.set()

        ended = self.ended = asyncio.Event()
        try:
            client = await nats.connect(
                self.context.connections.require(self.name, "url"),
                name="sluice",
                allow_reconnect=False,
                connect_timeout=CONNECT_SECONDS,
                max_reconnect_attempts=2,  # of the first connection
                reconnect_time_wait=0.5,
                error_cb=remember,
                closed_cb=closed,
                **self._credentials(),
            )
        except BROKEN as error:
            raise self.unreachable(error) from None
        try:
            yield client
        finally:
            await client.close()

    def _credentials(self) -> dict[str, Any]:
        """Options of the client for what the connection has."""
        options: dict[str, Any] = {
            option: self.keys[key]
            for key, option in {
                "user": "user",
                "password": "password",
                "token": "token",
                "credentials": "user_credentials",
                "nkey_seed": "nkeys_seed_str",
            }.items()
            if key in self.keys
        }
        if "tls_ca" in self.keys or "tls_cert" in self.keys:
            context = ssl.create_default_context(cafile=self.keys.get("tls_ca"))
            if "tls_cert" in self.keys:
                context.load_cert_chain(self.keys["tls_cert"], self.keys.get("tls_key"))
            options["tls"] = context
        return options

    def unreachable(self, error: Exception) -> ConnectionError:
        server = self.context.connections.redact(self.context.connections.require(self.name, "url"))
        text = str(error).lower()
        if "authorization" in text or "authentication" in text or "nkeys" in text:
            return ConnectionError(
                f"{self.table.qualified}: {server} refused the credentials of the connection {self.name!r}: "
                "check user and password in its url, or its token or credentials"
            )
        return UnreachableError(
            f"{self.table.qualified}: no connection to {server}: {self._reason(error)}. Does it run, and is the url "
            f"of the connection {self.name!r} right?{sandbox_hint()}"
        )

    def _reason(self, error: Exception) -> str:
        """Why no connection was made; the client says in the end only that there is none."""
        found = why_unreachable(error) or (self._last and why_unreachable(self._last))
        return found or self.context.connections.redact(str(self._last or error)) or CLOSED

    def failure(self, error: Exception) -> ConnectionError:
        return ConnectionError(
            f"{self.table.qualified}: reading the stream {self.table.load.stream} over the connection {self.name!r} "
            f"failed after {TRIES} tries: {self.why(error)}. Nothing was loaded or acknowledged; load again"
        )

    def why(self, error: BaseException | None) -> str:
        """What broke, in a few words."""
        if isinstance(error, TimeoutError):
            return "the server fell silent"
        if isinstance(error, UnreachableError):
            return "no connection"
        return self.context.connections.redact(str(error)) or type(error).__name__

    async def retried(self, act: Callable[[], Awaitable[T]]) -> T:
        """Do something, again where its connection breaks: what was not acknowledged is delivered once more."""

        def describe(state: RetryCallState) -> str:
            return self.why(state.outcome.exception() if state.outcome else None)

        retry = retry_if_exception_type((*BROKEN, UnreachableError))
        report = partial(self.context.retried, self.table.name)
        return await AsyncRetrying(**retries.policy(TRIES, retry, describe, report))(act)
