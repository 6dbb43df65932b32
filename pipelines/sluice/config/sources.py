"""Reads `sources/*.yml`: every declared source, and every mistake with file and line; needs no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from sluice.config.blocks import Strict
from sluice.config.checks import LOAD, inconsistencies, same_names
from sluice.config.declaration import KINDS, Source, Table, TableLoad, table_model
from sluice.config.known_keys import meaningful_keys
from sluice.config.mistakes import explain, field_by_key, misspelt_keys, shown
from sluice.config.yaml_file import Lines, Problem, dig, read_yaml
from sluice.errors import DeclarationError, did_you_mean, with_hint

DBT_FILE_KEYS = (
    "version",
    "models",
    "seeds",
    "snapshots",
    "macros",
    "exposures",
    "groups",
    "metrics",
    "analyses",
)
"""Keys of dbt's property files; those that are in this folder are left to dbt."""


def read_sources(folder: Path) -> tuple[list[Source[Any, Any]], list[Problem]]:
    """All sources declared in `folder`, and every mistake found; needs no network.

    A source with a mistake is left out of the first list, and so are all that share a name or schema. Files without a
    `sources` key, and sources without `config.meta.load` (loaded by somebody else), are dbt's alone.
    """
    sources: list[Source[Any, Any]] = []
    problems: list[Problem] = []
    for file in sorted(file for ending in ("yml", "yaml") for file in folder.rglob(f"*.{ending}")):
        if file.is_dir():
            continue
        lines = read_yaml(file)
        if isinstance(lines, Problem):
            problems.append(lines)
            continue
        entries = _entries(lines.value)
        if isinstance(entries, tuple):
            key, message = entries
            problems.append(Problem(file, lines.line([key]), key or "file", message))
            continue
        for index, entry in enumerate(entries):
            source, found = _read_source(file, lines, index, entry)
            problems += found
            if source:
                sources.append(source)
    problems += same_names(sources)
    names, schemas = Counter(s.name for s in sources), Counter(s.schema for s in sources)
    return [s for s in sources if names[s.name] == schemas[s.schema] == 1], problems


def _entries(content: Any) -> list[Any] | tuple[str, str]:
    """The sources of a file, none in one that is dbt's alone, or the key that is wrong and why; "": the whole file."""
    if content is None:
        return []
    if not isinstance(content, dict):
        return "", f"is {shown(content)}; a file in this folder is a mapping with version: 2 and sources:"
    if "sources" in content:
        entries = content["sources"]
        return (
            entries
            if isinstance(entries, list)
            else ("sources", f"is {shown(entries)}; must be a list of sources")
        )
    for key in content:
        if key not in DBT_FILE_KEYS and did_you_mean(key, ["sources"]):
            return key, "is not a key here. Did you mean sources?"
    return []


def load_sources(folder: Path, selection: Sequence[str] = ()) -> list[Source[Any, Any]]:
    """The declared sources, or those named in `selection` (`till`, `till.sales`); raises DeclarationError."""
    sources, problems = sound_sources(folder, selection)
    if problems:
        raise DeclarationError("\n".join(map(str, problems)))
    return sources


def sound_sources(
    folder: Path, selection: Sequence[str] = ()
) -> tuple[list[Source[Any, Any]], list[Problem]]:
    """The sources without a mistake, or what is named in `selection` of them; and the mistakes in the others.

    If all that is named is sound, mistakes elsewhere do not count. Raises DeclarationError for names that are not
    declared, with all mistakes, and if none of the sources is sound.
    """
    sources, problems = read_sources(folder)
    reasons = list(map(str, problems))
    known = {s.name for s in sources} | {t.qualified for s in sources for t in s.tables}
    if unknown := [name for name in selection if name not in known]:
        reasons.append(
            f"no source or table is called {', '.join(unknown)}; declared are: "
            + (", ".join(sorted(s.name for s in sources)) or "none")
            + "".join(f".{meant}" for name in unknown if (meant := did_you_mean(name, known))).replace(
                "?.", "?"
            )
        )
    if unknown or (problems and not sources):
        raise DeclarationError("\n".join(reasons))
    if not selection:
        return sources, problems
    chosen = []
    for source in sources:
        tables = tuple(t for t in source.tables if source.name in selection or t.qualified in selection)
        if tables:
            chosen.append(replace(source, tables=tables))
    return chosen, []


def _read_source(
    file: Path, lines: Lines, index: int, entry: Any
) -> tuple[Source[Any, Any] | None, list[Problem]]:
    at: list[str | int] = ["sources", index]
    name = dig(entry, "name") if isinstance(dig(entry, "name"), str) else f"source {index + 1}"
    if not isinstance(entry, dict):
        return None, [Problem(file, lines.line(at), name, "must be a mapping with name, config and tables")]
    load = dig(entry, "config", "meta", "load")
    kind = load.get("kind") if isinstance(load, dict) else None
    model = KINDS[kind if isinstance(kind, str) and kind in KINDS else "database"]
    where, place = f"{name}.config.meta.load", [*at, *LOAD]
    if load is None:
        misspelt = misspelt_keys(entry, model, file, lines, at)
        if misspelt or not any(dig(table, *LOAD) is not None for table in _list(entry, "tables")):
            return None, misspelt
        return None, [Problem(file, lines.line(at), where, f"is missing; kind is one of {', '.join(KINDS)}")]
    if not isinstance(load, dict):
        message = f"is {shown(load)}: write a mapping with the key kind; allowed are {', '.join(KINDS)}"
        return None, [Problem(file, lines.line(place), where, message)]
    if not isinstance(kind, str) or kind not in KINDS:
        message = with_hint(f"is {shown(kind)}; allowed are {', '.join(KINDS)}", str(kind), KINDS)
        written = next((key for key in load if kind is None and did_you_mean(key, ["kind"])), "kind")
        if written != "kind":
            message = "is not a key here. Did you mean kind?"
        return None, [Problem(file, lines.line([*place, written]), f"{where}.{written}", message)]
    try:
        parsed = model.model_validate(_complete(entry, load))
    except ValidationError as error:
        return None, explain(error, model, file, lines, at, lambda block, given: _known(block, given, load))
    if misspelt := misspelt_keys(entry, model, file, lines, at):
        return None, misspelt

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


def _known(block: type[BaseModel], given: Any, source_load: Mapping[str, Any]) -> Collection[str]:
    """Keys of a block that mean something for this source."""
    names = field_by_key(block)
    return meaningful_keys(source_load, given, names) if issubclass(block, TableLoad) else names


def table_load(source_load: Mapping[str, Any], load: Mapping[str, Any]) -> TableLoad:
    """How a table is loaded, given what YAML says for its source and for it; what is not valid is not checked."""
    keys = _with_defaults(load, source_load)
    try:
        return table_model(str(source_load.get("kind"))).model_validate(keys)
    except ValidationError:
        return TableLoad.model_construct(**keys)


def source_load(load: Mapping[str, Any]) -> Strict:
    """What YAML says for a source as a whole, of a kind that is known; what is not valid is not checked."""
    model: type[Strict] = KINDS[load["kind"]].__pydantic_generic_metadata__["args"][0]
    try:
        return model.model_validate(load)
    except ValidationError:
        return model.model_construct(**load)


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
