"""Proposes what identifies a row: a declared key, else columns that are unique and never null in the rows.

Rows can disprove a key, and only many of them make one likely; so the name, the place and the type of the columns count
as well, and few rows, or a sample, lower the confidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

import duckdb

from sluice.discover.column_words import MEASURES, column_stem, is_identifier, same_word, table_stem, words
from sluice.discover.contract import DiscoveredSource, Proposal
from sluice.discover.fields import Field, TableFields
from sluice.sql import one_row, quoted

FEW_ROWS = 20
"""Below, that a column is unique may be chance."""
PART_COLUMNS, COMBINATIONS = 9, 60
"""How many columns of a table are tried as parts of a composite key, and how many combinations."""
PART_WORDS = frozenset(
    "line position pos seq sequence number no nr date day month year period version locale language lang currency type"
    " kind step index ordinal revision valid from start effective week hour from to".split()
)
"""Words of columns that are part of a composite key beside identifiers."""
NATURAL = frozenset("sku ean isbn gtin upc vin slug barcode".split())
"""Words of what identifies things outside of the system."""
NEARLY = 0.98
"""From this share of distinct values on, a column that is called like a key has repetitions, not another meaning."""


def propose(
    con: duckdb.DuckDBPyConnection, source: DiscoveredSource, fields: Mapping[str, TableFields]
) -> None:
    """Set `primary_key` of the source's tables, or a question."""
    for table in source.tables:
        if table.has_primary_key and table.unique:
            table.primary_key = Proposal(table.unique[0], "primary key of the system")
        elif table.name in fields:
            _from_rows(con, fields[table.name])


def _from_rows(con: duckdb.DuckDBPyConnection, found: TableFields) -> None:
    table = found.table
    if not found.rows:
        table.questions.append("the table is empty: what identifies a row?")
        return
    if proposal := _constrained(found):
        table.primary_key = proposal
    elif unique := [field for field in found.columns if field.is_unique and _can_identify(field)]:
        _single(found, unique)
    elif not _composite(con, found):
        _nearly(found)


def _constrained(found: TableFields) -> Proposal[tuple[str, ...]] | None:
    """The shortest unique constraint or index whose columns are never null."""
    complete = [
        columns
        for columns in found.table.unique
        if all((field := found.column(name)) and field.values == field.rows for name in columns)
    ]
    if not complete:
        return None
    best = max(complete, key=lambda columns: (-len(columns), sum(_likeness(found, name) for name in columns)))
    return Proposal(best, f"unique constraint, never null in {_rows(found)}; no primary key", 0.95)


def _can_identify(field: Field) -> bool:
    if field.kind in ("decimal", "boolean", "other"):
        return False
    return not (field.kind == "text" and (field.highest or 0) > 200)


def _rows(found: TableFields) -> str:
    if found.table.is_whole:
        return "1 row" if found.rows == 1 else f"all {found.rows:,} rows"
    of = f" of {found.table.rows:,}" if found.table.rows else ""
    return f"a sample of {found.rows:,}{of} rows"


def _likeness(found: TableFields, name: str) -> float:
    """How much a column is named, placed and typed like a key, from -1 to 1."""
    field = found.column(name)
    if field is None:
        return 0.0
    stem, target = column_stem(name), table_stem(found.table.name)
    score = 0.0
    if is_identifier(name):
        score += (
            0.5 if not stem or same_word(stem, target) else 0.35 if stem and target.endswith(stem) else 0.2
        )
        score += 0.25 if {"id", "uuid", "guid", "pk"} & {words(name)[-1], words(name)[-1][-2:]} else 0.0
    elif same_word(stem, target):  # `Invoice` of invoices
        score += 0.4
    score += 0.15 if words(name)[-1] in NATURAL else 0.0
    score += 0.1 if found.columns and found.columns[0].name == name else 0.0
    score += 0.1 if field.kind == "integer" or (field.lowest == field.highest and field.lowest) else 0.0
    if set(words(name)) & MEASURES or field.kind in ("date", "timestamp"):
        score -= 0.6
    return score


def _single(found: TableFields, unique: list[Field]) -> None:
    """One of the columns that are unique; the others are named, and asked about when one is as likely."""
    table = found.table
    ranked = sorted(unique, key=lambda field: -_likeness(found, field.name))
    best, score = ranked[0], _likeness(found, ranked[0].name)
    also = [field.name for field in ranked[1:] if _likeness(found, field.name) >= 0.2]
    reason = f"no constraint; unique and never null in {_rows(found)}"
    reason += f"; so {'is' if len(also) == 1 else 'are'} {', '.join(also)}" if also else ""
    if score < 0.2:
        table.questions.append(
            f"{best.name} is unique in {_rows(found)}, but not named like a key: what identifies a row?"
        )
        if score < 0.1 or found.rows < FEW_ROWS:
            return
    tied = [field.name for field in ranked[1:] if score - _likeness(found, field.name) < 0.1 and score >= 0.2]
    if tied:
        table.questions.append(
            f"{best.name} and {', '.join(tied)} look like keys: which of them identifies a row?"
        )
    confidence = _confidence(found, 0.97 if score >= 0.5 else 0.92 if score >= 0.3 else 0.7)
    table.primary_key = Proposal((best.name,), reason, min(confidence, 0.8) if tied else confidence)


def _confidence(found: TableFields, confidence: float) -> float:
    """Lower for few rows and samples: a sample cannot show that a column is unique."""
    if not found.table.is_whole:
        confidence = min(confidence - 0.1, 0.85)
    return confidence if found.rows >= FEW_ROWS else min(confidence, 0.9 if confidence > 0.95 else 0.6)


def _part_score(found: TableFields, field: Field) -> float:
    """How much a column is like a part of a composite key."""
    found_words = set(words(field.name))
    if field.kind in ("decimal", "boolean", "other"):
        return -1.0
    if found_words & MEASURES and field.kind in ("integer", "text"):
        return -1.0
    if is_identifier(field.name):
        return 1.0
    score = 0.7 if found_words & PART_WORDS else 0.1
    score += 0.1 if field.kind == "date" else 0.0
    score -= (
        0.5
        if field.kind == "timestamp" and not found_words & {"valid", "from", "start", "effective"}
        else 0.0
    )
    return score


def _composite(con: duckdb.DuckDBPyConnection, found: TableFields) -> bool:
    """Propose the smallest set of columns that is unique together; the likeliest of several."""
    scores = {f.name: _part_score(found, f) for f in found.columns if f.values == f.rows and f.distinct > 1}
    place = {field.name: index for index, field in enumerate(found.columns)}
    parts = [f for f in found.columns if scores.get(f.name, -1) >= 0]
    parts = sorted(parts, key=lambda f: (-scores[f.name], place[f.name]))[:PART_COLUMNS]
    for size in (2, 3):
        sets = [c for c in combinations(parts, size) if _product(c) >= found.rows]
        sets.sort(key=lambda c: (-sum(scores[f.name] for f in c), sum(place[f.name] for f in c)))
        unique = [c for c in sets[:COMBINATIONS] if _is_unique(con, found, c)]
        if unique:
            _several(
                found, [tuple(sorted((f.name for f in c), key=place.__getitem__)) for c in unique], scores
            )
            return True
    return False


def _product(columns: Iterable[Field]) -> int:
    product = 1
    for field in columns:
        product *= field.distinct
    return product


def _is_unique(con: duckdb.DuckDBPyConnection, found: TableFields, columns: Iterable[Field]) -> bool:
    names = ", ".join(quoted(field.name) for field in columns)
    distinct = one_row(con, f"select count(*) from (select distinct {names} from {found.relation})")[0]
    return bool(distinct == found.rows)


def _several(found: TableFields, unique: list[tuple[str, ...]], scores: Mapping[str, float]) -> None:
    """The first of the sets that are unique, which is the likeliest."""
    best = unique[0]
    weakest = min(scores[name] for name in best)
    shown = " and ".join(best)
    if weakest < 0.5 and any(_repeats(found, name) for name in best):
        _nearly(found)
        return
    if weakest < 0.5:
        found.table.questions.append(
            f"{shown} are unique together in {_rows(found)}, but not named like a key: what identifies a row?"
        )
        if found.rows < FEW_ROWS:
            return
    reason = f"no constraint; unique together and never null in {_rows(found)}"
    others = [other for other in unique[1:] if min(scores[name] for name in other) >= 0.7]
    if others:
        reason += f"; so are {'; '.join(' and '.join(other) for other in others[:2])}"
    confidence = 0.95 if weakest >= 0.95 and not others else 0.9 if weakest >= 0.7 else 0.6
    found.table.primary_key = Proposal(best, reason, _confidence(found, confidence))


def _repeats(found: TableFields, name: str) -> bool:
    """Whether a column is called like a key and has a few values twice or none."""
    field = found.column(name)
    return bool(field and _likeness(found, name) >= 0.3 and field.distinct >= NEARLY * field.rows)


def _nearly(found: TableFields) -> None:
    """Ask about a column that is called like a key and repeats, or whether rows have a key at all."""
    likely = [field for field in found.columns if _repeats(found, field.name)]
    for field in likely[:1]:
        missing, repeated = field.rows - field.values, field.values - field.distinct
        wrong = [f"{repeated:,} of {field.rows:,} rows repeat a value"] if repeated else []
        wrong += [f"{missing:,} have none"] if missing else []
        found.table.questions.append(f"{field.name} looks like a key, but {' and '.join(wrong)}: is it one?")
    if not likely:
        found.table.questions.append(
            f"no column, and no three together, are unique in {_rows(found)}: what identifies a row?"
        )
