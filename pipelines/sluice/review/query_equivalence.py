"""Whether two queries mean the same: compared as trees, in which spelling and layout do not count.

Formatting, comments, quotes, case, redundant parentheses, names of CTEs and table aliases, the order of CTEs and of
conditions joined by `and`, qualifiers, `select *` for a list of the same columns, and columns that nothing reads make
no difference. Everything else does; when in doubt two queries differ, since a false "text only" would hide a change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.eliminate_subqueries import eliminate_subqueries
from sqlglot.optimizer.pushdown_projections import pushdown_projections
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope
from sqlglot.tokens import Tokenizer

from sluice.dbt.manifest import bare
from sluice.lineage import Graph
from sluice.lineage.parser_gaps import dropped_names

Columns = Mapping[str, Mapping[str, str]]
"""Table, as `database.schema.name` in lower case without quotes, to its columns and their types."""

DIALECT = "duckdb"


def columns_of(graph: Graph) -> dict[str, dict[str, str]]:
    """The columns lineage knows of each table; tables that may have others are left out."""
    return {
        bare(node.relation): {c.name.lower(): c.type for c in node.columns.values()}
        for node in graph.nodes.values()
        if node.relation and not node.is_open and node.columns
    }


def parse(sql: str) -> exp.Expression:
    """The query's tree without comments; raises SqlglotError."""
    tree: exp.Expression = sqlglot.parse_one(sql, dialect=DIALECT)
    for node in tree.walk():
        node.comments = None
    return tree


def canonical(sql: str, columns: Columns) -> str:
    """The same text for queries that mean the same, and different texts wherever that is not certain."""
    try:
        tree = parse(sql)
        if dropped_names(sql, tree, DIALECT, set()):
            return _tokens(sql)  # the parser lost something: compare what is written
    except SqlglotError:
        return _tokens(sql)
    plain = _plain(tree)
    try:
        return structure(_resolved(plain.copy(), columns))
    except (SqlglotError, KeyError, ValueError, AttributeError, TypeError, IndexError):
        return "unresolved: " + structure(plain)


def same_meaning(before: str, after: str, columns_before: Columns, columns_after: Columns) -> bool:
    """True if only spelling or layout changed. The columns are those of the tables each query reads."""
    if before == after and _columns_read(before, columns_before) == _columns_read(after, columns_after):
        return True
    return canonical(before, columns_before) == canonical(after, columns_after)


def _columns_read(sql: str, columns: Columns) -> dict[str, list[str]]:
    """The columns, in their order, of all tables that a query names."""
    text = sql.replace('"', "").lower()
    return {table: list(types) for table, types in columns.items() if table in text}


def _tokens(sql: str) -> str:
    try:
        return " ".join(f"{t.token_type.value}:{t.text}" for t in Tokenizer(dialect=DIALECT).tokenize(sql))
    except SqlglotError:
        return " ".join(sql.split())


def without_parentheses(tree: exp.Expression) -> exp.Expression:
    """The tree without parentheses, which its structure makes redundant."""
    for node in reversed(list(tree.find_all(exp.Paren))):
        if not isinstance(node.this, exp.Query):
            inner = node.this.pop()
            if node is tree:
                tree = inner
            else:
                node.replace(inner)
    return tree


def _plain(tree: exp.Expression) -> exp.Expression:
    """Without quotes, capitals and parentheses that change nothing; one word where several mean the same."""
    tree = without_parentheses(tree.copy())
    for node in tree.walk():
        if isinstance(node, exp.Identifier):
            node.set("this", node.name.lower())
            node.set("quoted", False)
        elif isinstance(node, exp.DataType) and node.this is exp.DataType.Type.VARCHAR:
            node.set("this", exp.DataType.Type.TEXT)
        elif isinstance(node, exp.Ordered):
            node.set("desc", bool(node.args.get("desc")))
    drop_default_join_kinds(tree)
    return tree


def drop_default_join_kinds(tree: exp.Expression) -> None:
    """Takes `inner` and `outer` out of joins, which mean the same without."""
    for join in tree.find_all(exp.Join):
        if (join.args.get("kind") or "").upper() in ("INNER", "OUTER"):
            join.set("kind", None)


def _resolved(tree: exp.Expression, columns: Columns) -> exp.Expression:
    """Stars and qualifiers written out, columns that nothing reads dropped, aliases numbered, CTEs named by content."""
    schema: dict[str, Any] = {}
    for table, types in columns.items():
        level = schema
        *folders, name = table.split(".")
        for folder in folders:
            level = level.setdefault(folder, {})
        level[name] = {column: kind or "unknown" for column, kind in types.items()}
    tree = qualify(
        tree,
        dialect=DIALECT,
        schema=schema,
        quote_identifiers=False,
        identify=False,
        validate_qualify_columns=False,
        isolate_tables=False,
    )
    if not any(isinstance(node, (exp.Unnest, exp.Explode)) for node in tree.walk()):
        tree = pushdown_projections(tree, schema=schema, dialect=DIALECT)
    tree = eliminate_subqueries(tree)
    root = build_scope(tree)
    if root is None:
        raise ValueError("no query")
    names: dict[int, str] = {}
    for scope in root.traverse():
        _number_aliases(scope, names)
    if (with_ := tree.args.get("with_")) is not None and not with_.args.get("recursive"):
        tree.set("with_", None)
    return tree


def _number_aliases(scope: Scope, names: dict[int, str]) -> None:
    """Rename the sources of a scope by position, and the CTE they are by its content; children come first."""
    renamed: dict[str, str] = {}
    for position, (alias, (_, source)) in enumerate(scope.selected_sources.items()):
        renamed[alias] = f"_{position}"
        for node in scope.tables if isinstance(source, Scope) else ():
            if node.alias_or_name == alias and id(source.expression) in names:
                parts = [
                    exp.to_identifier(part) for part in reversed(names[id(source.expression)].split("."))
                ]
                for part, value in zip(("this", "db", "catalog"), [*parts, None, None], strict=False):
                    node.set(part, value)
    for column in scope.columns:
        if column.table in renamed:
            column.set("table", exp.to_identifier(renamed[column.table]))
    for node in [*scope.tables, *scope.derived_tables]:
        if node.alias_or_name in renamed:
            node.set("alias", exp.TableAlias(this=exp.to_identifier(renamed[node.alias_or_name])))
    if scope.is_cte:
        names[id(scope.expression)] = _passed_through(scope) or f"cte_{_digest(structure(scope.expression))}"


def _passed_through(scope: Scope) -> str | None:
    """The table or CTE that a CTE hands on unchanged: `contacts as (select * from crm.contacts)`."""
    select = scope.expression
    if not isinstance(select, exp.Select) or len(scope.selected_sources) != 1:
        return None
    if any(
        value
        for key, value in select.args.items()
        if key not in ("expressions", "from_", "with_", "kind", "hint")
    ):
        return None
    if any(
        not isinstance(c.unalias(), exp.Column) or c.alias_or_name != c.unalias().name for c in select.selects
    ):
        return None
    table = next(iter(scope.tables), None)
    return None if table is None else ".".join(part.name for part in table.parts)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def structure(node: Any) -> str:
    """All of a tree but its layout, as a text: unlike SQL it needs no parentheses to say what belongs together.

    Operands of `and`, `or` and `=` are sorted, since their order does not count.
    """
    if isinstance(node, list):
        return "[" + ", ".join(structure(n) for n in node) + "]"
    if not isinstance(node, exp.Expression):
        return repr(node.lower() if isinstance(node, str) and not node.startswith("'") else node)
    if isinstance(node, exp.Literal):
        return f"literal({node.this!r}, {node.is_string})"
    if isinstance(node, exp.Identifier):
        return node.name
    if isinstance(node, (exp.And, exp.Or)):
        return f"{node.key}({', '.join(sorted(_operands(node, type(node))))})"
    if isinstance(node, exp.EQ):
        return f"eq({', '.join(sorted([structure(node.left), structure(node.right)]))})"
    parts = [
        f"{name}={structure(value)}"
        for name, value in sorted(node.args.items())
        if value is not None and value is not False and value != []
    ]
    return f"{node.key}({', '.join(parts)})"


def _operands(node: exp.Expression, kind: type[exp.Expression]) -> list[str]:
    sides = [node.args["this"], node.args["expression"]]
    return [text for s in sides for text in (_operands(s, kind) if type(s) is kind else [structure(s)])]
