"""What a declaration says about how a table's rows are read: kept beside the rows, so that a change is noticed.

Every key of every kind counts, with its whole value, unless its field says otherwise by `Reads`: a key that is added to
a model is noticed without further ado. Values that are their key's default are left out, so that a default of a later
version is not a change. Secrets and the addresses of servers are left out as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from sluice.config.connections import Connections
from sluice.config.declaration import DatabaseTable, FilesTable, RestTable, Source, Table
from sluice.config.marks import NOT_READING, Reads

PARENT = re.compile(r"\{resources\.(\w+)\.")
"""A placeholder for a field of another table's records, in an endpoint."""
SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class Changes:
    """Keys that changed since a table's rows were read: the values before and now; None: the default."""

    values: Mapping[str, tuple[Any, Any]]

    def __bool__(self) -> bool:
        return bool(self.values)

    def without(self, is_void: Callable[[str, Any, Any], bool]) -> Changes:
        """Without keys for which `is_void` is true, given the values before and now."""
        return Changes({k: (o, n) for k, (o, n) in self.values.items() if not is_void(k, o, n)})

    def of(self, key: str) -> bool:
        """Whether a key, or one inside of it, is among them."""
        return any(f"{changed}.".startswith(f"{key}.") for changed in self.values)

    @property
    def keys(self) -> str:
        """The keys: `nulls`, `sheet`."""
        return ", ".join(f"`{key}`" for key in self.values)

    def __str__(self) -> str:
        """The keys with their values: `nulls` (default → ["n/a"])."""
        return ", ".join(f"`{key}` ({_shown(o)} → {_shown(n)})" for key, (o, n) in self.values.items())


def reading(
    source: Source[Any, Any], table: Table[Any], connections: Connections | None = None
) -> dict[str, Any]:
    """What the rows of `table` are read with: JSON values by key, with dots for keys inside of others.

    With `connections`, a database's name, too, where its connection is known.
    """
    load = table.load
    found = {"schema": source.schema, **dict(_counted(source.load)), **dict(_counted(load))}
    found["write_disposition"] = load.disposition()
    for column in table.columns:
        found |= {f"columns.{column.name}.{key}": value for key, value in _counted(column)}
    if isinstance(load, FilesTable) and not load.header:
        found["columns"] = [column.name for column in table.columns]
    if isinstance(load, DatabaseTable):
        found["table"] = load.table or table.name
        url = connections.get(source.load.connection, "url") if connections else None
        if url and (name := _database(url)):
            found["database"] = name
    if isinstance(load, RestTable):
        for parent in _parents(source, table):
            found |= {f"{parent.name}.{key}": value for key, value in _counted(parent.load)}
    return found


def changes(
    source: Source[Any, Any], table: Table[Any], before: Mapping[str, Any], now: Mapping[str, Any]
) -> Changes:
    """How `reading` differs between two times; a database's name only where it is known of both."""
    models = type(source.load), type(table.load)
    ignored = {
        name
        for model in models
        for name, field in model.model_fields.items()
        if NOT_READING in field.metadata
    }
    if ("database" in before) != ("database" in now):
        ignored.add("database")
    keys = [key for key in dict.fromkeys([*before, *now]) if key.partition(".")[0] not in ignored]
    return Changes({k: (before.get(k), now.get(k)) for k in keys if before.get(k) != now.get(k)})


def _counted(block: BaseModel) -> Iterator[tuple[str, Any]]:
    """Keys of a block that are not at their default, and the part of each value that counts."""
    for name, field in type(block).model_fields.items():
        value = getattr(block, name, None)
        if value == field.get_default(call_default_factory=True):
            continue
        for mark in field.metadata:
            value = mark.part(value) if isinstance(mark, Reads) else value
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            value = sorted(value)  # names and texts whose order says nothing
        yield from _flat(name, value)


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    inner = dict(_counted(value)) if isinstance(value, BaseModel) else value
    if isinstance(inner, Mapping):
        for name, part in inner.items():
            yield from _flat(f"{key}.{name}", part)
    elif inner is not None:
        yield key, to_jsonable_python(inner)


def _parents(source: Source[Any, Any], table: Table[RestTable]) -> list[Table[RestTable]]:
    """The tables whose records an endpoint is read for, and theirs."""
    declared = {other.name: other for other in source.declared}
    found: dict[str, Table[RestTable]] = {}
    waiting = [table]
    while waiting:
        endpoint = waiting.pop().load.endpoint
        params = endpoint.get("params") if isinstance(endpoint, dict) else None
        names = PARENT.findall(json.dumps(endpoint, default=str))
        for param in params.values() if isinstance(params, dict) else ():
            if isinstance(param, dict) and param.get("type") == "resolve":
                names.append(str(param.get("resource")))
        for name in names:
            if name in declared and name not in found and name != table.name:
                found[name] = declared[name]
                waiting.append(declared[name])
    return list(found.values())


def _database(url: str) -> str | None:
    """The database in a URL: its path without the server; of a file only its name, as it may be moved."""
    try:
        parts = urlsplit(url)
    except ValueError:  # the extractor says so
        return None
    path = parts.path.strip("/")
    return path if parts.hostname else path.rpartition("/")[2]


def _shown(value: Any) -> str:
    """A value in a message."""
    text = "default" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
