"""The macros a query may use, read from their `create macro` statements."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from sluice.lineage.query_lineage import Unknown
from sluice.lineage.scope import unknown

_TABLE_MACRO = re.compile(
    r"^\s*create\s+(?:or\s+replace\s+)?(?:temp(?:orary)?\s+)?(?:macro|function)\s+([\w.\"]+)\s*\(([^)]*)\)\s*"
    r"as\s+table\s+(.*?);?\s*$",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class ScalarMacro:
    """`create macro name(parameters) as body`."""

    parameters: tuple[str, ...]
    body: exp.Expression


@dataclass(frozen=True)
class TableMacro:
    """`create macro name(parameters) as table query`."""

    parameters: tuple[str, ...]
    query: exp.Expression


def read_macros(
    statements: Sequence[str],
) -> tuple[dict[str, ScalarMacro], dict[str, TableMacro], list[Unknown]]:
    """Reads `create macro` statements; those that cannot be read are returned as unknowns."""
    scalars: dict[str, ScalarMacro] = {}
    tables: dict[str, TableMacro] = {}
    bad: list[Unknown] = []
    for statement in statements:
        match = _TABLE_MACRO.match(statement)
        try:
            if match:
                name, parameters, query = match.groups()
                parsed = sqlglot.parse_one(query, dialect="duckdb")
                tables[name.split(".")[-1].strip('"').lower()] = TableMacro(_parameters(parameters), parsed)
                continue
            create = sqlglot.parse_one(statement, dialect="duckdb")
            function = create.this
            if not isinstance(create, exp.Create) or not isinstance(function, exp.UserDefinedFunction):
                bad.append(unknown("not a create macro statement", statement))
                continue
            names = tuple(_parameter_name(part) for part in function.expressions)
            scalars[function.this.name.lower()] = ScalarMacro(names, create.expression)
        except SqlglotError as error:
            bad.append(unknown(f"macro not parsed: {str(error).splitlines()[0]}", statement))
    return scalars, tables, bad


def _parameters(text: str) -> tuple[str, ...]:
    return tuple(
        part.split(":=")[0].strip().split(" ")[0].lower() for part in text.split(",") if part.strip()
    )


def _parameter_name(node: exp.Expression) -> str:
    return (node.this.name if isinstance(node, (exp.PropertyEQ, exp.ColumnDef)) else node.name).lower()
