"""The select list: which columns its entries yield."""

from __future__ import annotations

import re
from dataclasses import replace

from sqlglot import exp

from sluice.lineage import functions
from sluice.lineage.scope import EMPTY, Column, Dep, Relation, Scope, union, unknown_dep
from sluice.lineage.stars import is_star, pattern_star
from sluice.lineage.tables import Tables


class SelectList(Tables):
    """Walks select lists."""

    def projections(self, node: exp.Select, scope: Scope) -> Relation:
        columns: list[Column] = []
        openings: list[Dep] = []
        visible: set[str] = set()
        for part in node.expressions:
            # an expression sees the names to its left, and not those to its right
            visible.add(part.alias.lower() if isinstance(part, exp.Alias) else "")
            aliases = {name: dep for name, dep in scope.aliases.items() if name in visible}
            relation = self.projection(part, replace(scope, aliases=aliases))
            columns += relation.columns
            if relation.open is not None:
                openings.append(relation.open)
        return Relation(tuple(columns), open=union(openings) if openings else None)

    def projection(self, node: exp.Expression, scope: Scope) -> Relation:
        """One entry of the select list; stars, columns(…) and unnest of structs yield several columns."""
        inner = node.this if isinstance(node, exp.Alias) else node
        if is_star(inner):
            relation = self.expand_star(inner, scope)
            if relation is None:
                reason = unknown_dep("no such table or struct, or a struct of unknown fields", node)
                return Relation(open=union([reason, self._struct_of_star(inner, scope)]))
            return relation
        if inner.find(exp.Columns) is not None or pattern_star(inner) is not None:
            expanded = self.expand_columns(inner, scope)
            if expanded is None:
                reason = unknown_dep("which columns are meant is not known", node)
                return Relation(open=union([reason, self.whole_scope(scope)]))
            return self._renamed(node, expanded)
        if isinstance(inner, exp.Explode):
            return self._exploded(node, inner, scope)
        if isinstance(node, exp.Aliases):
            dep = self.expression(node.this, scope)
            return Relation(tuple(Column(name, dep) for name in node.aliases))
        dep = (
            scope.aliases[node.alias.lower()]()
            if self._is_first_alias(node, scope)
            else self.expression(inner, scope)
        )
        if isinstance(node, exp.Alias):
            return Relation((Column(node.alias, dep),))
        if isinstance(inner, (exp.Column, exp.Dot)) and inner.name:
            return Relation((Column(inner.name, dep),))
        return Relation((Column(functions.auto_name(inner), dep, auto=True),))

    def _is_first_alias(self, node: exp.Expression, scope: Scope) -> bool:
        """True if the memo of that alias was made from this very entry (a name may be given twice)."""
        if not isinstance(node, exp.Alias) or node.parent is None:
            return False
        name = node.alias.lower()
        same = [p for p in node.parent.expressions if isinstance(p, exp.Alias) and p.alias.lower() == name]
        return bool(same) and same[0] is node and name in scope.aliases

    def _struct_of_star(self, node: exp.Expression, scope: Scope) -> Dep:
        parts = tuple(part.name for part in node.parts[:-1]) if isinstance(node, exp.Column) else ()
        return scope.resolve(parts, node) if parts else EMPTY

    def _renamed(self, node: exp.Expression, columns: list[Column]) -> Relation:
        """`columns('(.)x') as 'p_\\1'`: the new names are made by the pattern, which DuckDB could tell; rare."""
        if not isinstance(node, exp.Alias) or "\\" not in node.alias:
            names = [node.alias] * len(columns) if isinstance(node, exp.Alias) else [c.name for c in columns]
            return Relation(tuple(replace(c, name=n) for c, n in zip(columns, names, strict=True)))
        pattern = node.this.find(exp.Literal)
        if pattern is None:
            return Relation(open=union(c.dep for c in columns))
        named = []
        for column in columns:
            try:
                match = re.search(pattern.name, column.name)
                name = match.expand(node.alias.replace(r"\0", r"\g<0>")) if match else column.name
            except (re.error, IndexError):
                return Relation(open=union(c.dep for c in columns))
            named.append(replace(column, name=name))
        return Relation(tuple(named))

    def _exploded(self, node: exp.Expression, call: exp.Explode, scope: Scope) -> Relation:
        """`unnest(list)` is a column, `unnest(struct)` one per field; recursive := true goes down to scalars."""
        dep = self.expression(call.this, scope)
        recursive = any("recursive" in part.sql().lower() for part in call.expressions)
        struct = self.struct_columns(dep)
        if recursive:
            return self._exploded_fully(node, dep)
        if struct is not None:
            return struct
        name = node.alias if isinstance(node, exp.Alias) else functions.auto_name(call)
        return Relation((Column(name, dep.step("[]"), auto=not isinstance(node, exp.Alias)),))

    def _exploded_fully(self, node: exp.Expression, dep: Dep) -> Relation:
        while functions.element_type(dep.type) is not None:
            dep = dep.step("[]")
        struct = self.struct_columns(dep)
        if struct is None and dep.type is None:
            reason = unknown_dep("the fields of what is unnested are not known", node)
            return Relation(open=union([dep.computed(), reason]))
        if struct is None:
            return Relation((Column(node.alias_or_name or functions.auto_name(node), dep, auto=True),))
        parts = [self._exploded_fully(exp.column(column.name), column.dep) for column in struct.columns]
        openings = [part.open for part in parts if part.open is not None]
        named = []
        for column, part in zip(struct.columns, parts, strict=True):
            single = len(part.columns) == 1 and part.columns[0].auto
            named += (
                [replace(part.columns[0], name=column.name, auto=False)] if single else list(part.columns)
            )
        return Relation(tuple(named), open=union(openings) if openings else None)
