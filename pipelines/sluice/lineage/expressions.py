"""What an expression depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from sqlglot import exp, jsonpath
from sqlglot.errors import SqlglotError

from sluice.lineage import functions
from sluice.lineage.macros import ScalarMacro
from sluice.lineage.query_lineage import How, Kind
from sluice.lineage.scope import EMPTY, Dep, Relation, Scope, alternatives, relabel, union, unknown_dep, walk

NO_SOURCE = (
    exp.Literal,
    exp.Boolean,
    exp.Null,
    exp.Placeholder,
    exp.Parameter,
    exp.DataType,
    exp.Var,
    exp.Star,
    exp.JSONPath,
)
FIELD_FUNCTIONS = frozenset(
    "json_extract json_extract_string json_value struct_extract array_extract json_extract_path "
    "json_extract_path_text map_extract_value element_at".split()
)
FIELD_NODES = (
    exp.JSONExtract,
    exp.JSONExtractScalar,
    exp.JSONBExtract,
    exp.JSONBExtractScalar,
    exp.StructExtract,
)


Handler = Callable[[Any, Scope], Dep]


class Expressions:
    """Walks expressions. The query walker, which subqueries need, is the subclass."""

    scalar_macros: Mapping[str, ScalarMacro] = {}

    def query(self, node: exp.Expression, scope: Scope) -> Relation:
        """The relation a subquery yields; `scope` is the one around it."""
        raise NotImplementedError

    def expression(self, node: exp.Expression | None, scope: Scope) -> Dep:
        """What the value of the expression depends on."""
        if node is None or isinstance(node, NO_SOURCE):
            return EMPTY
        for kinds, handler in self._handlers:
            if isinstance(node, kinds):
                return handler(node, scope)
        if functions.is_aggregate(node):
            return self._aggregate(node, scope)
        if isinstance(node, exp.Func):
            return self._function(node, scope)
        return self.children(node, scope).computed()

    @cached_property
    def _handlers(self) -> list[tuple[tuple[type[exp.Expression], ...], Handler]]:
        """Who looks at which syntax; the first that matches does, so special kinds come before general ones."""
        return [
            ((exp.Column,), self._column),
            ((exp.Identifier,), lambda node, scope: scope.resolve((node.name,), node)),
            ((exp.Paren, exp.Alias, exp.Filter, exp.IgnoreNulls, exp.RespectNulls), self._wrapped),
            ((exp.Query, exp.Pivot), lambda node, scope: self.query(node, scope).as_value()),
            ((exp.Exists, exp.In, exp.Any, exp.All, exp.Array), self._with_subquery),
            ((exp.Case, exp.If, exp.Coalesce, exp.Nullif), self._choice),
            ((exp.Cast, exp.TryCast), self._cast),
            ((exp.Dot, exp.Bracket, *FIELD_NODES), self._field),
            ((exp.Window,), self._window),
            ((exp.Lambda, exp.Comprehension), lambda node, scope: self._lambda(node, scope, EMPTY)),
            ((exp.Struct, exp.PropertyEQ, exp.Kwarg), self._struct),
            ((exp.Tuple,), self._row),
            ((exp.ToMap,), self._map),
            # grouping(a) tells which columns a row is grouped by, and nothing of their values
            (
                (exp.Grouping, exp.GroupingId),
                lambda n, scope: self.children(n, scope).as_influence(Kind.GROUP),
            ),
            ((exp.Explode,), lambda node, scope: self.expression(node.this, scope).step("[]")),
            ((exp.PositionalColumn,), self._positional),
            ((exp.WithinGroup,), self._aggregate),
        ]

    def children(self, node: exp.Expression, scope: Scope) -> Dep:
        """All parts of the node together."""
        return union(self.expression(child, scope) for child in node.iter_expressions())

    def _column(self, node: exp.Column, scope: Scope) -> Dep:
        if isinstance(node.this, exp.Star):
            return EMPTY  # count(t.*): the rows, which the relation carries anyway
        return scope.resolve(tuple(part.name for part in node.parts), node)

    def _wrapped(self, node: exp.Expression, scope: Scope) -> Dep:
        inner = self.expression(node.this, scope)
        if not isinstance(node, exp.Filter):
            return inner
        condition = self.expression(node.expression.this, scope).as_influence(Kind.FILTER)
        return replace(
            inner,
            influences=inner.influences | condition.influences,
            unknown=inner.unknown | condition.unknown,
        )

    def whole_scope(self, scope: Scope) -> Dep:
        """Every column that FROM offers: `f(*)`."""
        return union(item.relation.every_column() for item in scope.items)

    # -- subqueries

    def _with_subquery(self, node: exp.Expression, scope: Scope) -> Dep:
        if isinstance(node, exp.Exists) and isinstance(node.this, (exp.Query, exp.Table)):
            relation = self.query(node.this, scope)
            return relabel(
                Dep(influences=relation.rows.influences, unknown=relation.rows.unknown), Kind.EXISTS
            )
        if isinstance(node, exp.Array):
            return self._array(node, scope)
        parts = list(node.iter_expressions())
        deps = []
        for part in parts:
            inner = part.unnest() if isinstance(part, exp.Subquery) else part
            if (part is not node.this and isinstance(inner, exp.Query)) or (
                isinstance(node, (exp.Any, exp.All)) and isinstance(inner, exp.Query)
            ):
                deps.append(self.query(part, scope).as_value().as_influence(Kind.IN_SUBQUERY))
            else:
                deps.append(self.expression(part, scope))
        return union(deps).computed()

    def _array(self, node: exp.Array, scope: Scope) -> Dep:
        if len(node.expressions) == 1 and isinstance(node.expressions[0], exp.Query):
            relation = self.query(node.expressions[0], scope)
            order = relation.order.as_influence(Kind.AGGREGATE_ORDER)
            return union([relation.as_value(), order]).computed(How.AGGREGATION)
        return self.children(node, scope).computed()

    # -- choices, casts, fields

    def _choice(self, node: exp.Expression, scope: Scope) -> Dep:
        """CASE, IF, COALESCE, NULLIF: what may be taken is a value, what decides is an influence."""
        results: list[exp.Expression | None]
        conditions: list[exp.Expression | None]
        if isinstance(node, exp.Case):
            results = [branch.args.get("true") for branch in node.args["ifs"]] + [node.args.get("default")]
            conditions = [branch.this for branch in node.args["ifs"]] + [node.this]
        elif isinstance(node, exp.If):
            results, conditions = [node.args.get("true"), node.args.get("false")], [node.this]
        elif isinstance(node, exp.Nullif):
            results, conditions = [node.this], [node.expression]
        else:
            results, conditions = [node.this, *node.expressions], []
        chosen = alternatives(self.expression(part, scope) for part in results if part is not None)
        deciding = union(self.expression(part, scope) for part in conditions if part is not None)
        influence = deciding.as_influence(Kind.CONDITION)
        computed = chosen.computed()
        return replace(
            chosen,
            values=computed.values,
            influences=chosen.influences | influence.influences,
            unknown=chosen.unknown | influence.unknown,
        )

    def _cast(self, node: exp.Expression, scope: Scope) -> Dep:
        inner = self.expression(node.this, scope)
        if any(part.this == exp.DataType.Type.USERDEFINED for part in node.args["to"].find_all(exp.DataType)):
            inner = union(
                [inner, unknown_dep("this type is not one of DuckDB's own: it may list values", node)]
            )
        fields = inner.with_names(node.args["to"]).fields
        if not node.args["to"].is_type(exp.DataType.Type.STRUCT, exp.DataType.Type.JSON):
            fields = None
        return replace(inner.computed(), navigable=inner.navigable, fields=fields, type=node.args["to"])

    def _field(self, node: exp.Expression, scope: Scope) -> Dep:
        """`s.a`, `s['a']`, `l[1]`, `doc->'$.a'`, `struct_extract(s, 'a')`, and chained calls `name.upper()`."""
        if isinstance(node, exp.Dot):
            return self._dot(node, scope)
        keys = node.expressions if isinstance(node, exp.Bracket) else [node.expression]
        base = self.expression(node.this, scope)
        path = literal_path(node, keys)
        used = union(self.expression(key, scope) for key in keys if not isinstance(key, exp.Slice))
        if path is None:
            slices = [key for key in keys if isinstance(key, exp.Slice)]
            if slices:
                return union([base, *(self.children(key, scope) for key in slices)]).computed()
            return union([base, used]).computed()
        base = walk(base, path)
        is_json = isinstance(
            node, (exp.JSONExtract, exp.JSONExtractScalar, exp.JSONBExtract, exp.JSONBExtractScalar)
        )
        return replace(base.computed(), navigable=base.navigable, type=base.type) if is_json else base

    def _dot(self, node: exp.Dot, scope: Scope) -> Dep:
        if isinstance(node.expression, exp.Func):
            return self._chained(node, scope)
        if isinstance(node.expression, exp.Star):
            return self.expression(node.this, scope)
        names = _dotted_names(node)
        if names is not None:
            return scope.resolve(names, node)
        return self.expression(node.this, scope).step(node.expression.name)

    def _chained(self, node: exp.Dot, scope: Scope) -> Dep:
        """`value.function(arguments)` is `function(value, arguments)`."""
        call = node.expression.copy()
        if isinstance(call, exp.Anonymous):
            call.set("expressions", [node.this.copy(), *call.expressions])
            return self.expression(call, scope)
        return union([self.expression(node.this, scope), self.expression(call, scope)]).computed()

    def _struct(self, node: exp.Expression, scope: Scope) -> Dep:
        if not isinstance(node, exp.Struct):
            return self.expression(node.expression, scope)
        named: list[tuple[str, Dep]] = []
        for part in node.expressions:
            name = part.this.name if isinstance(part, exp.PropertyEQ) else part.alias_or_name
            named.append((name, self.expression(part, scope)))
        return replace(union(dep for _, dep in named).computed(), fields=tuple(named))

    def _row(self, node: exp.Expression, scope: Scope) -> Dep:
        """`row(a, b)` and `(a, b)`: a struct whose fields have no names."""
        parts = tuple(("", self.expression(part, scope)) for part in node.expressions)
        return replace(union(dep for _, dep in parts).computed(), fields=parts)

    def _map(self, node: exp.Expression, scope: Scope) -> Dep:
        """`map {key: value}`: the parser writes it like a struct, but its keys are expressions."""
        entries = [part for pair in node.this.expressions for part in pair.iter_expressions()]
        return union(self.expression(part, scope) for part in entries or [node.this]).computed()

    def _positional(self, node: exp.PositionalColumn, scope: Scope) -> Dep:
        columns = [column for item in scope.items for column in item.relation.columns]
        index = int(node.this.name) - 1 if str(node.this.name).isdigit() else -1
        is_open = any(item.relation.open is not None for item in scope.items)
        if is_open or scope.merged or not 0 <= index < len(columns):
            return unknown_dep("which column the position means is not known", node)
        return columns[index].dep

    # -- functions

    def _function(self, node: exp.Func, scope: Scope) -> Dep:
        name = functions.function_name(node)
        if isinstance(node, exp.Anonymous):
            macro = self.scalar_macros.get(name)
            if macro is not None:
                return self._macro(node, macro, scope)
            if name == "row":
                return self._row(node, scope)
            if name in functions.AGGREGATE_MACROS:
                return self._aggregate(node, scope)
            if name in FIELD_FUNCTIONS and len(node.expressions) == 2:
                return self._extract(node, scope)
        arguments = list(node.iter_expressions())
        if any(isinstance(part, exp.Star) for part in arguments):
            return self.whole_scope(scope).computed()
        first = self.expression(arguments[0], scope) if arguments else EMPTY
        takes_lambda = _takes_lambda(node)
        rest = [self._argument(part, scope, first, takes_lambda) for part in arguments[1:]]
        if arguments and isinstance(arguments[0], exp.Lambda):
            first = self._argument(arguments[0], scope, EMPTY, takes_lambda)
        dep = union([first, *rest]).computed()
        if name in functions.WHOLE_FUNCTIONS or isinstance(node, exp.ParseJSON):
            structure = node.expressions[1].name if len(node.expressions) > 1 else ""
            kind = functions.json_structure_type(structure) if structure else None
            dep = replace(dep, navigable=first.navigable, fields=first.fields, type=kind)
        if name in functions.STATEFUL_FUNCTIONS:
            dep = union([dep, unknown_dep(f"{name} yields what another statement has put there", node)])
        if isinstance(node, exp.Anonymous) and not functions.is_builtin(name):
            reason = (
                f"function {name} is not one of DuckDB's own (a macro?): it may read more than its arguments"
            )
            dep = union([dep, unknown_dep(reason, node)])
        return dep

    def _argument(self, node: exp.Expression, scope: Scope, first: Dep, takes_lambda: bool) -> Dep:
        if isinstance(node, exp.Lambda) and takes_lambda:
            dep = self._lambda(node, scope, first.step("[]"))
            is_filter = isinstance(node.parent, exp.ArrayFilter) or "filter" in functions.function_name(
                node.parent or node
            )
            return dep.as_influence(Kind.CONDITION) if is_filter else dep
        return self.expression(node, scope)

    def _extract(self, node: exp.Anonymous, scope: Scope) -> Dep:
        base, key = node.expressions
        path = literal_path(node, [key])
        dep = self.expression(base, scope)
        if path is None:
            return union([dep, self.expression(key, scope)]).computed()
        dep = walk(dep, path)
        return replace(dep.computed(), navigable=dep.navigable, type=dep.type)

    def _lambda(self, node: exp.Expression, scope: Scope, element: Dep) -> Dep:
        """A lambda or list comprehension; outside of lambda functions `x -> '$.a'` is a JSON field of x."""
        if isinstance(node, exp.Comprehension):
            items = self.expression(node.args["iterator"], scope)
            inner = scope.with_parameters(
                {part.name.lower(): items.step("[]") for part in _comprehension_parameters(node)}
            )
            condition = self.expression(node.args.get("condition"), inner).as_influence(Kind.CONDITION)
            # The length of the list shows even if the element itself is not used.
            length = items.as_influence(Kind.UNNEST)
            return union([self.expression(node.this, inner), condition, length]).computed()
        if not _takes_lambda(node.parent) and not node.args.get("colon"):
            return self._arrow(node, scope)
        parameters = {parameter.name.lower(): element for parameter in node.expressions}
        return self.expression(node.this, scope.with_parameters(parameters)).computed()

    def _arrow(self, node: exp.Expression, scope: Scope) -> Dep:
        base = scope.resolve((node.expressions[0].name,), node)
        path = _arrow_path(node.this)
        if path is None:
            return union([base, self.expression(node.this, scope)]).computed()
        base = walk(base, path)
        return replace(base.computed(), navigable=base.navigable)

    def _macro(self, node: exp.Anonymous, macro: ScalarMacro, scope: Scope) -> Dep:
        bound: dict[str, Dep] = {}
        for position, argument in enumerate(node.expressions):
            if isinstance(argument, (exp.PropertyEQ, exp.Kwarg)):
                bound[argument.this.name.lower()] = self.expression(argument.expression, scope)
            elif position < len(macro.parameters):
                bound[macro.parameters[position]] = self.expression(argument, scope)
        for parameter in macro.parameters:
            bound.setdefault(parameter, EMPTY)
        return self.expression(macro.body, scope.with_parameters(bound))

    # -- aggregates and windows

    def _aggregate(self, node: exp.Expression, scope: Scope) -> Dep:
        values: list[Dep] = []
        influences: list[Dep] = []
        is_ordered = self._aggregate_parts(node, scope, values, influences)
        name = functions.function_name(node)
        if not is_ordered and name not in functions.ORDER_FREE_AGGREGATES:
            influences.append(scope.order.as_influence(Kind.AGGREGATE_ORDER))
        return union([*values, *influences]).computed(How.AGGREGATION)

    def _aggregate_parts(
        self, node: exp.Expression, scope: Scope, values: list[Dep], influences: list[Dep]
    ) -> bool:
        """Sorts the arguments into values and influences; True if the call orders its rows itself."""
        is_ordered = False
        picks = isinstance(node, (exp.ArgMax, exp.ArgMin)) or (
            functions.function_name(node) in functions.PICKING_AGGREGATES
        )
        for part in node.iter_expressions():
            if isinstance(part, (exp.Order, exp.Distinct, exp.Ordered)):
                keys = [key for key in part.expressions if isinstance(key, exp.Ordered)]
                inside = [key for key in part.iter_expressions() if not isinstance(key, exp.Ordered)]
                is_ordered = is_ordered or bool(keys)
                influences += [
                    self.expression(key.this, scope).as_influence(Kind.AGGREGATE_ORDER) for key in keys
                ]
                for inner in inside:
                    if isinstance(inner, exp.Distinct):
                        values += [self.expression(value, scope) for value in inner.expressions]
                    else:
                        values.append(self.expression(inner, scope))
                if isinstance(node, exp.WithinGroup):
                    values += [self.expression(key.this, scope) for key in keys]
            elif (picks and part is node.args.get("expression")) or (
                picks and isinstance(node, exp.Anonymous) and part is not node.expressions[0]
            ):
                influences.append(self.expression(part, scope).as_influence(Kind.AGGREGATE_ORDER))
            else:
                values.append(self.expression(part, scope))
        return is_ordered

    def _window(self, node: exp.Window, scope: Scope) -> Dep:
        function = self.expression(node.this, scope)
        parts = [function, *self._window_clauses(node, scope)]
        if not any(clause.args.get("order") for clause in self._window_chain(node, scope)):
            parts.append(scope.order.as_influence(Kind.WINDOW_ORDER))
        return union(parts).computed()

    def _window_chain(self, node: exp.Window, scope: Scope) -> list[exp.Window]:
        """The window and the named windows it is based on."""
        chain = [node]
        base = node.args.get("alias")
        while base is not None:
            named = scope.windows.get(base.name.lower())
            if named is None or named in chain:
                break
            chain.append(named)
            base = named.args.get("alias")
        return chain

    def _window_clauses(self, node: exp.Window, scope: Scope) -> Iterable[Dep]:
        for clause in self._window_chain(node, scope):
            base = clause.args.get("alias")
            if base is not None and scope.windows.get(base.name.lower()) is None:
                yield unknown_dep("no such named window", clause)
            for key in clause.args.get("partition_by") or []:
                yield self.expression(key, scope).as_influence(Kind.WINDOW_PARTITION)
            order = clause.args.get("order")
            for key in order.expressions if order else []:
                yield self.expression(key.this, scope).as_influence(Kind.WINDOW_ORDER)
            frame = clause.args.get("spec")
            for bound in (frame.args.get("start"), frame.args.get("end")) if frame else ():
                if isinstance(bound, exp.Expression):
                    yield self.expression(bound, scope).as_influence(Kind.WINDOW_FRAME)


def _takes_lambda(node: exp.Expression | None) -> bool:
    if isinstance(node, functions.LAMBDA_NODES):
        return True
    return isinstance(node, exp.Anonymous) and functions.function_name(node) in functions.LAMBDA_FUNCTIONS


def _comprehension_parameters(node: exp.Comprehension) -> list[exp.Expression]:
    parameters = [node.expression]
    position = node.args.get("position")
    if isinstance(position, exp.Expression):
        parameters.append(position)
    if isinstance(node.expression, exp.Tuple):
        parameters += node.expression.expressions
    return parameters


def _dotted_names(node: exp.Expression) -> tuple[str, ...] | None:
    """`a.b.c` as names, however the parser nested them; None if it starts with something else than a name."""
    if isinstance(node, exp.Identifier):
        return (node.name,)
    if isinstance(node, exp.Column) and not isinstance(node.this, exp.Star):
        return tuple(part.name for part in node.parts)
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier):
        base = _dotted_names(node.this)
        return (*base, node.expression.name) if base else None
    return None


def literal_path(node: exp.Expression, keys: list[exp.Expression]) -> list[str] | None:
    """The field path that constant keys mean; None if a key is computed."""
    steps: list[str] = []
    is_json = not isinstance(node, (exp.Bracket, exp.StructExtract))
    for key in keys:
        if isinstance(key, exp.JSONPath):
            parsed = _json_steps(key)
        elif isinstance(key, exp.Literal) and key.is_string:
            parsed = json_path_steps(key.name) if is_json else [key.name]
        elif isinstance(key, exp.Literal):
            parsed = ["[]"]
        else:
            return None
        if parsed is None:
            return None
        steps += parsed
    return steps


def _arrow_path(node: exp.Expression) -> list[str] | None:
    """The path of an arrow the parser took for a lambda: `'a'`, or `'a' -> 'b'` for a chain."""
    if isinstance(node, exp.Literal):
        return json_path_steps(node.name) if node.is_string else ["[]"]
    if isinstance(node, FIELD_NODES):
        base = _arrow_path(node.this)
        rest = literal_path(node, [node.expression])
        return None if base is None or rest is None else [*base, *rest]
    return None


def json_path_steps(text: str) -> list[str] | None:
    """`$.a.b[*].c`, `/a/b` or a bare key -> steps; None if the path has wildcards a field name cannot express."""
    if text.startswith("/"):
        return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]
    if not text.startswith("$"):
        return [text]
    try:
        return _json_steps(jsonpath.parse(text))
    except (SqlglotError, ValueError):
        return None


def _json_steps(path: exp.JSONPath) -> list[str] | None:
    steps: list[str] = []
    for part in path.expressions:
        if isinstance(part, exp.JSONPathKey) and isinstance(part.this, str):
            steps.append(part.this)
        elif isinstance(part, exp.JSONPathSubscript):
            steps.append("[]")
        elif not isinstance(part, exp.JSONPathRoot):
            return None
    return steps
