"""What discovery finds: a system's tables with their rows, and proposals about them with reason and confidence.

Each kind of system has a module that connects and answers with a `DiscoveredSource`, whose tables lie (whole, or as a
sample) in one scratch DuckDB database. What is inferred from rows is inferred there, the same for all kinds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sluice.config.declaration import Source

T = TypeVar("T")
DECLARED = 1.0
"""The confidence of what the system itself declares: a constraint, a comment, a document."""
SURE = 0.9
"""Confidence from which a proposal is used: declared, tested, joined, drawn. Below it stands as a comment."""


@dataclass(frozen=True)
class Target:
    """The system to look at."""

    name: str
    """Of the source, and of its connection where it gets a new one."""
    kind: str
    address: str
    connection: str | None
    """The connection that exists already; None: the address says everything."""
    declared: Source[Any, Any] | None = None
    """The source that the project has by this name."""

    @property
    def connection_name(self) -> str:
        """The connection that exists, or that the source will name."""
        return self.connection or self.name


@dataclass(frozen=True)
class Limits:
    """How much of a system is looked at."""

    whole_rows: int = 200_000
    """Tables up to here are read whole."""
    sample_rows: int = 100_000
    """About as many rows are read of larger ones, spread over the table."""
    seconds: float = 60
    """For one statement or request; what takes longer is left out, and said."""
    schemas: tuple[str, ...] = ()
    """Schemas of a database; default: all that the user may read."""
    tables: tuple[str, ...] = ()
    """Patterns (`order*`) of the tables, files, endpoints or subjects to look at; default: all."""
    with_rows: bool = True
    """Whether rows are read at all; without them only what the system says of itself is found."""


@dataclass(frozen=True)
class Proposal(Generic[T]):
    """One value for the source file, why it is proposed, and how sure that is."""

    value: T
    reason: str
    """The evidence, in words that fit behind `#` in the file: "unique and never null in 91,000 rows"."""
    confidence: float = DECLARED
    """From 0 to 1."""


@dataclass
class DiscoveredColumn:
    """A column, or a field of records."""

    name: str
    """As the system spells it."""
    data_type: str | None
    """As a source file declares it (`config.data_types`); None where it cannot be loaded."""
    nullable: bool = True
    comment: str | None = None
    """The system's own description."""
    references: tuple[str, tuple[str, ...]] | None = None
    """Table and columns of a declared foreign key of this column alone."""
    data_class: Proposal[str] | None = None
    is_partial: bool = False
    """Whether only some files of the table have it: declared, it would be missing in the others."""


@dataclass
class DiscoveredTable:
    """A table, an endpoint's records, a set of files with the same columns, or a subject's messages."""

    name: str
    """As the dbt source table is named: lower case, letters, digits, underscores."""
    columns: list[DiscoveredColumn]
    relation: str | None
    """Its quoted name in the scratch database, with the columns by the system's names; None without rows to look at."""
    is_whole: bool = True
    """Whether `relation` has all rows, not a sample."""
    rows: int | None = None
    """Of the whole table, exact or as the system estimates it."""
    size_bytes: int | None = None
    comment: str | None = None
    load: dict[str, Any] = field(default_factory=dict)
    """Keys of `config.meta.load` that say where the table is and how to read it: table, path, format, endpoint, …"""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a key of `load` has its value, by key."""
    unique: list[tuple[str, ...]] = field(default_factory=list)
    """Columns of declared keys: the primary key first, if there is one, then unique constraints and indexes."""
    has_primary_key: bool = False
    """Whether `unique[0]` is a primary key."""
    indexed: set[str] = field(default_factory=set)
    """Columns that begin an index."""
    foreign_keys: list[tuple[tuple[str, ...], str, tuple[str, ...]]] = field(default_factory=list)
    """Declared: columns, table (its `name`), columns there."""
    primary_key: Proposal[tuple[str, ...]] | None = None
    cursor: Proposal[str] | None = None
    soft_delete: Proposal[str] | None = None
    questions: list[str] = field(default_factory=list)
    """What discovery could not determine; each becomes a comment that somebody has to answer."""


def distinct_name(name: str, taken: Collection[str]) -> str:
    """The name, with a number behind it if it is taken."""
    numbered = (f"{name}_{number}" for number in range(2, len(taken) + 3))
    return next(choice for choice in (name, *numbered) if choice not in taken)


def distinct_names(names: Iterable[str], taken: Iterable[str] = ()) -> Iterator[str]:
    """The names, those that are taken or came before with a number behind them."""
    known = set(taken)
    for name in names:
        own = distinct_name(name, known)
        known.add(own)
        yield own


@dataclass
class DiscoveredSource:
    """A system, as `sources/<name>.yml` will describe it."""

    name: str
    load: dict[str, Any]
    """The source's `config.meta.load`: kind and what it takes."""
    tables: list[DiscoveredTable]
    connection: dict[str, str] = field(default_factory=dict)
    """Keys and values of the connection that `load` names; secrets, so never part of the file."""
    description: str | None = None
    questions: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Tables, files and endpoints that are left out, by name, with the reason."""
    keeps_types: bool = True
    """Whether the system itself keeps values to the types of their columns; files and SQLite do not."""


@dataclass(frozen=True)
class Relationship:
    """Columns whose values are among those of another table's key; within a source, or across sources."""

    table: tuple[str, str]
    """Source and table."""
    columns: tuple[str, ...]
    """As the system spells them; a field of JSON or structs by its path: session.customer_id, lines[].sku."""
    to_table: tuple[str, str]
    to_columns: tuple[str, ...]
    coverage: float
    """Share of the distinct values that the other table has, from 0 to 1."""
    reason: str
    confidence: float = DECLARED
    declared: bool = False
    """Whether the system has a foreign key that says so."""
