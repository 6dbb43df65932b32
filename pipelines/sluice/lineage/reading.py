"""Reading SQL text: what the parser loses, and the macros a query may use."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from sluice.lineage.expressions import ScalarMacro
from sluice.lineage.model import Unknown
from sluice.lineage.scope import unknown
from sluice.lineage.tables import TableMacro

UNITS = frozenset(
    "microsecond millisecond second minute hour day week month quarter year decade century millennium".split()
)
COUNTS = (TokenType.NUMBER, TokenType.STRING, TokenType.R_PAREN)
"""What stands before the unit in `interval 1 day`, `interval '1' day` and `interval (n) day`."""

_TABLE_MACRO = re.compile(
    r"^\s*create\s+(?:or\s+replace\s+)?(?:temp(?:orary)?\s+)?(?:macro|function)\s+([\w.\"]+)\s*\(([^)]*)\)\s*"
    r"as\s+table\s+(.*?);?\s*$",
    re.IGNORECASE | re.DOTALL,
)


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


def dropped_names(sql: str, statement: exp.Expression, dialect: str, columns: set[str]) -> list[Unknown]:
    """Column names of the text that the syntax tree lacks.

    The parser drops what it does not model (`json_extract_path_text(doc, a, b)` loses b). Silence there would be
    a missing edge, so every column name in the text has to come back in the tree as often as it was written.
    """
    try:
        tokens = sqlglot.tokenize(sql, read=dialect)
    except SqlglotError:
        return []
    written: Counter[str] = Counter()
    for index, token in enumerate(tokens):
        if token.token_type in (TokenType.VAR, TokenType.IDENTIFIER) and not _is_no_name(tokens, index):
            written[token.text.lower()] += 1
    kept = Counter(str(node.this).lower() for node in statement.find_all(exp.Identifier))
    return [
        Unknown("the parser lost this name, so what it does here is not known", name)
        for name, count in sorted(written.items())
        if name in columns and kept[name] < count
    ]


def _is_no_name(tokens: Sequence[Token], index: int) -> bool:
    """True for words that look like names but are a function, a unit of time, or part of the syntax."""
    text = [token.text.lower() for token in tokens[max(index - 2, 0) : index]]
    before = tokens[index - 1] if index else None
    after = tokens[index + 1] if index + 1 < len(tokens) else None
    if after is not None and after.token_type == TokenType.L_PAREN:
        return True
    if text == ["extract", "("]:
        return True
    if before is None:
        return False
    word = tokens[index].text.lower()
    is_unit = word.rstrip("s") in UNITS and before.token_type in COUNTS
    return is_unit or (word == "name" and before.text.lower() in ("by", "into"))
