"""The database engine under raw and the warehouse: everything that a second one has to implement.

`engine.duckdb` implements `Engine` for DuckDB. Two things stay as they are whatever holds raw: extractors compute with
DuckDB in memory, and dbt has adapters of its own, chosen in `profiles.yml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import duckdb

    from sluice.engine.types import Cast, RawType


class Engine(Protocol):
    """What Sluice asks of a database engine. Whoever waits for another process raises LockedError, which names it."""

    def open_raw(self, file: Path, temp: Path, seconds: float) -> duckdb.DuckDBPyConnection:
        """Open raw for writing, for the whole of a load; `temp` is for what does not fit into memory."""

    def open_read_only(
        self, databases: Mapping[str, Path], temp: Path, seconds: float, *, is_checked: bool = True
    ) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A connection that reads `databases` by their names.

        is_checked: look for damage first, not only after an error.
        """

    def attach(self, con: duckdb.DuckDBPyConnection, file: Path, name: str, seconds: float) -> None:
        """Let an open connection read a database under `name`."""

    def wait_until_free(self, file: Path, seconds: float) -> None:
        """Return as soon as no other process has a database open."""

    def refuse_damage(
        self, con: duckdb.DuckDBPyConnection, file: Path | None = None, error: Exception | None = None
    ) -> None:
        """Raise DamagedError if a database file attached to `con` cannot be read; `error`: what a query ended with."""

    def refuse_other_storage(self, file: Path) -> None:
        """Raise VersionError if a database is of a storage version that the engine does not read."""

    def load_extension(self, con: duckdb.DuckDBPyConnection, name: str) -> None:
        """Add what the engine keeps apart, such as reading another database; needs no network."""

    def dlt_destination(self, file: Path) -> Any:
        """The destination through which dlt commits a load package to raw, each file in one transaction."""

    def raw_type(self, name: str) -> RawType:
        """The type in raw that holds every value of a type read."""

    def declared_type(self, data_type: str) -> RawType:
        """The type in raw for a `data_type` a project declares; raises ValueError for an unknown one."""

    def cast(
        self, expression: str, source: str, target: str, decimal_mark: str = ".", form: str | None = None
    ) -> Cast:
        """SQL that converts a value, with the condition under which nothing of it is lost.

        `form`: how texts write a date or time, as `strptime` names it; default: ISO.
        """


@cache
def engine() -> Engine:
    """The engine in use; imported with its first use, as DuckDB takes 0.1 s and many commands do without."""
    from sluice.engine import duckdb

    return duckdb
