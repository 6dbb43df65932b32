"""Sample queries: what a person would type first, derived from types, tests and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sluice.dbt.manifest import Table, Test

NUMERIC = ("int", "decimal", "double", "float", "numeric", "real", "hugeint")
NOT_SUMMED = ("_per_", "rate", "price", "percent", "median", "p95", "_ms")
"""Prices, rates and durations: their sum has no meaning."""
CURRENCIES = ("_chf", "_eur", "_gbp", "_usd")
MONEY_OR_COUNT = (*CURRENCIES, "amount", "_count", "quantity", "_seconds", "total")


def sample_queries(
    table: Table,
    columns: Mapping[str, str],
    tests: Sequence[Test],
    tables: Mapping[str, Table],
) -> list[tuple[str, str]]:
    """(title, SQL) to start from; those a person wrote (`config.meta.sample_queries`) come first.

    columns: name to type, in the order of the table.
    """
    if not table.relation or not columns:
        return list(table.queries)
    relation = table.relation.replace('"', "")
    found = [*table.queries, ("Look at a few rows", f"select *\nfrom {relation}\nlimit 20")]
    of_table = [t for t in tests if t.table == table.id]
    references = [t for t in of_table if t.to and t.to[0] in tables and t.column in columns]
    dates = [name for name, kind in columns.items() if kind.lower() == "date"]
    groups = [t.column for t in of_table if t.type == "accepted_values" and t.column in columns]
    measures = [
        name
        for name, kind in columns.items()
        if kind.lower().startswith(NUMERIC)
        and any(word in name for word in MONEY_OR_COUNT)
        and not any(word in name for word in NOT_SUMMED)
    ]
    preferred = sorted(measures, key=lambda name: not name.endswith(CURRENCIES))
    amount = f"sum({preferred[0]}) as {preferred[0]}" if preferred else "count(*) as row_count"
    if dates:
        date = next((d for d in dates if "business" in d or d.startswith("month")), dates[0])
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
    joined = next((t for t in references if t.to and t.to[0] != table.id), None)
    if joined and joined.to:
        other = tables[joined.to[0]]
        sql = (
            f"select *\nfrom {relation} as t\nleft join {other.relation.replace(chr(34), '')} as o"
            f" on t.{joined.column} = o.{joined.to[1]}\nlimit 20"
        )
        found.append((f"With {other.name}", sql))
    return found
