"""A few rows of each published table, and its measures over time, as they were published.

Read from the file of an audience, so nothing is shown that nobody may read; values of personal columns are not read,
and encrypted files are not opened: this page is for readers without their key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import duckdb

from sluice.catalog.facts import CatalogFacts
from sluice.catalog.profiles import plain
from sluice.catalog.readers import plain_columns
from sluice.catalog.sample_queries import date_column, measures
from sluice.config.audiences import UNCLASSED
from sluice.config.settings import Settings
from sluice.lineage import Ref
from sluice.privacy.redaction import looks_personal
from sluice.publish.versions import PublishedTable
from sluice.sql import literal, one_row, quoted

ROWS = 5
MEASURES = 4
"""Charts of a table; those are its first measures."""
POINTS = 36
DAYS = 92
"""Tables that cover fewer days are shown by day, others by month."""


def published_content(settings: Settings, facts: CatalogFacts) -> dict[str, dict[str, Any]]:
    """By table id {audience, sample: {columns, hidden, rows}, trend: {date, unit, last, measures}}.

    `hidden` is by column what the audience sees instead of a personal value, else null. A table without an
    audience, or whose audiences read encrypted files only, is not in it.
    """
    found = {}
    with duckdb.connect() as con:
        con.execute("set enable_progress_bar = false")
        for key, audience, published, relation in _tables(settings, facts, con):
            try:
                content = _content(con, facts, key, published, relation)
            except duckdb.Error:  # a file of another version of the engine, or one that is just being removed
                continue
            found[key] = {"audience": audience, **content}
    return found


def _tables(
    settings: Settings, facts: CatalogFacts, con: duckdb.DuckDBPyConnection
) -> Iterator[tuple[str, str, PublishedTable, str]]:
    """Id, audience, what is known of it and relation of each published table; an audience that sees all rows first."""
    if facts.version is None:
        return
    folder = settings.published / "versions" / facts.version.version
    found: dict[str, tuple[bool, str, PublishedTable, str]] = {}
    for name, published in facts.version.audiences.items():
        if published.is_encrypted or name not in facts.audiences:
            continue
        file = folder / (f"{name}.duckdb" if published.format == "duckdb" else name)
        if not file.exists():
            continue
        if published.format == "duckdb":
            con.execute(f"attach {literal(file)} as {quoted(name)} (read_only)")
        for table, content in published.tables.items():
            declared = facts.manifest.tables.get(content.model)
            if declared is None or name not in declared.audiences:
                continue
            files = literal(file / table / "**" / "*.parquet")
            relation = (
                f"{quoted(name)}.{quoted(table)}"
                if published.format == "duckdb"
                else f"read_parquet({files}, hive_partitioning = false)"
            )
            is_part = content.condition is not None
            if content.model not in found or (found[content.model][0] and not is_part):
                found[content.model] = is_part, name, content, relation
    for key, (_, name, content, relation) in found.items():
        yield key, name, content, relation


def _content(
    con: duckdb.DuckDBPyConnection, facts: CatalogFacts, key: str, published: PublishedTable, relation: str
) -> dict[str, Any]:
    table = facts.manifest.tables[key]
    shown = {
        name: kind
        for name, kind in plain_columns(facts, key, table).items()
        if name.lower() in published.columns
        and published.classed.get(name.lower(), (UNCLASSED, "clear"))[0] == UNCLASSED
        and Ref(key, name.lower()) not in facts.personal
        and not facts.profiles.get(key, {}).get(name, {}).get("suspect")
    }
    day = date_column(shown)
    found = {"sample": _sample(con, published, relation, list(shown), day)}
    if day and (sums := measures(shown)[:MEASURES]) and (trend := _trend(con, relation, day, sums)):
        found["trend"] = trend
    return {name: part for name, part in found.items() if part}


def _sample(
    con: duckdb.DuckDBPyConnection,
    published: PublishedTable,
    relation: str,
    shown: Sequence[str],
    day: str | None,
) -> dict[str, Any] | None:
    if not shown:
        return None
    order = f" order by {quoted(day)} desc nulls last" if day else ""
    rows = con.execute(
        f"select {', '.join(map(quoted, shown))} from {relation}{order} limit {ROWS}"
    ).fetchall()
    place = {name.lower(): i for i, name in enumerate(shown)}
    looks = {name for name, i in place.items() if looks_personal([row[i] for row in rows])}
    hidden = {
        name: None if name in place and name not in looks else published.classed.get(name, ("", "hidden"))[1]
        for name in published.columns
    }
    return {
        "columns": list(hidden),
        "hidden": list(hidden.values()),
        "rows": [[plain(row[place[n]]) if not mark else None for n, mark in hidden.items()] for row in rows],
    }


def _trend(
    con: duckdb.DuckDBPyConnection, relation: str, day: str, sums: Sequence[str]
) -> dict[str, Any] | None:
    column = quoted(day)
    first, last = one_row(
        con, f"select min({column}), max({column}) from {relation} where isfinite({column})"
    )
    if first is None or first == last:
        return None
    unit = "month" if (last - first).days > DAYS else "day"
    totals = ", ".join(f"cast(sum({quoted(name)}) as double)" for name in sums)
    points = con.execute(
        f"select cast(date_trunc('{unit}', {column}) as date), {totals} from {relation}"
        f" where isfinite({column}) group by 1 order by 1 desc limit {POINTS}"
    ).fetchall()[::-1]
    return {
        "date": day,
        "unit": unit,
        "last": str(last),
        "measures": {
            name: [[str(row[0]), plain(row[i + 1])] for row in points if row[i + 1] is not None]
            for i, name in enumerate(sums)
        },
    }
