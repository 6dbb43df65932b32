"""What dbt's manifest says of a project's columns, tables and tests, as typed facts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]
TABLE_KINDS = ("seed", "snapshot", "model")
CONSUMERS = ("metric", "saved_query", "exposure")
"""Kinds of what uses tables and is none."""
SENTENCE = re.compile(r"^(.+?[.!?])(\s|$)", re.DOTALL)


@dataclass(frozen=True)
class Column:
    """A column as it is declared; `type` and `data_class` are empty where nothing is declared."""

    name: str
    type: str = ""
    description: str = ""
    data_class: str = ""
    tags: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    field: str = ""
    """What the column is called in the source system."""


@dataclass(frozen=True)
class Table:
    """A source table, seed, snapshot or model, or what uses them: a metric, saved query or exposure."""

    id: str
    kind: str
    name: str
    layer: str
    domain: str
    description: str
    grain: str
    owner: str
    owner_mail: str
    relation: str
    """Quoted name in the warehouse, `"warehouse"."marts"."orders"`; empty for consumers."""
    file: str
    entry: Json
    """dbt's own words, for what a single reader needs."""
    meta: Json = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    group: str = ""
    access: str = ""
    materialized: str = ""
    contract: bool = False
    audiences: tuple[str, ...] = ()
    columns: Mapping[str, Column] = field(default_factory=dict)
    """By name, in lower case."""
    raw_sql: str = ""
    compiled_sql: str = ""
    checksum: str = ""
    freshness: Json = field(default_factory=dict)
    """dbt's `warn_after` and `error_after`; sources only."""
    url: str = ""
    maturity: str = ""
    exposure_type: str = ""
    source: tuple[str, str] | None = None
    """(source, table) of source tables, as in the run store."""
    loaded_at_field: str = ""
    queries: tuple[tuple[str, str], ...] = ()
    """(title, SQL) of the sample queries a person wrote."""

    @property
    def is_consumer(self) -> bool:
        """Whether it uses tables and is none itself."""
        return self.kind in CONSUMERS

    @property
    def contact(self) -> str:
        """Whom to ask about it: a name, a mail address in angle brackets, or both."""
        name = "" if self.owner == self.owner_mail else self.owner
        return " ".join(filter(None, [name, f"<{self.owner_mail}>" if self.owner_mail else ""])) or "nobody"

    @property
    def config(self) -> Json:
        return self.entry.get("config") or {}

    @property
    def first_sentence(self) -> str:
        match = SENTENCE.match(self.description)
        return " ".join((match[1] if match else self.description).split())


@dataclass(frozen=True)
class Test:
    """A data test or a unit test; `claim` says in words what holds when it passes."""

    id: str
    name: str
    kind: str
    """data, singular or unit."""
    type: str
    """The generic test's name; empty for the other kinds."""
    table: str
    """The table it is shown with."""
    also: tuple[str, ...]
    """Other tables it reads."""
    affected: tuple[str, ...]
    """The nodes that cannot be trusted when it fails: the one it is attached to, else all it reads."""
    parents: tuple[str, ...]
    column: str
    claim: str
    severity: str
    sql: str
    arguments: Json = field(default_factory=dict)
    to: tuple[str, str] | None = None
    """For relationships: (table id, column) that is referred to."""
    columns: tuple[str, ...] = ()
    """For keys of several columns."""
