"""Looks again at the tables that a source file declares: each is read as a load would read it first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import duckdb

from sluice.config.declaration import Column, Source, Table
from sluice.discover.column_findings import columns_of, set_nullable, without_values
from sluice.discover.contract import DiscoveredColumn, DiscoveredSource, DiscoveredTable, Limits
from sluice.discover.differences import in_table, is_wanted
from sluice.discover.trial_load import Trial, TrialLoads, fill

Read = Callable[[Table[Any]], Trial]
"""Reads a table on trial, by its declaration."""


def add_declared(
    found: DiscoveredSource,
    source: Source[Any, Any],
    trials: TrialLoads,
    con: duckdb.DuckDBPyConnection,
    limits: Limits,
    read: Read | None = None,
) -> None:
    """Add the declared tables as they are now, with their rows in `con`; those that would not load to `skipped`."""
    for table in source.declared:
        if not is_wanted(table, table.name, limits):
            continue
        problem, known = _table(table, trials, con, limits, read or trials.read)
        if known:
            found.tables.append(known)
        else:
            found.skipped[table.name] = problem


def _table(
    table: Table[Any], trials: TrialLoads, con: duckdb.DuckDBPyConnection, limits: Limits, read: Read
) -> tuple[str, DiscoveredTable | None]:
    """The table with the columns it has now; without it, why it would not load."""
    trial = read(table)
    problem = without_values(trial.problem)
    known = DiscoveredTable(table.name, [], None, load=table.load.model_dump(exclude_defaults=True))
    if problem:  # with the types that the values have now, it shows which column it is
        trial = _with_own_types(known, table, trials, read)
        if trial.problem or trial.relation is None:
            return problem, None
    if trial.relation is None:  # nothing is there yet, so that nothing can differ
        known.columns = [DiscoveredColumn(c.name, c.data_type) for c in table.columns]
        return "", known
    known.rows, known.is_whole = trial.rows, True
    columns = _columns(known, trial, trials.con)
    if table.columns and not problem:
        declared = {table.raw_name(column.name) for column in table.columns}
        _verify(table, [c for c in columns if table.raw_name(c.name) not in declared], read)
    known.columns = columns
    set_nullable(known, trial, trials.con)
    fill(con, table.source, known, trial, replace(limits, with_rows=True))
    if problem and not any(d.breaks for d in in_table(table, known, con, widens=False)):
        return problem, None
    return "", known


def _with_own_types(known: DiscoveredTable, table: Table[Any], trials: TrialLoads, read: Read) -> Trial:
    """The table read with the types of its values instead of those that are declared."""
    trial = read(replace(table, columns=()))
    if trial.problem or trial.relation is None:
        return trial
    own = _columns(known, trial, trials.con)
    return read(
        replace(table, columns=tuple(Column(name=table.raw_name(c.name), data_type=c.data_type) for c in own))
    )


def _columns(known: DiscoveredTable, trial: Trial, con: duckdb.DuckDBPyConnection) -> list[DiscoveredColumn]:
    """The columns with the types of their values; the declaration stays as it is."""
    scratch = replace(known, load={}, reasons={}, questions=[])
    return columns_of(scratch, trial, con, has_numbers=known.load.get("format") == "csv")


def _verify(table: Table[Any], new: Sequence[DiscoveredColumn], read: Read) -> None:
    """Give new columns a type with which the table still loads; those that break it in any case are partial."""

    def loads(*columns: DiscoveredColumn) -> bool:
        added = (Column(name=column.name, data_type=column.data_type) for column in columns)
        return not read(replace(table, columns=(*table.columns, *added))).problem

    if not new or loads(*new):
        return
    for column in new:
        if not loads(column):
            column.data_type = "text"
            column.is_partial = not loads(column)
