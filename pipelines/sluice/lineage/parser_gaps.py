"""Names that the parser drops from a query: what they do there is not known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from sluice.lineage.query_lineage import Unknown

UNITS = frozenset(
    "microsecond millisecond second minute hour day week month quarter year decade century millennium".split()
)
COUNTS = (TokenType.NUMBER, TokenType.STRING, TokenType.R_PAREN)
"""What stands before the unit in `interval 1 day`, `interval '1' day` and `interval (n) day`."""


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
