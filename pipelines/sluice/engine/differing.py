"""Why two builds of the same SQL over the same tables may differ: clocks, chance, files, tables that dbt does not know.

DuckDB's own parser says what a query uses.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Any

import duckdb

CLOCKS = frozenset(
    "current_date current_time current_timestamp localtime localtimestamp now today get_current_time"
    " get_current_timestamp transaction_timestamp".split()
)
"""Some are written without parentheses, like a column."""
STATEFUL = frozenset("getvariable current_setting getenv".split())
"""Functions whose result another statement, or the environment, has put somewhere."""
TABLE_FUNCTIONS = frozenset("unnest range generate_series json_each json_tree repeat repeat_row".split())
"""Those whose rows are made from their arguments."""
UNKNOWN = "DuckDB's parser does not tell what it reads"

Json = Mapping[str, Any]


class Queries:
    """Looks at queries; `con` is only asked for its functions and for the trees of queries."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con

    def differing(self, sql: str, known: Collection[str]) -> str:
        """The first reason found in a query; empty if there is none.

        known: the relations that dbt says it reads, as `database.schema.name`, without quotes, in lower case.
        """
        with self._con.cursor() as con:  # of the thread that asks
            row = con.execute(
                "select json_serialize_sql(?, skip_null := true, skip_empty := true, skip_default := true)",
                [sql],
            ).fetchone()
        found: Json = json.loads(row[0]) if row else {"error": True}
        if found["error"] or len(found["statements"]) != 1:
            return UNKNOWN
        return next(self._reasons(found["statements"][0]["node"], known, frozenset()), "")

    def _reasons(self, node: Any, known: Collection[str], ctes: frozenset[str]) -> Iterator[str]:
        if isinstance(node, list):
            for one in node:
                yield from self._reasons(one, known, ctes)
            return
        if not isinstance(node, dict):
            return
        for name, cte in _ctes(node):
            inner = ctes | {name} if cte["query"]["node"]["type"] == "RECURSIVE_CTE_NODE" else ctes
            yield from self._reasons(cte, known, inner)
            ctes |= {name}
        yield from self._own(node, known, ctes)
        for key, value in node.items():
            if key != "cte_map":
                yield from self._reasons(value, known, ctes)

    def _own(self, node: Json, known: Collection[str], ctes: Collection[str]) -> Iterator[str]:
        if node.get("sample"):
            yield "it takes a sample"
        kind, name = node.get("type"), str(node.get("function_name", "")).lower()
        if kind == "BASE_TABLE" and (read := _read(node, known, ctes)):
            yield read
        elif kind == "TABLE_FUNCTION":
            called = str(node["function"].get("function_name", "")).lower()
            if called not in TABLE_FUNCTIONS:
                yield f"{called}() reads what is not a table of the project"
        elif name in STATEFUL:
            yield f"{name}() reads what is not a table of the project"
        elif name in self._inconstant:
            yield f"{name}() is another at each build"
        elif kind == "FUNCTION" and name not in self._own_functions:
            yield f"{name}() is not a function of DuckDB's own"
        if kind == "COLUMN_REF":
            names = [str(each).lower() for each in node.get("column_names", ())]
            if len(names) == 1 and names[0] in CLOCKS:
                yield f"{names[0]} is another at each build"

    @cached_property
    def _inconstant(self) -> set[str]:
        constant = {"error", "current_database", "current_schema"}
        return self._functions("stability <> 'CONSISTENT'") - constant

    @cached_property
    def _own_functions(self) -> set[str]:
        """Others are macros, those of extensions, and Python's, which may be other ones the next time."""
        return self._functions("internal") | {"!"}

    def _functions(self, condition: str) -> set[str]:
        with self._con.cursor() as con:
            rows = con.execute(
                f"select distinct lower(function_name) from duckdb_functions() where {condition}"
            )
            return {name for (name,) in rows.fetchall()}


def _ctes(node: Json) -> Iterator[tuple[str, Json]]:
    for entry in (node.get("cte_map") or {}).get("map", ()):
        yield entry["key"].lower(), entry["value"]


def _read(node: Json, known: Collection[str], ctes: Collection[str]) -> str:
    parts = [str(node.get(key, "")).lower() for key in ("catalog_name", "schema_name", "table_name")]
    name = ".".join(part for part in parts if part)
    if name in ctes or any(
        relation == name or ("." in name and relation.endswith(f".{name}")) for relation in known
    ):
        return ""
    return f"it reads {name}, which it names without ref or source"
