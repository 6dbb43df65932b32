"""Rows that cannot enter raw as they are: set apart with a reason and their original text, in `<table>__quarantine`.

A row of the quarantine is known by what it is and where it came from, so one that comes again is there once; it
leaves when the source delivers it well, or when `sluice load --retry-quarantine` gets it through.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.config.declaration import Source, Table
from sluice.extract.contract import Delivery, Job, Landed, literal, quoted

if TYPE_CHECKING:
    from sluice.load.normalise import Column

SUFFIX = "__quarantine"
EXAMPLES = 3
ROW_ID = "_row_id"
ROW_KEY = "_row_key"
"""The row's primary key, where it has one; Kafka's messages have a `_key` of their own."""
OWN = (ROW_ID, "_reason", "_record", ROW_KEY, "_loaded_at", "_load_id")
"""Columns of every quarantine; between them stand those that say where the row came from."""


@dataclass(frozen=True)
class Quarantined:
    """Bad rows of one load, ready for the quarantine."""

    file: Path
    rows: int
    columns: list[dict[str, Any]]
    """dlt column hints."""


def quarantined_columns(table: Table[Any], job: Job) -> dict[str, str]:
    """Columns and types of the table's quarantine; empty while it does not exist."""
    return job.columns(table.schema, table.name + SUFFIX)


def address(table: Table[Any]) -> str:
    """The quarantine in SQL."""
    return f"{quoted(table.schema)}.{quoted(table.name + SUFFIX)}"


def quarantined_files(table: Table[Any], job: Job) -> set[str]:
    """Files that have rows in the quarantine."""
    if not quarantined_columns(table, job):
        return set()
    return {name for (name,) in job.con.execute(f"select distinct _file from {address(table)}").fetchall()}


def retried(
    source: Source[Any, Any], tables: Sequence[Table[Any]], job: Job
) -> Generator[Delivery, None, None]:
    """An extractor of what is in the quarantine: files and databases are read again, the rest from the kept texts."""
    waiting = [t for t in tables if quarantined_columns(t, job) and _count(job.con, f"from {address(t)}")]
    if source.kind in ("files", "database"):
        extractor = importlib.import_module(f"sluice.extract.{source.kind}")
        yield from extractor.extract(source, waiting, job)
        return
    for table in waiting:
        places = [n for n in quarantined_columns(table, job) if n not in OWN]
        identity = ("_stream", "_partition", "_offset") if "_offset" in places else ("_stream", "_sequence")
        shown = "".join(f"{quoted(n)}, " for n in places)
        yield (
            table,
            Landed(
                f"select {shown}_record from {address(table)} where _record is not null",
                form="records",
                identity=identity if identity[-1] in places else (),
            ),
        )


class BadRows:
    """Collects the bad rows of one table while it is packed."""

    def __init__(self, table: Table[Any], job: Job) -> None:
        self.table = table
        self.job = job
        self._selects: list[str] = []
        self._told: list[str] = []

    def add(self, relation: str) -> None:
        """Rows the extractor could not read: a SELECT of `_reason`, `_record` and where they stand."""
        self._selects.append(relation)
        places = self._places(relation)
        shown = self.job.con.execute(
            f"select {', '.join(map(quoted, [*places, '_reason']))} from ({relation}) order by all limit {EXAMPLES}"
        ).fetchall()
        for *place, reason in shown:
            where = f"{_place(places, place)}: " if places else ""
            self._told.append(f"{self.table.qualified}: {where}{reason}")

    def leave_out(self, relation: str, places: Sequence[str], where: str, what: str) -> str:
        """The records for which `where` is not true; the others are bad, because they `what`."""
        con = self.job.con
        bad = f"from ({relation}) where {where}"
        count = _count(con, bad)
        if not count:
            return relation
        names = ", ".join(map(quoted, places))
        rows = con.execute(f"select {names or 'null'} {bad} limit {EXAMPLES}").fetchall()
        shown = f", e.g. {'; '.join(_place(places, row) for row in rows)}" if places else ""
        self._told.append(f"{self.table.qualified}: {count} record(s) {what}{shown}")
        self._selects.append(
            f"select {f'{names}, ' if names else ''}{literal(what)} as _reason, _record {bad}"
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
        """Look at every row of a relation in which some are bad; returns a relation of the good ones.

        `doubled` is a SELECT of keys that stand for several different rows.
        """
        from sluice.load.normalise import explain_altered

        con, table = self.job.con, self.table
        by_name = {c.name: c for c in columns}
        empty = [f"{by_name[k].cast.value} is null" for k in key]
        reasons = [
            f"case when not ({quoted(c.source)} is null or coalesce({c.cast.keeps}, false)) then "
            f"{literal(f'{c.name}: {c.own.lower()} is not {c.raw.name.lower()}')} end"
            for c in columns
            if c.cast.keeps
        ]
        reasons += [
            f"case when {e} then {literal(f'{k}: no value in the primary key')} end"
            for e, k in zip(empty, key, strict=True)
        ]
        reasons += [
            f"case when {quoted(s)} is not null then {literal(f'{s}: a new column, and drift is quarantine')} end"
            for s in kept_out
        ]
        if doubled:
            values = ", ".join(by_name[k].cast.value for k in key)
            several = f"{', '.join(key)}: stands for several different rows"
            names = ", ".join(map(quoted, key))
            reasons.append(
                f"case when ({values}) in (select ({names}) {doubled}) then {literal(several)} end"
            )
            self._told.append(self._of_doubled(key, doubled))
        described = [n for n, *_ in con.execute(f"describe {relation}").fetchall()]
        places = [n for n in described if n[0] == "_" and n != "_record"]
        fields = ", ".join(f"{quoted(n)} := {quoted(n)}" for n in described if n[0] != "_")
        text = "_record" if "_record" in described else f"cast(to_json(struct_pack({fields})) as varchar)"
        keys = [by_name[k] for k in key]
        joined = ", ".join(f"cast({c.cast.value} as varchar)" for c in keys)
        known = " and ".join(f"{c.cast.value} is not null" for c in keys)
        view = f"_split_{table.source}_{table.name}"
        con.execute(
            f"create or replace temp table {view} as select *, nullif(concat_ws('; ', {', '.join(reasons)}), '')"
            f" as _reason from ({relation})"
        )
        named = ", ".join(map(quoted, places))
        self._selects.append(
            f"select {f'{named}, ' if named else ''}_reason, {text} as _record"
            + (f", case when {known} then {_key(joined)} end as {ROW_KEY}" if key else "")
            + f" from {view} where _reason is not null"
        )
        self._told += explain_altered(table, columns, f"select * from {view}", self.job)
        if key and (count := _count(con, f"from {view} where {' or '.join(empty)}")):
            self._told.append(
                f"{table.qualified}: {count} row(s) have no value in the primary key ({', '.join(key)})"
            )
        for source in kept_out:
            count = _count(con, f"from {view} where {quoted(source)} is not null")
            self._told.append(f"{table.qualified}: {count} row(s) have a value in the new column {source}")
        left_out = ["_reason", *kept_out, *(["_record"] if "_record" in described else [])]
        return f"select * exclude ({', '.join(map(quoted, left_out))}) from {view} where _reason is null"

    def _of_doubled(self, key: Sequence[str], doubled: str) -> str:
        example = ""
        if not set(key) & self.table.classed:
            found = self.job.con.execute(
                f"select {', '.join(map(quoted, key))} {doubled} limit {EXAMPLES}"
            ).fetchall()
            shown = (", ".join(f"{n} {v!r}" for n, v in zip(key, row, strict=True)) for row in found)
            example = f", e.g. {'; '.join(shown)}"
        return (
            f"{self.table.qualified}: the primary key ({', '.join(key)}) stands for several different rows{example}. "
            "Declare a key that identifies a row, or a cursor that tells the newest version"
        )

    def written(self, load_id: str, loaded_at: datetime) -> Quarantined | None:
        """All bad rows in one Parquet file; None when there are none."""
        from sluice.load.normalise import copy_to, hint

        if not self._selects:
            return None
        con = self.job.con
        union = " union all by name ".join(f"({select})" for select in self._selects)
        described = [n for n, *_ in con.execute(f"describe {union}").fetchall()]
        places = [n for n in described if n not in OWN]
        identity = ", ".join(f"cast({quoted(n)} as varchar)" for n in [*places, "_record"])
        key = ROW_KEY if ROW_KEY in described else f"cast(null as varchar) as {ROW_KEY}"
        file = self.job.folder / f"{self.table.name}{SUFFIX}.parquet"
        stamp = f"cast({literal(loaded_at.isoformat())} as timestamptz) as _loaded_at"
        shown = "".join(f"{quoted(n)}, " for n in places)
        # rows that stand nowhere may be alike, and all of them are to come back
        copy = "1" if places else f"row_number() over (partition by {identity})"
        rows = copy_to(
            con,
            f"select distinct on ({ROW_ID}) md5(concat_ws('|', {identity}, nullif({copy}, 1))) as {ROW_ID}, _reason,"
            f" {shown}_record, {key}, {stamp}, {literal(load_id)} as _load_id from ({union})",
            file,
        )
        if not rows:
            return None
        read = f"read_parquet({literal(str(file))})"
        columns = [
            {"name": n, **hint(kind), "nullable": True}
            for n, kind, *_ in con.execute(f"describe select * from {read}").fetchall()
        ]
        return Quarantined(file, rows, columns)

    def explained(self, count: int) -> str:
        """Why the table is refused, and how to see and mend it."""
        table = self.table
        return "\n".join(self._told) + (
            f"\nNothing of {table.qualified} was loaded: {count} bad row(s), its tolerance is {table.load.tolerance}. "
            f"They are kept in raw, with reason and text: select * from {table.schema}.{table.name}{SUFFIX}. "
            f"Mend the source, or the declaration in {table.file.name} (a type that raw has already changes only with "
            f"--full-refresh), and run: sluice load {table.qualified} --retry-quarantine; or allow some by `tolerance`"
        )

    def settled(
        self, landed: Landed, key: Sequence[str], file: Path, quarantined: Quarantined | None
    ) -> list[str]:
        """Rows of the quarantine that this load brings well, by `_row_id`."""
        columns = quarantined_columns(self.table, self.job)
        if not columns:
            return []
        con = self.job.con
        good = f"read_parquet({literal(str(file))})"
        if self.job.retry_quarantine:
            came = "true"
        elif landed.replaces and "_file" in columns:
            names = ", ".join(map(literal, landed.places)) or "null"
            came = f"_file in ({names})"
        elif self.table.load.disposition() == "replace":
            came = "true"
        elif key:
            joined = ", ".join(f"cast({quoted(k)} as varchar)" for k in key)
            came = f"{ROW_KEY} in (select {_key(joined)} from {good})"
        else:
            return []
        again = (
            f"{ROW_ID} in (select {ROW_ID} from read_parquet({literal(str(quarantined.file))}))"
            if quarantined
            else "false"
        )
        rows = con.execute(
            f"select {ROW_ID} from {address(self.table)} where {came} and not {again}"
        ).fetchall()
        return [row[0] for row in rows]

    def _places(self, relation: str) -> list[str]:
        described = self.job.con.execute(f"describe {relation}").fetchall()
        return [n for n, *_ in described if n not in OWN]


def _key(joined: str) -> str:
    """A key as one text."""
    return f"cast(to_json([{joined}]) as varchar)"


def _place(names: Sequence[str], values: Sequence[Any]) -> str:
    found = dict(zip(names, values, strict=False))
    if "_file" in found and "_line" in found:
        return f"{found['_file']} line {found['_line']}"
    return ", ".join(f"{name} {value}" for name, value in found.items())


def _count(con: Any, bad: str) -> int:
    row = con.execute(f"select count(*) {bad}").fetchone()
    return int(row[0]) if row else 0


__all__ = ["BadRows", "Quarantined", "address", "quarantined_columns"]
