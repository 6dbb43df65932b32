"""What the parser does not read or keep: frames by GROUPS, and names that it drops from a query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import sqlglot
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from sluice.lineage.query_lineage import Unknown

UNITS = frozenset(
    "microsecond millisecond second minute hour day week month quarter year decade century millennium".split()
)
COUNTS = (TokenType.NUMBER, TokenType.STRING, TokenType.R_PAREN)
"""What stands before the unit in `interval 1 day`, `interval '1' day` and `interval (n) day`."""


def parse(sql: str, dialect: str = "duckdb") -> list[exp.Expression]:
    """The statements of a text; raises SqlglotError where it cannot be read.

    The parser knows window frames by ROWS and RANGE. A frame by GROUPS becomes one by a keyword of that name.
    """
    known = Dialect.get_or_raise(dialect)
    tokens = known.tokenize(sql)
    for index, token in enumerate(tokens):
        if (
            token.text.upper() == "GROUPS"
            and token.token_type == TokenType.VAR
            and _is_frame(tokens, index + 1)
        ):
            token.token_type = TokenType.ROWS
    return [statement for statement in known.parser().parse(tokens, sql) if statement is not None]


def parse_one(sql: str, dialect: str = "duckdb") -> exp.Expression:
    """The one statement of a text; raises SqlglotError where it cannot be read, or there is not exactly one."""
    statements = parse(sql, dialect)
    if len(statements) != 1:
        raise ParseError(f"{len(statements)} statements instead of one")
    return statements[0]


def _is_frame(tokens: Sequence[Token], start: int) -> bool:
    """Whether the bounds of a frame follow: `between 1 preceding and …`, `unbounded preceding`, `current row`."""
    text = [token.text.upper() for token in tokens[start : start + 60]]
    text = text[1:] if text[:1] == ["BETWEEN"] else text
    if text[:2] == ["CURRENT", "ROW"]:
        return True
    end = next((i for i, word in enumerate(text) if word in ("PRECEDING", "FOLLOWING", "AND")), 0)
    return end > 0 and text[end] != "AND"


def dropped_names(sql: str, statement: exp.Expression, dialect: str, columns: set[str]) -> list[Unknown]:
    """Column names of the text that the syntax tree lacks.

    The parser drops what it does not model (`json_extract_path_text(doc, a, b)` loses b). That would be a
    missing edge, so every column name must occur in the tree as often as in the text.
    """
    try:
        tokens = sqlglot.tokenize(sql, read=dialect)
    except SqlglotError:
        return []
    written: Counter[str] = Counter()
    for index, token in enumerate(tokens):
        if token.token_type in (TokenType.VAR, TokenType.IDENTIFIER) and not _is_syntax(tokens, index):
            written[token.text.lower()] += 1
    kept = Counter(str(node.this).lower() for node in statement.find_all(exp.Identifier))
    return [
        Unknown("the parser lost this name, so what it does here is not known", name)
        for name, count in sorted(written.items())
        if name in columns and kept[name] < count
    ]


def _is_syntax(tokens: Sequence[Token], index: int) -> bool:
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
