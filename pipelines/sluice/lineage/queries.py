"""Column lineage of one query.

An abstract run of the query: every clause is walked in the engine's order with sets of source columns in place of
values. sqlglot parses; names are resolved here, because its own qualification expands or rejects what must stay
visible (named windows, USING, aliases used in WHERE) and knows values only, not influences.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from sqlglot import exp
from sqlglot.errors import SqlglotError

from sluice.lineage import functions
from sluice.lineage.macros import ScalarMacro, TableMacro, read_macros
from sluice.lineage.parser_gaps import dropped_names, parse, parse_one
from sluice.lineage.query_lineage import ROWS, ColumnLineage, Kind, QueryLineage, Unknown
from sluice.lineage.schema import Schema, TableColumns
from sluice.lineage.scope import (
    EMPTY,
    Column,
    Dep,
    Item,
    Relation,
    Scope,
    alternatives,
    rename_columns,
    rename_duplicates,
    union,
    unknown,
    unknown_dep,
)
from sluice.lineage.select_list import SelectList

MAX_RECURSION = 25
"""A recursive CTE settles once no round adds a source; real ones need two or three."""


def column_lineage(
    sql: str,
    schema: Mapping[str, TableColumns],
    dialect: str = "duckdb",
    macros: Sequence[str] = (),
    database: str = "",
) -> QueryLineage:
    """For every output column of a query: where its value comes from and what influences it.

    schema: table name (as complete as wanted: `contacts`, `raw.crm.contacts`) -> column -> type ("" if unknown). A
        column named `*` says that the table may have more columns than listed.
    macros: `create macro` statements the query may use; functions that are neither DuckDB's nor among these are
        reported as unknown.
    database: the one the query runs in; names that are not complete then mean what the engine takes them for.

    SQL that cannot be parsed yields no columns and one Unknown; this function does not raise on any SQL.
    """
    try:
        statements = parse(sql, dialect)
    except (SqlglotError, RecursionError) as error:
        first_line = str(error).split("\n")[0]
        return QueryLineage((), unknowns=(unknown(f"not parsed: {first_line}", sql),))
    if len(statements) != 1:
        return QueryLineage((), unknowns=(unknown("not exactly one statement", sql),))
    dropped = dropped_names(sql, statements[0], dialect, {c.lower() for t in schema.values() for c in t})
    return query_lineage(statements[0], schema, macros, dropped, database)


def query_lineage(
    statement: exp.Expression,
    schema: Mapping[str, TableColumns],
    macros: Sequence[str] = (),
    more_unknown: Iterable[Unknown] = (),
    database: str = "",
) -> QueryLineage:
    """The same for a statement already parsed."""
    if isinstance(statement, (exp.Create, exp.Insert)) and isinstance(statement.expression, exp.Expression):
        statement = statement.expression
    if not isinstance(statement, (exp.Query, exp.Pivot, exp.Values)):
        return QueryLineage((), unknowns=(unknown("not a query", statement), *more_unknown))
    scalar_macros, table_macros, bad = read_macros(macros)
    walker = QueryWalker(Schema(schema, database), scalar_macros, table_macros)
    try:
        relation = walker.query(statement, Scope())
    except RecursionError:
        return QueryLineage((), unknowns=(unknown("nested too deeply", statement), *more_unknown))
    return _published(relation, frozenset([*bad, *more_unknown]), statement)


def _published(relation: Relation, lost: frozenset[Unknown], statement: exp.Expression) -> QueryLineage:
    """`lost`: parts of the query that belong to no known clause, so any value may come from them."""
    relation = relation.influenced(Dep(unknown=lost))
    rows = relation.rows.influences
    columns = tuple(_column(column.name, column.dep, relation.rows, lost) for column in relation.columns)
    opening = _column(ROWS, relation.open, relation.rows, lost) if relation.open is not None else None
    unknowns = set(relation.rows.unknown)
    for column in (*columns, *([opening] if opening else [])):
        unknowns |= column.unknown
    if opening is not None:
        unknowns.add(unknown("it has columns whose names the query and the schema do not tell", statement))
    return QueryLineage(columns, rows, opening, tuple(sorted(unknowns)))


def _column(name: str, dep: Dep, rows: Dep, lost: frozenset[Unknown]) -> ColumnLineage:
    return ColumnLineage(
        name=name,
        values=dep.values,
        own=dep.influences - rows.influences,
        rows=rows.influences,
        unknown=dep.unknown | rows.unknown,
        navigable=dep.navigable,
        unresolved=dep.unknown | lost,
    )


def without_ephemerals(sql: str, dialect: str, ephemerals: Collection[str]) -> str:
    """dbt writes ephemeral models into the WITH clause; taken out, they stay nodes of the graph."""
    if not ephemerals:
        return sql
    try:
        statement = parse_one(sql, dialect)
    except SqlglotError:
        return sql
    with_ = statement.args.get("with_")
    if with_ is None:
        return sql
    kept = [cte for cte in with_.expressions if cte.alias.lower() not in ephemerals]
    if kept:
        with_.set("expressions", kept)
    else:
        statement.set("with_", None)
    return statement.sql(dialect=dialect)


class QueryWalker(SelectList):
    """Walks queries: WITH, SELECT, set operations, recursion."""

    def __init__(
        self,
        schema: Schema,
        scalar_macros: Mapping[str, ScalarMacro],
        table_macros: Mapping[str, TableMacro],
    ) -> None:
        self.schema = schema
        self.scalar_macros = scalar_macros
        self.table_macros = table_macros

    def query(self, node: exp.Expression, scope: Scope) -> Relation:
        """The relation a query yields; `scope` is the one around it."""
        if isinstance(node, exp.Pivot):
            return self.pivot_statement(node, scope)
        if isinstance(node, exp.Select):
            return self._select(node, scope.child())
        inner = scope.child()
        if node.args.get("with_") is not None:
            self.common_tables(node.args["with_"], inner)
        if isinstance(node, exp.SetOperation):
            relation = self._set_operation(node, inner)
        elif isinstance(node, exp.Subquery):
            relation = self._subquery(node, inner)
        elif isinstance(node, exp.Values):
            relation = self.values(node, inner)
        elif isinstance(node, exp.Table):
            select = exp.select("*").from_(node.copy())
            return self._select(select, inner)
        else:
            reason = unknown_dep("not a query", node)
            return Relation(rows=reason, open=reason)
        return self._ordered(node, relation, inner)

    def _subquery(self, node: exp.Subquery, scope: Scope) -> Relation:
        if isinstance(node.this, exp.Table):
            select = exp.select("*").from_(exp.Subquery(this=node.this.copy()))
            return self._select(select, scope)
        relation = self.query(node.this, scope)
        alias = node.args.get("alias")
        names = [identifier.name for identifier in alias.args.get("columns") or []] if alias else []
        return rename_columns(relation, names, node)

    # -- WITH

    def common_tables(self, with_: exp.With, scope: Scope) -> None:
        """Adds the relations of a WITH clause to the scope, each seeing those before it."""
        for cte in with_.expressions:
            name = cte.alias.lower()
            names = [identifier.name for identifier in cte.args["alias"].args.get("columns") or []]
            if with_.args.get("recursive") and isinstance(cte.this, exp.Union):
                relation = self._recursive(cte, name, names, scope)
            else:
                relation = self.query(cte.this, scope)
            scope.ctes[name] = rename_columns(rename_duplicates(relation), names, cte)

    def _recursive(self, cte: exp.CTE, name: str, names: list[str], scope: Scope) -> Relation:
        """The smallest answer that contains the start and whatever a further round adds."""
        union_node = cte.this
        inner = scope.child()
        if union_node.args.get("with_") is not None:
            self.common_tables(union_node.args["with_"], inner)
        relation = self._set_sides(
            union_node, self.query(union_node.this, inner), Relation(), inner, start=True
        )
        for _ in range(MAX_RECURSION):
            inner.ctes[name] = rename_columns(rename_duplicates(relation), names, cte)
            step = self.query(union_node.expression, inner)
            following = self._set_sides(union_node, relation, step, inner)
            if cte.args.get("key_expressions"):
                keys = union(column.dep for column in following.columns).as_influence(Kind.DISTINCT)
                following = following.influenced(keys)
            if following == relation:
                return relation
            relation = following
        return relation.influenced(unknown_dep("recursion did not settle", cte))

    # -- set operations

    def _set_operation(self, node: exp.SetOperation, scope: Scope) -> Relation:
        return self._set_sides(node, self.query(node.this, scope), self.query(node.expression, scope), scope)

    def _set_sides(
        self, node: exp.SetOperation, left: Relation, right: Relation, scope: Scope, start: bool = False
    ) -> Relation:
        """UNION takes values from both sides; EXCEPT and INTERSECT take the left's and compare with the right's."""
        if start:
            columns, opening, problem = left.columns, left.open, EMPTY
        else:
            columns, opening, problem = self._pair(node, left, right)
        rows = [left.rows, right.rows, problem]
        compared = node.args.get("distinct") or not isinstance(node, exp.Union)
        if compared:
            kind = Kind.DISTINCT if isinstance(node, exp.Union) else Kind.SET_OPERATION
            rows.append(union([left.every_column(), right.every_column()]).as_influence(kind))
        order = EMPTY if compared else union([left.order, right.order])
        return Relation(columns, union(rows), order, opening)

    def _pair(
        self, node: exp.SetOperation, left: Relation, right: Relation
    ) -> tuple[tuple[Column, ...], Dep | None, Dep]:
        opening = union([d for d in (left.open, right.open) if d is not None])
        is_open = left.open is not None or right.open is not None
        takes_both = isinstance(node, exp.Union)
        if node.args.get("by_name"):
            columns = [
                Column(c.name, alternatives([c.dep, *_listed(right, c.name)]), c.auto) for c in left.columns
            ]
            columns += [
                Column(c.name, alternatives([*_listed(left, c.name), c.dep]), c.auto)
                for c in right.columns
                if left.get(c.name) is None
            ]
            return tuple(columns), opening if is_open else None, EMPTY
        if is_open:
            every = union([left.every_column(), right.every_column()])
            problem = unknown_dep("which columns the set operation pairs is not known", node)
            columns = [replace(c, dep=union([c.dep, every, problem])) for c in left.columns]
            return tuple(columns), union([every, problem]) if left.open is not None else None, problem
        if len(left.columns) != len(right.columns):
            problem = unknown_dep("the sides of the set operation differ in their number of columns", node)
            return left.columns, None, problem
        paired = tuple(
            replace(ours, dep=alternatives([ours.dep, theirs.dep])) if takes_both else ours
            for ours, theirs in zip(left.columns, right.columns, strict=True)
        )
        return paired, None, EMPTY

    # -- SELECT

    def _select(self, node: exp.Select, scope: Scope) -> Relation:
        if node.args.get("with_") is not None:
            self.common_tables(node.args["with_"], scope)
        self.from_clause(node, scope)
        for window in node.args.get("windows") or []:
            scope.windows[window.name.lower()] = window
        self._add_aliases(node, scope)
        projections = self.projections(node, scope)
        rows = [scope.rows, *self._unnested(node, scope), *self._grouped(node, scope, projections)]
        for clause, kind in (("where", Kind.FILTER), ("having", Kind.HAVING), ("qualify", Kind.QUALIFY)):
            rows += self._conditions(node.args.get(clause), scope, kind)
        aggregated = node.args.get("group") is not None or any(
            functions.has_aggregate(part) for part in node.expressions
        )
        order = EMPTY if aggregated else union([scope.order, *self._sorted_by_windows(node, scope)])
        relation = Relation(projections.columns, union(rows), order, projections.open)
        relation = self._distinct(node, relation, scope)
        return self._ordered(node, relation, scope)

    def _add_aliases(self, node: exp.Select, scope: Scope) -> None:
        """Output names that other clauses may use. Each is worked out when first used, and not inside itself."""
        for part in node.expressions:
            if isinstance(part, exp.Alias) and part.alias.lower() not in scope.aliases:
                scope.aliases[part.alias.lower()] = self._lazy_alias(part, scope, dict(scope.aliases))

    def _lazy_alias(
        self, part: exp.Alias, scope: Scope, before: dict[str, Callable[[], Dep]]
    ) -> Callable[[], Dep]:
        """`before`: the names to the left, the only ones that the expression sees."""
        cached: list[Dep] = []

        def value() -> Dep:
            if not cached:
                inner = replace(scope, aliases=before, aliases_first=False)
                cached.append(self.expression(part.this, inner))
            return cached[0]

        return value

    def _conditions(self, clause: exp.Expression | None, scope: Scope, kind: Kind) -> list[Dep]:
        if clause is None:
            return []
        return [self._condition(part, scope, kind) for part in _conjuncts(clause.this)]

    def _condition(self, node: exp.Expression, scope: Scope, kind: Kind) -> Dep:
        picker = node.find(exp.Columns)
        if picker is None:
            return self.expression(node, scope).as_influence(kind)
        expanded = self.expand_columns(node, scope)
        if expanded is None:
            return unknown_dep("which columns the condition reads is not known", node)
        return union(column.dep for column in expanded).as_influence(kind)

    def _unnested(self, node: exp.Select, scope: Scope) -> list[Dep]:
        """`select unnest(l)` yields a row per element."""
        found = [
            part
            for projection in node.expressions
            for part in projection.find_all(exp.Explode)
            if part.find_ancestor(exp.Select) is node
        ]
        return [self.expression(part.this, scope).as_influence(Kind.UNNEST) for part in found]

    def _sorted_by_windows(self, node: exp.Select, scope: Scope) -> list[Dep]:
        """The engine leaves rows in the order its last window sorted them; LIMIT without ORDER BY shows it."""
        clauses = [*node.expressions, *([node.args["qualify"]] if node.args.get("qualify") else [])]
        windows = [
            window
            for clause in clauses
            for window in clause.find_all(exp.Window)
            if window.find_ancestor(exp.Select) is node
        ]
        return [dep for window in windows for dep in self._window_clauses(window, scope)]

    def _grouped(self, node: exp.Select, scope: Scope, projections: Relation) -> list[Dep]:
        group = node.args.get("group")
        if group is None:
            return []
        keys = list(group.expressions)
        for variant in ("grouping_sets", "rollup", "cube"):
            for part in group.args.get(variant) or []:
                keys += part.expressions if isinstance(part, exp.Expression) else []
        deps = [self._group_key(key, scope, projections) for key in keys]
        if group.args.get("all"):
            plain = [part for part in node.expressions if not functions.has_aggregate(part)]
            deps += [self.projection(part, scope).every_column() for part in plain]
        return [dep.as_influence(Kind.GROUP) for dep in deps]

    def _group_key(self, key: exp.Expression, scope: Scope, projections: Relation) -> Dep:
        if isinstance(key, exp.Literal) and not key.is_string:
            return _ordinal(key, projections)
        return self.expression(key, scope)

    def _distinct(self, node: exp.Select, relation: Relation, scope: Scope) -> Relation:
        distinct = node.args.get("distinct")
        if distinct is None:
            return relation
        on = distinct.args.get("on")
        if on is None:
            every = relation.every_column().as_influence(Kind.DISTINCT)
            return replace(relation.influenced(every), order=EMPTY)
        keys = on.expressions if isinstance(on, exp.Tuple) else [on]
        inner = replace(scope, aliases_first=False)
        deps = [self._group_key(key, inner, relation) for key in keys]
        order = node.args.get("order")
        deps += self._order_keys(order, relation, scope) if order else [relation.order]
        return relation.influenced(union(deps).as_influence(Kind.DISTINCT))

    # -- ORDER BY and LIMIT

    def _ordered(self, node: exp.Expression, relation: Relation, scope: Scope) -> Relation:
        """ORDER BY alone only orders; with LIMIT or OFFSET it decides which rows there are."""
        order = node.args.get("order")
        if order is not None:
            if not isinstance(node, exp.Select):
                scope = Scope(parent=scope.parent, items=[Item((), relation)], ctes=scope.ctes)
            keys = union(self._order_keys(order, relation, scope))
            relation = replace(relation, order=keys)
        limits = [node.args.get("limit"), node.args.get("offset"), node.args.get("sample")]
        if any(limit is not None for limit in limits):
            amounts = [
                self.expression(limit.args.get("expression"), scope)
                for limit in limits[:2]
                if limit is not None
            ]
            relation = relation.influenced(
                relation.order.as_influence(Kind.ORDER_LIMIT), union(amounts).as_influence(Kind.ORDER_LIMIT)
            )
        return relation

    def _order_keys(self, order: exp.Expression, relation: Relation, scope: Scope) -> list[Dep]:
        inner = replace(
            scope,
            aliases={**scope.aliases, **{c.name.lower(): _constant(c.dep) for c in relation.columns}},
            aliases_first=True,
        )
        deps: list[Dep] = []
        for ordered in order.expressions:
            key = ordered.this if isinstance(ordered, exp.Ordered) else ordered
            if isinstance(key, exp.Var) and key.name.upper() == "ALL":
                deps.append(relation.every_column())
            elif isinstance(key, exp.Literal) and not key.is_string:
                deps.append(_ordinal(key, relation))
            elif key.find(exp.Columns) is not None:
                deps += [c.dep for c in self.expand_columns(key, scope) or []]
            else:
                deps.append(self.expression(key, inner))
        return deps


def _constant(dep: Dep) -> Callable[[], Dep]:
    return lambda: dep


def _listed(relation: Relation, name: str) -> list[Dep]:
    """The column of that name, or what an unlisted one may be."""
    dep = relation.get(name)
    if dep is None and relation.open is not None:
        dep = relation.open.named(name)
    return [dep] if dep is not None else []


def _ordinal(key: exp.Literal, relation: Relation) -> Dep:
    index = int(key.name) - 1 if str(key.name).isdigit() else -1
    if relation.open is not None or not 0 <= index < len(relation.columns):
        return unknown_dep("which column the position means is not known", key)
    return relation.columns[index].dep


def _conjuncts(node: exp.Expression) -> list[exp.Expression]:
    return list(node.flatten()) if isinstance(node, exp.And) else [node]
