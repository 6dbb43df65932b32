"""What changed in the declarations of sources, and whether a full reload follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sluice.config.declaration import TableLoad
from sluice.config.sources import table_load
from sluice.dbt.manifest import meta
from sluice.review.column_types import plain_type
from sluice.review.findings import Finding, look
from sluice.review.revision import Revision
from sluice.review.wording import name_of, old_and_new

NO_RELOAD = ("deletes", "lookback", "shrink_limit", "tolerance", "drift", "schedule")
"""Keys of a load that only affect later rows."""


class Load(NamedTuple):
    """How a table is loaded."""

    kind: str
    keys: Mapping[str, Any]
    """What the table's own YAML says."""
    effective: TableLoad
    """With the defaults of its source."""


def reload_reason(key: str, before: Load, after: Load) -> str:
    """Why raw differs from what a fresh load would bring once this key has changed; "" if the next load brings it."""
    if key in NO_RELOAD:
        return ""
    if after.kind == "files":
        return "files loaded before are not read again"
    is_whole = not after.effective.has_range()
    ways = before.effective.disposition(), after.effective.disposition()
    fewer = key == "columns" and _fewer(before.keys, after.keys)
    if ways[1] == "replace":
        return "raw keeps the column" if fewer else ""
    if key == "cursor":
        is_other = before.keys.get(key) and after.keys.get(key)
        return "the highest value loaded is of the old cursor" if is_other else ""
    if key in ("primary_key", "write_disposition"):
        if ways == ("append", "merge"):
            return "rows that were added several times stay"
        merged = key == "primary_key" and ways == ("merge", "merge")
        return "rows in raw were merged by the old key" if merged else ""
    if key == "filter":
        if after.keys.get("deletes") == "compare_keys" or (is_whole and not after.keys.get("filter")):
            return ""
        return "rows loaded before are not filtered again, those left out before not read again"
    if key == "columns":
        if fewer:
            return "raw keeps the column, and rows loaded before their values"
        return "" if is_whole else "rows loaded before have null in the new column"
    return "rows loaded before are not read again"


def _fewer(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """True if a column that was loaded may be no longer."""
    o, n = (x.get("columns") or {} for x in (before, after))
    excluded = set(n.get("exclude") or []) - set(o.get("exclude") or [])
    included = n.get("include") is not None and (
        o.get("include") is None or bool(set(o["include"]) - set(n["include"]))
    )
    return bool(excluded) or included


def source_findings(old: Revision, new: Revision) -> Iterator[Finding]:
    """Tables, columns, types and load keys of the sources; freshness."""
    before, after = old.sources, new.sources
    yield from _systems(before, after)
    for key, table in after.items():
        name = name_of(key)
        if key in before:
            yield from _table(name, before[key], table)
        else:
            yield look("source-table-added", name, f"new source table `{name}`; the next load reads it whole")
    for name in (name_of(key) for key in before if key not in after):
        text = f"source table `{name}` is no longer loaded; raw keeps it"
        yield look("source-table-removed", name, text)


def _systems(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Finding]:
    """Load keys of a source as a whole: its kind, its connection, its address."""
    loads = [{t["source_name"]: _source_load(t) for t in side.values()} for side in (before, after)]
    for name in sorted(loads[0].keys() & loads[1].keys()):
        o, n = loads[0][name], loads[1][name]
        for key in sorted({*o, *n}):
            if o.get(key) != n.get(key):
                text = (
                    f"`{name}`: load.{key} {old_and_new(o.get(key), n.get(key))}; rows loaded before are not read "
                    f"again: if they are others there, a full reload follows, `sluice load {name} --full-refresh`"
                )
                yield look("source-load", f"{name}.{key}", text)


def _table(name: str, before: Any, after: Any) -> Iterator[Finding]:
    loads = _load(before), _load(after)
    yield from _columns(name, before, after, loads[1])
    for key in sorted({*loads[0].keys, *loads[1].keys}):
        was, now = (load.keys.get(key) for load in loads)
        if was == now:
            continue
        why = reload_reason(key, *loads)
        follows = f"; a full reload follows, as {why}: `sluice load {name} --full-refresh`" if why else ""
        yield look("source-load", f"{name}.{key}", f"`{name}`: load.{key} {old_and_new(was, now)}{follows}")
    limits = _freshness(before), _freshness(after)
    if limits[0] != limits[1]:
        yield look("freshness", name, f"`{name}`: freshness {old_and_new(*limits)}")
    if before.get("loaded_at_field") != after.get("loaded_at_field"):
        change = old_and_new(before.get("loaded_at_field"), after.get("loaded_at_field"))
        yield look("freshness", f"{name}.loaded_at_field", f"`{name}`: loaded_at_field {change}")


def _columns(name: str, before: Any, after: Any, load: Load) -> Iterator[Finding]:
    olds, news = before["columns"], after["columns"]
    for column in olds:
        if column not in news:
            text = f"`{name}.{column}` is no longer declared: the type and tests it had are gone"
            yield look("source-column-removed", f"{name}.{column}", text)
            continue
        o, n = plain_type(olds[column].get("data_type")), plain_type(news[column].get("data_type"))
        if o != n:
            text = (
                f"`{name}.{column}`: {o or 'no type'} → {n or 'no type'}; "
                f"a full reload follows: `sluice load {name} --full-refresh`"
            )
            yield look("source-type", f"{name}.{column}", text)
    for column in news:
        if column not in olds:
            text = f"`{name}.{column}` is declared from now on" + _new_column(name, load)
            yield look("source-column-added", f"{name}.{column}", text)


def _source_load(table: Any) -> dict[str, Any]:
    load: dict[str, Any] = (table.get("source_meta") or {}).get("load") or {}
    return load


def _load(table: Any) -> Load:
    of_source, keys = _source_load(table), meta(table).get("load") or {}
    return Load(str(of_source.get("kind")), keys, table_load(of_source, keys))


def _new_column(name: str, load: Load) -> str:
    if load.kind != "files" and not load.effective.has_range():
        return "; the next load brings it for all rows"
    return (
        "; unless raw has it already, rows loaded before have null in it: a full reload follows, "
        f"`sluice load {name} --full-refresh`"
    )


def _freshness(table: Any) -> str | None:
    found = table.get("freshness") or (table.get("config") or {}).get("freshness") or {}
    parts = []
    for key in ("warn_after", "error_after"):
        limit = found.get(key) or {}
        if limit.get("count"):
            parts.append(f"{key.split('_')[0]} after {limit['count']} {limit['period']}")
    return ", ".join(parts) or None
