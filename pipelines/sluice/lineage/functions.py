"""What lineage has to know about DuckDB's functions: which exist, which aggregate, which take a lambda."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import duckdb
from sqlglot import exp
from sqlglot.errors import SqlglotError

LAMBDA_FUNCTIONS = frozenset(
    f"{prefix}{name}"
    for prefix in ("", "list_", "array_")
    for name in ("apply", "filter", "reduce", "transform")
)
"""Only in these does DuckDB read `x -> …` as a lambda; elsewhere the arrow extracts a JSON field."""

LAMBDA_NODES = (exp.Transform, exp.ArrayFilter, exp.Reduce, exp.Columns)

ORDER_FREE_AGGREGATES = frozenset(
    "sum count count_if countif avg mean min max bool_and bool_or bit_and bit_or bit_xor count_star median "
    "quantile quantile_cont quantile_disc percentile_cont percentile_disc stddev stddev_pop stddev_samp variance "
    "var_pop var_samp product corr covar_pop covar_samp approx_count_distinct approx_distinct logical_and "
    "logical_or bitwise_and_agg bitwise_or_agg bitwise_xor_agg entropy kurtosis skewness mad".split()
)
"""Aggregates whose result does not depend on the order of their rows (all others may)."""

PICKING_AGGREGATES = frozenset(
    "arg_max arg_min max_by min_by argmax argmin arg_max_null arg_min_null".split()
)
"""f(value, by): the second argument only decides which value is taken."""

STATEFUL_FUNCTIONS = frozenset("getvariable current_setting getenv nextval currval".split())
"""Functions whose result was put somewhere by another statement."""

WHOLE_FUNCTIONS = frozenset(
    "json from_json from_json_strict json_transform json_transform_strict to_json".split()
)
"""Functions that keep the document or struct as it is, so that fields can be followed through them."""

AGGREGATE_MACROS = frozenset(
    "geomean geometric_mean wavg weighted_avg json_group_array json_group_object json_group_structure".split()
)

# The in-memory connection is shared by threads; DuckDB connections are not safe to share without a lock.
_lock = threading.Lock()


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    """An in-memory database that cannot reach files or the network: it only answers questions on names."""
    connection = duckdb.connect(config={"enable_external_access": "false", "threads": "1"})
    connection.execute("set lock_configuration = true")
    return connection


@cache
def builtin_functions() -> dict[str, frozenset[str]]:
    """Names of DuckDB's own functions -> their types (scalar, aggregate, table, macro, …)."""
    with _lock:
        rows = (
            _connection()
            .execute(
                "select lower(function_name), list(distinct function_type) from duckdb_functions() group by 1"
            )
            .fetchall()
        )
    return {name: frozenset(types) for name, types in rows}


def is_builtin(name: str) -> bool:
    """True for a function DuckDB has without any extension or user macro; `row` and `unnest` are syntax."""
    return name.lower() in builtin_functions() or name.lower() in {"row", "unnest", "columns", "try"}


def is_aggregate_name(name: str) -> bool:
    """True for DuckDB's own aggregates."""
    return "aggregate" in builtin_functions().get(name.lower(), frozenset())


def function_name(node: exp.Expression) -> str:
    """The lower-case SQL name of a function node."""
    if isinstance(node, exp.Anonymous):
        return str(node.name).lower()
    if isinstance(node, exp.Func):
        return str(node.sql_name()).lower()
    return ""


def is_aggregate(node: exp.Expression) -> bool:
    """True if the node itself is an aggregate call (whatever stands around it)."""
    if isinstance(node, (exp.AggFunc, exp.List)):
        return True
    return isinstance(node, exp.Anonymous) and is_aggregate_name(node.name)


def has_aggregate(node: exp.Expression) -> bool:
    """True if the expression aggregates its own select: not in a subquery, not as a window function."""
    if isinstance(node, exp.Query):
        return False
    if isinstance(node, exp.Window):
        function = node.this
        while isinstance(function, (exp.Filter, exp.IgnoreNulls, exp.RespectNulls)):
            function = function.this
        inner = [*function.iter_expressions(), *(node.args.get("partition_by") or [])]
        order = node.args.get("order")
        return any(has_aggregate(part) for part in [*inner, *([order] if order else [])])
    return is_aggregate(node) or any(has_aggregate(child) for child in node.iter_expressions())


def match_column_names(selector: exp.Expression, names: Sequence[str]) -> list[str] | None:
    """The names that `columns('regex')`, `columns(c -> …)` or `columns(['a'])` picks; None if that is not known.

    DuckDB itself decides, so that its regular expressions and functions mean here what they mean in the query.
    """
    if isinstance(selector, exp.Array):
        wanted = {element.name.lower() for element in selector.expressions}
        return [name for name in names if name.lower() in wanted]
    if isinstance(selector, exp.Literal) and selector.is_string:
        return _names_where("regexp_matches(name, ?)", names, selector.name)
    if isinstance(selector, exp.Lambda) and not selector.find(exp.Query):
        parameter = selector.expressions[0].name
        body = selector.this.sql(dialect="duckdb")
        return _names_where(f'(select {body} from (select name as "{parameter}"))', names)
    return None


def match_star_pattern(
    operator: exp.Expression, star: exp.Expression, names: Sequence[str]
) -> list[str] | None:
    """The names that `* like 'a%'` (ilike, glob, similar to, not like) picks; None if that is not known."""
    if operator.find(exp.Query):
        return None
    text = operator.sql(dialect="duckdb")
    return _names_where(text.replace(star.sql(dialect="duckdb"), "name", 1), names)


def _names_where(condition: str, names: Sequence[str], *parameters: str) -> list[str] | None:
    statement = (
        f"select name from (select unnest(?::varchar[]) as name, generate_subscripts(?::varchar[], 1) as position)"
        f" where {condition} order by position"
    )
    try:
        with _lock:
            rows = _connection().execute(statement, [list(names), list(names), *parameters]).fetchall()
    except duckdb.Error:
        return None
    return [row[0] for row in rows]


@lru_cache(maxsize=4096)
def parse_type(text: str) -> exp.DataType | None:
    """A SQL type as written in YAML or the catalog; None if it is empty or not a type sqlglot knows."""
    if not text:
        return None
    try:
        return exp.DataType.build(text, dialect="duckdb")
    except (SqlglotError, ValueError):
        return None


def struct_fields(kind: exp.DataType | None) -> list[tuple[str, exp.DataType | None]] | None:
    """Fields of a struct type; None for any other type."""
    if kind is None or kind.this != exp.DataType.Type.STRUCT:
        return None
    return [(part.name, part.kind) for part in kind.expressions if isinstance(part, exp.ColumnDef)]


def element_type(kind: exp.DataType | None) -> exp.DataType | None:
    """Element type of a list or array type; None for any other type."""
    if kind is None or kind.this not in (exp.DataType.Type.ARRAY, exp.DataType.Type.LIST):
        return None
    return kind.expressions[0] if kind.expressions else None


def json_structure_type(structure: str) -> exp.DataType | None:
    """The type that `from_json(x, '[{"sku":"VARCHAR"}]')` yields."""
    try:
        return parse_type(_structure_sql(json.loads(structure)))
    except (ValueError, TypeError, IndexError):
        return None


def _structure_sql(structure: Any) -> str:
    if isinstance(structure, dict):
        fields = ", ".join(f'"{name}" {_structure_sql(part)}' for name, part in structure.items())
        return f"struct({fields})"
    if isinstance(structure, list):
        return f"{_structure_sql(structure[0])}[]"
    return str(structure)


def auto_name(node: exp.Expression) -> str:
    """The name DuckDB gives to an expression without alias, as near as matters."""
    if isinstance(node, exp.Count) and (node.this is None or isinstance(node.this, exp.Star)):
        return "count_star()"
    if isinstance(node, exp.Window):
        return auto_name(node.this)
    return node.sql(dialect="duckdb", normalize_functions="lower", comments=False)
