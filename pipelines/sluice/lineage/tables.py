"""What a FROM clause offers: tables, joins, laterals, unnest, values, table functions, pivots."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from sluice.lineage import functions
from sluice.lineage.expressions import Expressions, literal_path
from sluice.lineage.model import ROWS, Influence, Kind, ValueSource
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
)

TableColumns = Mapping[str, str]
JSON_EACH_COLUMNS = ("key", "value", "type", "atom", "id", "parent", "fullkey", "path")
SERIES_NAMES = {True: "range", False: "generate_series"}


@dataclass(frozen=True)
class TableMacro:
    """`create macro name(parameters) as table query`."""

    parameters: tuple[str, ...]
    query: exp.Expression


@dataclass(slots=True)
class From:
    """What has been joined so far."""

    items: list[Item]
    merged: dict[str, Dep]
    rows: Dep
    order: Dep


class Schema:
    """Finds tables by full or partial name, as the engine does: `orders`, `shop.orders`, `raw.shop.orders`."""

    def __init__(self, tables: Mapping[str, TableColumns]) -> None:
        self._tables = {tuple(_name_parts(name)): (name, columns) for name, columns in tables.items()}
        self._by_last: dict[str, list[tuple[str, ...]]] = {}
        for parts in self._tables:
            self._by_last.setdefault(parts[-1], []).append(parts)

    def find(self, parts: tuple[str, ...]) -> tuple[str, TableColumns] | None:
        """The key and columns of the one table with that name; None if there is none or more than one."""
        if parts in self._tables:
            return self._tables[parts]
        matches = []
        for known in self._by_last.get(parts[-1], []):
            length = min(len(known), len(parts))
            if known[-length:] == parts[-length:]:
                matches.append(known)
        return self._tables[matches[0]] if len(matches) == 1 else None

    def column_names(self) -> set[str]:
        """All column names of all tables, lower case."""
        return {name.lower() for _, columns in self._tables.values() for name in columns}


def _name_parts(name: str) -> list[str]:
    return [part.strip('"').lower() for part in name.split(".")]


class Tables(Expressions):
    """Walks FROM clauses."""

    schema: Schema
    table_macros: Mapping[str, TableMacro] = {}

    def star(self, scope: Scope, without: Sequence[tuple[str, ...]] = ()) -> Relation:
        """All columns FROM offers, as `*` lists them, but for those named `("t", "a")` in `without`."""
        columns: list[Column] = []
        openings: list[Dep] = []
        unused = dict(scope.merged)
        for item in scope.items:
            for column in item.relation.columns:
                if column.name.lower() in item.hidden:
                    continue
                if any(item.answers_to(name[:-1]) and name[-1] == column.name.lower() for name in without):
                    continue
                merged = unused.pop(column.name.lower(), None)
                columns.append(replace(column, dep=merged) if merged is not None else column)
            if item.relation.open is not None:
                openings.append(item.relation.open)
        return Relation(tuple(columns), open=union(openings) if openings else None)

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

    def _enter(self, scope: Scope, source: From) -> None:
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
            inner = Scope(parent=scope, items=source.items, merged=source.merged, rows=source.rows)
            self._join(nested, inner)
            source = From(inner.items, inner.merged, inner.rows, inner.order)
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

    def _natural_names(self, left: list[Item], right: From) -> list[str] | None:
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
        right: From,
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

    def _source(self, node: exp.Expression, scope: Scope) -> From:
        if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table):
            source = self._parenthesised(node, scope)
        else:
            relation, qualifier = self._relation(node, scope)
            source = self._one(relation, qualifier, node)
        for pivot in node.args.get("pivots") or []:
            source = self._pivoted(pivot, source, scope)
        return source

    def _one(self, relation: Relation, qualifier: tuple[str, ...], node: exp.Expression) -> From:
        alias = node.args.get("alias")
        if isinstance(alias, exp.TableAlias):
            if alias.name:
                qualifier = (alias.name.lower(),)
            names = [identifier.name for identifier in alias.args.get("columns") or []]
            relation = rename_columns(relation, names)
        return From([Item(qualifier, relation)], {}, relation.rows, relation.order)

    def _parenthesised(self, node: exp.Subquery, scope: Scope) -> From:
        """`(t join u using (k))`, with or without an alias."""
        inner = Scope(parent=scope)
        self._enter(inner, self._source(node.this, inner))
        for join in node.this.args.get("joins") or []:
            self._join(join, inner)
        if node.alias:
            relation = replace(rename_duplicates(self.star(inner)), rows=inner.rows, order=inner.order)
            return self._one(relation, (), node)
        return From(inner.items, inner.merged, inner.rows, inner.order)

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
        """A table of the schema; of a table that is not in it nothing is known but what the query names."""
        found = self.schema.find(parts)
        name, columns = found if found is not None else (".".join(parts), {ROWS: ""})
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
        return rename_columns(relation, names)

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
            return self.base_table(tuple(_name_parts(node.expressions[0].name))), (name,)
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
        for step in path or []:
            document = document.step(step)
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

    def _pivoted(self, pivot: exp.Pivot, source: From, scope: Scope) -> From:
        """`t pivot (…)` and `t unpivot (…)`."""
        inner = Scope(parent=scope, items=source.items, merged=source.merged, rows=source.rows)
        relation = self.pivot(pivot, inner)
        return self._one(relation, _pivot_qualifier(pivot, source), pivot)

    def pivot_statement(self, node: exp.Pivot, scope: Scope) -> Relation:
        """`pivot t on …` and `unpivot t on …`."""
        inner = Scope(parent=scope, ctes=self._pivot_ctes(node, scope))
        self._enter(inner, self._source(node.this, inner))
        return self.pivot(node, inner)

    def _pivot_ctes(self, node: exp.Pivot, scope: Scope) -> dict[str, Relation]:
        with_ = node.args.get("with_")
        if with_ is None:
            return {}
        inner = scope.child()
        self.common_tables(with_, inner)
        return inner.ctes

    def common_tables(self, with_: exp.With, scope: Scope) -> None:
        """Adds the relations of a WITH clause to the scope."""
        raise NotImplementedError

    def pivot(self, node: exp.Pivot, scope: Scope) -> Relation:
        """Pivots or unpivots what the scope has in FROM."""
        if node.args.get("unpivot") or node.args.get("into"):
            return self._unpivot(node, scope)
        fields = node.args.get("fields") or []
        keys = list(fields) if fields else list(node.expressions)
        aggregates = list(node.args.get("using") or []) if not fields else list(node.expressions)
        offered = self.star(scope)
        key_columns = [self.expression(key.this if isinstance(key, exp.In) else key, scope) for key in keys]
        pivot = union(key_columns).as_influence(Kind.PIVOT)
        cells = [self.expression(aggregate, scope) for aggregate in aggregates]
        used = _column_names([key.this if isinstance(key, exp.In) else key for key in keys] + aggregates)
        group = node.args.get("group")
        if group is not None:
            groups = self._group_columns(group, scope)
        else:
            groups = [column for column in offered.columns if column.name.lower() not in used]
        grouping = union(column.dep for column in groups).as_influence(Kind.GROUP)
        opening = [offered.open] if offered.open is not None and group is None else []
        rows = union([scope.rows, pivot, grouping])
        names = _pivot_names(keys)
        if names is None or opening:
            cell = union([*(cells or [EMPTY]), pivot, *opening])
            return Relation(tuple(groups), rows=rows, open=cell)
        columns = list(groups)
        for name in names:
            for aggregate, dep in zip(aggregates or [None], cells or [EMPTY], strict=True):
                columns.append(Column(_cell_name(name, aggregate, len(aggregates)), union([dep, pivot])))
        return Relation(tuple(columns), rows=rows)

    def _group_columns(self, group: exp.Group, scope: Scope) -> list[Column]:
        return [
            Column(key.name or key.sql("duckdb"), self.expression(key, scope)) for key in group.expressions
        ]

    def _unpivot(self, node: exp.Pivot, scope: Scope) -> Relation:
        offered = self.star(scope)
        into = node.args.get("into")
        fields = node.args.get("fields") or []
        entries: list[exp.Expression]
        if fields:
            entries = [entry for part in fields for entry in part.expressions]
            name_columns = [part.this.name for part in fields]
            value_nodes = node.expressions
        else:
            entries = list(node.expressions)
            name_columns = [into.this.name] if into is not None else ["name"]
            value_nodes = list(into.expressions) if into is not None else []
        value_names = [part.name for value in value_nodes for part in _tuple_parts(value)] or ["value"]
        slots: list[list[Dep]] = [[] for _ in value_names]
        used: set[str] = set()
        for entry in entries:
            for cells in self._unpivot_cells(entry, scope, offered, len(value_names)):
                for slot, (name, dep) in zip(slots, cells, strict=False):
                    slot.append(dep)
                    used |= name
        every = union(dep for slot in slots for dep in slot)
        kept = [column for column in offered.columns if column.name.lower() not in used]
        names = [Column(name, every.as_influence(Kind.PIVOT)) for name in name_columns]
        values = [
            Column(name, alternatives(slot) if slot else every)
            for name, slot in zip(value_names, slots, strict=True)
        ]
        rows = union([scope.rows, every.as_influence(Kind.PIVOT)])
        return Relation((*kept, *names, *values), rows=rows, open=offered.open)

    def _unpivot_cells(
        self, entry: exp.Expression, scope: Scope, offered: Relation, width: int
    ) -> list[list[tuple[set[str], Dep]]]:
        """The groups of columns that one entry of the ON list turns into rows, with the names it uses up."""
        inner = entry.this if isinstance(entry, (exp.Alias, exp.PivotAlias)) else entry
        if isinstance(inner, (exp.Columns, exp.Star)):
            picked = self.pick_columns(inner, scope)
            if picked is None:
                return [[(set(), unknown_dep("which columns are unpivoted is not known", entry))] * width]
            return [[({column.name.lower()}, column.dep)] for column in picked]
        cells = [(_column_names([part]), self.expression(part, scope)) for part in _tuple_parts(inner)]
        return [cells]

    def pick_columns(self, node: exp.Expression, scope: Scope) -> list[Column] | None:
        """The columns that `*` (with exclude, replace, rename) or `columns(…)` mean; None if it cannot be told."""
        if isinstance(node, exp.Columns):
            selector = node.this
            if isinstance(selector, exp.Star) or (
                isinstance(selector, exp.Column) and isinstance(selector.this, exp.Star)
            ):
                return self.pick_columns(selector, scope)
            offered = self.star(scope)
            names = functions.match_column_names(selector, [column.name for column in offered.columns])
            if names is None or offered.open is not None:
                return None
            return [column for column in offered.columns if column.name in names]
        relation = self.expand_star(node, scope)
        return None if relation is None or relation.open is not None else list(relation.columns)

    def expand_star(self, node: exp.Expression, scope: Scope) -> Relation | None:
        """`*`, `t.*` or `struct.*` with its modifiers; None if there is no such table or struct."""
        star = node if isinstance(node, exp.Star) else node.this
        excepted = [_lower_parts(part) for part in star.args.get("except_") or []]
        qualified = [name for name in excepted if len(name) > 1]
        excluded = {name[0] for name in excepted if len(name) == 1}
        if isinstance(node, exp.Star):
            offered: Relation | None = self.star(scope, qualified)
        else:
            offered = self._qualified_star(node, scope)
            excluded |= {name[-1] for name in qualified}
        if offered is None:
            return None
        renamed = {part.this.name.lower(): part.alias for part in star.args.get("rename") or []}
        replaced = {part.alias.lower(): part.this for part in star.args.get("replace") or []}
        columns: list[Column] = []
        for column in offered.columns:
            key = column.name.lower()
            if key in excluded:
                continue
            dep = self.expression(replaced.pop(key), scope) if key in replaced else column.dep
            columns.append(Column(renamed.pop(key, column.name), dep, column.auto))
        if offered.open is not None:
            columns += [Column(new, offered.open.named(old)) for old, new in renamed.items()]
            columns += [Column(name, self.expression(part, scope)) for name, part in replaced.items()]
        return Relation(tuple(columns), open=offered.open)

    def _qualified_star(self, node: exp.Expression, scope: Scope) -> Relation | None:
        qualifier = tuple(name.lower() for name in _star_owner(node))
        for item in scope.items:
            if item.answers_to(qualifier):
                return Relation(item.relation.columns, open=item.relation.open)
        if not qualifier:
            return None
        return self.struct_columns(scope.resolve(_star_owner(node), node))

    def struct_columns(self, dep: Dep) -> Relation | None:
        """The fields of a struct as columns; None if the value is not known to be a struct."""
        if dep.fields is not None:
            return Relation(tuple(Column(name, dep.step(name)) for name, _ in dep.fields))
        fields = functions.struct_fields(dep.type)
        if fields is None:
            return None
        return Relation(tuple(Column(name, dep.step(name)) for name, _ in fields))


def _lower_parts(node: exp.Expression) -> tuple[str, ...]:
    """A column or identifier as the parts of its name, lower case."""
    parts = node.parts if isinstance(node, exp.Column) else [node]
    return tuple(part.name.lower() for part in parts)


def _star_owner(node: exp.Expression) -> tuple[str, ...]:
    """`t.*` -> ("t",)."""
    return tuple(part.name for part in node.parts[:-1]) if isinstance(node, exp.Column) else ()


def _first(items: list[Item], name: str) -> Dep | None:
    for item in items:
        dep = item.relation.get(name)
        if dep is not None:
            return dep
    openings = [item.relation.open for item in items if item.relation.open is not None]
    return union(o.named(name) for o in openings) if openings else None


def _tuple_parts(node: exp.Expression) -> list[exp.Expression]:
    return list(node.expressions) if isinstance(node, exp.Tuple) else [node]


def _column_names(nodes: list[exp.Expression]) -> set[str]:
    return {column.name.lower() for node in nodes for column in node.find_all(exp.Column)}


def _pivot_qualifier(pivot: exp.Pivot, source: From) -> tuple[str, ...]:
    alias = pivot.args.get("alias")
    if alias is not None and alias.name:
        return (alias.name.lower(),)
    return source.items[0].qualifier if len(source.items) == 1 else ()


def _pivot_names(keys: list[exp.Expression]) -> list[str] | None:
    """The names of the pivoted columns before the aggregate's name is appended; None if the data decides."""
    choices: list[list[str]] = []
    for key in keys:
        if not isinstance(key, exp.In) or not key.expressions:
            return None
        names = [_pivot_value_name(value) for value in key.expressions]
        known = [name for name in names if name is not None]
        if len(known) < len(names):
            return None
        choices.append(known)
    return ["_".join(parts) for parts in itertools.product(*choices)]


def _pivot_value_name(value: exp.Expression) -> str | None:
    if isinstance(value, (exp.Alias, exp.PivotAlias)):
        return value.alias
    if isinstance(value, exp.Tuple):
        parts = [_pivot_value_name(part) for part in value.expressions]
        return None if any(part is None for part in parts) else "_".join(part for part in parts if part)
    if isinstance(value, exp.Literal):
        return value.name
    if isinstance(value, exp.Boolean):
        return str(value.this).lower()
    if isinstance(value, exp.Column) and not value.table:
        return value.name  # `for month in (jan, feb)`: a bare word is a value there
    return None


def _cell_name(name: str, aggregate: exp.Expression | None, count: int) -> str:
    if aggregate is None or (count == 1 and not isinstance(aggregate, exp.Alias)):
        return name
    return f"{name}_{aggregate.alias if isinstance(aggregate, exp.Alias) else auto_name(aggregate)}"


def auto_name(node: exp.Expression) -> str:
    """The name DuckDB gives to an expression without alias, as near as matters."""
    if isinstance(node, exp.Count) and (node.this is None or isinstance(node.this, exp.Star)):
        return "count_star()"
    if isinstance(node, exp.Window):
        return auto_name(node.this)
    return node.sql(dialect="duckdb", normalize_functions="lower", comments=False)
