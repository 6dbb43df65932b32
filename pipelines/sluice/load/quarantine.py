"""Rows that cannot enter raw unaltered: kept with a reason and their original text, in `<table>__quarantine`.

A quarantined row is identified by its content and origin, so one that arrives again is kept once. It leaves when the
source delivers it well, or when `sluice load --retry-quarantine` brings it into raw.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

from sluice.config.column_names import (
    FILE,
    LINE,
    LOAD_ID,
    LOADED_AT,
    OFFSET,
    PARTITION,
    REASON,
    RECORD,
    SEQUENCE,
    STREAM,
)
from sluice.config.declaration import Source, Table
from sluice.engine.raw import QUARANTINE, quarantine_address
from sluice.extract import REREADABLE, extractor
from sluice.extract.contract import ExtractContext, Extraction, Files, JsonRecords, Messages, TypedRows
from sluice.load.columns import EXAMPLES, Column, column_hints, explain_altered, first_examples
from sluice.load.staging import QuarantineFile, Target, copy_to, read_parquet
from sluice.sql import first_value, listed, literal, quoted

ROW_ID = "_row_id"
ROW_KEY = "_row_key"
"""The row's primary key, where it has one; Kafka's messages have a `_key` of their own."""
OWN = (ROW_ID, REASON, RECORD, ROW_KEY, LOADED_AT, LOAD_ID)
"""Columns of every quarantine; the others say where the row came from."""


def extract_quarantined(
    source: Source[Any, Any], tables: Sequence[Table[Any]], context: ExtractContext
) -> Generator[Extraction, None, None]:
    """An extractor of quarantined rows: reads the source again where it can, else the kept texts."""

    def is_waiting(table: Table[Any]) -> bool:
        count = f"select count(*) from {quarantine_address(table)}"
        return bool(context.raw.quarantine_columns(table) and first_value(context.con, count))

    waiting = list(filter(is_waiting, tables))
    if source.kind in REREADABLE:
        yield from extractor(source)(source, waiting, context)
        return
    for table in waiting:
        position = [n for n in context.raw.quarantine_columns(table) if n not in OWN]
        identity = (STREAM, PARTITION, OFFSET) if OFFSET in position else (STREAM, SEQUENCE)
        yield JsonRecords(
            table=table,
            relation=f"select {', '.join(map(quoted, [*position, RECORD]))} from {quarantine_address(table)}"
            f" where {RECORD} is not null",
            origin=Messages(identity) if identity[-1] in position else None,
        )


class BadRows:
    """Collects the bad rows of one table while it is normalised."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.file: QuarantineFile | None = None
        """The bad rows, once they are written."""
        self._selects: list[str] = []
        self._messages: list[str] = []

    def add(self, relation: str) -> None:
        """Rows the extractor could not read: a SELECT of `_reason`, `_record` and their position."""
        self._selects.append(relation)
        described = self.target.con.execute(f"describe {relation}").fetchall()
        position = [n for n, *_ in described if n not in OWN]
        shown, more = first_examples(self.target, [*position, REASON], f"from ({relation})")
        for *values, reason in shown:
            where = f"{_position(position, values)}: " if position else ""
            self._messages.append(f"{self.target.table.qualified}: {where}{reason}")
        self._messages += [f"{self.target.table.qualified}{more}"] if more else []

    def leave_out(self, relation: str, position: Sequence[str], where: str, what: str) -> str:
        """A relation without the records for which `where` is true; those are bad; `what` says why."""
        bad = f"from ({relation}) where {where}"
        count = self.target.count(bad)
        if not count:
            return relation
        names = ", ".join(map(quoted, position))
        rows, more = first_examples(self.target, position, bad)
        shown = f", e.g. {'; '.join(_position(position, row) for row in rows)}{more}" if position else ""
        self._messages.append(f"{self.target.table.qualified}: {count} record(s) {what}{shown}")
        self._selects.append(
            f"select {f'{names}, ' if names else ''}{literal(what)} as {REASON}, {RECORD} {bad}"
        )
        return f"select * from ({relation}) where not coalesce({where}, true)"

    def split(
        self,
        columns: Sequence[Column],
        relation: str,
        key: Sequence[str],
        kept_out: Sequence[str],
        doubled: str | None = None,
    ) -> str:
        """Find the bad rows of a relation; returns a relation of the good ones.

        `doubled` is a FROM clause of keys that stand for several different rows.
        """
        con, table = self.target.con, self.target.table
        described = [n for n, *_ in con.execute(f"describe {relation}").fetchall()]
        view = f"_split_{table.source}_{table.name}"
        reasons = _reasons(columns, key, kept_out, doubled)
        con.execute(
            f"create or replace temp table {view} as select *, nullif(concat_ws('; ', {', '.join(reasons)}), '')"
            f" as {REASON} from ({relation})"
        )
        position = "".join(f"{quoted(n)}, " for n in described if n[0] == "_" and n != RECORD)
        fields = ", ".join(f"{quoted(n)} := {quoted(n)}" for n in described if n[0] != "_")
        text = RECORD if RECORD in described else f"cast(to_json(struct_pack({fields})) as varchar)"
        values = _values(columns, key)
        known = " and ".join(f"{value} is not null" for value in values)
        self._selects.append(
            f"select {position}{REASON}, {text} as {RECORD}"
            + (f", case when {known} then {key_text(values)} end as {ROW_KEY}" if key else "")
            + f" from {view} where {REASON} is not null"
        )
        if doubled:
            self._messages.append(self._about_doubled(key, doubled))
        self._messages += explain_altered(self.target, columns, f"select * from {view}")
        empty = " or ".join(f"{value} is null" for value in values)
        unfit = {f"have no value in the primary key ({', '.join(key)})": empty} if key else {}
        unfit |= {
            f"have a value in the new column {source}": f"{quoted(source)} is not null" for source in kept_out
        }
        at = [n for n in (FILE, LINE) if n in described]
        for what, where in unfit.items():
            bad = f"from {view} where {where}"
            if count := self.target.count(bad):
                rows, more = first_examples(self.target, at, bad)
                shown = f", e.g. {'; '.join(_position(at, row) for row in rows)}{more}" if at else ""
                self._messages.append(f"{table.qualified}: {count} row(s) {what}{shown}")
        left_out = [REASON, *kept_out, *([RECORD] if RECORD in described else [])]
        return f"select * exclude ({', '.join(map(quoted, left_out))}) from {view} where {REASON} is null"

    def _about_doubled(self, key: Sequence[str], doubled: str) -> str:
        example, table = "", self.target.table
        if not set(key) & table.classed:
            found = self.target.con.execute(
                f"select {', '.join(map(quoted, key))} {doubled} limit {EXAMPLES}"
            ).fetchall()
            shown = (", ".join(f"{n} {v!r}" for n, v in zip(key, row, strict=True)) for row in found)
            example = f", e.g. {'; '.join(shown)}"
        return (
            f"{table.qualified}: the primary key ({', '.join(key)}) stands for several different rows{example}. "
            "Declare a key that identifies a row, or a cursor that identifies the newest version"
        )

    def written(self) -> QuarantineFile | None:
        """All bad rows in one Parquet file; None when there are none."""
        if not self._selects:
            return None
        target = self.target
        union = " union all by name ".join(f"({select})" for select in self._selects)
        described = [n for n, *_ in target.con.execute(f"describe {union}").fetchall()]
        position = [n for n in described if n not in OWN]
        identity = ", ".join(f"cast({quoted(n)} as varchar)" for n in [*position, RECORD])
        key = ROW_KEY if ROW_KEY in described else f"cast(null as varchar) as {ROW_KEY}"
        file = target.context.folder / f"{target.table.name}{QUARANTINE}.parquet"
        shown = "".join(f"{quoted(n)}, " for n in position)
        # rows without a position may be equal, and all of them have to come back
        copy = "1" if position else f"row_number() over (partition by {identity})"
        rows = copy_to(
            target.con,
            f"select distinct on ({ROW_ID}) md5(concat_ws('|', {identity}, nullif({copy}, 1))) as {ROW_ID}, {REASON},"
            f" {shown}{RECORD}, {key}, {target.stamps} from ({union})",
            file,
        )
        if rows:
            self.file = QuarantineFile(file, rows, column_hints(target, file))
        return self.file

    def explained(self, count: int) -> str:
        """Why the table is refused, and how to see and fix the bad rows."""
        table = self.target.table
        way = " --full-refresh" if self.target.context.options.full_refresh else " --retry-quarantine"
        if table.name in self.target.context.reloaded:
            way = ""  # it is read from scratch as long as it was not loaded so
        return "\n".join(self._messages) + (
            f"\nNothing of {table.qualified} was loaded: {count} bad row(s), its tolerance is {table.load.tolerance}. "
            f"They are kept in raw, with reason and text: select * from {table.schema}.{table.name}{QUARANTINE}. "
            f"Fix the source, or the declaration in {table.file.name}, and run: sluice load {table.qualified}{way}; "
            "or allow some by `tolerance`"
        )

    def settled(self, rows: TypedRows, key: Sequence[str], good: Path) -> list[str]:
        """Quarantined rows, by `_row_id`, that this load delivers without an error."""
        target = self.target
        columns = target.context.raw.quarantine_columns(target.table)
        if not columns:
            return []
        if target.context.options.retry_quarantine and not target.context.refreshes(target.table.name):
            came = "true"
        elif isinstance(rows.origin, Files) and FILE in columns:
            came = f"{FILE} in ({listed(rows.origin.names)})"
        elif target.table.load.disposition() == "replace":
            came = "true"
        elif key:
            came = f"{ROW_KEY} in (select {key_text(map(quoted, key))} from {read_parquet(good)})"
        else:
            return []
        again = f"{ROW_ID} in (select {ROW_ID} from {read_parquet(self.file.file)})" if self.file else "false"
        found = target.con.execute(
            f"select {ROW_ID} from {quarantine_address(target.table)} where {came} and not {again}"
        ).fetchall()
        return [row[0] for row in found]


def _reasons(
    columns: Sequence[Column], key: Sequence[str], kept_out: Sequence[str], doubled: str | None
) -> list[str]:
    """Expressions with the reason why a row is bad; null for a good row."""
    conditions = {
        f"{c.name}: {c.own.lower()} is not {c.raw.name.lower()}{c.form}": (
            f"not ({quoted(c.source)} is null or coalesce({c.cast.keeps}, false))"
        )
        for c in columns
        if c.cast.keeps
    }
    values = _values(columns, key)
    for name, value in zip(key, values, strict=True):
        conditions[f"{name}: no value in the primary key"] = f"{value} is null"
    for name in kept_out:
        conditions[f"{name}: a new column, and drift is quarantine"] = f"{quoted(name)} is not null"
    if doubled:
        names = ", ".join(map(quoted, key))
        conditions[f"{', '.join(key)}: stands for several different rows"] = (
            f"({', '.join(values)}) in (select ({names}) {doubled})"
        )
    return [f"case when {condition} then {literal(reason)} end" for reason, condition in conditions.items()]


def _values(columns: Sequence[Column], key: Sequence[str]) -> list[str]:
    """Expressions of the key's columns in raw's types."""
    by_name = {c.name: c.cast.value for c in columns}
    return [by_name[name] for name in key]


def key_text(values: Iterable[str]) -> str:
    """A key as one text."""
    return f"cast(to_json([{', '.join(f'cast({value} as varchar)' for value in values)}]) as varchar)"


def _position(names: Sequence[str], values: Sequence[Any]) -> str:
    found = dict(zip(names, values, strict=False))
    if FILE in found and LINE in found:
        return f"{found[FILE]} line {found[LINE]}"
    return ", ".join(f"{name} {value}" for name, value in found.items())
