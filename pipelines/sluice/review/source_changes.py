"""What changed in the declarations of sources, and which tables the next load reads whole again because of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sluice.config.declaration import KINDS, Column, Source, Table
from sluice.config.reading import Changes, changes, reading
from sluice.config.sources import source_load, table_load
from sluice.dbt.manifest import meta
from sluice.review.column_types import plain_type
from sluice.review.findings import Finding, look
from sluice.review.revision import Revision
from sluice.review.wording import name_of, old_and_new

FOLLOWS = "; the next load reads the whole table again, or says why it cannot"


def source_findings(old: Revision, new: Revision) -> Iterator[Finding]:
    """Tables, columns, types and load keys of the sources; freshness."""
    before, after = old.sources, new.sources
    changed = _changes(before, after)
    yield from _systems(before, after, changed)
    for key, table in after.items():
        name = name_of(key)
        if key in before:
            yield from _table(name, before[key], table, changed.get(key, Changes({})))
        else:
            yield look("source-table-added", name, f"new source table `{name}`; the next load reads it whole")
    for name in (name_of(key) for key in before if key not in after):
        text = f"source table `{name}` is no longer loaded; raw keeps it"
        yield look("source-table-removed", name, text)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Changes]:
    """How the reading of the tables that both sides load has changed."""
    olds, news = _declared(before), _declared(after)
    return {
        key: changes(*news[key], reading(*olds[key]), reading(*news[key]))
        for key in olds.keys() & news.keys()
    }


def _declared(tables: Mapping[str, Any]) -> dict[str, tuple[Source[Any, Any], Table[Any]]]:
    """Tables of known kinds as declarations, each with its source."""
    made: dict[str, Table[Any]] = {}
    for key, table in tables.items():
        of_source, keys = _source_load(table), meta(table).get("load") or {}
        if of_source.get("kind") not in KINDS or not isinstance(keys, dict):
            continue
        columns = tuple(Column(name=n, data_type=c.get("data_type")) for n, c in table["columns"].items())
        schema = str(table.get("schema") or table["source_name"])
        load = table_load(of_source, keys)
        made[key] = Table(table["source_name"], schema, table["name"], load, columns, Path(), 0)
    found = {}
    for key, declared in made.items():
        beside = tuple(other for other in made.values() if other.source == declared.source)
        whole = source_load(_source_load(tables[key]))
        source = Source(declared.source, declared.schema, whole, beside, Path(), 0, {}, beside)
        found[key] = (source, declared)
    return found


def _systems(
    before: Mapping[str, Any], after: Mapping[str, Any], changed: Mapping[str, Changes]
) -> Iterator[Finding]:
    """Load keys of a source as a whole: its kind, its connection, its address."""
    loads = [{t["source_name"]: _source_load(t) for t in side.values()} for side in (before, after)]
    for name in sorted(loads[0].keys() & loads[1].keys()):
        o, n = loads[0][name], loads[1][name]
        of_source = [found for key, found in changed.items() if after[key]["source_name"] == name]
        for key in sorted({*o, *n}):
            if o.get(key) != n.get(key):
                again = any(found.of(key) for found in of_source)
                follows = FOLLOWS.replace("the whole table", "its tables whole") if again else ""
                text = f"`{name}`: load.{key} {old_and_new(o.get(key), n.get(key))}{follows}"
                yield look("source-load", f"{name}.{key}", text)


def _table(name: str, before: Any, after: Any, changed: Changes) -> Iterator[Finding]:
    relations = before.get("relation_name"), after.get("relation_name")
    if relations[0] != relations[1]:
        yield look("source-relation", name, f"`{name}`: models read {relations[1]} instead of {relations[0]}")
    yield from _columns(name, before, after, changed)
    loads = [meta(side).get("load") or {} for side in (before, after)]
    for key in sorted({*loads[0], *loads[1]}):
        was, now = (load.get(key) for load in loads)
        if was != now:
            follows = FOLLOWS if changed.of(key) else ""
            yield look(
                "source-load", f"{name}.{key}", f"`{name}`: load.{key} {old_and_new(was, now)}{follows}"
            )
    of_others = {key.partition(".")[0] for key in changed.values if ".endpoint" in key} - {
        "columns",
        "endpoint",
    }
    for parent in sorted(of_others - {"client"}):
        text = f"`{name}` is read for the records of {parent}, whose endpoint changed{FOLLOWS}"
        yield look("source-load", f"{name}.{parent}", text)
    limits = _freshness(before), _freshness(after)
    if limits[0] != limits[1]:
        yield look("freshness", name, f"`{name}`: freshness {old_and_new(*limits)}")
    if before.get("loaded_at_field") != after.get("loaded_at_field"):
        change = old_and_new(before.get("loaded_at_field"), after.get("loaded_at_field"))
        yield look("freshness", f"{name}.loaded_at_field", f"`{name}`: loaded_at_field {change}")


def _columns(name: str, before: Any, after: Any, changed: Changes) -> Iterator[Finding]:
    olds, news = before["columns"], after["columns"]
    for column in olds:
        follows = FOLLOWS if changed.of(f"columns.{column}") else ""
        if column not in news:
            text = f"`{name}.{column}` is no longer declared: the type and tests it had are gone{follows}"
            yield look("source-column-removed", f"{name}.{column}", text)
            continue
        o, n = plain_type(olds[column].get("data_type")), plain_type(news[column].get("data_type"))
        if o != n:
            text = f"`{name}.{column}`: {o or 'no type'} → {n or 'no type'}{follows}"
            yield look("source-type", f"{name}.{column}", text)
    for column in news:
        if column not in olds:
            is_new = changed.of(f"columns.{column}")
            follows = (
                f"; unless raw has it with this type already{FOLLOWS.replace(';', ',')}" if is_new else ""
            )
            text = f"`{name}.{column}` is declared from now on{follows}"
            yield look("source-column-added", f"{name}.{column}", text)


def _source_load(table: Any) -> dict[str, Any]:
    load: dict[str, Any] = (table.get("source_meta") or {}).get("load") or {}
    return load


def _freshness(table: Any) -> str | None:
    found = table.get("freshness") or (table.get("config") or {}).get("freshness") or {}
    parts = []
    for key in ("warn_after", "error_after"):
        limit = found.get(key) or {}
        if limit.get("count"):
            parts.append(f"{key.split('_')[0]} after {limit['count']} {limit['period']}")
    return ", ".join(parts) or None
