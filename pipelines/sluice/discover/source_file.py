"""Writes what was found in a system as `sources/<name>.yml`: proposals with their reasons, questions as comments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sluice.config.column_names import DELETED_AT, STAMPS, normalized
from sluice.discover.contract import (
    DECLARED,
    SURE,
    DiscoveredColumn,
    DiscoveredSource,
    DiscoveredTable,
    Proposal,
    Relationship,
)
from sluice.discover.yaml_text import WIDTH, block, comment, flow, joined, one_line, plain

CLASS_SURE = 0.75
"""The same for data classes: one too many masks a column, one too few publishes it."""
ALWAYS_CLASSED = {
    **dict.fromkeys(("first_name", "last_name", "full_name"), "name"),
    **dict.fromkeys(("street", "postal_code", "address"), "address"),
    "email": "email",
    "phone": "phone",
    "vat_id": "tax_id",
}
"""Of names that `sluice check` wants classified (conventions/dbt-bouncer.yml), whatever their values."""
SENTENCE = 59
"""Characters that the first sentence of a column's description may have."""
UNDESCRIBED = "Not described at the source."
WARNS = {"not_null": {"config": {"severity": "warn"}}}


@dataclass(frozen=True)
class ProjectFacts:
    """What the file depends on in the project that gets it."""

    key_test: bool = False
    """Whether the project has the generic test `primary_key`; otherwise dbt's own are used."""
    owner: str | None = None
    """Whom to ask about the source."""


def render(
    source: DiscoveredSource, relationships: Sequence[Relationship] = (), facts: ProjectFacts | None = None
) -> str:
    """The text of the source file."""
    facts = facts or ProjectFacts()
    lines = ["version: 2", "", "sources:", f"  - name: {source.name}"]
    for question in source.questions:
        lines += comment(f"question: {question}", 4)
    lines += _source_head(source, facts)
    lines.append("    tables:")
    for table in source.tables:
        lines += [*table_lines(table, _from(source.name, table, relationships), facts), ""]
    if source.skipped:
        lines += comment("Left out:", 2)
    for name, reason in source.skipped.items():
        lines += comment(f"{name}: {reason}", 2)
    while lines[-1] == "":
        lines.pop()
    return joined(lines)


def _source_head(source: DiscoveredSource, facts: ProjectFacts) -> Iterator[str]:
    if source.description:
        yield from block("description", one_line(source.description), 4)
    else:
        yield from comment(
            "question: what is this system for, and what does one need to know about its data?", 4
        )
        yield f"    description: Tables of {source.name}; not described yet."
    yield "    database: raw"
    yield f"    schema: {source.name}"
    yield "    config:"
    yield "      loaded_at_field: _loaded_at"
    yield from comment("question: how old may its rows be before somebody has to look?", 6)
    yield "      freshness:"
    yield "        warn_after: {count: 2, period: day}"
    yield "        error_after: {count: 7, period: day}"
    yield "      meta:"
    yield from comment("question: who is asked about this source?", 8)
    yield f"        owner: {plain(facts.owner or 'nobody yet')}"
    yield from block("load", source.load, 8)


def _from(source: str, table: DiscoveredTable, relationships: Sequence[Relationship]) -> list[Relationship]:
    return [r for r in relationships if r.table == (source, table.name)]


def raw_names(columns: Sequence[DiscoveredColumn]) -> dict[str, str]:
    """What raw calls each column that can be loaded, in their order: in snake_case, each name once.

    Where two would get the same name, the one that is spelled so already keeps it.
    """
    plain = {
        c.name: normalized(c.name)
        for c in columns
        if c.data_type is not None and normalized(c.name) not in (*STAMPS, DELETED_AT)
    }
    names: dict[str, str] = {}
    for column in sorted(plain, key=lambda column: column != plain[column]):
        stem = plain[column].strip("_")
        choices = [plain[column], *(f"{stem}_{n}" for n in range(2, len(plain) + 2))]
        taken = {*names.values(), *(set(plain) - {column})}
        names[column] = next(choice for choice in choices if choice not in taken)
    return {column: names[column] for column in plain}


def table_lines(
    table: DiscoveredTable, relationships: Sequence[Relationship], facts: ProjectFacts
) -> Iterator[str]:
    """The entry of a table, indented as an item of `tables:`."""
    names = raw_names(table.columns)
    yield f"      - name: {flow(table.name)}{_size(table)}"
    for question in table.questions:
        yield from comment(f"question: {question}", 8)
    yield from block("description", described(table.comment) or "Not described at the source.", 8)
    load, notes = _load(table, names)
    key = _certain(table.primary_key) or ()
    if len(key) > 1 and facts.key_test:
        yield "        data_tests:"
        yield "          - primary_key:"
        yield f"              arguments: {flow({'columns': [names.get(c, c) for c in key]})}"
    if load or notes:
        yield "        config:"
        yield "          meta:"
        for note in notes:
            yield from comment(note, 12)
        yield from block("load", load, 12)
    tests = _tests(table, key, facts)
    if names:
        yield "        columns:"
    for column in table.columns:
        if column.name in names:
            own = (column.name, f"{column.name}.", f"{column.name}[]")
            near = [r for r in relationships if r.columns[0] == own[0] or r.columns[0].startswith(own[1:])]
            yield from column_lines(column, names[column.name], tests.get(column.name, []), near)


def _size(table: DiscoveredTable) -> str:
    if table.rows is None:
        return ""
    about = "" if table.is_whole else "about "
    size = f", {_bytes(table.size_bytes)}" if table.size_bytes else ""
    return f"  # {about}{table.rows:,} row{'' if table.rows == 1 else 's'}{size}"


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _certain(proposal: Proposal[Any] | None) -> Any:
    return proposal.value if proposal and proposal.confidence >= SURE else None


def _load(table: DiscoveredTable, names: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The table's load keys, and comments with their reasons."""
    load: dict[str, Any] = {}
    notes: list[str] = []
    for key, value in table.load.items():
        load[key] = value
        if key in table.reasons:
            notes.append(f"{key}: {table.reasons[key]}")
    for key, proposal in (
        ("primary_key", table.primary_key),
        ("cursor", table.cursor),
        ("soft_delete", table.soft_delete),
    ):
        if proposal is None:
            continue
        value = proposal.value
        value = list(value) if isinstance(value, tuple) and len(value) > 1 else value
        value = value[0] if isinstance(value, tuple) else value
        sure = proposal.confidence >= SURE
        shown = flow({key: value})[1:-1]
        note = proposal.reason if sure else f"{proposal.reason}; not sure, so it is not used"
        notes.append(f"{shown} — {note} ({_confidence(proposal)})")
        if sure:
            load[key] = value
    left_out = [c.name for c in table.columns if c.name not in names]
    columns: dict[str, Any] = {}
    if left_out:
        columns["exclude"] = left_out
        notes.append(f"columns: {', '.join(left_out)} cannot be loaded")
    if renamed := {s: n for s, n in names.items() if n != normalized(s)}:
        columns["rename"] = renamed
    if columns:
        load["columns"] = columns
    return load, notes


def _confidence(proposal: Proposal[Any]) -> str:
    return "declared" if proposal.confidence == DECLARED else f"confidence {proposal.confidence:.2f}"


def _tests(table: DiscoveredTable, key: Sequence[str], facts: ProjectFacts) -> dict[str, list[Any]]:
    """Tests by column: keys, and for a table without one a column that is never null."""
    required = {c.name for c in table.columns if not c.nullable}
    tests: dict[str, list[Any]] = {}
    for columns in [tuple(key), *table.unique]:
        if len(columns) != 1:
            continue
        name = columns[0]
        if name in required or columns == tuple(key):
            tests.setdefault(name, ["primary_key"] if facts.key_test else ["unique", "not_null"])
        else:
            tests.setdefault(name, ["unique"])
    if not tests and not (len(key) > 1 and facts.key_test) and table.columns:
        loaded = [c.name for c in table.columns if c.data_type]
        first = next((name for name in loaded if name in (*key, *required)), None)
        # nothing is known to be never null: dbt warns, and somebody looks for a better test
        tests = {first: ["not_null"]} if first else {name: [WARNS] for name in loaded[:1]}
    return tests


def column_lines(
    column: DiscoveredColumn, name: str, tests: Sequence[Any], relationships: Sequence[Relationship] = ()
) -> Iterator[str]:
    """The entry of a column, indented as an item of a table's `columns:`; on one line where that is enough."""
    said = described(column.comment)
    if said is None and column.references:
        table, columns = column.references
        reference = f"References `{table}.{columns[0]}`."
        said = reference if len(reference) <= SENTENCE else f"References another table. {reference}"
    entry = {"name": name, "data_type": column.data_type, "description": said or UNDESCRIBED}
    for relationship in relationships:
        is_said = column.references and relationship.to_table[1] == column.references[0]
        if not relationship.declared and not is_said:
            yield from comment(_relationship(relationship, column.name), 10)
    proposal = column.data_class
    if (asked := ALWAYS_CLASSED.get(name)) and (not proposal or proposal.confidence < CLASS_SURE):
        proposal = Proposal(
            asked, "by its name, which has to have a class; its values do not show one", CLASS_SURE
        )
    if proposal and proposal.confidence < CLASS_SURE:
        yield from comment(
            f"question: data_class {proposal.value}? {proposal.reason} ({_confidence(proposal)})", 10
        )
    sure = proposal.value if proposal and proposal.confidence >= CLASS_SURE else None
    line = f"          - {flow(entry)}"
    if not tests and not sure and len(line) <= WIDTH:
        yield line
        return
    first = True
    for key, value in entry.items():
        for text in block(key, value, 12):
            yield f"          - {text.lstrip()}" if first else text
            first = False
    if sure and proposal:
        yield from comment(f"{proposal.reason} ({_confidence(proposal)})", 12)
        yield f"            config: {flow({'meta': {'data_class': sure}})}"
    if tests:
        yield f"            data_tests: {flow(list(tests))}"


def _relationship(found: Relationship, column: str) -> str:
    there = ".".join(found.to_table)
    columns = ", ".join(found.to_columns)
    here = f"{', '.join(found.columns)}: " if found.columns != (column,) else ""
    return f"{here}refers to {there} ({columns}) — {found.reason} (confidence {found.confidence:.2f})"


def described(text: str | None) -> str | None:
    """A source's own comment as a description whose first sentence fits a catalog table; None without one."""
    said = one_line(text or "")
    if not said:
        return None
    if not said.endswith((".", "!", "?")):
        said += "."
    first = re.split(r"(?<=[.])\s", said)[0]
    if len(first) > SENTENCE or not first.endswith("."):
        return f"In the words of the source. {said}"
    return said
