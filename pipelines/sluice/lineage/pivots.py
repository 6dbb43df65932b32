"""PIVOT and UNPIVOT."""

from __future__ import annotations

import itertools

from sqlglot import exp

from sluice.lineage import functions
from sluice.lineage.query_lineage import Kind
from sluice.lineage.scope import EMPTY, Column, Dep, Relation, Scope, alternatives, union, unknown_dep
from sluice.lineage.stars import Stars


class Pivots(Stars):
    """Pivots and unpivots what FROM offers."""

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


def _tuple_parts(node: exp.Expression) -> list[exp.Expression]:
    return list(node.expressions) if isinstance(node, exp.Tuple) else [node]


def _column_names(nodes: list[exp.Expression]) -> set[str]:
    return {column.name.lower() for node in nodes for column in node.find_all(exp.Column)}


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
    return f"{name}_{aggregate.alias if isinstance(aggregate, exp.Alias) else functions.auto_name(aggregate)}"
