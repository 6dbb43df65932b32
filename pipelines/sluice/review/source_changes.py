"""What changed in the declarations of sources, and whether a full reload follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sluice.review.column_types import plain_type
from sluice.review.findings import Finding, look
from sluice.review.revision import Revision, meta
from sluice.review.wording import as_json, name_of, old_and_new

NO_RELOAD = ("deletes", "lookback", "shrink_limit", "tolerance", "drift", "schedule")
"""Keys of a load that only say how later rows are taken in."""


Load = Mapping[str, Any]


def reload_reason(key: str, before: Load, after: Load) -> str:
    """Why raw differs from what a fresh load would bring once this key has changed; "" if the next load brings it.

    before, after: all load keys of the table, with its source's `kind`.
    """
    if key in NO_RELOAD:
        return ""
    if after.get("kind") == "files":
        return "files loaded before are not read again"
    is_whole = not after.get("cursor") and not _is_incremental(after)
    ways = _disposition(before), _disposition(after)
    if ways[1] == "replace":
        return "raw keeps the column" if key == "columns" and _fewer(before, after) else ""
    if key == "cursor":
        return "the highest value loaded is of the old cursor" if before.get(key) and after.get(key) else ""
    if key in ("primary_key", "write_disposition"):
        if ways == ("append", "merge"):
            return "rows that were added several times stay"
        merged = key == "primary_key" and ways == ("merge", "merge")
        return "rows in raw were merged by the old key" if merged else ""
    if key == "filter":
        if after.get("deletes") == "compare_keys" or (is_whole and not after.get("filter")):
            return ""
        return "rows loaded before are not filtered again, those left out before not read again"
    if key == "columns":
        if _fewer(before, after):
            return "raw keeps the column, and rows loaded before their values"
        return "" if is_whole else "rows loaded before have null in the new column"
    return "rows loaded before are not read again"


def _disposition(load: Load) -> str:
    """As declaration.py has it: what becomes of a table's old rows."""
    if load.get("write_disposition"):
        return str(load["write_disposition"])
    is_added = load.get("cursor") or _is_incremental(load) or load.get("kind") == "stream"
    return "merge" if load.get("primary_key") else "append" if is_added else "replace"


def _is_incremental(load: Load) -> bool:
    """An API that is asked for new records only."""
    return "incremental" in as_json(load.get("endpoint"))


def _fewer(before: Load, after: Load) -> bool:
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
    loads: list[dict[str, Load]] = [
        {t["source_name"]: (t.get("source_meta") or {}).get("load") or {} for t in side.values()}
        for side in (before, after)
    ]
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
    loads = _loads(before, after)
    yield from _columns(name, before, after, loads[1])
    own = [meta(x).get("load") or {} for x in (before, after)]
    for key in sorted({*own[0], *own[1]}):
        was, now = own[0].get(key), own[1].get(key)
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


def _loads(before: Any, after: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """All load keys of a table on both sides, those of its source among them."""
    old, new = (
        {**((x.get("source_meta") or {}).get("load") or {}), **(meta(x).get("load") or {})}
        for x in (before, after)
    )
    return old, new


def _new_column(name: str, load: Load) -> str:
    if load.get("kind") != "files" and not load.get("cursor") and not _is_incremental(load):
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
