"""The shape of a statement, which is all the run store keeps of it: its words, without the values looked for."""

from __future__ import annotations

import re
from collections.abc import Collection

import duckdb

VALUE = "?"
"""Stands for a number or a text."""
UNKNOWN = "_"
"""Stands for a name the reader made up: an alias, a misspelt column, a text in double quotes."""
MAX_LENGTH = 10_000
"""Characters of a statement that are read."""
SCHEMAS = {"published", "main", "information_schema", "tables", "columns", "schemata"}


class StatementShape:
    """Reduces statements to their shape; one instance serves all sessions.

    Only listed words are kept: DuckDB's keywords and functions, and the names of published tables and columns. So
    nothing leaks from a statement that DuckDB cannot parse, or parses otherwise than meant.
    """

    def __init__(self) -> None:
        with duckdb.connect(":memory:", config={"threads": 1}) as con:
            rows = con.execute(
                "select keyword_name from duckdb_keywords() union select function_name from duckdb_functions()"
            ).fetchall()
        self._words = {row[0].lower() for row in rows} | SCHEMAS

    def of(self, sql: str, names: Collection[str]) -> str:
        """`sql` on one line; `names` are published tables and columns in lower case."""
        text = sql[:MAX_LENGTH].encode()
        tokens = duckdb.tokenize(text.decode())
        ends = [*(start for start, _ in tokens), len(text)][1:]
        parts = []
        for (start, kind), end in zip(tokens, ends, strict=True):
            part = text[start:end].decode(errors="replace")  # including the space and comments after it
            if kind in (duckdb.token_type.string_const, duckdb.token_type.numeric_const):
                parts.append(VALUE)
            elif kind == duckdb.token_type.operator:
                parts.append((re.match(r"[^\w\s'\"]+", part) or [UNKNOWN])[0])
            else:
                word = (re.match(r'"?(\w+)"?', part) or ["", ""])[1]
                parts.append(word if word.lower() in self._words or word.lower() in names else UNKNOWN)
            parts.append(" " if re.search(r"\s", part) else "")
        return "".join(parts).strip()
