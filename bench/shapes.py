"""Unusual shapes: many columns, long texts, many tables, many files. Without stock dlt, which takes many minutes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import ClassVar

from bench.case import Case, Figures, Subject, Verdict, at_most, expect, over_limit, raw_file, rows_of
from bench.files import OneFile, column_types

TARGET = "2 x limit + 1 s"
COLUMNS = 1_000
KINDS = {
    "bigint": "i * 7919 % 99991 + {n}",
    "decimal(12,2)": "((i * 37 + {n}) % 100000 / 100)::decimal(12, 2)",
    "varchar": "'note ' || (i + {n}) % 977",
    "timestamptz": "timestamptz '2025-01-01 00:00:00+00' + (i + {n}) * interval 17 second",
}
"""Types of the columns in turn, and a value of column `n` in row `i`."""


def over_its_limit(figures: Mapping[str, Figures]) -> list[Verdict]:
    return [over_limit(figures, 2.0, 1.0)]


class Wide(OneFile):
    name = "wide"
    work = "a CSV file of 20,000 rows with 1,000 columns of declared types, first load"
    target = TARGET
    ending = "csv"
    options = "format csv, header"
    full = 20_000
    kinds: ClassVar[dict[str, str]] = dict(
        zip((f"c{n}" for n in range(COLUMNS)), list(KINDS) * (COLUMNS // len(KINDS)), strict=True)
    )
    query = (
        "select "
        + ", ".join(f"{KINDS[kind].format(n=n)} as {name}" for n, (name, kind) in enumerate(kinds.items()))
        + " from range({rows}) as numbers (i)"
    )

    def relation(self) -> str:
        columns = column_types(self.kinds)
        return f"read_csv('{self.file}', header = true, auto_detect = false, columns = {columns})"

    def types(self) -> Mapping[str, str]:
        return self.kinds

    def subjects(self) -> list[Subject]:
        return [
            self.limit("file", relation=self.relation()),
            self.sluice(
                {"kind": "files", "url": str(self.file.parent)},
                {"items": {"path": self.file.name, "format": self.ending}},
                types=self.types(),
            ),
        ]

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        return over_its_limit(figures)


class LongTexts(Wide):
    name = "long-texts"
    work = "a JSONL file of 500 records with a text of 1 MB each, first load"
    ending = "jsonl"
    options = "format json"
    full = 500
    query = (
        "select i as id, repeat('a line of ' || i || ', with \"quotes\"\n', 1000000 // length('a line of ' || i"
        " || ', with \"quotes\"\n')) as body from range({rows}) as numbers (i)"
    )

    def prepare(self) -> None:
        self.scale = max(self.scale, 0.2)  # fewer long texts than 100 are no case of their own
        super().prepare()

    def relation(self) -> str:
        return (
            f"read_json('{self.file}', format = 'newline_delimited', columns = {column_types(self.types())})"
        )

    def types(self) -> Mapping[str, str]:
        return {"id": "bigint", "body": "varchar"}


class _ThenEmpty(Case):
    """A first load, and a load after it that brings nothing; subclasses give `rows` of the first."""

    target = f"{TARGET}; an empty run in 3 s"
    rows: int

    def before(self, subject: Subject, turn: int) -> None:
        """The empty run follows the first load."""
        if subject.name != "empty run":
            super().before(subject, turn)

    def rows_of(self, subject: Subject) -> int:
        return 0 if subject.name == "empty run" else self.rows

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        return [*over_its_limit(figures), at_most("empty run", figures["empty run"].wall(), 3.0, "s")]


class ManyTables(_ThenEmpty):
    name = "many-tables"
    work = "500 tables of SQLite with 100 rows each, first load, and an empty run after it"
    row_count = 100

    def prepare(self) -> None:
        self.names = [f"t{number:03}" for number in range(max(int(500 * self.scale), 5))]
        self.rows = self.row_count * len(self.names)
        self.address = str(self.folder / "shop.sqlite")
        Path(self.address).unlink(missing_ok=True)
        with sqlite3.connect(self.address) as there:
            for name in self.names:
                there.execute(f"create table {name} (id integer primary key, name text, amount real)")
                rows = ((n, f"item {n}", n / 4) for n in range(self.row_count))
                there.executemany(f"insert into {name} values (?, ?, ?)", rows)
        there.close()

    def subjects(self) -> list[Subject]:
        own = self.sluice(
            {"kind": "database", "connection": "bench"},
            {name: {"primary_key": "id"} for name in self.names},
            connection={"url": f"sqlite:///{self.address}"},
        )
        limit = self.limit("tables", url=self.address, dialect="sqlite", names=self.names)
        return [limit, own, replace(own, name="empty run")]

    def after(self, subject: Subject, turn: int) -> None:
        schema = "main" if subject.name == "limit" else "bench"
        got = rows_of(raw_file(subject), *(f"{schema}.{name}" for name in self.names))
        expect(f"rows of {subject.name}", got, self.rows)


class ManyFiles(_ThenEmpty):
    name = "many-files"
    work = "20,000 JSONL files in 20 folders with 50 rows each, first load, and an empty run after it"
    row_count = 50

    def prepare(self) -> None:
        files = max(int(20_000 * self.scale), 20)
        self.rows = files * self.row_count
        self.data = self.folder / "data"
        numbers = iter(range(self.rows))
        for number in range(files):
            place = self.data / f"day{number % 20:02}"
            place.mkdir(parents=True, exist_ok=True)
            lines = (
                json.dumps({"id": n, "name": f"item {n % 977}", "amount": n / 4})
                for n in islice(numbers, self.row_count)
            )
            (place / f"part{number:05}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def subjects(self) -> list[Subject]:
        types = {"id": "bigint", "name": "varchar", "amount": "double"}
        own = self.sluice(
            {"kind": "files", "url": str(self.data)},
            {"items": {"path": "**/*.jsonl", "format": "jsonl"}},
            types=types,
        )
        relation = f"read_json('{self.data}/**/*.jsonl', format = 'newline_delimited', columns = {column_types(types)})"
        return [self.limit("file", relation=relation), own, replace(own, name="empty run")]

    def after(self, subject: Subject, turn: int) -> None:
        schema = "main" if subject.name == "limit" else "bench"
        expect(f"rows of {subject.name}", rows_of(raw_file(subject), f"{schema}.items"), self.rows)


CASES = (Wide, LongTexts, ManyTables, ManyFiles)
