"""What an audience may see of a model, as a query: values are masked in it, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from sluice.config.audiences import UNCLASSED, Audience, Treatment
from sluice.config.environments import RAW
from sluice.config.settings import Settings
from sluice.engine import engine
from sluice.errors import DeclarationError, PublishError
from sluice.privacy.masks import KEY, has_named_parts, masked, shown_type
from sluice.publish.granted_models import Model
from sluice.publish.published_files import writing_connection
from sluice.sql import first_value, one_row, quoted

FEW_ROWS, REPEATED, MOST_VALUES = 100_000, 4, 1_000_000
"""Hash masks are looked up in columns of at least FEW_ROWS rows whose values come REPEATED times on average, and of at
most MOST_VALUES values, which take 0.2 GB. 7 million rows of 10,000 values: 1.4 s of processor time instead of 10 s."""
VALUE, DIGEST = "sluice_value", "sluice_digest"


@dataclass(frozen=True)
class Selection:
    """The query of what one audience may see of one model, and what is known of its result."""

    sql: str
    columns: dict[str, str]
    classed: dict[str, tuple[str, Treatment]]
    condition: str | None


class Digests:
    """Hash masks of columns whose values repeat, computed once per value for all audiences and then looked up.

    SHA-256 is the most expensive part of a publication. Values and digests are kept in memory only.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self._tables: dict[tuple[str, str], str | None] = {}

    def of(self, model: Model, column: str) -> str | None:
        """The table with a column's values as text and their masks; None where a look-up would not be faster."""
        key = model.relation, column
        if key not in self._tables:
            self._tables[key] = self._create(model, column)
        return self._tables[key]

    def _create(self, model: Model, column: str) -> str | None:
        text = f"cast({quoted(column)} as varchar)"
        rows, values = one_row(
            self._con, f"select count(*), approx_count_distinct({text}) from {model.relation}"
        )
        if rows < FEW_ROWS or values > min(rows / REPEATED, MOST_VALUES):
            return None
        table = f"digests_{len(self._tables)}"
        digest = masked(VALUE, "VARCHAR", "hash", None)
        self._con.execute(
            f"create temporary table {table} as select {VALUE}, {digest} as {DIGEST}"
            f" from (select distinct {text} as {VALUE} from {model.relation})"
        )
        return table


@contextmanager
def open_warehouse(settings: Settings, masking_key: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A writing connection that reads the warehouse, and what its models read, under the names that SQL gives them.

    Raises LockedError when a build writes one of them for longer than `settings.lock_seconds`.
    """
    if not settings.warehouse.is_file():
        raise PublishError(f"{settings.warehouse} does not exist; `sluice run` or `sluice build` builds it")
    with writing_connection() as con:
        con.execute(f"set variable {KEY} = $1", [masking_key])
        for name, file in settings.databases.items():
            if name != RAW and file.is_file():
                engine().attach(con, file, name, settings.lock_seconds)
        yield con


def warehouse_columns(con: duckdb.DuckDBPyConnection, model: Model) -> dict[str, str]:
    """DuckDB type by column of the model's table; empty when there is no such table."""
    return dict(
        con.execute(
            "select lower(column_name), data_type from duckdb_columns()"
            " where lower(database_name) = lower($1) and schema_name = $2 and table_name = $3 order by column_index",
            [model.database, model.schema, model.name],
        ).fetchall()
    )


def row_count(con: duckdb.DuckDBPyConnection, model: Model) -> int:
    """Rows of the model's table."""
    return int(first_value(con, f"select count(*) from {model.relation}"))


def selection(
    audience: Audience, model: Model, types: Mapping[str, str], digests: Digests | None = None
) -> Selection:
    """The query of what `audience` may see of `model`, whose columns in the warehouse have `types`.

    digests: hash masks are looked up there where that is faster; the rows are the same. Without, no table is read.
    """
    expressions, columns, classed = [], {}, {}
    lookups: list[str] = []
    for name, column in model.columns.items():
        if name not in types:
            continue  # a broken contract, which the audit has reported
        data_type = types[name]
        treatment: Treatment = audience.treatment(column.data_class or UNCLASSED)
        if treatment == "clear" and has_named_parts(data_type) and not (model.is_contracted and column.type):
            raise DeclarationError(
                f"{model.name}.{name} is a struct or union. Its field names are not declared, so they may be values of "
                "rows that an audience does not see: enforce the model's contract, with the whole type in data_type"
            )
        try:
            expression = masked(name, data_type, treatment, column.data_class)
        except DeclarationError as error:
            raise DeclarationError(f"{audience.name}, {model.name}: {error}") from None
        if treatment == "hash" and digests and (table := digests.of(model, name)):
            lookup = f"lookup_{len(lookups)}"
            text = f"cast({quoted(name)} as varchar)"
            lookups.append(f" left join {table} as {lookup} on {lookup}.{VALUE} = {text}")
            expression = f"{lookup}.{DIGEST}"
        expressions.append(f"{expression} as {quoted(name)}")
        columns[name] = shown_type(data_type, treatment)
        if column.data_class and column.data_class != UNCLASSED:
            classed[name] = (column.data_class, treatment)
    if not expressions:
        raise DeclarationError(
            f"{model.name} is granted but declares none of its columns: nothing can be shown"
        )
    rows = condition(audience, model)
    relation = f"{model.relation} where ({rows})" if rows else model.relation
    if lookups:
        relation = f"(from {relation}){''.join(lookups)}"
    return Selection(f"select {', '.join(expressions)} from {relation}", columns, classed, rows)


def condition(audience: Audience, model: Model) -> str | None:
    """Which rows of a model an audience sees; None: all."""
    rows = audience.row_filter
    if rows is None or model.name in rows.unfiltered:
        return None
    return rows.models.get(model.name, rows.condition)


def check_filter(con: duckdb.DuckDBPyConnection, audience: Audience, model: Model, chosen: Selection) -> None:
    """Raises DeclarationError when the row filter does not fit the table, so that none is shown whole by accident."""
    try:
        con.execute(f"explain {chosen.sql}")
    except duckdb.Error as error:
        if chosen.condition is None:
            raise
        reason = str(error).splitlines()[0]
        raise DeclarationError(
            f"the row filter of {audience.name}, {chosen.condition!r}, does not fit {model.name} ({reason}): give it a "
            "condition under row_filter.models, or name it in row_filter.unfiltered to show it whole"
        ) from None
