"""Findings about tables that were built: rows lost, broken keys and contracts, slower queries."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import duckdb

from sluice.review.findings import Finding, look, stop
from sluice.review.revision import Revision
from sluice.review.table_diff import TableDiff, columns_of_table
from sluice.sql import first_value, quoted

LOSS = 0.05
"""Share of a public table's rows that may go without the review saying stop."""
RISKY = {"NESTED_LOOP_JOIN", "BLOCKWISE_NL_JOIN", "CROSS_PRODUCT"}
"""Operators whose time grows with the product of their inputs."""


def table_findings(
    connection: duckdb.DuckDBPyConnection, node: Any, diff: TableDiff, place: str
) -> Iterator[Finding]:
    """Findings about a table that was built; `place` is its relation on the head's side."""
    name = diff.name
    twice = diff.duplicates
    if twice[1] > twice[0]:
        text = f"`{name}`: {twice[1]:,} rows beyond one for each {', '.join(diff.key)}, {twice[0]:,} before"
        if diff.without_key:
            text += f"; {diff.without_key:,} rows have NULL in the key"
        yield stop("key-not-unique", name, text)
    before, after = diff.rows
    is_public = node.get("access") == "public"
    if before and after is not None and after < before * (1 - LOSS) and is_public:
        text = f"`{name}` loses {before - after:,} of {before:,} rows ({(after - before) / before:+.1%})"
        yield stop("rows-lost", name, text)
    elif before and after == 0:
        yield stop("rows-lost", name, f"`{name}` loses all of its {before:,} rows")
    if (node["config"].get("contract") or {}).get("enforced"):
        for subject, text in _broken_contract(connection, node, place):
            yield stop("contract-broken", subject, text)


def _broken_contract(
    connection: duckdb.DuckDBPyConnection, node: Any, place: str
) -> Iterator[tuple[str, str]]:
    """What dbt would refuse when it builds: another type, a missing or an extra column, a null."""
    types = {name.lower(): kind for name, kind in columns_of_table(connection, place).items()}
    for name, column in node["columns"].items():
        subject = f"{node['name']}.{name}"
        if name.lower() not in types:
            yield subject, f"`{subject}` is in the contract, but not in the query"
            continue
        if column.get("data_type"):
            wanted = first_value(connection, f"select typeof(cast(null as {column['data_type']}))")
            if wanted != types[name.lower()]:
                yield (
                    subject,
                    f"`{subject}`: the contract says {wanted}, the query yields {types[name.lower()]}",
                )
        if any(c["type"] == "not_null" for c in column.get("constraints") or []):
            nulls = first_value(connection, f"select count(*) from {place} where {quoted(name)} is null")
            if nulls:
                yield subject, f"`{subject}`: {nulls:,} nulls, where the contract allows none"
    for extra in sorted(set(types) - {n.lower() for n in node["columns"]}):
        subject = f"{node['name']}.{extra}"
        yield subject, f"`{subject}` is in the query, but not in the contract"


def unexplained(new: Revision, tables: Iterable[TableDiff], explained: Collection[str]) -> Iterator[Finding]:
    """Tables that differ, and no finding names a change of them or of what they are made from."""
    for diff in tables:
        if diff.is_equal or diff.error or diff.rows[0] is None:
            continue
        if not {diff.id, *_above(new, diff.id)}.intersection(explained):
            yield look("data-changed", diff.name, f"{diff.sentence}, and no change of a query explains it")


def _above(new: Revision, key: str) -> set[str]:
    found: set[str] = set()
    waiting = [key]
    while waiting:
        for parent in new.tables[waiting.pop()]["depends_on"].get("nodes") or []:
            if parent in new.tables and parent not in found:
                found.add(parent)
                waiting.append(parent)
    return found


def plan_findings(
    connection: duckdb.DuckDBPyConnection, name: str, before: str, after: str
) -> Iterator[Finding]:
    """Operators that a model's new query has more often than its old one."""
    plans = []
    for sql in (before, after):
        row = connection.execute(f"explain (format json) {sql}").fetchone()
        plans.append(_operators(json.loads(row[1]) if row else []))
    for operator in sorted(RISKY & set(plans[1])):
        if plans[1].count(operator) > plans[0].count(operator):
            text = f"`{name}`: the plan has a {operator.lower().replace('_', ' ')} now"
            yield look("plan", f"{name}.{operator.lower()}", text)


def _operators(plan: Iterable[Mapping[str, Any]]) -> list[str]:
    found: list[str] = []
    for node in plan:
        found.append(str(node.get("name", "")).strip())
        found += _operators(node.get("children") or [])
    return found


def speed_findings(diff: TableDiff) -> Iterator[Finding]:
    """A table that takes more than three times as long to build, and more than a second."""
    before, after = diff.seconds
    if after > 1 and after > 3 * before > 0:
        yield look("slower", diff.name, f"`{diff.name}`: {before:.1f} s → {after:.1f} s")
