"""What the ledger keeps of a statement: its words, without the values somebody looked for."""

from __future__ import annotations

import re
from collections.abc import Collection

import duckdb

VALUE = "?"
"""Stands for a number or a text."""
UNKNOWN = "_"
"""Stands for a name of the reader's own: an alias, a misspelt column, a text in double quotes."""
LENGTH = 10_000
"""Characters of a statement that are looked at."""
SCHEMAS = {"published", "main", "information_schema", "tables", "columns", "schemata"}


class Shapes:
    """Reduces statements; one for all sessions.

    Only words on a list are kept (DuckDB's keywords and functions, and the names of the published tables and columns),
    so a statement that DuckDB cannot read, or reads otherwise than meant, shows nothing either.
    """

    def __init__(self) -> None:
        with duckdb.connect(":memory:", config={"threads": 1}) as con:
            rows = con.execute(
                "select keyword_name from duckdb_keywords() union select function_name from duckdb_functions()"
            ).fetchall()
        self._words = {row[0].lower() for row in rows} | SCHEMAS

    def of(self, sql: str, names: Collection[str]) -> str:
        """`sql` on one line; `names` are published tables and columns in lower case."""
        text = sql[:LENGTH].encode()
        tokens = duckdb.tokenize(text.decode())
        ends = [*(start for start, _ in tokens), len(text)][1:]
        parts = []
        for (start, kind), end in zip(tokens, ends, strict=True):
            part = text[start:end].decode(errors="replace")  # with the space and the comments after it
            if kind in (duckdb.token_type.string_const, duckdb.token_type.numeric_const):
                parts.append(VALUE)
            elif kind == duckdb.token_type.operator:
                parts.append((re.match(r"[^\w\s'\"]+", part) or [UNKNOWN])[0])
            else:
                word = (re.match(r'"?(\w+)"?', part) or ["", ""])[1]
                parts.append(word if word.lower() in self._words or word.lower() in names else UNKNOWN)
            parts.append(" " if re.search(r"\s", part) else "")
        return "".join(parts).strip()
