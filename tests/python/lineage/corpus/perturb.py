"""Finds out by experiment what a query depends on: change one thing in a small table, run again, compare.

A column that changed must have been predicted; columns that were not predicted for a source column must keep their
values, alone and taken together, whatever happens to that source column.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from sluice.lineage import ROWS, ColumnLineage, QueryLineage, column_lineage, paths_overlap

CORPUS = Path(__file__).parent
EXTREMES = {
    "INTEGER": ["0", "-7", "1000000", "3"],
    "BIGINT": ["0", "-7", "1000000"],
    "DOUBLE": ["0", "-7.5", "1e9"],
    "DECIMAL": ["0", "-7", "900"],
    "VARCHAR": ["''", "'zz9'", "'A'"],
    "DATE": ["date '1999-12-31'", "date '2030-01-01'", "date '2024-03-20'"],
    "TIMESTAMP": [
        "timestamp '1999-12-31 23:59:59'",
        "timestamp '2030-01-01'",
        "timestamp '2024-03-20 09:45:00'",
    ],
    "BOOLEAN": ["true", "false"],
}

Schema = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Case:
    """One query of the corpus."""

    name: str
    sql: str


@dataclass(frozen=True)
class Change:
    """One perturbation: SQL that yields the table changed, and what was changed. Column `*`: the rows."""

    table: str
    column: str
    sql: str
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """The outcome of a query: column names and, per column, the values of the rows in the same row order."""

    names: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]

    def projection(self, positions: Sequence[int]) -> list[tuple[str, ...]]:
        """The multiset of rows over some columns; over no column nothing is compared."""
        return sorted(zip(*(self.columns[i] for i in positions), strict=True)) if positions else []


@dataclass
class Report:
    """What the experiment showed about the prediction for one query."""

    name: str
    missed: list[str] = field(default_factory=list)
    value_edges: set[tuple[str, str, str]] = field(default_factory=set)
    influence_edges: set[tuple[str, str, str]] = field(default_factory=set)
    confirmed: set[tuple[str, str, str]] = field(default_factory=set)
    runs: int = 0
    failed_runs: int = 0
    changed_runs: int = 0


def read_cases(folder: Path = CORPUS) -> list[Case]:
    """All queries of the corpus: statements of *.sql that start with `-- name:`."""
    cases = []
    for file in sorted(folder.glob("*.sql")):
        for part in re.split(r"^-- name:\s*", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            name, sql = part.split("\n", 1)
            cases.append(Case(name.strip(), sql.strip().rstrip(";")))
    return cases


def corpus_database() -> duckdb.DuckDBPyConnection:
    """A database with the corpus's tables, whose originals stay in schema `base`."""
    connection = duckdb.connect(config={"threads": "1"})
    connection.execute("set timezone = 'UTC'")
    connection.execute((CORPUS / "tables.sql").read_text(encoding="utf-8"))
    keep_originals(connection)
    return connection


def keep_originals(connection: duckdb.DuckDBPyConnection, schema: str = "main") -> None:
    """Copies every table of the schema to `base`, with its row's position `_position`."""
    connection.execute("create schema if not exists base")
    for table in table_types(connection, schema):
        connection.execute(
            f'create table base."{table}" as select row_number() over () as _position, * from "{schema}"."{table}"'
        )


def table_types(connection: duckdb.DuckDBPyConnection, schema: str = "main") -> Schema:
    """Table -> column -> type of a schema."""
    tables: Schema = {}
    rows = connection.execute(
        "select table_name, column_name, data_type from duckdb_columns() where schema_name = ? and not internal "
        "order by table_name, column_index",
        [schema],
    ).fetchall()
    for table, column, kind in rows:
        tables.setdefault(table, {})[column] = kind
    return tables


# -- perturbations


def changes(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    columns: Mapping[str, str],
    rng: random.Random,
    limit: int,
) -> Iterator[Change]:
    """Perturbations of one table, at most `limit` a column, the strongest kinds first."""
    count = connection.execute(f'select count(*) from base."{table}"').fetchone()
    row_count = count[0] if count else 0
    for column, kind in columns.items():
        found = list(_column_changes(connection, table, column, kind, row_count))
        first, rest = found[0], found[1:]
        rng.shuffle(rest)
        for expression in [first, *rest][:limit]:
            yield Change(table, column, _changed_table(table, column, expression))
        if kind == "JSON":
            yield from _json_changes(connection, table, column, rng, limit)
    yield from _row_changes(table, row_count, rng, limit)


def _changed_table(table: str, column: str, expression: str) -> str:
    return f'select * exclude (_position) replace (({expression}) as "{column}") from base."{table}" order by _position'


def _column_changes(
    connection: duckdb.DuckDBPyConnection, table: str, column: str, kind: str, row_count: int
) -> Iterator[str]:
    """SQL expressions of the column's new value: for all rows at once first, then for single rows."""
    name, source = f'"{column}"', f'base."{table}"'

    def elsewhere(position: str) -> str:
        return f"(select s.{name} from {source} s where s._position = {position})"

    for shift in (1, row_count // 2):
        yield elsewhere(f"({source}._position + {shift - 1}) % {row_count} + 1")
    yield f"null::{kind}"
    yield elsewhere("1")
    others = connection.execute(
        f"select min(_position) from {source} where {name} is not null group by {name}::varchar order by 1"
    ).fetchall()
    extremes = EXTREMES.get(re.sub(r"\(.*", "", kind), [])
    for position in range(1, row_count + 1):
        replacements = ["null", *(elsewhere(str(other)) for (other,) in others if other != position)]
        replacements += [f"({value})::{kind}" for value in extremes]
        for value in replacements:
            yield f"case when _position = {position} then {value} else {name} end"
        here, partner = f"{source}._position", position % row_count + 1
        yield elsewhere(
            f"case {here} when {position} then {partner} when {partner} then {position} else {here} end"
        )


def _json_changes(
    connection: duckdb.DuckDBPyConnection, table: str, column: str, rng: random.Random, limit: int
) -> Iterator[Change]:
    """Changes single fields inside documents, so that the predicted field paths are tested too."""
    rows = connection.execute(
        f'select _position, "{column}"::varchar from base."{table}" order by 1'
    ).fetchall()
    found: list[Change] = []
    for position, text in rows:
        document = json.loads(text) if text else None
        for path in _leaf_paths(document):
            for value in (None, 0, 17, "zz", [], ["q", "r"]):
                changed = json.dumps(_with_leaf(document, path, value)).replace("'", "''")
                expression = f"case when _position = {position} then '{changed}'::json else \"{column}\" end"
                steps = tuple("[]" if isinstance(step, int) else step for step in path)
                found.append(Change(table, column, _changed_table(table, column, expression), steps))
    rng.shuffle(found)
    yield from found[: 2 * limit]


def _leaf_paths(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    entries: list[tuple[str | int, Any]] = []
    if isinstance(document, dict):
        entries = list(document.items())
    elif isinstance(document, list):
        entries = list(enumerate(document))
    for key, value in entries:
        yield (*path, key)
        yield from _leaf_paths(value, (*path, key))


def _with_leaf(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(document))
    target = copy
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return copy


def _row_changes(table: str, row_count: int, rng: random.Random, limit: int) -> Iterator[Change]:
    """Rows removed and rows doubled: what only the rows as such decide, like count(*)."""
    source = f'base."{table}"'
    positions = list(range(1, row_count + 1))
    rng.shuffle(positions)
    for position in positions[:limit]:
        yield Change(
            table,
            ROWS,
            f"select * exclude (_position) from {source} where _position <> {position} order by _position",
        )
        doubled = f"(from {source} union all from {source} where _position = {position})"
        yield Change(table, ROWS, f"select * exclude (_position) from {doubled} order by _position")
    yield Change(table, ROWS, f"select * exclude (_position) from {source} where false")


# -- running and judging


def run(connection: duckdb.DuckDBPyConnection, sql: str) -> Result | None:
    """The result of a query; None if it fails, as it may after a perturbation (a cast, a doubled scalar)."""
    try:
        cursor = connection.execute(sql)
        names = tuple(column[0] for column in cursor.description or [])
        rows = cursor.fetchall()
    except duckdb.Error:
        return None
    values = [[_text(value) for value in row] for row in rows]
    return Result(names, tuple(tuple(row[i] for row in values) for i in range(len(names))))


def _text(value: Any) -> str:
    """A value as text. Sums of floats depend on the order of rows in the last digits, which is not lineage."""
    return f"{value:.9g}" if isinstance(value, float) else repr(value)


def examine(
    connection: duckdb.DuckDBPyConnection,
    case: Case,
    schema: Schema,
    limit: int,
    seed: int = 1,
    lineage: QueryLineage | None = None,
) -> Report:
    """Perturbs every table the query names and compares what changed with what was predicted.

    limit: perturbations a column. lineage: the prediction, if not the real one.
    """
    report = Report(case.name)
    lineage = lineage or column_lineage(case.sql, schema)
    query = re.sub(r"^create or replace temp table \w+ as ", "", case.sql)
    baseline = run(connection, query)
    assert baseline is not None, f"{case.name} does not run"
    assert any(baseline.columns), f"{case.name} yields nothing, so nothing can be seen"
    predicted = _predictions(lineage, baseline)
    tables = [table for table in schema if re.search(rf"\b{table}\b", case.sql)]
    _count_edges(report, baseline, predicted)
    rng = random.Random(f"{seed}{case.name}")
    for table in tables:
        for change in changes(connection, table, schema[table], rng, limit):
            report.runs += 1
            outcome = run(connection, query) if _apply(connection, change) else None
            if outcome is None:
                report.failed_runs += 1
                continue
            _judge(report, lineage, predicted, baseline, outcome, change)
        _apply(
            connection,
            Change(table, ROWS, f'select * exclude (_position) from base."{table}" order by _position'),
        )
    return report


def _apply(connection: duckdb.DuckDBPyConnection, change: Change) -> bool:
    """Puts the changed table in place; False if the new value does not fit its type."""
    try:
        connection.execute(f'create or replace table main."{change.table}" as {change.sql}')
    except duckdb.ConversionException:
        return False
    return True


def _predictions(lineage: QueryLineage, result: Result) -> list[ColumnLineage]:
    """The prediction for each column of the result: by position, or by name if the query's columns are open."""
    if lineage.open is None:
        assert len(lineage.columns) == len(result.names), (
            f"{[c.name for c in lineage.columns]} <> {result.names}"
        )
        return list(lineage.columns)
    found = [lineage.column(name) for name in result.names]
    assert all(found)
    return [column for column in found if column is not None]


def covers(column: ColumnLineage, change: Change) -> bool:
    """True if the prediction says that the changed thing matters to the column."""
    if change.column == ROWS:
        return any(i.table == change.table and i.column == ROWS for i in column.influences)
    return any(
        edge.table == change.table and edge.column == change.column and paths_overlap(edge.path, change.path)
        for edges in (column.values, column.influences)
        for edge in edges
    )


def _count_edges(report: Report, result: Result, predicted: list[ColumnLineage]) -> None:
    for index, column in enumerate(predicted):
        name = f"{index}:{result.names[index]}"
        report.value_edges |= {(name, v.table, v.column) for v in column.values}
        report.influence_edges |= {(name, i.table, i.column) for i in column.influences}
    report.influence_edges -= report.value_edges


def _judge(
    report: Report,
    lineage: QueryLineage,
    predicted: list[ColumnLineage],
    baseline: Result,
    outcome: Result,
    change: Change,
) -> None:
    if baseline.names != outcome.names:
        _judge_named(report, lineage, baseline, outcome, change)
        return
    changed = {
        i for i in range(len(baseline.names)) if sorted(baseline.columns[i]) != sorted(outcome.columns[i])
    }
    report.changed_runs += bool(changed)
    for i in changed:
        report.confirmed.add((f"{i}:{baseline.names[i]}", change.table, change.column))
    unpredicted = [i for i, column in enumerate(predicted) if not covers(column, change)]
    if baseline.projection(unpredicted) != outcome.projection(unpredicted):
        names = [
            baseline.names[i] for i in unpredicted if i in changed
        ] or "rows of unpredicted columns together"
        report.missed.append(f"{_shown(change)} changes {names}")


def _judge_named(
    report: Report, lineage: QueryLineage, baseline: Result, outcome: Result, change: Change
) -> None:
    """A dynamic pivot: columns appeared or vanished."""
    report.changed_runs += 1
    for name in {*baseline.names, *outcome.names}:
        column = lineage.column(name)
        before = sorted(baseline.columns[baseline.names.index(name)]) if name in baseline.names else None
        after = sorted(outcome.columns[outcome.names.index(name)]) if name in outcome.names else None
        if before == after:
            continue
        if name in baseline.names:
            report.confirmed.add((f"{baseline.names.index(name)}:{name}", change.table, change.column))
        if column is None or not covers(column, change):
            report.missed.append(f"{_shown(change)} changes {name}")


def _shown(change: Change) -> str:
    where = ".".join((change.table, change.column, *change.path))
    return f"{where} by [{change.sql}]"
