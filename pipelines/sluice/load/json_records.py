"""JSON records as columns: a scalar gets the type all values of its key share, nested values stay JSON.

Numbers are kept to the last digit, also those that do not fit a double.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from sluice.config.column_names import DELETED_AT, RECORD, STAMPS
from sluice.config.declaration import Table
from sluice.engine import engine
from sluice.engine.types import EXACT_IN_DOUBLE, json_scalar
from sluice.errors import LoadError
from sluice.extract.contract import JsonRecords, TypedRows
from sluice.extract.exact_json import LONG_NUMBER
from sluice.load.quarantine import BadRows
from sluice.load.staging import Target
from sluice.sql import literal, quoted

_NUMBER = r"-?[0-9][-+.0-9eE]*"
_LONG_REAL = r"[:,\[]\s*(-?[0-9]+\.[0-9]{15,}|-?[0-9][0-9.]{15,})"
_VAST = r"[:,\[]\s*(-[0-9]{19}|[0-9]{20}|-?[0-9.]+[eE][-+]?[0-9]{3})"
_MARK = "\\u0001number "
"""Prefix of a number that is carried as a string."""
_INEXACT = (
    # in a `case`, because DuckDB evaluates all parts of `and`
    f"(case when regexp_matches(_record, '{LONG_NUMBER}') then regexp_matches(_record, '{_VAST}')"
    f" or regexp_matches(_record, '{_LONG_REAL}') and regexp_extract_all(_record, '{_LONG_REAL}', 1) <> "
    f"regexp_extract_all(cast(json(_record) as varchar), '{_LONG_REAL}', 1) else false end)"
)
"""Records with a number that DuckDB, which reads reals as doubles, would not write back unchanged.

The first of the three patterns occurs in all of them, and is searched at half the cost.
"""
_IS_OBJECT = "case when json_valid(_record) then json_type(_record) end = 'OBJECT'"
_UNFIT = {
    f"({_IS_OBJECT}) is distinct from true": "are not JSON objects",
    "len(json_keys(_record)) <> len(list_distinct(json_keys(_record)))": "have a key twice",
}
"""Conditions for records that have no columns, and what the message says about them."""
_TYPE_BY_FIRST = {'"': "VARCHAR", "{": "OBJECT", "[": "ARRAY", "t": "BOOLEAN", "f": "BOOLEAN"}


def as_columns(target: Target, records: JsonRecords, bad: BadRows, *, keep: bool = False) -> TypedRows:
    """One column per top-level key of the records.

    Records that are not an object with unique keys go to `bad`. `keep` keeps `_record` beside the columns.
    Raises LoadError when two keys would have one name in raw.
    """
    con, table, relation = target.con, target.table, records.relation
    meta = [n for n, *_ in con.execute(f"describe {relation}").fetchall() if n != RECORD]
    kinds = _kinds(con, relation, "false" if records.is_exact else _INEXACT)
    if any(keys is None or len(set(keys)) < len(keys) for keys, _ in kinds):
        for where, what in _UNFIT.items():
            relation = bad.leave_out(relation, meta, where, what)
    found = {k for keys, _ in kinds if keys and len(set(keys)) == len(keys) for k in keys}
    keys = _columns(table, found, meta)
    inexact = any(inexact for _, inexact in kinds)
    declared = table.data_types
    undeclared = [key for key in keys if table.raw_name(key) not in declared]
    texts = {
        key
        for key in keys
        if not inexact
        and (kind := declared.get(table.raw_name(key)))
        and engine().declared_type(kind).name != "JSON"
    }
    kept = [*meta, RECORD] if keep else meta
    if not inexact and not undeclared:
        # all types are declared, so the records need not be read twice
        view = f"({_unnested(relation, kept, RECORD, keys, texts)})"
    else:
        view = f"_records_{table.source}_{table.name}"
        _unnest_records(con, view, relation, kept, keys, texts, inexact)
    found_types = _json_types(con, view, undeclared)
    selected, types = _typed(target, keys, found_types, inexact)
    empty = {table.raw_name(k) for k in undeclared if not found_types[k]}  # no record has a value
    delivered = {table.raw_name(k) for k in keys} | set(meta)
    keyed = [n for n in map(table.raw_name, table.load.primary_key) if n not in declared]
    selected += [f"cast(null as varchar) as {quoted(n)}" for n in keyed if n in empty or n not in delivered]
    for name, kind in declared.items():
        if name not in delivered and table.is_chosen(name, name):
            selected.append(f"cast(null as {engine().declared_type(kind).name}) as {quoted(name)}")
    shown = ", ".join([*map(quoted, kept), *selected])
    return TypedRows(
        table=table,
        relation=f"select {shown or '*'} from {view}",
        types=types,
        origin=records.origin,
        may_lack_columns=True,
        left_out=found - set(keys),
    )


def _typed(
    target: Target, keys: Sequence[str], found: Mapping[str, set[str]], inexact: bool
) -> tuple[list[str], dict[str, str]]:
    """Expressions of the columns, with a type where the values share one, and raw types of those still in JSON."""
    selected, types = [], {}
    for key in keys:
        name, column = target.table.raw_name(key), quoted(key)
        kind = _scalar(found[key]) if key in found else None
        if key not in found or kind == "JSON" or (kind and target.columns.get(name) == "JSON"):
            # in a JSON column a text stays quoted: its characters alone might be another value
            selected.append(column)
        elif kind == "DOUBLE" and (inexact or "WIDE" in found[key]):
            # as JSON, so that the cast looks at each number
            selected.append(column)
            types[name] = kind
        elif kind:
            selected.append(f"cast({json_scalar(column)} as {kind}) as {column}")
    return selected, types


def _kinds(
    con: duckdb.DuckDBPyConnection, relation: str, is_inexact: str
) -> list[tuple[list[str] | None, bool]]:
    """The keys that records have together (None: not an object), and whether some of them have inexact numbers.

    Most records have the keys of the first, which is found at a third of the cost of grouping by keys.
    """
    usual = (con.execute(f"select try(json_keys(_record)) from ({relation}) limit 1").fetchone() or (None,))[
        0
    ]
    other, kinds = relation, []
    if usual:
        named = f"[{', '.join(map(literal, usual))}]"
        others, inexact = con.execute(
            "select count(*) filter (other),"
            f" coalesce(bool_or(case when other then false else {is_inexact} end), false)"
            f" from (select _record, try(json_keys(_record)) is distinct from {named} as other from ({relation}))"
        ).fetchone() or (0, False)
        kinds.append((usual, inexact))
        if not others:
            return kinds
        other = f"select * from ({relation}) where try(json_keys(_record)) is distinct from {named}"
    return (
        kinds
        + con.execute(
            f"select case when {_IS_OBJECT} then json_keys(_record) end as keys,"
            f" case when keys is null then false else {is_inexact} end as inexact from ({other}) group by all"
        ).fetchall()
    )


def _columns(table: Table[Any], found: set[str], meta: Sequence[str]) -> list[str]:
    """The keys to load, in order."""
    if "" in found:
        raise LoadError(f"{table.qualified}: a record has a key without a name, which no column can have")
    folded: dict[str, str] = {}
    for key in sorted(found):
        if (twin := folded.setdefault(table.raw_name(key), key)) != key:
            raise LoadError(
                f"{table.qualified}: the keys {twin!r} and {key!r} would both be the column "
                f"{table.raw_name(key)!r}; nothing was loaded. Give one of them another name: "
                f"columns: {{rename: {{{key!r}: {table.raw_name(key)}_2}}}}"
            )
    if clash := sorted(set(folded) & {*meta, *STAMPS, DELETED_AT}):
        raise LoadError(f"{table.qualified}: the key {folded[clash[0]]!r} has the name of a column of ours")
    return [key for key in sorted(found) if table.is_chosen(key, table.raw_name(key))]


def _unnested(relation: str, meta: Sequence[str], record: str, keys: Sequence[str], texts: set[str]) -> str:
    """A SELECT of one column per key: JSON, or the scalar's text for those in `texts`."""
    structure = literal(json.dumps({key: "VARCHAR" if key in texts else "JSON" for key in keys}))
    prefix = "".join(f"{quoted(name)}, " for name in meta)
    columns = f"unnest(json_transform({record}, {structure}))" if keys else "1 as _nothing"
    return f"select {prefix}{columns} from ({relation})"


def _unnest_records(
    con: duckdb.DuckDBPyConnection,
    view: str,
    relation: str,
    meta: Sequence[str],
    keys: Sequence[str],
    texts: set[str],
    inexact: bool,
) -> None:
    """A temporary table with one column per key; `inexact`: some records have numbers that do not fit a double."""
    exact = f"select * from ({relation}) where not {_INEXACT}" if inexact else relation
    con.execute(f"create or replace temp table {view} as {_unnested(exact, meta, '_record', keys, texts)}")
    if not inexact:
        return
    # every number outside of a string passes DuckDB's JSON as a marked string
    string = r'"(?:[^"\\]|\\.)*"'
    marked = f"regexp_replace(_record, '({string})|({_NUMBER})', '\\1' || chr(2) || '\\2' || chr(3), 'g')"
    marked = f"replace({marked}, chr(2) || chr(3), '')"
    marked = f"""replace(replace({marked}, chr(2), '"{_MARK}'), chr(3), '"')"""
    escaped = _MARK.replace("\\", "\\\\")
    numbers = ", ".join(
        f"""cast(regexp_replace(cast({quoted(k)} as varchar), '"{escaped}({_NUMBER})"', '\\1', 'g') as json)"""
        f" as {quoted(k)}"
        for k in keys
    )
    prefix = "".join(f"{quoted(name)}, " for name in meta)
    marked = _unnested(f"select * from ({relation}) where {_INEXACT}", meta, marked, keys, texts)
    con.execute(f"insert into {view} by name select {prefix}{numbers or '1 as _nothing'} from ({marked})")


def _json_types(con: duckdb.DuckDBPyConnection, view: str, keys: Sequence[str]) -> dict[str, set[str]]:
    """JSON types that occur in each column; integers are BIGINT, or UBIGINT where one needs more.

    WIDE: beside doubles there are integers that no double holds.
    """
    if not keys:
        return {}
    firsts = ", ".join(f"list(distinct ascii(cast({quoted(k)} as varchar)))" for k in keys)
    row = con.execute(f"select {firsts} from {view}").fetchone() or ()
    first = {key: {chr(code) for code in codes or [] if code} for key, codes in zip(keys, row, strict=True)}
    found = {key: {_TYPE_BY_FIRST[c] for c in first[key] & _TYPE_BY_FIRST.keys()} for key in keys}
    numbers = [key for key in keys if first[key] - _TYPE_BY_FIRST.keys() - {"n"}]
    if not numbers:
        return found
    others = ", ".join(map(str, map(ord, [*_TYPE_BY_FIRST, "n"])))
    lists = ", ".join(
        f"list(distinct case when ascii({text}) in ({others}) then null"
        f" when length({text}) > 18 or contains({text}, 'n') or ascii({text}) > 57 then 'to see'"  # -inf, NaN
        f" when contains({text}, '.') or contains({text}, 'e') or contains({text}, 'E') then 'DOUBLE'"
        " else 'BIGINT' end)"
        for text in (f"cast({quoted(key)} as varchar)" for key in numbers)
    )
    kinds = con.execute(f"select {lists} from {view}").fetchone() or ()
    for key, kind in zip(numbers, kinds, strict=True):
        found[key] |= {k for k in kind if k and k != "to see"}
        if "to see" not in kind:
            continue
        types, above = con.execute(
            f"select list(distinct json_type({quoted(key)})), count(*) filter (json_type({quoted(key)}) = 'UBIGINT'"
            f" and try_cast({quoted(key)} ->> '$' as bigint) is null) from {view}"
        ).fetchone() or ([], 0)
        found[key] |= {t for t in types if t and t != "NULL"}
        if "UBIGINT" in found[key] and not above:
            found[key] = found[key] - {"UBIGINT"} | {"BIGINT"}
    for key in numbers:
        if "DOUBLE" in found[key] and found[key] & {"BIGINT", "UBIGINT"}:
            (wide,) = con.execute(
                f"select count(*) from {view} where abs(try_cast({quoted(key)} ->> '$' as hugeint)) > {EXACT_IN_DOUBLE}"
                f" and json_type({quoted(key)}) <> 'DOUBLE'"
            ).fetchone() or (0,)
            found[key] |= {"WIDE"} if wide else set()
    return found


def _scalar(types: set[str]) -> str | None:
    """The one type the values of a JSON column share; None while it has no value."""
    types = types - {"WIDE"}
    if not types:
        return None
    if types & {"OBJECT", "ARRAY"}:
        return "JSON"
    if types == {"BOOLEAN"}:
        return "BOOLEAN"
    if types == {"BIGINT"}:
        return "BIGINT"
    if types <= {"BIGINT", "UBIGINT"}:
        return "HUGEINT"
    if types <= {"BIGINT", "UBIGINT", "DOUBLE"}:
        return "DOUBLE"
    return "VARCHAR"  # text, or a mix that only text can hold
