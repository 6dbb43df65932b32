"""The audit before a publication: every reason not to publish what is in the warehouse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import duckdb

from sluice.config.declaration import Source
from sluice.config.yaml_file import Problem
from sluice.dbt.manifest import Test
from sluice.dbt.run_results import Outcome
from sluice.publish.granted_models import GrantedModels
from sluice.publish.selection import row_count, warehouse_columns
from sluice.publish.versions import PublishedTable, Version
from sluice.runs.status import status
from sluice.runs.store import RunStore
from sluice.sql import first_value, quoted

WRONG_DECLARATION = "wrong declaration"
SAMPLE_ROWS = 3
"""Rows of a failed test that a message shows."""


@dataclass(frozen=True)
class Violation:
    """A broken rule; `affected_models` are the unique ids of the models that cannot be trusted because of it."""

    rule: str
    message: str
    affected_models: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.rule}: {self.message}"


def audit(
    con: duckdb.DuckDBPyConnection,
    granted: GrantedModels,
    outcomes: Mapping[str, Outcome],
    sources: Sequence[Source[Any, Any]],
    problems: Sequence[Problem],
    run_store: RunStore,
    previous: Version | None,
    *,
    accept_rows: bool = False,
) -> list[Violation]:
    """Every broken rule, the most severe kinds first; an empty list means: publish.

    sources: those without a mistake. problems: the mistakes in the others.
    """
    found = [
        *_declarations(granted, sources, problems),
        *_tests(con, granted, outcomes),
        *_builds(granted, outcomes),
        *_contracts(con, granted),
        *_freshness(granted, sources, run_store),
    ]
    return found if accept_rows else [*found, *_row_counts(con, granted, previous)]


def _declarations(
    granted: GrantedModels, sources: Sequence[Source[Any, Any]], problems: Sequence[Problem]
) -> Iterator[Violation]:
    """Sources with a mistake: what is personal in them, and how old they may be, is not known."""
    sound = {source.name for source in sources}
    wrong = sorted(
        {
            table.source[0]
            for table in granted.manifest.tables.values()
            if problems and table.source and table.source[0] not in sound and table.meta.get("load")
        }
    )
    affected = {key for name in wrong for key in granted.readers_of(name)} & set(granted.models)
    if affected:
        mistakes = "".join(f"\n    {problem}" for problem in problems)
        message = f"{', '.join(wrong)}: the declaration has a mistake, so nobody knows what is personal in it{mistakes}"
        yield Violation(WRONG_DECLARATION, message, tuple(sorted(affected)))


def _tests(
    con: duckdb.DuckDBPyConnection, granted: GrantedModels, outcomes: Mapping[str, Outcome]
) -> Iterator[Violation]:
    for test in granted.manifest.tests.values():
        outcome = outcomes.get(test.id)
        if outcome and outcome.failed and test.severity == "error":
            first = (outcome.message.strip().splitlines() or ["no message"])[0]
            yield Violation(
                "failed test", f"{test.name}: {first}{_sample(con, granted, test)}", test.affected
            )


def _builds(granted: GrantedModels, outcomes: Mapping[str, Outcome]) -> Iterator[Violation]:
    """Models that failed or were skipped after a failure, and tests that have not run on what was built."""
    for model in granted.models.values():
        built = outcomes.get(model.unique_id)
        if built is None:
            message = f"{model.name}: there is no record of it being built; run `sluice build`"
            yield Violation("not built", message, (model.unique_id,))
            continue
        if built.status != "success":
            first = (built.message.strip().splitlines() or ["no message"])[0]
            rule = "broken contract" if "contract" in built.message.lower() else "failed model"
            rule = "not built" if built.status == "skipped" else rule
            yield Violation(rule, f"{model.name}: {built.status}: {first}", (model.unique_id,))
            continue
        for other in granted.made_from(model.unique_id):
            origin = outcomes.get(other)
            if origin and origin.changed_at > built.started_at:
                message = (
                    f"{model.name} was built with what {other.split('.')[-1]} held before its SQL changed"
                )
                yield Violation("not built", f"{message}; run `sluice build`", (model.unique_id,))
        for test in granted.manifest.tests.values():
            if (
                model.unique_id not in test.affected
                or test.severity != "error"
                or test.id.startswith("unit_test.")
            ):
                continue
            tested = outcomes.get(test.id)
            if tested and tested.status == "skipped":
                if not _is_checked_by_orphans(test, outcomes):
                    message = f"{test.name} was skipped, so {model.name} is not verified; run `sluice build`"
                    yield Violation("not tested", message, (model.unique_id,))
            elif tested is None or tested.completed_at < built.completed_at:
                message = f"{test.name} has not run since {model.name} was built; run `sluice build`"
                yield Violation("not tested", message, (model.unique_id,))


def _is_checked_by_orphans(test: Test, outcomes: Mapping[str, Outcome]) -> bool:
    """Whether a test was skipped for a failure of another model, which is held back: `orphans` checks the reference."""
    parents = [outcomes[i] for i in test.parents if i in outcomes and i not in test.affected]
    return test.type == "relationships" and any(parent.status != "success" for parent in parents)


def _contracts(con: duckdb.DuckDBPyConnection, granted: GrantedModels) -> Iterator[Violation]:
    """Compares the warehouse with the declared columns, whatever dbt reported."""
    rows = con.execute("select lower(database_name) from duckdb_databases()").fetchall()
    attached = {name for (name,) in rows}
    for model in granted.models.values():
        found = warehouse_columns(con, model)
        wrong = []
        if model.database.lower() not in attached:
            message = (
                f"dbt builds it in the database {model.database!r}, which is not a DuckDB file of the profile"
            )
            wrong = [f"{message}; only tables of such files are published"]
        elif not found:
            wrong = [
                "the warehouse has no such table (a view cannot be published; materialise it as a table)"
            ]
        elif model.is_contracted:
            declared = {name: column.type for name, column in model.columns.items()}
            wrong = [f"{name} is missing" for name in declared if name not in found]
            wrong += [f"{name} is not declared" for name in found if name not in declared]
            for name, data_type in declared.items():
                if not data_type or name not in found:
                    continue
                wanted = first_value(con, f"select typeof(cast(null as {data_type}))")
                if found[name] != wanted:
                    wrong.append(f"{name} is {found[name]}, declared as {wanted}")
        if wrong:
            yield Violation("broken contract", f"{model.name}: {'; '.join(wrong)}", (model.unique_id,))


def _freshness(
    granted: GrantedModels, sources: Sequence[Source[Any, Any]], run_store: RunStore
) -> Iterator[Violation]:
    limits = {s.name: s.freshness.get("error_after") for s in sources}
    for state in status(sources, run_store):
        limit = limits[state.source]
        readers = tuple(sorted(granted.readers_of(state.source) & set(granted.models)))
        if not limit or not readers:
            continue
        allowed = timedelta(**{f"{limit['period']}s": int(limit["count"])})
        if state.lag is None or state.lag > allowed:
            age = f"{state.lag.total_seconds() / 3600:.1f} h" if state.lag else "never loaded completely"
            message = f"{state.source}: {age}, allowed are {allowed.total_seconds() / 3600:g} h"
            yield Violation("stale source", message, readers)


def _row_counts(
    con: duckdb.DuckDBPyConnection, granted: GrantedModels, previous: Version | None
) -> Iterator[Violation]:
    before = {
        t.model: t for a in (previous.audiences.values() if previous else []) for t in a.tables.values()
    }
    for model in granted.models.values():
        known = before.get(model.unique_id)
        if known is None or not warehouse_columns(con, model):
            continue
        now, then = row_count(con, model), known.rows_in_warehouse
        lost = 100 * (then - now) / then if then else 0.0
        if lost > model.limits.max_loss_percent:
            limit = f"lost {lost:.2f} %, allowed are {model.limits.max_loss_percent:g} %"
        elif then and -lost > model.limits.max_gain_percent:
            limit = f"gained {-lost:.2f} %, allowed are {model.limits.max_gain_percent:g} %"
        else:
            continue
        message = f"{model.name}: {then} rows became {now}: {limit} (if that is right: `sluice publish --accept-rows`)"
        yield Violation("row count", message, (model.unique_id,))


def orphans(
    con: duckdb.DuckDBPyConnection, granted: GrantedModels, tables: Mapping[str, tuple[str, PublishedTable]]
) -> Iterator[str]:
    """Broken references between a held table and a new one: such a version would be inconsistent.

    `tables` are the queries of one audience by model id. Tables with a row filter are skipped: they are incomplete on
    purpose.
    """
    for test in granted.manifest.tests.values():
        if test.type != "relationships" or not test.affected:
            continue
        child, field = test.affected[0], str(test.arguments.get("field"))
        column = str(test.arguments.get("column_name"))
        for parent in test.parents:
            if parent == child or child not in tables or parent not in tables:
                continue
            (child_sql, child_table), (parent_sql, parent_table) = tables[child], tables[parent]
            if (child_table.held_from is None) == (parent_table.held_from is None) or parent_table.condition:
                continue
            rows = first_value(
                con,
                f"select count(*) from ({child_sql}) c where c.{quoted(column)} is not null and not exists "
                f"(select 1 from ({parent_sql}) p where p.{quoted(field)} = c.{quoted(column)})",
            )
            if rows:
                yield (
                    f"{granted.models[child].name}.{column} refers in {rows} rows to rows that are missing: "
                    f"{granted.models[parent].name} is of another version"
                )


def _sample(con: duckdb.DuckDBPyConnection, granted: GrantedModels, test: Test) -> str:
    """Rows a failed test finds: only columns that hold nothing personal, by their data class and by lineage."""
    if not test.sql or len(test.affected) != 1:
        return ""
    column = str(test.arguments.get("column_name") or "").lower()
    plain = granted.plain_columns(test.affected[0])
    if column in plain:
        plain |= {
            "from_field",
            "unique_field",
            "value_field",
        }  # dbt's generic tests call the tested column so
    try:
        found = con.execute(f"select * from ({test.sql}) limit {SAMPLE_ROWS}")
        names = [d[0].lower() for d in found.description]
        rows = found.fetchall()
    except duckdb.Error:
        return ""
    shown = [", ".join(f"{n}={v}" for n, v in zip(names, row, strict=True) if n in plain) for row in rows]
    return "".join(f"\n    {row}" for row in shown if row)
