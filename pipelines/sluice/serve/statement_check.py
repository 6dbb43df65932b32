"""Which statements a remote reader may run: one SELECT over published tables, with functions that only calculate.

DuckDB's own parser reads the statement; whatever its tree holds that is not listed here is refused. The process that
runs it is locked as well (read-only file, no external access, no configuration), so neither wall stands alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

import duckdb

from sluice.config.yaml_file import IDENTIFIER

MAX_LENGTH = 100_000
"""Characters of a statement."""

NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
TABLES = {"BASE_TABLE", "SUBQUERY", "JOIN", "EMPTY", "TABLE_FUNCTION", "EXPRESSION_LIST", "PIVOT", "SHOW_REF"}
MODIFIERS = {"ORDER_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "DISTINCT_MODIFIER"}
ORDERS = {"ORDER_DEFAULT", "ASCENDING", "DESCENDING"}
KINDS = NODES | TABLES | MODIFIERS | ORDERS
EXPRESSIONS = set(
    "BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA LAMBDA_REF OPERATOR "
    "POSITIONAL_REFERENCE STAR SUBQUERY TYPE WINDOW".split()
)
SHOWN = {'"tables"', "__show_tables_expanded", ""}
"""What SHOW may show: tables, or the description of a query."""
CATALOG_VIEWS = {"tables", "columns", "schemata"}
"""Views of information_schema."""
TABLE_FUNCTIONS = {"range", "generate_series", "unnest"}
IS_PURE = "function_type in ('scalar', 'aggregate') and stability = 'CONSISTENT'"
NOT_FOR_READERS = set(
    "current_setting getvariable json_deserialize_sql json_serialize_plan json_serialize_sql parse_duckdb_log_message "
    "cast_to_type combine constant_or_null create_sort_key finalize make_type remap_struct replace_type "
    "variant_bytes_to_variant variant_normalize variant_to_parquet_variant vector_type".split()
)
"""Functions DuckDB calls consistent that reveal something of the server, or take DuckDB's internal representations."""
ALSO = set(
    "ago array_append array_pop_back array_pop_front array_prepend array_push_back array_push_front array_reverse "
    "array_to_string current_database current_date current_schema current_user date_add days_in_month error fdiv "
    "fmod gen_random_uuid geomean geometric_mean get_current_time get_current_timestamp json json_group_array "
    "json_group_object list_any_value list_append list_avg list_bit_and list_bit_or list_bool_and list_bool_or "
    "list_count list_first list_last list_max list_median list_min list_mode list_prepend list_product list_reverse "
    "list_stddev_pop list_stddev_samp list_string_agg list_sum list_var_pop list_var_samp map_contains_entry "
    "map_contains_value now nullif random round_even split_part today transaction_timestamp unnest uuid wavg "
    "weighted_avg".split()
)
"""Clock, random numbers, and macros over pure functions."""


class Refused(Exception):  # noqa: N818 - nothing failed: the statement is not allowed
    """A statement that is not run, and why; safe to show to whoever sent it.

    `reason` holds no words of the statement and may be logged; `named` does, and is for the sender only.
    """

    def __init__(self, reason: str, named: str = "") -> None:
        super().__init__(f"{reason}: {named}" if named else reason)
        self.reason = reason
        self.named = named


class StatementCheck:
    """Checks statements; one instance serves all sessions."""

    def __init__(self) -> None:
        self._con = duckdb.connect(":memory:", config={"enable_external_access": "false", "threads": 1})
        rows = self._con.execute(
            f"select distinct function_name from duckdb_functions() where {IS_PURE} and database_name = 'system'"
        )
        pure = {row[0] for row in rows.fetchall() if not row[0].startswith(("__", "st_"))}
        self.functions = pure - NOT_FOR_READERS | ALSO | TABLE_FUNCTIONS
        rows = self._con.execute(
            "select view_name from duckdb_views() where internal and schema_name <> 'information_schema'"
        )
        self._system_views = {row[0] for row in rows.fetchall()}
        self._con.execute("set lock_configuration = true")

    def check(self, sql: str, tables: Collection[str]) -> str:
        """The single statement in `sql`, without its semicolon; raises Refused. `tables` are the published ones."""
        if len(sql) > MAX_LENGTH:
            raise Refused(f"the statement is longer than {MAX_LENGTH} characters")
        if "\0" in sql:
            raise Refused("the statement holds a null character")
        cursor = self._con.cursor()
        try:
            statements = cursor.extract_statements(sql)
            if len(statements) != 1:
                raise Refused(f"one statement at a time, not {len(statements)}")
            if statements[0].type != duckdb.StatementType.SELECT:
                raise Refused(f"only SELECT is allowed, not {statements[0].type.name}")
            row = cursor.execute("select json_serialize_sql(cast($1 as varchar))", [sql]).fetchone()
            tree = json.loads(row[0]) if row else {"error": True}
        except duckdb.Error as error:
            raise Refused("the statement cannot be parsed", str(error).splitlines()[0]) from None
        except RecursionError:
            raise Refused("the statement is nested too deeply") from None
        finally:
            cursor.close()
        if tree["error"]:
            raise Refused("the statement cannot be parsed", str(tree.get("error_message", "")))
        allowed = {t.lower() for t in tables}
        try:
            nodes = list(_objects(tree["statements"]))
        except RecursionError:
            raise Refused("the statement is nested too deeply") from None
        for node in nodes:
            for entry in (node.get("cte_map") or {}).get("map", []):
                allowed.add(self._common_table(entry["key"].lower()))
        for node in nodes:
            self._node(node, allowed)
        return _without_semicolon(statements[0].query)

    def _common_table(self, name: str) -> str:
        """A name that WITH defines. Nothing else may have it: out of scope it would mean a file or a system view."""
        if not IDENTIFIER.match(name) or name in self._system_views:
            raise Refused("WITH cannot define this name", name)
        return name

    def _node(self, node: dict[str, Any], tables: Collection[str]) -> None:
        kind, expression = node.get("type"), node.get("class")
        if isinstance(expression, str):
            if expression not in EXPRESSIONS:
                raise Refused(f"{expression.lower()} expressions are not allowed")
        elif isinstance(kind, str) and kind not in KINDS and not kind.endswith("_TYPE_INFO"):
            raise Refused(f"{kind.lower()} is not allowed")
        function = node.get("function_name")
        if function and function.lower() not in self.functions:
            raise Refused("a function that does more than calculate", function)
        if function and (node.get("schema") or "main", node.get("catalog") or "system") != ("main", "system"):
            raise Refused("functions are called without a schema")
        if kind == "TABLE_FUNCTION" and node["function"].get("function_name") not in TABLE_FUNCTIONS:
            raise Refused("a table function", str(node["function"].get("function_name")))
        if kind == "SHOW_REF" and (
            node.get("show_type") not in ("DESCRIBE", "SUMMARY", "SHOW_UNQUALIFIED")
            or node["table_name"] not in SHOWN
        ):
            raise Refused("only tables can be shown")
        if kind == "BASE_TABLE":
            self._table(node, tables)

    def _table(self, node: dict[str, Any], tables: Collection[str]) -> None:
        name, schema = node["table_name"].lower(), node["schema_name"].lower()
        if node["catalog_name"].lower() in ("", "published") and (
            (schema == "information_schema" and name in CATALOG_VIEWS)
            or (schema in ("", "main", "published") and name in tables)
        ):
            return
        raise Refused("there is no such table", node["table_name"])


def _without_semicolon(sql: str) -> str:
    """A statement without its semicolon and the comments behind it."""
    text = sql.encode()
    tokens = duckdb.tokenize(sql)
    if tokens and tokens[-1][1] == duckdb.token_type.operator and text[tokens[-1][0] :].startswith(b";"):
        return text[: tokens[-1][0]].decode()
    return sql


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)
