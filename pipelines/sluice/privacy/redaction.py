"""Keeps values out of what is shown and recorded: messages, columns of failing rows, and texts that look personal."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sluice.dbt.manifest import Manifest, bare
from sluice.lineage import ROWS, Graph, Ref, column_lineage
from sluice.privacy.propagation import Personal

MAIL = re.compile(r"[^\s'\"<>=,;()]+@[^\s'\"<>=,;()]+\.[^\s'\"<>=,;()]+")
QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
DIGITS = re.compile(r"\+?\d(?:[\d .,/-]*\d){5,}")
PHONE = re.compile(r"^\+?[\d ()/.-]{8,20}$")


def scrub(text: str | None, known: Collection[str] = ()) -> str:
    """The first line of a message of dbt, DuckDB or dlt, without anything that could be a value.

    What is quoted stays only if each of its words is a name of the project (`known`, lower case); addresses and long
    numbers go in any case.
    """
    line = next((part.strip() for part in (text or "").splitlines() if part.strip()), "")
    detail = next(
        (
            p.strip()
            for p in (text or "").splitlines()[1:]
            if " Error: " in p or p.strip().startswith("Error")
        ),
        "",
    )
    shown = f"{line}: {detail}" if detail else line

    def names_only(match: re.Match[str]) -> str:
        words = re.split(r"[^\w]+", match[0].strip("'\"").lower())
        return match[0] if all(word in known for word in words if word) else "[value]"

    return DIGITS.sub("[number]", MAIL.sub("[address]", QUOTED.sub(names_only, shown)))[:400]


def names_of(manifest: Manifest) -> set[str]:
    """Names that may be quoted in a message: of tables, columns, schemas and types."""
    names = set(_TYPES)
    for table in manifest.tables.values():
        for part in (table.name, table.relation, table.id):
            names.update(word for word in re.split(r"[^\w]+", part.lower()) if word)
        names.update(table.columns)
    return names


_TYPES = set(
    "bigint integer int int32 int64 smallint double float decimal varchar text date timestamp time boolean json uuid"
    " struct with zone".split()
)


def looks_personal(values: Sequence[Any]) -> bool:
    """True if values of a column without a class look like e-mail addresses or phone numbers."""
    texts = [v for v in values if isinstance(v, str)]
    return any(MAIL.search(text) or _is_phone_number(text) for text in texts)


def _is_phone_number(text: str) -> bool:
    is_long = sum(c.isdigit() for c in text) >= 9
    return is_long and text.startswith(("+", "00")) and bool(PHONE.match(text))


def maskable_columns(
    sql: str, names: Sequence[str], graph: Graph, personal: Mapping[Ref, Personal]
) -> list[str | None]:
    """For each output column of a query: None if it may be shown, else the class that hides it.

    A column that cannot be traced is hidden as `unknown`. `names` are the names the engine gives the columns.
    """
    tables = {bare(node.relation): node for node in graph.nodes.values() if node.relation}
    schema = {
        name: {column.name: column.type for column in node.columns.values()} for name, node in tables.items()
    }
    try:
        lineage = column_lineage(sql, schema)
    except Exception:  # a test nobody foresaw must not show what it should hide
        return ["unknown"] * len(names)
    found: list[str | None] = []
    for name in names:
        column = lineage.column(name)
        if column is None or column.unknown or lineage.unknowns:
            found.append("unknown")
            continue
        classes: set[str] = set()
        for value in column.values:
            node = tables.get(value.table)
            if node is None:
                classes.add("unknown")
            elif (why := personal.get(Ref(node.id, value.column.lower()))) is not None:
                classes |= why.classes
            elif value.column == ROWS:
                classes.add("unknown")
        found.append(", ".join(sorted(classes)) or None)
    return found
