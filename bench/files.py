"""Files: a million flat orders in three formats, and nested events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import duckdb

from bench.case import Case, Figures, Subject, Verdict, at_most, expect, over_limit, raw_file, rows_of

ORDERS = """
    select i as order_id, i * 7919 % 99991 as customer_id,
        ['placed', 'paid', 'shipped', 'delivered', 'cancelled'][i % 5 + 1] as status,
        (i * 37 % 100000 / 100)::decimal(12, 2) as amount, ['EUR', 'USD', 'GBP'][i % 3 + 1] as currency,
        timestamptz '2025-01-01 00:00:00+00' + i * interval 17 second as ordered_at,
        'delivery note of order ' || i as note
    from range({rows}) as numbers (i)
"""
TYPES = {
    "order_id": "bigint",
    "customer_id": "bigint",
    "status": "varchar",
    "amount": "decimal(12,2)",
    "currency": "varchar",
    "ordered_at": "timestamptz",
    "note": "varchar",
}
"""Declared for every subject: a warehouse does not load sniffed types."""
TEXTS = dict.fromkeys(TYPES, "varchar")
EVENTS = """
    select 'e' || i as event_id, strftime(timestamp '2026-01-01' + i * interval 3 second, '%Y-%m-%dT%H:%M:%SZ') as at,
        {{'id': 's' || i // 9, 'visitor_id': md5((i // 30)::varchar),
            'customer_id': if(i % 3 = 0, i // 30, null)}} as session,
        {{'path': '/products/' || i % 400, 'group': 'product', 'title': 'Espresso machine ' || i % 400}} as page,
        {{'load_ms': i % 900 + 0.5, 'ttfb_ms': i % 90, 'dom_ms': i % 500}} as timing,
        [{{'sku': 'A' || i % 40, 'quantity': i % 3 + 1}}, {{'sku': 'B' || i % 17, 'quantity': 1}}] as items
    from range({rows}) as numbers (i)
"""
EVENT_TYPES = {
    "event_id": "varchar",
    "at": "varchar",
    "session": "json",
    "page": "json",
    "timing": "json",
    "items": "json",
}


class OneFile(Case):
    """One file, which a query of DuckDB writes."""

    ending: ClassVar[str]
    query: ClassVar[str] = ORDERS
    full: ClassVar[int] = 1_000_000
    options: ClassVar[str] = ""
    """Of the COPY that writes it."""
    stock_reader: ClassVar[str]

    def prepare(self) -> None:
        self.rows = self.count(self.full)
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        self.file = data / f"items.{self.ending}"
        with duckdb.connect() as con:
            con.execute("set TimeZone = 'UTC'")
            con.execute(f"copy ({self.query.format(rows=self.rows)}) to '{self.file}' ({self.options})")

    def relation(self) -> str:
        """The file as DuckDB reads it."""
        raise NotImplementedError

    def types(self) -> Mapping[str, str]:
        return TYPES

    def text(self) -> str:
        """A copy of the file with every column as text; empty where no text is looked at."""
        return ""

    def subjects(self) -> list[Subject]:
        load = {"kind": "files", "url": str(self.file.parent)}
        table = {"items": {"path": self.file.name, "format": self.ending}}
        found = [self.limit("file", relation=self.relation())]
        if text := self.text():
            found.append(self.steps("checked", path=self.file, text=text, types=self.types()))
        found.append(self.sluice(load, table, types=self.types()))
        place = {"folder": self.file.parent.as_uri(), "glob": self.file.name}
        return [*found, self.stock("file", **place, reader=self.stock_reader)]

    def after(self, subject: Subject, turn: int) -> None:
        schema = "main" if subject.name in ("limit", "steps") else "bench"
        expect(f"rows of {subject.name}", rows_of(raw_file(subject), f"{schema}.items"), self.rows)

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        return [over_limit(figures, 1.5, 1.0)]


def column_types(types: Mapping[str, str]) -> str:
    """Columns and their types as DuckDB's readers take them."""
    return "{" + ", ".join(f"{name}: '{kind}'" for name, kind in types.items()) + "}"


class Csv(OneFile):
    name = "csv"
    work = "a CSV file of 1 million orders, first load"
    target = "1.5 x limit + 1 s"
    ending = "csv"
    options = "format csv, header"
    stock_reader = "read_csv_duckdb"

    def relation(self) -> str:
        return f"read_csv('{self.file}', header = true, columns = {column_types(TYPES)})"

    def text(self) -> str:
        columns = column_types(TEXTS)
        return f"read_csv('copied', header = true, auto_detect = false, quote = '', escape = '', columns = {columns})"


class LargeCsv(Csv):
    name = "csv-large"
    work = "a CSV file of 5 million orders, first load"
    target = "2 x the CPU of limit"
    full = 5_000_000

    def subjects(self) -> list[Subject]:
        """Without stock dlt, which takes 20 minutes."""
        return [subject for subject in super().subjects() if subject.name != "dlt"]

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        return [at_most("CPU", figures["sluice"].cpu() / figures["limit"].cpu(), 2, "x limit")]


class Parquet(OneFile):
    name = "parquet"
    work = "a Parquet file of 1 million orders, first load"
    target = "1.5 x limit + 1 s"
    ending = "parquet"
    options = "format parquet"
    stock_reader = "read_parquet"

    def relation(self) -> str:
        return f"read_parquet('{self.file}')"


class JsonLines(OneFile):
    name = "jsonl"
    work = "a JSONL file of 1 million orders, first load"
    target = "1.5 x limit + 1 s"
    ending = "jsonl"
    options = "format json"
    stock_reader = "read_jsonl"

    def relation(self) -> str:
        return f"read_json('{self.file}', format = 'newline_delimited', columns = {column_types(TYPES)})"

    def text(self) -> str:
        return f"read_json('copied', format = 'newline_delimited', columns = {column_types(TEXTS)})"


class Events(JsonLines):
    name = "events"
    work = "a JSONL file of 300,000 nested events (four objects and a list each), first load"
    target = "2 x limit + 1 s"
    query = EVENTS
    full = 300_000

    def relation(self) -> str:
        """As DuckDB would by itself: objects become structs."""
        return f"read_json('{self.file}', format = 'newline_delimited')"

    def text(self) -> str:
        return ""

    def types(self) -> Mapping[str, str]:
        return EVENT_TYPES

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        return [over_limit(figures, 2.0, 1.0)]


CASES = (Csv, LargeCsv, Parquet, JsonLines, Events)
