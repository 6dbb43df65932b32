"""Reads `sources/*.yml`: every declared source, and every mistake with file and line; needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sluice.config.checks import inconsistencies, same_names
from sluice.config.declaration import KINDS, Source, Table, TableLoad, table_model
from sluice.config.settings import find_project, make_importable
from sluice.config.yaml_file import Lines, Problem, dig, explain, read_yaml, shown
from sluice.errors import DeclarationError


def read_sources(folder: Path) -> tuple[list[Source[Any, Any]], list[Problem]]:
    """All sources declared in `folder`, and every mistake found; needs no network.

    A source with a mistake is left out of the first list. Files without a `sources` key, and sources
    without `config.meta.load` (loaded by somebody else), are dbt's alone.
    """
    make_importable(find_project(folder))
    sources: list[Source[Any, Any]] = []
    problems: list[Problem] = []
    for file in sorted([*folder.rglob("*.yml"), *folder.rglob("*.yaml")]):
        lines = read_yaml(file)
        if isinstance(lines, Problem):
            problems.append(lines)
            continue
        entries = lines.value.get("sources") if isinstance(lines.value, dict) else None
        if entries is None:
            continue
        if not isinstance(entries, list):
            problems.append(Problem(file, lines.line(["sources"]), "sources", "must be a list"))
            continue
        for index, entry in enumerate(entries):
            source, found = _read_source(file, lines, index, entry)
            problems += found
            if source:
                sources.append(source)
    problems += same_names(sources)
    return sources, problems


def load_sources(folder: Path, selection: Sequence[str] = ()) -> list[Source[Any, Any]]:
    """The declared sources, or those named in `selection` (`till`, `till.sales`); raises DeclarationError."""
    sources, problems = read_sources(folder)
    if problems:
        raise DeclarationError("\n".join(map(str, problems)))
    if not selection:
        return sources
    known = {s.name for s in sources} | {t.qualified for s in sources for t in s.tables}
    if unknown := [name for name in selection if name not in known]:
        raise DeclarationError(
            f"no source or table is called {', '.join(unknown)}; declared are: "
            + ", ".join(sorted(s.name for s in sources))
        )
    chosen = []
    for source in sources:
        tables = tuple(t for t in source.tables if source.name in selection or t.qualified in selection)
        if tables:
            chosen.append(replace(source, tables=tables))
    return chosen


def _read_source(
    file: Path, lines: Lines, index: int, entry: Any
) -> tuple[Source[Any, Any] | None, list[Problem]]:
    at: list[str | int] = ["sources", index]
    name = entry.get("name", f"source {index + 1}") if isinstance(entry, dict) else f"source {index + 1}"
    if not isinstance(entry, dict):
        return None, [Problem(file, lines.line(at), name, "must be a mapping with name, config and tables")]
    load = dig(entry, "config", "meta", "load")
    if load is None:
        if any(dig(table, "config", "meta", "load") is not None for table in _list(entry, "tables")):
            where = f"{name}.config.meta.load"
            return None, [
                Problem(file, lines.line(at), where, f"is missing; kind is one of {', '.join(KINDS)}")
            ]
        return None, []
    kind = load.get("kind") if isinstance(load, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        path = [*at, "config", "meta", "load", "kind"]
        where = f"{name}.config.meta.load.kind"
        return None, [
            Problem(file, lines.line(path), where, f"is {shown(kind)}; allowed are {', '.join(KINDS)}")
        ]
    try:
        parsed = KINDS[kind].model_validate(_complete(entry, load))
    except ValidationError as error:
        return None, explain(error, KINDS[kind], file, lines, at)

    schema = parsed.schema_ or parsed.name
    tables = tuple(
        Table(
            source=parsed.name,
            schema=schema,
            name=table.name,
            load=table.config.meta.load,
            columns=tuple(table.columns),
            file=file,
            line=lines.line([*at, "tables", i]),
        )
        for i, table in enumerate(parsed.tables)
    )
    source = Source(
        name=parsed.name,
        schema=schema,
        load=parsed.config.meta.load,
        tables=tables,
        file=file,
        line=lines.line(at),
        freshness=dig(entry, "config", "freshness") or {},
        declared=tables,
    )
    problems = [
        Problem(file, lines.line([*at, *path]), where, message)
        for path, where, message in inconsistencies(source, entry)
    ]
    return (None if problems else source), problems


def table_load(source_load: Mapping[str, Any], load: Mapping[str, Any]) -> TableLoad:
    """How a table is loaded, given what YAML says for its source and for it; what is not valid is not checked."""
    keys = _with_defaults(load, source_load)
    try:
        return table_model(str(source_load.get("kind"))).model_validate(keys)
    except ValidationError:
        return TableLoad.model_construct(**keys)


def _complete(entry: Any, load: Any) -> Any:
    """The entry with a load block for each table: empty where there is none, else with the source's defaults in it."""
    if not isinstance(entry.get("tables"), list):
        return entry
    return {**entry, "tables": [_complete_table(table, load) for table in entry["tables"]]}


def _complete_table(table: Any, source_load: Any) -> Any:
    own = dig(table, "config", "meta", "load")
    if not isinstance(table, dict) or not (own is None or isinstance(own, dict)):
        return table
    config = table.get("config") or {}
    completed = _with_defaults(own or {}, source_load)
    return {**table, "config": {**config, "meta": {**(config.get("meta") or {}), "load": completed}}}


def _with_defaults(load: Mapping[str, Any], source_load: Mapping[str, Any]) -> dict[str, Any]:
    """A table's load keys, its endpoint completed by the source's resource_defaults as dlt does it."""
    defaults, own = dig(source_load, "resource_defaults", "endpoint"), load.get("endpoint")
    if not isinstance(defaults, dict) or not isinstance(own, dict):
        return dict(load)
    endpoint = {**defaults, **own}
    for key in ("params", "json"):
        if isinstance(defaults.get(key), dict) and isinstance(own.get(key), dict):
            endpoint[key] = {**defaults[key], **own[key]}
    return {**load, "endpoint": endpoint}


def _list(value: Any, key: str) -> list[Any]:
    found = dig(value, key)
    return found if isinstance(found, list) else []
