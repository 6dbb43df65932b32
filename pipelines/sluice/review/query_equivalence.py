"""Whether two queries mean the same: compared as trees, in which spelling and layout do not count.

Formatting, comments, quotes, case, redundant parentheses, names of CTEs and table aliases, the order of CTEs and of
conditions joined by `and`, qualifiers, `select *` for a list of the same columns, columns that nothing reads, and the
order of columns that are read by name make no difference. Everything else does; when in doubt two queries differ, since
a false "text only" would hide a change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.eliminate_subqueries import eliminate_subqueries
from sqlglot.optimizer.pushdown_projections import pushdown_projections
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope
from sqlglot.tokens import Tokenizer

from sluice.dbt.manifest import bare
from sluice.lineage import Graph
from sluice.lineage.parser_gaps import dropped_names, parse_one

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
    tree: exp.Expression = parse_one(sql, DIALECT)
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
        resolved = _resolved(plain.copy(), columns)
        # what reads columns without naming them means something else once there are others, or in another order
        implicit = f" of {_columns_read(sql, columns)}" if _reads_unnamed(resolved, _aliases(plain)) else ""
        if (with_ := resolved.args.get("with_")) is not None and not with_.args.get("recursive"):
            resolved.set("with_", None)  # CTEs are named by their content
        return structure(resolved) + implicit
    except (SqlglotError, KeyError, ValueError, AttributeError, TypeError, IndexError):
        return f"unresolved: {structure(plain)} of {_columns_read(sql, columns)}"


def same_query(before: str, after: str) -> bool:
    """True if only spelling or layout changed, whatever the columns of the tables that the query reads."""
    return before == after or canonical(before, {}) == canonical(after, {})


def same_meaning(before: str, after: str, columns_before: Columns, columns_after: Columns) -> bool:
    """True if only spelling or layout changed. The columns are those of the tables each query reads."""
    if before == after and _columns_read(before, columns_before) == _columns_read(after, columns_after):
        return True
    return canonical(before, columns_before) == canonical(after, columns_after)


def _columns_read(sql: str, columns: Columns) -> dict[str, list[str]]:
    """The columns, in their order, of all tables that a query names."""
    text = sql.replace('"', "").lower()
    return {table: list(types) for table, types in columns.items() if table in text}


def _aliases(tree: exp.Expression) -> set[str]:
    """What tables are called in a query."""
    return {node.alias_or_name for node in tree.find_all(exp.Table, exp.Subquery, exp.CTE)}


def _reads_unnamed(tree: exp.Expression, aliases: Collection[str]) -> bool:
    """True if a resolved query reads columns that it does not name.

    That is a star that is left, a pivot, a natural join, a row, or a table whose columns get names by position.

    The alias of a table, in the place of a column, stands for its whole row."""
    return any(
        isinstance(node, (exp.Pivot, exp.Columns))
        or (isinstance(node, exp.Table) and node.alias_column_names)
        or (isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count))
        or (isinstance(node, exp.Join) and (node.args.get("method") or "").upper() == "NATURAL")
        or (isinstance(node, exp.Column) and not node.table and node.name in aliases)
        for node in tree.walk()
    )


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
    for group in tree.find_all(exp.Group):
        if group.args.get("all") and isinstance(select := group.parent, exp.Select):
            group.set("all", None)
            keys = [c.unalias().copy() for c in select.expressions if not c.find(exp.AggFunc)]
            group.set("expressions", keys)
    if not any(isinstance(node, (exp.Unnest, exp.Explode)) for node in tree.walk()):
        tree = pushdown_projections(tree, schema=schema, dialect=DIALECT)
    tree = eliminate_subqueries(tree)
    root = build_scope(tree)
    if root is None:
        raise ValueError("no query")
    names: dict[int, str] = {}
    by_position = any(table.alias_column_names for table in tree.find_all(exp.Table))
    for scope in root.traverse():
        _number_aliases(scope, names)
        if scope.is_cte and not by_position:
            _sort_columns(scope.expression)
        if scope.is_cte:
            content = f"cte_{_digest(structure(scope.expression))}"
            names[id(scope.expression)] = _passed_through(scope) or content
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
            number = exp.to_identifier(renamed[node.alias_or_name])
            if isinstance(alias := node.args.get("alias"), exp.TableAlias):
                alias.set("this", number)  # names of its columns stay
            else:
                node.set("alias", exp.TableAlias(this=number))


def _sort_columns(query: exp.Expression) -> None:
    """Order the columns of a CTE by name: what reads it names them, since stars are written out.

    The branches of a set operation match by position, unless it is one `by name`.
    """
    if isinstance(query, exp.SetOperation) and query.args.get("by_name"):
        _sort_columns(query.left)
        _sort_columns(query.right)
    if not isinstance(query, exp.Select):
        return
    keys = [node for part in ("group", "order") if (c := query.args.get(part)) for node in c.expressions]
    if not any(isinstance(key.this if isinstance(key, exp.Ordered) else key, exp.Literal) for key in keys):
        query.set("expressions", sorted(query.expressions, key=lambda column: column.alias_or_name))


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

    Operands of `and`, `or` and `=` and keys of a group are sorted, since their order does not count.
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
    if isinstance(node, exp.Group) and not {k for k, v in node.args.items() if v} - {"expressions"}:
        return f"group({', '.join(sorted(map(structure, node.expressions)))})"
    parts = [
        f"{name}={structure(value)}"
        for name, value in sorted(node.args.items())
        if value is not None and value is not False and value != []
    ]
    return f"{node.key}({', '.join(parts)})"


def _operands(node: exp.Expression, kind: type[exp.Expression]) -> list[str]:
    sides = [node.args["this"], node.args["expression"]]
    return [text for s in sides for text in (_operands(s, kind) if type(s) is kind else [structure(s)])]
