"""The entity diagram of the sources in Mermaid: keys, references and how far they hold, in `docs/entities.md`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sluice.discover.contract import SURE, Relationship
from sluice.discover.staged_tables import StagedColumn, StagedTable

FILE = "docs/entities.md"
CONSTRAINT = "constraint"
HEAD = """# Entities

Tables of the sources with their keys and references, as `sluice discover` found them. A solid line is a reference that
the system declares, a dotted one was found by comparing values. Text outside of the marked parts is yours; the parts
themselves are written again by `sluice discover NAME --models`.
"""


def with_diagram(before: str | None, source: str, diagram: str) -> str:
    """The text of the file with a source's part replaced, or added; before: the text, None without a file."""
    begin, end = _marks(source)
    part = f"{begin}\n{diagram}{end}\n"
    text = HEAD if before is None else before
    found = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}\n", re.DOTALL)
    if found.search(text):
        return found.sub(lambda _: part, text, count=1)
    return f"{text.rstrip()}\n\n{part}"


def as_declared_before(
    before: str | None, source: str, relationships: Sequence[Relationship]
) -> list[Relationship]:
    """The relationships, with those declared that the source's part in the file calls a constraint.

    Raw knows no foreign keys: what the system said of them when it was looked at is kept here.
    """
    begin, end = _marks(source)
    part = (before or "").partition(begin)[2].partition(end)[0]
    rows = {line.rsplit("|", 3)[0] for line in part.splitlines() if line.endswith(f"| {CONSTRAINT} |")}
    return [
        replace(r, declared=True, confidence=1.0) if _row(source, r).rsplit("|", 3)[0] in rows else r
        for r in relationships
    ]


def _marks(source: str) -> tuple[str, str]:
    return f"<!-- entities of {source} -->", f"<!-- end of the entities of {source} -->"


def diagram(source: str, tables: Sequence[StagedTable], relationships: Sequence[Relationship]) -> str:
    """The part of a source: the diagram, and its references as a table."""
    lines = [f"## {source}", "", "```mermaid", "erDiagram"]
    for table in tables:
        lines += _entity(table, relationships)
    by_name = {(table.source, table.name): table for table in tables}
    shown = sorted(relationships, key=lambda r: (r.table, r.columns))
    lines += [_line(source, r, by_name) for r in shown if r.confidence >= SURE]
    lines += ["```", ""]
    if shown:
        lines += ["| Table | Column | Refers to | Values found there | Known from |", "|---|---|---|---|---|"]
        lines += [_row(source, r) for r in shown]
        lines.append("")
    return "\n".join(lines)


def _name(source: str, table: tuple[str, str]) -> str:
    """A table's name in the diagram; with the source for those of another one."""
    return table[1] if table[0] == source else f"{table[0]}__{table[1]}"


def _entity(table: StagedTable, relationships: Sequence[Relationship]) -> Iterator[str]:
    """A table with the columns of its key and of its references; others would hide them."""
    refer = {c for r in relationships if r.table == (table.source, table.name) for c in r.columns}
    referring = {column.name for name in refer for column in table.of_source([name])}
    rows = []
    for column in table.columns:
        marks = [
            m for m, holds in (("PK", column.name in table.key), ("FK", column.name in referring)) if holds
        ]
        if marks and column.raw:
            rows.append(f"        {_type(column)} {column.raw} {', '.join(marks)}")
    yield from [f"    {table.name} {{", *rows, "    }"] if rows else [f"    {table.name}"]


def _type(column: StagedColumn) -> str:
    """A type in one word, which is what the diagram takes."""
    return re.sub(r"[^a-z0-9_].*", "", column.data_type.lower()) or "unknown"


def _line(source: str, r: Relationship, tables: dict[tuple[str, str], StagedTable]) -> str:
    child = tables.get(r.table)
    columns = child.of_source(r.columns) if child else ()
    is_key = child is not None and {c.name for c in columns} == set(child.key)
    many = "|o" if is_key else "}o"
    line = "--" if r.declared else ".."
    one = "||" if r.coverage >= 1 else "o|"
    label = ", ".join(r.columns) + ("" if r.coverage >= 1 else f" ({_share(r.coverage)})")
    label = label.replace('"', "'")
    return f'    {_name(source, r.table)} {many}{line}{one} {_name(source, r.to_table)} : "{label}"'


def _row(source: str, r: Relationship) -> str:
    known = CONSTRAINT if r.declared else f"{r.reason} (confidence {r.confidence:.2f})"
    columns, there = ", ".join(r.columns), ", ".join(r.to_columns)
    cells = (_name(source, r.table), columns, f"{'.'.join(r.to_table)} ({there})", _share(r.coverage), known)
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "/") for cell in cells) + " |"


def _share(coverage: float) -> str:
    """A share that is 100 % only if nothing is missing."""
    return "100 %" if coverage >= 1 else f"{min(coverage * 100, 99.9):.1f} %"
