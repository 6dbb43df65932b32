"""What a FROM clause offers: tables, joins, laterals, unnest, values, table functions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

from sqlglot import exp

from sluice.lineage import functions
from sluice.lineage.expressions import literal_path
from sluice.lineage.macros import TableMacro
from sluice.lineage.pivots import Pivots
from sluice.lineage.query_lineage import ROWS, Influence, Kind, ValueSource
from sluice.lineage.schema import Schema, name_parts
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
    unknown_dep,
    walk,
)
from sluice.sql import quoted

JSON_EACH_COLUMNS = ("key", "value", "type", "atom", "id", "parent", "fullkey", "path")
SERIES_NAMES = {True: "range", False: "generate_series"}


class Tables(Pivots):
    """Walks FROM clauses."""

    schema: Schema
    table_macros: Mapping[str, TableMacro] = {}

    def from_clause(self, node: exp.Expression, scope: Scope) -> None:
        """Fills the scope with the tables of the FROM clause of `node`, one join after the other."""
        start = node.args.get("from_")
        if start is None:
            return
        self._enter(scope, self._source(start.this, scope))
        for join in [*(start.this.args.get("joins") or []), *(node.args.get("joins") or [])]:
            self._join(join, scope)
        for lateral in node.args.get("laterals") or []:
            self._enter(scope, self._source(lateral, scope))

    def _enter(self, scope: Scope, source: Scope) -> None:
        scope.items = [*scope.items, *source.items]
        scope.merged = {**scope.merged, **source.merged}
        scope.rows = union([scope.rows, source.rows])
        scope.order = union([scope.order, source.order])

    # -- joins

    def _join(self, join: exp.Join, scope: Scope) -> None:
        left = list(scope.items)
        left_merged = dict(scope.merged)
        source = self._source(join.this, scope)
        for nested in join.this.args.get("joins") or []:
            inner = replace(source, parent=scope, order=EMPTY)
            self._join(nested, inner)
            source = inner
        self._enter(scope, source)
        method = str(join.args.get("method") or "").upper()
        conditions = [self.expression(join.args.get("on"), scope)]
        names = [identifier.name.lower() for identifier in join.args.get("using") or []]
        if method == "NATURAL":
            common = self._natural_names(left, source)
            if common is None:
                conditions.append(unknown_dep("natural join of a table whose columns are not known", join))
            names = common or []
        conditions += self._merge(join, names, left, left_merged, source, scope)
        if method == "POSITIONAL":
            conditions.append(scope.order.as_influence(Kind.JOIN))
        scope.rows = union([scope.rows, union(conditions).as_influence(Kind.JOIN)])
        if str(join.args.get("kind") or "").upper() in ("SEMI", "ANTI"):
            scope.items = [replace(item) for item in scope.items[: len(left)]]
            scope.merged = left_merged

    def _natural_names(self, left: list[Item], right: Scope) -> list[str] | None:
        if any(item.relation.open is not None for item in [*left, *right.items]):
            return None
        right_names = {c.name.lower() for item in right.items for c in item.relation.columns}
        names = [
            c.name.lower() for item in left for c in item.relation.columns if c.name.lower() in right_names
        ]
        return list(dict.fromkeys(names))

    def _merge(
        self,
        join: exp.Join,
        names: list[str],
        left: list[Item],
        left_merged: dict[str, Dep],
        right: Scope,
        scope: Scope,
    ) -> list[Dep]:
        """USING and NATURAL: the named columns become one; which side's value it has depends on the join."""
        side = str(join.args.get("side") or "").upper()
        used: list[Dep] = []
        for name in names:
            ours = left_merged.get(name) or _first(left, name)
            theirs = right.merged.get(name) or _first(right.items, name)
            if ours is None or theirs is None:
                used.append(unknown_dep(f"using({name}): no such column on both sides", join))
            parts = [dep for dep in (ours, theirs) if dep is not None]
            used += parts
            if side == "FULL":
                scope.merged[name] = replace(alternatives(parts).computed(), navigable=False)
            else:
                chosen = theirs if side == "RIGHT" else ours
                scope.merged[name] = chosen if chosen is not None else union(parts)
        if names:
            hidden = frozenset(names)
            scope.items = [
                item if index < len(left) else replace(item, hidden=item.hidden | hidden)
                for index, item in enumerate(scope.items)
            ]
        return used

    # -- what can stand in FROM

    def _source(self, node: exp.Expression, scope: Scope) -> Scope:
        if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table):
            source = self._parenthesised(node, scope)
        else:
            relation, qualifier = self._relation(node, scope)
            source = self._one(relation, qualifier, node)
        for pivot in node.args.get("pivots") or []:
            source = self._pivoted(pivot, source, scope)
        return source

    def _one(self, relation: Relation, qualifier: tuple[str, ...], node: exp.Expression) -> Scope:
        alias = node.args.get("alias")
        if isinstance(alias, exp.TableAlias):
            if alias.name:
                qualifier = (alias.name.lower(),)
            names = [identifier.name for identifier in alias.args.get("columns") or []]
            relation = rename_columns(relation, names, node)
        return Scope(items=[Item(qualifier, relation)], rows=relation.rows, order=relation.order)

    def _parenthesised(self, node: exp.Subquery, scope: Scope) -> Scope:
        """`(t join u using (k))`, with or without an alias."""
        inner = Scope(parent=scope)
        self._enter(inner, self._source(node.this, inner))
        for join in node.this.args.get("joins") or []:
            self._join(join, inner)
        if node.alias:
            relation = replace(rename_duplicates(self.star(inner)), rows=inner.rows, order=inner.order)
            return self._one(relation, (), node)
        return inner

    def _relation(self, node: exp.Expression, scope: Scope) -> tuple[Relation, tuple[str, ...]]:
        if isinstance(node, exp.Lateral):
            return self._relation(node.this, scope)
        if isinstance(node, exp.Table):
            if isinstance(node.this, exp.Func):
                return self._table_function(node.this, scope)
            return self._table(node, scope)
        if isinstance(node, exp.Unnest):
            return self._unnest(node.expressions, scope, node.args.get("offset")), ("unnest",)
        if isinstance(node, exp.Explode):
            return self._unnest([node.this], scope), ("unnest",)
        if isinstance(node, exp.Values):
            return self.values(node, scope), ("valueslist",)
        if isinstance(node, exp.Func):
            return self._table_function(node, scope)
        return rename_duplicates(self.query(node, scope)), ()

    def _table(self, node: exp.Table, scope: Scope) -> tuple[Relation, tuple[str, ...]]:
        parts = tuple(part.name.lower() for part in node.parts)
        cte = scope.cte(parts[-1]) if len(parts) == 1 or parts[:-1] == ("recurring",) else None
        if cte is not None:
            return cte, (parts[-1],)
        return self.base_table(parts), parts

    def base_table(self, parts: tuple[str, ...]) -> Relation:
        """A table of the schema; of any other table, only the columns that the query names are known."""
        found = self.schema.find(parts)
        name, columns = found if found is not None else (_written(parts), {ROWS: ""})
        rows = Dep(influences=frozenset({Influence(name, ROWS, Kind.ROWS)}))
        listed = tuple(
            Column(
                column,
                Dep(frozenset({ValueSource(name, column)}), navigable=True, type=functions.parse_type(kind)),
            )
            for column, kind in columns.items()
            if column != ROWS
        )
        opening = Dep(frozenset({ValueSource(name, ROWS)}), navigable=True) if ROWS in columns else None
        return Relation(listed, rows=rows, open=opening)

    def values(self, node: exp.Values, scope: Scope) -> Relation:
        """`values (1, 'a'), (2, 'b')`."""
        rows = [
            list(part.expressions) if isinstance(part, exp.Tuple) else [part] for part in node.expressions
        ]
        columns = [
            Column(f"col{index}", alternatives(self.expression(cell, scope) for cell in cells))
            for index, cells in enumerate(itertools.zip_longest(*rows))
        ]
        relation = Relation(tuple(columns))
        alias = node.args.get("alias")
        names = [identifier.name for identifier in alias.args.get("columns") or []] if alias else []
        return rename_columns(relation, names, node)

    def _unnest(
        self, arguments: list[exp.Expression], scope: Scope, ordinality: exp.Expression | bool | None = None
    ) -> Relation:
        deps = [self.expression(argument, scope) for argument in arguments]
        columns = [Column("unnest", dep.step("[]")) for dep in deps]
        if ordinality:
            name = ordinality.name if isinstance(ordinality, exp.Expression) else "ordinality"
            columns.append(Column(name, EMPTY))
        return Relation(tuple(columns), rows=union(deps).as_influence(Kind.UNNEST))

    def _table_function(self, node: exp.Func, scope: Scope) -> tuple[Relation, tuple[str, ...]]:
        name = functions.function_name(node)
        arguments = self.children(node, scope) if not isinstance(node, exp.ReadCSV) else EMPTY
        influence = arguments.as_influence(Kind.TABLE_FUNCTION)
        if isinstance(node, exp.GenerateSeries):
            name = SERIES_NAMES[bool(node.args.get("is_end_exclusive"))]
            return Relation((Column(name, arguments.computed()),), rows=influence), (name,)
        if name == "unnest":
            return self._unnest(list(node.expressions), scope), ("unnest",)
        if name == "json_each" and isinstance(node, exp.Anonymous):
            return self._json_each(node, scope), (name,)
        macro = self.table_macros.get(name)
        if macro is not None:
            return self._table_macro(node, macro, scope), (name,)
        if (
            name == "query_table"
            and len(node.expressions) == 1
            and isinstance(node.expressions[0], exp.Literal)
        ):
            return self.base_table(tuple(name_parts(node.expressions[0].name))), (name,)
        reason = unknown_dep(f"table function {name}: what it reads and yields is not known", node)
        everything = union([arguments.computed(), reason])
        return Relation(rows=union([influence, reason]), open=everything), (name,)

    def _json_each(self, node: exp.Anonymous, scope: Scope) -> Relation:
        """`json_each(document, path)`: a row per element; `value` is the element, the rest describes it."""
        document = self.expression(node.expressions[0], scope)
        keys = [self.expression(key, scope) for key in node.expressions[1:]]
        path = literal_path(node, list(node.expressions[1:]))
        if path is None:
            document = union([document, *keys]).computed()
        document = walk(document, path or [])
        element = document.step("[]")
        columns = [
            Column(
                name,
                replace(element.computed(), navigable=element.navigable)
                if name == "value"
                else document.computed(),
            )
            for name in JSON_EACH_COLUMNS
        ]
        return Relation(tuple(columns), rows=document.as_influence(Kind.UNNEST))

    def _table_macro(self, node: exp.Func, macro: TableMacro, scope: Scope) -> Relation:
        bound = {
            parameter: self.expression(argument, scope)
            for parameter, argument in zip(macro.parameters, node.expressions, strict=False)
        }
        return self.query(macro.query, Scope(parameters=bound))

    # -- pivots

    def _pivoted(self, pivot: exp.Pivot, source: Scope, scope: Scope) -> Scope:
        """`t pivot (…)` and `t unpivot (…)`."""
        inner = replace(source, parent=scope, order=EMPTY)
        relation = self.pivot(pivot, inner)
        return self._one(relation, _pivot_qualifier(pivot, source), pivot)

    def pivot_statement(self, node: exp.Pivot, scope: Scope) -> Relation:
        """`pivot t on …` and `unpivot t on …`."""
        inner = scope.child()
        if node.args.get("with_") is not None:
            self.common_tables(node.args["with_"], inner)
        self._enter(inner, self._source(node.this, inner))
        return self.pivot(node, inner)

    def common_tables(self, with_: exp.With, scope: Scope) -> None:
        """Adds the relations of a WITH clause to the scope."""
        raise NotImplementedError


def _written(parts: tuple[str, ...]) -> str:
    """A name as one text; a part with a dot is quoted, or it would be taken for another table's name."""
    return ".".join(quoted(part) if "." in part else part for part in parts)


def _first(items: list[Item], name: str) -> Dep | None:
    for item in items:
        dep = item.relation.get(name)
        if dep is not None:
            return dep
    openings = [item.relation.open for item in items if item.relation.open is not None]
    return union(o.named(name) for o in openings) if openings else None


def _pivot_qualifier(pivot: exp.Pivot, source: Scope) -> tuple[str, ...]:
    alias = pivot.args.get("alias")
    if alias is not None and alias.name:
        return (alias.name.lower(),)
    return source.items[0].qualifier if len(source.items) == 1 else ()
