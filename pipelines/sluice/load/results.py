"""How a load goes and how it ended, for the command line and the run store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sluice.errors import Exit
from sluice.extract.retries import log_retry


class ProgressListener:
    """Receives how a load goes, from several threads; this one only logs retries."""

    def rows(self, source: str, table: str, rows: int) -> None:
        """`rows` more rows of a table were read."""

    def finished(self, result: SourceResult) -> None:
        """A source is done, successfully or not."""

    def retried(self, source: str, table: str, what: str) -> None:
        """Something failed on a network and is tried again."""
        log_retry(f"{source}.{table}", what)

    def set_aside(self, source: str, folder: Path, reason: str) -> None:
        """A package of an earlier run could not be loaded and was moved to `folder`."""


@dataclass
class TableResult:
    """The result of one table."""

    table: str
    read: int = 0
    rows: int = 0
    deleted: int = 0
    quarantined: int = 0
    retries: int = 0
    """Requests, connections and readings that failed on a network and were made again."""
    bytes: int = 0
    new_columns: tuple[str, ...] = ()
    lost_columns: tuple[str, ...] = ()
    package: str | None = None
    is_altered: bool = False
    """Raw's table was changed beside the load package: rows of files that are gone, a column."""
    cursor: tuple[str | None, str | None] = (None, None)
    error: str | None = None
    is_unconnected: bool = False
    """The error is that of a connection or a secret."""
    message: str | None = None
    """What is worth saying about a load that succeeded."""
    warnings: list[str] = field(default_factory=list)
    """What is doubtful although it succeeded, such as a source that is suddenly empty."""
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def status(self) -> str:
        return "failed" if self.error else "loaded" if self.rows or self.package else "unchanged"


@dataclass
class SourceResult:
    """The result of one source; `error` when it failed as a whole."""

    source: str
    tables: list[TableResult]
    seconds: float
    error: str | None = None
    committed: bool = False
    """Whether raw has the rows, although something after that may have failed."""
    is_unconnected: bool = False
    """The error is that of a connection or a secret."""

    @property
    def rows(self) -> int:
        return sum(t.rows for t in self.tables)

    @property
    def failed(self) -> list[str]:
        """Qualified names of the tables that raw does not have up to date."""
        return [f"{self.source}.{t.table}" for t in self.tables if t.error or self.error]

    @property
    def messages(self) -> list[str]:
        """What there is to say about tables whose rows raw has."""
        has_rows = self.committed or not self.error
        return [t.message for t in self.tables if t.message and has_rows and not t.error]

    @property
    def warnings(self) -> list[str]:
        """What is doubtful about its tables."""
        return [warning for t in self.tables for warning in t.warnings]

    @property
    def errors(self) -> list[str]:
        """What went wrong, each once."""
        own = [self.error] if self.error else []
        return list(dict.fromkeys(own + [t.error for t in self.tables if t.error]))


def exit_code(results: Sequence[SourceResult]) -> Exit:
    """OK, CONNECTION where nothing failed but connections, or FAILED."""
    causes = {result.is_unconnected for result in results if result.error}
    causes |= {table.is_unconnected for result in results for table in result.tables if table.error}
    if not causes:
        return Exit.OK
    return Exit.CONNECTION if all(causes) else Exit.FAILED
