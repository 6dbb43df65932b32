"""The columns of a table that was read on trial: their types, and the keys of the declaration that the types need."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from sluice.config.known_keys import FORMATS
from sluice.discover.contract import DiscoveredColumn, DiscoveredTable
from sluice.discover.trial_load import Trial, raw_name
from sluice.discover.value_types import TextColumns, ValueType, table_nulls
from sluice.sql import one_row, quoted

SHORT = {"varchar": "text", "timestamp with time zone": "timestamptz"}
"""DuckDB's names of types, as people declare them."""


def columns_of(
    table: DiscoveredTable, trial: Trial, con: duckdb.DuckDBPyConnection, *, has_numbers: bool
) -> list[DiscoveredColumn]:
    """The columns with their types; completes the table's load keys, reasons and questions.

    `con` reads the trial's relation. `has_numbers`: whether texts may be numbers, as all values of CSV are texts.
    """
    texts = [name for name, kind in trial.columns.items() if kind == "VARCHAR"]
    has_formats = table.load.get("format") in FORMATS["formats"]
    assert trial.relation is not None
    reader = TextColumns(con, trial.relation)
    types = reader.types(texts, has_formats=has_formats, has_numbers=has_numbers)
    nulls, staying = table_nulls(types, con, trial.relation) if has_numbers else ([], [])
    for name in staying:
        question = (
            f"{name}: {', '.join(types[name].nulls)} may stand for null, but is a value of another column"
        )
        types[name] = ValueType("text", "not all values are of one type", question=question)
    if nulls:
        table.load["nulls"] = ["", *nulls]
        table.reasons["nulls"] = "columns that have other values of one type have these texts, too"
    if any(kind.decimal_mark == "," for kind in types.values() if kind.data_type != "text"):
        table.load["decimal"] = ","
        table.reasons["decimal"] = "numbers have a decimal comma"
    columns = []
    for raw, name in trial.names.items():
        if raw not in trial.columns:
            continue
        kind = types.get(raw)
        data_type = kind.data_type if kind else trial.columns[raw].lower()
        columns.append(DiscoveredColumn(name, SHORT.get(data_type, data_type)))
        if kind and kind.question:
            table.questions.append(kind.question)
    _name_formats(table, {trial.names[raw]: kind for raw, kind in types.items()})
    return columns


def set_nullable(table: DiscoveredTable, trial: Trial, con: duckdb.DuckDBPyConnection) -> None:
    """Columns with a value in every row are not nullable."""
    counts = ", ".join(f"count(*) > 0 and count({quoted(name)}) = count(*)" for name in trial.columns)
    filled = dict(zip(trial.columns, one_row(con, f"select {counts} from {trial.relation}"), strict=True))
    for column in table.columns:
        column.nullable = not filled.get(raw_name(column.name, trial.columns) or "", False)


def _name_formats(table: DiscoveredTable, types: Mapping[str, ValueType]) -> None:
    """Write the formats of dates and times: one key for all columns of a type, or the columns one by one."""
    moments = {
        name: kind
        for name, kind in types.items()
        if kind.data_type.startswith(("date", "time")) and kind.data_type != "text"
    }
    single: dict[str, str] = {}
    for key, begins in (("date_format", "date"), ("timestamp_format", "timestamp")):
        own = {name: kind.form for name, kind in moments.items() if kind.data_type.startswith(begins)}
        forms = set(own.values())
        if len(forms) == 1 and None not in forms:
            table.load[key] = forms.pop()
            table.reasons[key] = "; ".join(sorted({kind.reason for n, kind in moments.items() if n in own}))
        else:
            single |= {name: form for name, form in own.items() if form}
    if single:
        table.load["formats"] = single
        table.reasons["formats"] = "all values of these columns have these forms"


def without_values(problem: str) -> str:
    """The first line of the loader's message, without the examples, which may be personal data."""
    return problem.partition("\n")[0].partition(", e.g.")[0]
