"""Finds columns whose values are among those of another table's key, within a source and across sources.

Small numbers are found in every key that counts from 1, and two-letter codes in many lists. So inclusion is only
believed together with a name that means the other table, unless the values are too rare for chance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb

from sluice.discover import composite_references, data_classes, shared_keys
from sluice.discover.column_words import column_stem, is_identifier, names_table, same_word, table_stem
from sluice.discover.contract import DiscoveredSource, Relationship
from sluice.discover.data_classes import Classes
from sluice.discover.fields import Field, TableFields, read_fields
from sluice.discover.value_overlap import HashedField, Overlap, hash_fields, inclusion, overlaps

SHARED = frozenset({"email", "phone", "tax_id", "payment"})
"""Classes whose values are the same thing in every system."""
NOT_COMPARED = frozenset({"name", "address", "birth_date", "credential"})
"""Classes whose values are the same by chance."""
LONGEST = 100
"""Texts with more characters are no references."""
NAMED, WELL_NAMED = 0.65, 0.85
ORPHANS_NAMED, ORPHANS = 0.8, 0.98
"""Share of distinct values that has to be in the key, with a name that means it and without."""
FEW_SHARED = 10
"""Values that two systems share, at least, where neither has all of the other's."""


@dataclass(frozen=True)
class ReadSource:
    """A source with the facts of its fields."""

    source: DiscoveredSource
    fields: Mapping[str, TableFields]
    classes: Classes


def find(con: duckdb.DuckDBPyConnection, sources: Sequence[DiscoveredSource]) -> list[Relationship]:
    """The relationships within and across sources; keys of the sources have to be proposed already."""
    read = []
    for source in sources:
        fields = read_fields(con, source)
        read.append(ReadSource(source, fields, data_classes.propose(con, source, fields)))
    return find_in(con, read)


def find_in(con: duckdb.DuckDBPyConnection, sources: Sequence[ReadSource]) -> list[Relationship]:
    """As `find`, of sources that were read."""
    found = [relation for read in sources for relation in composite_references.declared(con, read)]
    found += [relation for read in sources for relation in composite_references.by_type(con, read)]
    taken = {(r.table, r.columns[0]) for r in found if len(r.columns) == 1}
    tables = {(read.source.name, name): t for read in sources for name, t in read.fields.items()}
    classes: Classes = {}
    for read in sources:
        classes |= read.classes
    hashed = _hash(con, tables, classes, taken)
    judged = [_judge(pair, tables, classes) for pair in overlaps(con, hashed) if _is_possible(pair)]
    found += _best(con, [j for j in judged if j.confidence], tables)
    found += [relation for read in sources for relation in composite_references.composite(con, read, found)]
    unsaid = (one.overlap for one in judged if not one.confidence and _reaches(one.overlap))
    shared_keys.ask(unsaid, found, tables)
    return found


def _hash(
    con: duckdb.DuckDBPyConnection,
    tables: Mapping[tuple[str, str], TableFields],
    classes: Classes,
    taken: set[tuple[tuple[str, str], str]],
) -> dict[int, HashedField]:
    """Hash what can refer to something, or be referred to."""
    keys = [f for table in tables.values() for f in table.fields if _is_key(table, f, classes)]
    children = [
        field
        for table in tables.values()
        for field in table.fields
        if _is_comparable(field, classes) and ((field.source, field.table), field.name) not in taken
    ]
    fields = list(dict.fromkeys([*keys, *children]))
    phones = [field for field in fields if field in classes and classes[field].value == "phone"]
    return hash_fields(con, fields, keys, phones)


def _is_comparable(field: Field, classes: Classes) -> bool:
    if field.kind not in ("integer", "text") or not field.distinct:
        return False
    if field.is_text and (field.highest or 0) > LONGEST:
        return False
    return field not in classes or classes[field].value not in NOT_COMPARED


def _is_key(table: TableFields, field: Field, classes: Classes) -> bool:
    """Unique where it is not null; what people share in all systems may repeat now and then."""
    if not _is_comparable(field, classes) or "[]" in field.name:
        return False
    declared = any(columns == (field.name,) for columns in table.table.unique)
    if declared or (
        field.distinct == field.values and field.values >= 0.2 * field.rows and field.distinct > 1
    ):
        return True
    return field in classes and classes[field].value in SHARED and field.distinct >= 0.8 * field.values


def _is_possible(pair: Overlap) -> bool:
    """Not what counts its own rows, within its source."""
    child, key = pair.child.field, pair.key.field
    if (child.source, child.table) == (key.source, key.table) and child.is_unique and not child.is_nested:
        return False
    if child.source != key.source:
        return True
    stem = column_stem(child.name)
    is_own_key = child.is_unique and (not stem or same_word(stem, table_stem(child.table)))
    return not is_own_key and not pair.child.prefix and not pair.key.prefix


@dataclass(frozen=True)
class _Judged:
    overlap: Overlap
    name: float
    """How well the field is named as a reference to the key."""
    confidence: float
    """0: not a relationship."""
    shared_class: str = ""
    """The data class of both, where its values are the same thing in every system."""


def _judge(pair: Overlap, tables: Mapping[tuple[str, str], TableFields], classes: Classes) -> _Judged:
    child, key = pair.child.field, pair.key.field
    own = child.table if child.source == key.source or child.table != key.table else ""
    name = names_table(child.name, own, key.table, key.name)
    of = [classes[field].value for field in (child, key) if field in classes]
    shared = of[0] if len(of) == 2 and of[0] == of[1] and of[0] in SHARED else ""
    sampled = _sampled_share(tables[key.source, key.table])
    share = min(1.0, pair.share / sampled)
    rarity = _rarity(pair)
    if child.source == key.source:
        confidence = _within(pair, share, name, rarity)
    else:
        confidence = _across(pair, share, name, rarity, bool(shared))
    confidence = min(confidence, 0.8) if sampled < 1 or not child.is_whole else confidence
    return _Judged(pair, name, confidence, shared)


def _sampled_share(table: TableFields) -> float:
    """The share of a table's rows that was looked at."""
    if table.table.is_whole or not table.table.rows:
        return 1.0
    return min(1.0, max(table.rows / table.table.rows, 0.001))


def _rarity(pair: Overlap) -> float:
    """How unlikely it is that the child's values are in the key by chance: 0, 0.5 or 1."""
    child, key = pair.child.field, pair.key.field
    if pair.key.prefix or pair.child.prefix:
        longest = (
            (key.highest or 0) - len(pair.key.prefix) if key.kind == "text" else len(str(key.highest or 0))
        )
        if longest <= 3 or (pair.key.is_digits and key.distinct > 0.02 * 10 ** min(longest, 18)):
            return 0.0
        return 1.0 if child.distinct >= 10 else 0.5
    if key.kind == "integer":
        lowest, highest = key.lowest or 0, key.highest or 0
        span = 10 ** min(highest, 18) if key.is_text else highest - lowest + 1
        if key.distinct > 0.02 * span or span < 10_000:
            return 0.0
        return 1.0 if child.distinct >= 10 else 0.5
    if (key.highest or 0) <= 3 or (child.highest or 0) <= 3:
        return 0.0
    return 1.0 if child.distinct >= 5 and (child.lowest or 0) >= 4 else 0.5


def _reaches(pair: Overlap) -> bool:
    """Whether enough of a key that counts is used: positions of lines are all among the first few numbers."""
    child, key = pair.child.field, pair.key.field
    return key.kind != "integer" or key.distinct <= 50 or child.distinct >= 0.03 * key.distinct


def _within(pair: Overlap, share: float, name: float, rarity: float) -> float:
    child = pair.child.field
    if not rarity and name < WELL_NAMED and not _reaches(pair):
        return 0.0
    if name >= NAMED and share >= ORPHANS_NAMED:
        confidence = 0.97 if name >= WELL_NAMED else 0.9 if rarity else 0.8
        return confidence if share == 1 else confidence - 0.05
    if share >= ORPHANS and rarity == 1 and not child.is_nested:
        return 0.8 if child.distinct >= 10 else 0.6
    return 0.0


def _across(pair: Overlap, share: float, name: float, rarity: float, same_class: bool) -> float:
    child = pair.child.field
    shared = share * child.distinct
    if same_class:
        return 0.9 if shared >= FEW_SHARED and (share >= 0.01 or shared >= 100) else 0.0
    if rarity == 0:
        counts_own_rows = child.is_unique and child.kind == "integer"
        is_named = name >= 0.7 and (child.kind != "integer" or is_identifier(child.name))
        if counts_own_rows or not is_named or not _reaches(pair) or share < ORPHANS_NAMED:
            return 0.0
        return 0.85 if name >= WELL_NAMED else 0.7
    if share >= ORPHANS_NAMED and name >= NAMED:
        return 0.95
    if share >= 0.9 and rarity == 1:
        return 0.85
    if rarity == 1 and shared >= FEW_SHARED and name >= NAMED and share >= 0.05:
        return 0.85
    return 0.75 if rarity == 1 and shared >= FEW_SHARED and share >= 0.3 else 0.0


def _best(
    con: duckdb.DuckDBPyConnection,
    judged: Iterable[_Judged],
    tables: Mapping[tuple[str, str], TableFields],
) -> list[Relationship]:
    """Of each field the likeliest key in each source; across sources only of fields without one in their own."""
    by_target: dict[tuple[Field, str], list[_Judged]] = defaultdict(list)
    for one in judged:
        by_target[one.overlap.child.field, one.overlap.key.field.source].append(one)
    chosen = {
        target: max(several, key=lambda one: _rank(one, tables)) for target, several in by_target.items()
    }
    local = {field for field, source in chosen if field.source == source}
    result = []
    for (field, source), one in sorted(chosen.items(), key=lambda item: item[1].overlap.child.number):
        if field.source != source and (field in local or _is_reverse(one, chosen)):
            continue
        result.append(_relationship(con, one))
    return result


def _rank(one: _Judged, tables: Mapping[tuple[str, str], TableFields]) -> tuple[float, ...]:
    key = one.overlap.key.field
    proposed = tables[key.source, key.table].table.primary_key
    is_primary = proposed is not None and proposed.value == (key.name,)
    is_plain = not one.overlap.key.prefix and not one.overlap.child.prefix
    return (one.name, one.confidence, round(one.overlap.share, 2), is_primary, is_plain, -key.distinct)


def _is_reverse(one: _Judged, chosen: Mapping[tuple[Field, str], _Judged]) -> bool:
    """Whether the same two fields are chosen the other way round, with more of the values."""
    child, key = one.overlap.child.field, one.overlap.key.field
    other = chosen.get((key, child.source))
    if other is None or other.overlap.key.field != child:
        return False
    mine = (one.overlap.share, one.overlap.child.number)
    return mine < (other.overlap.share, other.overlap.child.number)


def _relationship(con: duckdb.DuckDBPyConnection, one: _Judged) -> Relationship:
    child, key = one.overlap.child, one.overlap.key
    counts = inclusion(con, child, key)
    is_equal = counts.equal == counts.alike
    matched = counts.equal if is_equal else counts.alike
    coverage = matched / counts.distinct if counts.distinct else 0.0
    reason = f"{matched:,} of {counts.distinct:,} distinct values are in {key.field.table}.{key.field.name}"
    if not is_equal:
        reason += f" {(child if child.prefix else key).difference}, {counts.equal:,} exactly"
    if not (child.field.is_whole and key.field.is_whole):
        reason += ", by samples of the rows"
    meant = f"both are of the class {one.shared_class}" if one.shared_class else "the names do not say so"
    reason += "; named so" if one.name >= NAMED else f"; {meant}"
    relation = Relationship(
        (child.field.source, child.field.table),
        (child.field.name,),
        (key.field.source, key.field.table),
        (key.field.name,),
        coverage,
        reason,
        one.confidence,
    )
    return (
        replace(relation, confidence=min(one.confidence, 0.85)) if not is_equal and child.prefix else relation
    )
