"""Proposes the column by which a load reads only what is new or changed, from what its values show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from sluice.discover.column_words import singular, words
from sluice.discover.contract import DiscoveredSource, Proposal
from sluice.discover.fields import Field, TableFields
from sluice.sql import one_row

CHANGE = (
    frozenset("updated update modified modify changed change altered edited touched refreshed".split())
    | frozenset("modification mtime modstamp systemmodstamp lastmod lastupd upd chg chng".split())
    | frozenset("geandert geaendert anderung aenderung aktualisiert aktualisierung".split())
    | frozenset("modifie actualizado modificado modificacion aggiornato modificato".split())
    | frozenset("zmieniono modyfikacji gewijzigd bijgewerkt".split())
)  # fmt: skip
"""Words of a column with the time of the last change; written together they begin or end with one."""
CREATION = frozenset(
    "created create inserted insert added creation ctime angelegt erstellt cree creado utworzono registered recorded"
    " occurred logged received ingested event posted".split()
)
WRITTEN = frozenset(
    "stand sync synced synchronized synchronised replicated replication revision stamp timestamp ts".split()
)
"""Words of times that may be those of the last change; the values of the other times have to show it."""
COUNTED = frozenset(
    "rowversion rowver rowrevision changeseq changesequence changenumber modseq usn lsn scn".split()
)
"""Joined words of a number that a database counts up with every change."""
PLANNED = frozenset(
    "due expires expire expiry expiration valid until end ends start starts planned scheduled required next estimated"
    " expected deadline birth from to eta target renewal delivery promised".split()
)
"""Words of times that may lie ahead without a change of the row."""
APPENDED = frozenset(
    "event log history line message transaction audit entry reading measurement view click movement visit"
    " metric".split()
)
"""Words of tables whose rows are seldom changed."""
ENOUGH = 20
"""Rows needed before what is not seen in them counts."""


@dataclass(frozen=True)
class _Times:
    """A column of times, as SQL and with counts."""

    field: Field
    time: str
    missing: int
    future: int
    days_only: bool


def propose(
    con: duckdb.DuckDBPyConnection, source: DiscoveredSource, fields: Mapping[str, TableFields]
) -> None:
    """Set `cursor` of the source's tables, or a question; after the keys were proposed."""
    if source.load.get("kind") not in ("database", "rest", "python"):
        return  # files and streams know themselves what is new
    for table in source.tables:
        found = fields.get(table.name)
        if found and found.rows:
            _table(con, found)


def _table(con: duckdb.DuckDBPyConnection, found: TableFields) -> None:
    columns = [field for field in found.columns if field.kind in ("date", "timestamp") and field.values]
    times = [time for field in columns if (time := _times(con, field))]
    changed = [t for t in times if _says(t.field.name, CHANGE)]
    created = [t for t in times if _says(t.field.name, CREATION) and t not in changed]
    changed.sort(key=lambda t: (t.days_only, t.missing, t.field.name not in found.table.indexed))
    for column in changed[:1]:
        _change(con, found, column, created, times)
    if not changed and not _written(con, found, times) and not _counted(found):
        _insertion(con, found, created)


def _says(name: str, meaning: frozenset[str]) -> bool:
    """Whether a name has one of the words, also where words are written together: lastupdate."""
    found = words(name)
    if set(found) & meaning:
        return "by" not in found
    joined = "".join(found)
    return not joined.endswith("by") and any(
        len(word) > 5 and (joined.startswith(word) or joined.endswith(word)) for word in meaning
    )


def _times(con: duckdb.DuckDBPyConnection, field: Field) -> _Times | None:
    """None where a text only looks like a time."""
    time = f"try_cast({field.expression} as timestamp)"
    values, future, midnight, some = one_row(
        con,
        f"select count({field.expression}), count(*) filter ({time} > now()::timestamp + interval 1 day),"
        f" count(*) filter ({time} = date_trunc('day', {time})), count({time}) from {field.relation}",
    )
    if some < values:
        return None
    return _Times(
        field, time, field.rows - values, future, field.kind == "date" or (some > 1 and midnight == some)
    )


def _change(
    con: duckdb.DuckDBPyConnection,
    found: TableFields,
    column: _Times,
    created: list[_Times],
    times: list[_Times],
) -> None:
    """Judge a column that is named as the time of the last change."""
    name, table = column.field.name, found.table
    if column.missing or column.future:
        kind = "without a value" if column.missing else "with a time in the future"
        count = column.missing or column.future
        table.questions.append(
            f"{name} looks like the time of the last change, but {count:,} of {found.rows:,} rows are {kind}: "
            "a load that reads by it would miss rows. Is there another column?"
        )
        return
    if column.field.distinct == 1 and found.rows > 1:
        table.questions.append(
            f"{name} looks like the time of the last change, but is the same in all {found.rows:,} rows: "
            "does anybody update it?"
        )
        return
    stale = _stale(con, found, column, times)
    if stale:
        table.questions.append(
            f"{name} looks like the time of the last change, but {stale}: does anybody update it? "
            "Without such a column, the table is read whole"
        )
        return
    evidence, confidence = [], 0.9
    if created:
        later = one_row(
            con, f"select count(*) from {found.relation} where {column.time} > {created[0].time}"
        )[0]
        if not later and found.rows >= ENOUGH:
            table.questions.append(
                f"{name} is never later than {created[0].field.name} in {found.rows:,} rows: do rows never change, "
                "or does nobody update it?"
            )
            return
        evidence.append(f"later than {created[0].field.name} in {_share(later, found.rows)} of the rows")
        confidence = 0.97 if later else 0.7
    else:
        confidence = 0.92 if found.rows >= ENOUGH else 0.7
    evidence += _order(con, found, column)
    if column.days_only:
        evidence.append("days without a time: each load reads the last day again")
        confidence = min(confidence, 0.7)
    if name in table.indexed:
        evidence.append("an index begins with it")
    table.cursor = Proposal(name, "; ".join(["never null, never in the future", *evidence]), confidence)


def _written(con: duckdb.DuckDBPyConnection, found: TableFields, times: list[_Times]) -> bool:
    """Propose a time that no other time of its row is later than, if it is named as when a row was written."""
    past = [t for t in times if not t.future and not set(words(t.field.name)) & PLANNED]
    for column in past:
        others = [other for other in past if other is not column]
        is_named = _says(column.field.name, WRITTEN) and not _says(column.field.name, CREATION)
        if not is_named or column.missing or column.days_only or not others or found.rows < ENOUGH:
            continue
        latest = f"greatest({', '.join(other.time for other in others)})"
        before, after = one_row(
            con,
            f"select count(*) filter ({column.time} < {latest}), count(*) filter ({column.time} > {latest})"
            f" from {found.relation}",
        )
        if before or not after:
            continue
        names = ", ".join(other.field.name for other in others)
        reason = (
            f"never null, never in the future, in no row before {names}, later in {_share(after, found.rows)}"
        )
        evidence = "; ".join([reason, *_order(con, found, column)])
        found.table.cursor = Proposal(column.field.name, f"{evidence}; its name does not say so", 0.75)
        return True
    return False


def _counted(found: TableFields) -> bool:
    """Propose a number that is named as the database's own count of changes, and is unique."""
    key = found.table.primary_key
    for field in found.columns:
        is_named = "".join(words(field.name)) in COUNTED and field.kind == "integer" and not field.is_text
        is_whole = field.distinct == field.values == found.rows and found.rows >= ENOUGH
        if is_named and is_whole and (key is None or key.value != (field.name,)):
            reason = "a number without repetition, named as the count of changes of the database"
            found.table.cursor = Proposal(field.name, reason, 0.75)
            return True
    return False


def _share(part: int, whole: int) -> str:
    share = 100 * part / whole if whole else 0.0
    return f"{share:.0f} %" if share >= 1 or not part else "under 1 %"


def _stale(
    con: duckdb.DuckDBPyConnection, found: TableFields, column: _Times, times: list[_Times]
) -> str | None:
    """Why the column is not updated: something else happened to rows more than a day later."""
    for other in times:
        if other is column or other.future or set(words(other.field.name)) & PLANNED:
            continue
        both, later = one_row(
            con,
            f"select count({other.time}), count(*) filter ({other.time} > {column.time} + interval 36 hour)"
            f" from {found.relation}",
        )
        if both >= ENOUGH and later > 0.02 * both:
            return f"{other.field.name} is days later than it in {later:,} of {both:,} rows"
    return None


def _order(con: duckdb.DuckDBPyConnection, found: TableFields, column: _Times) -> list[str]:
    """Whether times rise with the key: where not, rows were changed after they were inserted."""
    key = _integer_key(found)
    if key is None or found.rows < ENOUGH or column.field.distinct < 2:
        return []
    is_back = f"{column.time} < lag({column.time}) over (order by {key.expression})"
    steps = f"select {is_back} as is_back from {found.relation}"
    back = one_row(con, f"select count(*) filter (is_back) from ({steps})")[0]
    if not back:
        return [f"rises with {key.name} in every row, so that no row shows a change"]
    return [
        f"out of the order of {key.name} in {_share(back, found.rows)} of the rows, as rows are changed later"
    ]


def _integer_key(found: TableFields) -> Field | None:
    key = found.table.primary_key
    if key is None or len(key.value) != 1:
        return None
    field = found.column(key.value[0])
    return field if field and field.kind == "integer" and not field.is_text else None


def _insertion(con: duckdb.DuckDBPyConnection, found: TableFields, created: list[_Times]) -> None:
    """Without a time of change: what shows new rows, for a table whose rows are only added."""
    table = found.table
    kept = [t for t in created if not t.missing and not t.future and not t.days_only]
    key = _integer_key(found)
    appended = bool({singular(word) for word in words(table.name)} & APPENDED)
    if kept and appended:
        reason = "shows new rows and no changes; right if rows are only ever added"
        table.cursor = Proposal(kept[0].field.name, reason, 0.7)
    elif kept or (key and appended):
        name = kept[0].field.name if kept else key.name if key else ""
        table.questions.append(
            f"are rows only ever added? Then {name} is the cursor; else the table is read whole"
        )
