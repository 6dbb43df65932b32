"""Questions about keys that two systems may share, where both count up, so that equal numbers prove nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sluice.discover.column_words import column_stem, is_identifier, names_table, same_word, table_stem
from sluice.discover.contract import Relationship
from sluice.discover.fields import Field, TableFields
from sluice.discover.value_overlap import Overlap

NAMED = 0.75
"""How well a field has to be named as a reference to the other system's key."""


def ask(
    pairs: Iterable[Overlap],
    found: Sequence[Relationship],
    tables: Mapping[tuple[str, str], TableFields],
) -> None:
    """Add a question to both tables of a pair that is named as one thing and was not related by its values."""
    related = {frozenset((r.table, r.to_table)) for r in found}
    local = {(r.table, r.columns[0]) for r in found if r.table[0] == r.to_table[0]}
    for pair in pairs:
        child, key = pair.child.field, pair.key.field
        here, there = (child.source, child.table), (key.source, key.table)
        if child.source == key.source or frozenset((here, there)) in related or (here, child.name) in local:
            continue
        if not (_counts(pair) and _is_key(key, tables) and _is_meant(child, key)):
            continue
        related.add(frozenset((here, there)))
        for own, other in ((child, key), (key, child)):
            tables[own.source, own.table].table.questions.append(
                f"{own.name} and {other.source}.{other.table} ({other.name}) are named as the same thing. Both count "
                "up, so equal numbers prove nothing: do they mean the same? If so, join them in a model; if not, keep "
                "them apart"
            )


def _counts(pair: Overlap) -> bool:
    fields = (pair.child.field, pair.key.field)
    return all(field.kind == "integer" and not field.is_text and not field.is_nested for field in fields)


def _is_key(field: Field, tables: Mapping[tuple[str, str], TableFields]) -> bool:
    proposed = tables[field.source, field.table].table.primary_key
    return proposed is not None and proposed.value == (field.name,)


def _is_meant(child: Field, key: Field) -> bool:
    """Whether the names say that the field refers to the key, or that both are the keys of the same things."""
    stem, table = column_stem(child.name), table_stem(child.table)
    if child.is_unique and (not stem or same_word(stem, table)):
        return is_identifier(child.name) and same_word(table, table_stem(key.table))
    own = child.table if child.table != key.table else ""
    return is_identifier(child.name) and names_table(child.name, own, key.table, key.name) >= NAMED
