"""What `*`, `t.*` and `columns(…)` stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from sluice.lineage import functions
from sluice.lineage.expressions import Expressions
from sluice.lineage.scope import Column, Dep, Relation, Scope, union


class Stars(Expressions):
    """Expands stars."""

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

    def pick_columns(self, node: exp.Expression, scope: Scope) -> list[Column] | None:
        """The columns that `*` (with exclude, replace, rename) or `columns(…)` mean; None if that is not known."""
        if isinstance(node, exp.Columns):
            selector = node.this
            if is_star(selector):
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

    def expand_columns(self, node: exp.Expression, scope: Scope) -> list[Column] | None:
        """`f(columns(…))` once per picked column; `f(*columns(…))` once with all of them."""
        star = pattern_star(node)
        if star is not None:
            offered = self.expand_star(star, scope)
            if offered is None or offered.open is not None:
                return None
            names = functions.match_star_pattern(node, star, [column.name for column in offered.columns])
            return None if names is None else [column for column in offered.columns if column.name in names]
        picker = node.find(exp.Columns)
        picked = self.pick_columns(picker, scope) if picker is not None else None
        if picked is None or picker is None:
            return None
        if picker.args.get("unpack") and picker is node:
            return picked
        if picker.args.get("unpack"):
            bound = {f"\0{index}": column.dep for index, column in enumerate(picked)}
            dep = self.expression(_with_arguments(node, list(bound)), scope.with_parameters(bound))
            return [Column(functions.auto_name(node), dep, auto=True)]
        return [self._for_column(node, column, scope) for column in picked]

    def _for_column(self, node: exp.Expression, column: Column, scope: Scope) -> Column:
        if isinstance(node, exp.Columns):
            return column
        inner = scope.with_parameters({"\0": column.dep})
        dep = self.expression(_with_arguments(node, ["\0"]), inner)
        return Column(column.name, dep)


def _lower_parts(node: exp.Expression) -> tuple[str, ...]:
    """A column or identifier as the parts of its name, lower case."""
    parts = node.parts if isinstance(node, exp.Column) else [node]
    return tuple(part.name.lower() for part in parts)


def _star_owner(node: exp.Expression) -> tuple[str, ...]:
    """`t.*` -> ("t",)."""
    return tuple(part.name for part in node.parts[:-1]) if isinstance(node, exp.Column) else ()


def is_star(node: exp.Expression) -> bool:
    return isinstance(node, exp.Star) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star))


def pattern_star(node: exp.Expression) -> exp.Expression | None:
    """The star of `* like 'a%'` and its relatives; None for anything else."""
    if isinstance(node, exp.Not):
        return pattern_star(node.this)
    is_pattern = isinstance(node, exp.Binary) and is_star(node.this)
    return node.this if is_pattern and not isinstance(node, exp.Dot) else None


def _with_arguments(node: exp.Expression, names: list[str]) -> exp.Expression:
    """The expression with every columns(…) replaced by the parameters of these names."""
    copy = node.copy()
    arguments: list[exp.Expression] = [exp.to_identifier(name, quoted=True) for name in names]
    for picker in list(copy.find_all(exp.Columns)):
        replacement = (
            arguments[0].copy()
            if len(arguments) == 1
            else exp.Tuple(expressions=[a.copy() for a in arguments])
        )
        picker.replace(replacement)
    # Replacing keeps the enclosing call, whose kind decides how the arguments are read.
    return copy
