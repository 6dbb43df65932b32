"""Sample queries: what a person would type first, derived from types, tests and names."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sluice.catalog.facts import CatalogFacts
from sluice.catalog.readers import name_for_readers, plain_columns
from sluice.dbt.manifest import Table

NUMERIC = ("int", "decimal", "double", "float", "numeric", "real", "hugeint")
NOT_SUMMED = ("_per_", "rate", "price", "percent", "median", "p95", "_ms")
"""Prices, rates and durations: their sum has no meaning."""
CURRENCIES = ("_chf", "_eur", "_gbp", "_usd")
MONEY_OR_COUNT = (*CURRENCIES, "amount", "_count", "quantity", "_seconds", "total")


def date_column(columns: Mapping[str, str]) -> str | None:
    """The date people group by: one that says it is the business's or a month, else the first."""
    dates = [name for name, kind in columns.items() if kind.lower() == "date"]
    preferred = (d for d in dates if "business" in d or d.startswith("month"))
    return next(preferred, dates[0] if dates else None)


def measures(columns: Mapping[str, str]) -> list[str]:
    """Columns whose sum has a meaning: amounts and counts; those in a currency, net ones before others, come first."""
    found = [
        name
        for name, kind in columns.items()
        if kind.lower().startswith(NUMERIC)
        and any(word in name for word in MONEY_OR_COUNT)
        and not any(word in name for word in NOT_SUMMED)
    ]
    return sorted(found, key=lambda name: (not name.endswith(CURRENCIES), "net" not in name.split("_")))


def sample_queries(facts: CatalogFacts, key: str) -> list[tuple[str, str]]:
    """(title, SQL) to start from; those a person wrote (`config.meta.sample_queries`) come first.

    Names are those of the published files where the table has an audience, so that every audience of it can run
    them, and columns with a class, which some of them see masked, are only in `select *`.
    """
    table = facts.manifest.tables[key]
    if not table.relation or not facts.columns[key]:
        return list(table.queries)
    is_published = bool(table.audiences)
    relation = name_for_readers(table, is_published)
    columns = plain_columns(facts, key, table) if is_published else dict(facts.columns[key])
    date = date_column(columns)
    newest = f"\norder by {date} desc" if date else ""
    found = [*table.queries, ("Look at a few rows", f"select *\nfrom {relation}{newest}\nlimit 20")]
    of_table = [t for t in facts.tests.get(key, []) if t.table == key]
    groups = [t.column for t in of_table if t.type == "accepted_values" and t.column in columns]
    sums = measures(columns)
    amount = f"sum({sums[0]}) as {sums[0]}" if sums else "count(*) as row_count"
    if date:
        by = f",\n    {groups[0]}" if groups else ""
        title = f"By month{f' and {groups[0]}' if groups else ''}"
        month = date if date.startswith("month") else f"date_trunc('month', {date}) as month"
        numbers = "1, 2" if groups else "1"
        sql = (
            f"select\n    {month}{by},\n    {amount}\nfrom {relation}\ngroup by {numbers}\norder by {numbers}"
        )
        found.append((title, sql))
    elif groups:
        sql = f"select\n    {groups[0]},\n    {amount}\nfrom {relation}\ngroup by 1\norder by 2 desc"
        found.append((f"By {groups[0]}", sql))
    tables = facts.manifest.tables
    for test in of_table:
        other = tables.get(test.to[0]) if test.to else None
        if not other or not test.to or other.id == key or test.column not in columns:
            continue
        if not set(table.audiences) <= set(other.audiences) or test.to[1] not in _joined(facts, table, other):
            continue  # an audience of this table does not get the other one, or not its key
        sql = (
            f"select *\nfrom {relation} as t\nleft join {name_for_readers(other, is_published)} as o"
            f" on t.{test.column} = o.{test.to[1]}\nlimit 20"
        )
        found.append((f"With {other.name}", sql))
        break
    return found


def _joined(facts: CatalogFacts, table: Table, other: Table) -> Collection[str]:
    if not table.audiences:
        return dict(facts.columns[other.id])
    return plain_columns(facts, other.id, other)
