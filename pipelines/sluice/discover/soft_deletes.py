"""Proposes the column in which a source marks rows as deleted, by its name and by how rarely it is set."""

from __future__ import annotations

import re
from collections.abc import Mapping

import duckdb

from sluice.discover.column_words import words
from sluice.discover.contract import DiscoveredSource, DiscoveredTable, Proposal
from sluice.discover.fields import Field, TableFields
from sluice.load.normalise import UNMARKED
from sluice.sql import listed, one_row

NAMES = re.compile(
    "(is_?|date_?|was_?|flag_?)?(soft_?)?(deleted|deletion|delete|removed|discarded|trashed|tombstoned?|geloescht|geloscht"
    "|supprime|eliminado|usuniety|usunieto)(_?(at|on|date|time|ts|flag|am|utc|datetime|timestamp|le|en))?|(del|delete)_?flag"
)
"""Names of such a column, without a prefix of letters that several columns share."""
STATES = re.compile("(is_?)?(status|state|record_?status|row_?status|lifecycle_?(state|status))")
MARKED = "(deleted|removed|trashed|del|geloescht|gelöscht)"
"""Values of a status that say so."""
MOST = 0.5
"""More rows than these are seldom deleted ones."""


def propose(
    con: duckdb.DuckDBPyConnection, source: DiscoveredSource, fields: Mapping[str, TableFields]
) -> None:
    """Set `soft_delete` of the source's tables, or a question."""
    for table in source.tables:
        found = fields.get(table.name)
        if found is None or not found.rows:
            continue
        for field in found.columns:
            name = "_".join(words(field.name))
            if NAMES.fullmatch(name):
                _mark(con, table, field)
            elif STATES.fullmatch(name) and field.kind == "text":
                _status(con, table, field)


def _mark(con: duckdb.DuckDBPyConnection, table: DiscoveredTable, field: Field) -> None:
    value = field.expression
    if field.kind in ("date", "timestamp"):
        marked, shown = f"count({value})", "a time"
    elif field.kind == "boolean":
        marked, shown = f"count(*) filter ({value})", "true"
    elif field.kind == "integer" and not field.is_text:
        marked, shown = f"count(*) filter ({value} <> 0)", "a number other than 0"
    elif field.is_text and field.distinct <= 2:
        marked, shown = f"count(*) filter (lower({value}) not in ({listed(UNMARKED)}))", "a text that says so"
    else:
        table.questions.append(
            f"{field.name} is named like a mark of deleted rows, but its values are text: which of them mean deleted?"
        )
        return
    count = one_row(con, f"select {marked} from {field.relation}")[0]
    if count > MOST * field.rows:
        table.questions.append(
            f"{field.name} is named like a mark of deleted rows, but is set in {count:,} of {field.rows:,} rows: "
            "is it one?"
        )
        return
    if table.soft_delete and table.soft_delete.confidence >= 0.95:
        return
    reason = (
        f"named so; {shown} in {count:,} of {field.rows:,} rows" if count else "named so; set in no row yet"
    )
    table.soft_delete = Proposal(field.name, reason, 0.95 if count else 0.9)


def _status(con: duckdb.DuckDBPyConnection, table: DiscoveredTable, field: Field) -> None:
    """A status can be read by a filter or in staging, not by `soft_delete`."""
    count = one_row(
        con,
        f"select count(*) from {field.relation} where regexp_full_match(lower({field.expression}), '{MARKED}')",
    )[0]
    if count:
        table.questions.append(
            f"{field.name} says of {count:,} of {field.rows:,} rows that they are deleted; soft_delete takes a time, "
            "true or a number, so staging has to leave them out. Is that so?"
        )
