"""Checks of a declaration that is well-formed, yet may not work: columns, types, secrets, imports, names."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from sluice.config.connections import REFERENCE, SECRET_KEYS, URL_PASSWORD
from sluice.config.declaration import FilesTable, PythonTable, Source, StreamTable, Table
from sluice.config.yaml_file import Problem, dig

RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d|_dlt_.*)$")
"""Names that dlt does not give to files, or keeps for itself."""

Finding = tuple[list[str | int], str, str]
"""Path within the source's entry, the place in words, and what is wrong there."""
LOAD = ["config", "meta", "load"]


def inconsistencies(source: Source[Any, Any], entry: Any) -> Iterator[Finding]:
    """What is well-formed in the source's YAML `entry`, and still cannot be meant."""
    for path, message in _literal_secrets(dig(entry, *LOAD), source.name):
        yield [*LOAD, *path], f"{source.name}.config.meta.load.{'.'.join(map(str, path))}", message
    names = [table.name for table in source.tables]
    for i, table in enumerate(source.tables):
        at: list[str | int] = ["tables", i]
        if RESERVED.match(table.name):
            yield [*at, "name"], table.qualified, "is a reserved name; choose another one"
        if names.index(table.name) != i:
            yield at, table.qualified, "is declared twice in this source"
        yield from _column_inconsistencies(table, at)
        for path, message in _literal_secrets(dig(entry["tables"][i], *LOAD), source.name):
            yield [*at, *LOAD, *path], f"{table.qualified}.{'.'.join(map(str, path))}", message
        yield from _kind_inconsistencies(source, table, at)


def _column_inconsistencies(table: Table[Any], at: list[str | int]) -> Iterator[Finding]:
    from sluice.config.data_types import duckdb_type  # imports DuckDB, which not every command needs

    names = [c.name for c in table.columns]
    for j, column in enumerate(table.columns):
        where = f"{table.qualified}.{column.name}"
        if names.index(column.name) != j:
            yield [*at, "columns", j], where, "is declared twice"
        if column.data_type:
            try:
                duckdb_type(column.data_type)
            except ValueError as error:
                path = [*at, "columns", j, "data_type"]
                yield path, f"{where}.data_type", f"is {column.data_type!r}: {error}"
    load = table.load
    for key, columns in (("primary_key", load.primary_key), ("cursor", filter(None, [load.cursor]))):
        for name in columns:
            if names and name not in names and not name.startswith("_"):
                message = f"names {name!r}, which is not among the declared columns: {', '.join(names)}"
                yield [*at, *LOAD, key], f"{table.qualified}.{key}", message
            if load.columns.exclude and name in load.columns.exclude:
                yield [*at, *LOAD, "columns"], table.qualified, f"excludes {name!r}, its {key}"
            if load.columns.include is not None and name not in load.columns.include:
                yield [*at, *LOAD, "columns"], table.qualified, f"does not include {name!r}, its {key}"


def _kind_inconsistencies(
    source: Source[Any, Any], table: Table[Any], at: list[str | int]
) -> Iterator[Finding]:
    load = table.load
    if isinstance(load, FilesTable) and not load.header and not table.columns:
        yield [*at], table.qualified, "has no header, so its columns must be declared, in the files' order"
    if isinstance(load, StreamTable):
        needed, other = ("stream", "topic") if source.load.protocol == "nats" else ("topic", "stream")
        if getattr(load, needed) is None:
            yield [*at, *LOAD], f"{table.qualified}.{needed}", f"is missing ({source.load.protocol})"
        if getattr(load, other) is not None:
            yield (
                [*at, *LOAD, other],
                f"{table.qualified}.{other}",
                f"means nothing for {source.load.protocol}; write {needed}",
            )
    if isinstance(load, PythonTable) and (wrong := _import_error(load.resource)):
        yield [*at, *LOAD, "resource"], f"{table.qualified}.resource", wrong


def _import_error(dotted: str) -> str | None:
    module, _, name = dotted.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None) if module else None
    except Exception as error:  # whatever a person's module raises while it is imported
        return f"is {dotted!r}: importing {module!r} fails: {type(error).__name__}: {error}"
    if not callable(found):
        return f"is {dotted!r}: write package.module.function, a dlt resource that can be imported"
    return None


def _literal_secrets(
    value: Any, source: str, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Secrets that are written out anywhere inside a load block."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str) and SECRET_KEYS.search(str(key)) and not REFERENCE.search(inner):
                message = f"holds a secret; write ${{{source}.{key}}} and set it in the environment"
                yield (*path, key), message
            else:
                yield from _literal_secrets(inner, source, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _literal_secrets(inner, source, (*path, index))
    elif isinstance(value, str) and re.match(r"(Bearer|Basic|Token)\s+(?!\$)\S", value, re.IGNORECASE):
        yield path, f"holds a secret; write ${{{source}.token}} and set it in the environment"
    elif isinstance(value, str) and URL_PASSWORD.search(value):
        yield path, f"holds a password; write ${{{source}.url}} and set it in the environment"


def same_names(sources: Sequence[Source[Any, Any]]) -> Iterator[Problem]:
    """Sources that share a name or a schema with an earlier one."""
    for what in ("name", "schema"):
        seen: dict[str, Source[Any, Any]] = {}
        for source in sources:
            value = getattr(source, what)
            if first := seen.get(value):
                message = f"the {what} {value!r} is already taken in {first.file}:{first.line}"
                yield Problem(source.file, source.line, source.name, message)
            seen.setdefault(value, source)
