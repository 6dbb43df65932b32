"""Lines of SQL in the layout of sqlfmt, which projects format with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import duckdb
from sqlfluff.core.dialects import dialect_selector

WIDTH = 88
"""Columns of a line of SQL."""
MISREAD = ("current_user", "minus", "prior", "user", "values")
"""Words that name a column without quotes in DuckDB, but not for sqlfmt and sqlfluff."""
BARE = ("unreserved", "column_name")
"""Categories of DuckDB's keywords that name a column without quotes."""


@cache
def _duckdb_keywords() -> dict[str, str]:
    found = duckdb.sql("select keyword_name, keyword_category from duckdb_keywords()").fetchall()
    return {str(name): str(category) for name, category in found}


@cache
def _sqlfluff_keywords(kind: str) -> frozenset[str]:
    return frozenset(word.lower() for word in dialect_selector("duckdb").sets(f"{kind}_keywords"))


def is_keyword(name: str) -> bool:
    """Whether a column should not be called so: DuckDB or sqlfluff knows the word."""
    return name in _duckdb_keywords() or any(
        name in _sqlfluff_keywords(kind) for kind in ("reserved", "unreserved")
    )


def is_reserved(name: str) -> bool:
    """Whether the name of a column needs quotes."""
    is_bare = _duckdb_keywords().get(name, "unreserved") in BARE and name not in MISREAD
    return not is_bare or name in _sqlfluff_keywords("reserved")


def reference(name: str) -> str:
    """A column of raw, whose names are in snake_case, in SQL."""
    return f'"{name}"' if is_reserved(name) else name


def exemption(name: str) -> str:
    """The comment for quotes that sqlfluff takes for unnecessary."""
    return "  -- noqa: RF06" if is_reserved(name) and name not in _sqlfluff_keywords("reserved") else ""


def select_item(
    expression: str, alias: str | None, indent: int, *, comma: bool, comment: str = ""
) -> Iterator[str]:
    """The lines of a column in a select list; `expression` is a column, `cast(… as …)` or one with an operator."""
    margin, end = " " * indent, "," if comma else ""
    line = f"{margin}{expression}{f' as {alias}' if alias else ''}{end}"
    if len(line) <= WIDTH or not alias:
        yield line + comment
        return
    if expression.startswith("cast("):
        value, _, data_type = expression.removeprefix("cast(").removesuffix(")").rpartition(" as ")
        inside = f"{margin}    {value} as {data_type}"
        yield f"{margin}cast("
        if len(inside) <= WIDTH:
            yield inside + comment
        else:
            yield f"{margin}    {value}{comment}"
            yield f"{margin}    as {data_type}"
        yield f"{margin}) as {alias}{end}"
    else:
        yield f"{margin}{expression}{comment}"
        yield f"{margin}as {alias}{end}"


def import_cte(name: str, function: str, arguments: tuple[str, ...], *, comma: bool) -> Iterator[str]:
    """The lines of a CTE that reads all of `ref()` or `source()`."""
    end = "," if comma else ""
    call = f"{function}({_texts(arguments)})"
    read = f"select * from {{{{ {call} }}}}"
    if len(line := f"    {name} as ({read}){end}") <= WIDTH:
        yield line
        return
    yield f"    {name} as ("
    if len(f"        {read}") <= WIDTH:
        yield f"        {read}"
    else:
        yield "        select *"
        yield from _from_call(call, function, arguments)
    yield f"    ){end}"


def _texts(arguments: tuple[str, ...]) -> str:
    return ", ".join(f'"{argument}"' for argument in arguments)


def _from_call(call: str, function: str, arguments: tuple[str, ...]) -> Iterator[str]:
    if len(line := f"        from {{{{ {call} }}}}") <= WIDTH:
        yield line
        return
    yield "        from"
    if len(line := f"            {{{{ {call} }}}}") <= WIDTH:
        yield line
        return
    yield "            {{"
    if len(line := f"                {call}") <= WIDTH - 2:
        yield line
    else:
        yield f"                {function}("
        if len(f"                    {_texts(arguments)}") <= WIDTH:
            yield f"                    {_texts(arguments)}"
        else:
            yield from (f'                    "{argument}",' for argument in arguments)
        yield "                )"
    yield "            }}"


def imports(read: Mapping[str, str]) -> Iterator[str]:
    """The lines of a WITH clause that imports models, by the names of their CTEs."""
    short = ", ".join(f'{name} as (select * from {{{{ ref("{model}") }}}})' for name, model in read.items())
    if len(f"with {short}") <= WIDTH:
        yield f"with {short}"
        return
    yield "with"
    if len(f"    {short}") <= WIDTH:
        yield f"    {short}"
        return
    for i, (name, model) in enumerate(read.items(), 1):
        yield from import_cte(name, "ref", (model,), comma=i < len(read))
        if i < len(read):
            yield ""


def select_list(items: Sequence[tuple[str, str | None]]) -> Iterator[str]:
    """The lines of SELECT with plain columns, each with its alias if it has one."""
    short = ", ".join(f"{column} as {alias}" if alias else column for column, alias in items)
    if len(f"select {short}") <= WIDTH:
        yield f"select {short}"
        return
    yield "select"
    if len(f"    {short}") <= WIDTH:
        yield f"    {short}"
        return
    for i, (column, alias) in enumerate(items, 1):
        yield from select_item(column, alias, 4, comma=i < len(items))


def left_join(table: str, alias: str, left: str, right: str) -> Iterator[str]:
    """The lines of a join of a CTE by one column: `left` and `right` are qualified."""
    joined = table if table == alias else f"{table} as {alias}"
    if len(line := f"left join {joined} on {left} = {right}") <= WIDTH:
        yield line
        return
    yield "left join"
    if len(line := f"    {joined} on {left} = {right}") <= WIDTH:
        yield line
        return
    yield from select_item(table, None if table == alias else alias, 4, comma=False)
    if len(line := f"    on {left} = {right}") <= WIDTH:
        yield line
    else:
        yield f"    on {left}"
        yield f"    = {right}"


def summed_cte(name: str, select: str, model: str, *, comma: bool) -> Iterator[str]:
    """The lines of a CTE with aggregates over a model."""
    end = "," if comma else ""
    read = f'from {{{{ ref("{model}") }}}}'
    if len(line := f"    {name} as ({select} {read}){end}") <= WIDTH:
        yield line
        return
    yield f"    {name} as ("
    if len(line := f"        {select} {read}") <= WIDTH:
        yield line
    else:
        yield f"        {select}"
        yield from _from_call(f'ref("{model}")', "ref", (model,))
    yield f"    ){end}"


def conditions(alternatives: Sequence[str]) -> Iterator[str]:
    """The lines of WHERE: one of the conditions holds."""
    if len(line := f"where {' or '.join(alternatives)}") <= WIDTH:
        yield line
        return
    yield "where"
    if len(line := f"    {' or '.join(alternatives)}") <= WIDTH:
        yield line
        return
    yield from (f"    {'or ' if i else ''}{condition}" for i, condition in enumerate(alternatives))
