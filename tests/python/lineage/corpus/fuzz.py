"""Composes random queries over the corpus's tables: joins, filters, windows, groups, set operations, subqueries.

Every step takes a relation (SQL and typed columns) and wraps it in another, so depth makes variety. The same seed
makes the same query.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

NUMBER, TEXT, TIME, BOOL = "number", "text", "time", "bool"


@dataclass(frozen=True)
class Column:
    """A column of a composed query; names are unique within the query, so that no reference is ambiguous."""

    name: str
    kind: str


@dataclass(frozen=True)
class Query:
    """A query that can stand in parentheses."""

    sql: str
    columns: tuple[Column, ...]


def kind_of(sql_type: str) -> str | None:
    """The family of a SQL type; None for nested ones."""
    if sql_type in ("INTEGER", "BIGINT", "DOUBLE") or sql_type.startswith("DECIMAL"):
        return NUMBER
    return {"VARCHAR": TEXT, "DATE": TIME, "TIMESTAMP": TIME, "BOOLEAN": BOOL}.get(sql_type)


class Composer:
    """Makes queries from one random generator."""

    def __init__(self, schema: Mapping[str, Mapping[str, str]], seed: int) -> None:
        self.rng = random.Random(seed)
        self.tables = {
            table: [(name, kind) for name, type_ in columns.items() if (kind := kind_of(type_))]
            for table, columns in schema.items()
        }
        self.tables = {table: columns for table, columns in self.tables.items() if len(columns) >= 3}
        self.count = 0

    def query(self, depth: int) -> Query:
        """A query of about that many nested steps."""
        if depth <= 0:
            return self.scan()
        steps: list[Callable[[int], Query]] = [
            self.project, self.project, self.filter, self.join, self.join, self.group, self.group, self.window,
            self.window, self.qualify, self.distinct, self.set_operation, self.top, self.in_subquery, self.exists,
            self.scalar, self.lateral, self.with_cte, self.star, self.using, self.conditional, self.unpivot,
        ]  # fmt: skip
        return self.rng.choice(steps)(depth - 1)

    def name(self) -> str:
        self.count += 1
        return f"c{self.count}"

    def alias(self) -> str:
        self.count += 1
        return f"r{self.count}"

    def one(self, query: Query, *kinds: str) -> Column:
        """A random column, of one of the kinds if there is one."""
        fitting = [c for c in query.columns if c.kind in kinds] if kinds else list(query.columns)
        return self.rng.choice(fitting or list(query.columns))

    def some(self, query: Query, most: int = 3) -> list[Column]:
        return self.rng.sample(list(query.columns), min(len(query.columns), self.rng.randint(1, most)))

    # -- expressions

    def scalar_expression(self, query: Query) -> tuple[str, str]:
        column = self.one(query)
        other = self.one(query, column.kind)
        choices = [(column.name, column.kind), (f"{column.name} is null", BOOL)]
        if column.kind == NUMBER and other.kind == NUMBER:
            choices += [
                (f"{column.name} + {other.name}", NUMBER),
                (f"round({column.name} / 3, 2)", NUMBER),
                (f"{column.name} > {other.name}", BOOL),
                (f"nullif({column.name}, {other.name})", NUMBER),
            ]
        if column.kind == TEXT:
            choices += [
                (f"upper({column.name})", TEXT),
                (f"length({column.name})", NUMBER),
                (f"left({column.name}, 2)", TEXT),
            ]
        if column.kind == TIME:
            choices += [(f"date_trunc('month', {column.name})", TIME), (f"day({column.name})", NUMBER)]
        if other.kind == column.kind:
            choices.append((f"coalesce({column.name}, {other.name})", column.kind))
        return self.rng.choice(choices)

    def condition(self, query: Query) -> str:
        column = self.one(query)
        if column.kind == NUMBER:
            return f"{column.name} {self.rng.choice(['>', '<=', '<>'])} {self.rng.choice([1, 3, 50, 100])}"
        if column.kind == TEXT:
            return f"{column.name} {self.rng.choice(['<', '>='])} '{self.rng.choice('adim')}'"
        if column.kind == TIME:
            return f"{column.name} >= date '2024-0{self.rng.randint(1, 6)}-02'"
        return f"{column.name} is not true"

    def aggregate(self, query: Query) -> tuple[str, str]:
        column = self.one(query)
        by = self.one(query)
        choices = [
            ("count(*)", NUMBER),
            (f"count({column.name})", NUMBER),
            (f"max({column.name})", column.kind),
            (f"count(distinct {column.name})", NUMBER),
            (f"arg_max({column.name}, {by.name})", column.kind),
            (f"min({column.name}) filter (where {self.condition(query)})", column.kind),
        ]
        if column.kind == NUMBER:
            choices += [(f"sum({column.name})", NUMBER), (f"avg({column.name})", NUMBER)]
        return self.rng.choice(choices)

    def over(self, query: Query) -> str:
        partition = f"partition by {self.one(query).name} " if self.rng.random() < 0.7 else ""
        order = ", ".join(c.name for c in self.some(query))
        frame = self.rng.choice(["", " rows between 1 preceding and current row"])
        return f"{partition}order by {order}{frame}"

    # -- steps

    def scan(self) -> Query:
        table, columns = self.rng.choice(list(self.tables.items()))
        picked = self.rng.sample(columns, min(len(columns), self.rng.randint(2, 5)))
        named = [(column, Column(self.name(), kind)) for column, kind in picked]
        parts = ", ".join(f"{column} as {made.name}" for column, made in named)
        return Query(f"select {parts} from {table}", tuple(made for _, made in named))

    def project(self, depth: int) -> Query:
        inner = self.query(depth)
        made = [(*self.scalar_expression(inner), self.name()) for _ in range(self.rng.randint(2, 4))]
        parts = ", ".join(f"{sql} as {name}" for sql, _, name in made)
        return Query(
            f"select {parts} from ({inner.sql})", tuple(Column(name, kind) for _, kind, name in made)
        )

    def filter(self, depth: int) -> Query:
        inner = self.query(depth)
        junction = self.rng.choice([" and ", " or "])
        conditions = junction.join(self.condition(inner) for _ in range(self.rng.randint(1, 2)))
        return Query(f"select * from ({inner.sql}) where {conditions}", inner.columns)

    def join(self, depth: int) -> Query:
        left, right = self.query(depth), self.query(depth // 2)
        a, b = self.alias(), self.alias()
        one = self.one(left)
        other = self.one(right, one.kind)
        cast = "" if one.kind == other.kind else "::varchar"
        kind = self.rng.choice(["join", "left join", "right join", "full join", "semi join", "anti join"])
        on = f"{a}.{one.name}{cast} = {b}.{other.name}{cast}"
        if kind == "join" and self.rng.random() < 0.3:
            on = f"{on} or {self.condition(right)}"
        columns = left.columns if kind in ("semi join", "anti join") else (*left.columns, *right.columns)
        parts = "*" if self.rng.random() < 0.5 else ", ".join(c.name for c in columns)
        return Query(f"select {parts} from ({left.sql}) {a} {kind} ({right.sql}) {b} on {on}", columns)

    def using(self, depth: int) -> Query:
        """The key of both sides gets one name, the rest keep theirs."""
        left, right = self.query(depth), self.query(depth // 2)
        one = self.one(left)
        other = self.one(right, one.kind)
        key = self.name()
        cast = "" if one.kind == other.kind else "::varchar"
        a = f"select * exclude ({one.name}), {one.name}{cast} as {key} from ({left.sql})"
        b = f"select * exclude ({other.name}), {other.name}{cast} as {key} from ({right.sql})"
        kept = [c for c in left.columns if c != one] + [c for c in right.columns if c != other]
        columns = (Column(key, TEXT if cast else one.kind), *kept)
        kind = self.rng.choice(["join", "left join", "right join", "full join", "natural join"])
        on = "" if kind == "natural join" else f" using ({key})"
        parts = ", ".join(c.name for c in columns)
        return Query(f"select {parts} from ({a}) as a{key} {kind} ({b}) as b{key}{on}", columns)

    def group(self, depth: int) -> Query:
        inner = self.query(depth)
        keys = self.some(inner, 2)
        made_keys = [(c.name, Column(self.name(), c.kind)) for c in keys]
        made = [(sql, Column(self.name(), kind)) for sql, kind in (self.aggregate(inner) for _ in range(2))]
        parts = ", ".join(f"{sql} as {column.name}" for sql, column in [*made_keys, *made])
        by = self.rng.choice(
            ["all", ", ".join(str(i + 1) for i in range(len(keys))), ", ".join(c.name for c in keys)]
        )
        having = self.rng.choice(["", "", " having count(*) > 1", f" having {made[0][1].name} is not null"])
        columns = tuple(column for _, column in [*made_keys, *made])
        return Query(f"select {parts} from ({inner.sql}) group by {by}{having}", columns)

    def window(self, depth: int) -> Query:
        inner = self.query(depth)
        column = self.one(inner)
        made = Column(self.name(), NUMBER)
        function, kind = self.rng.choice(
            [("row_number()", NUMBER), ("rank()", NUMBER), (f"lag({column.name})", column.kind),
             (f"max({column.name})", column.kind), (f"first_value({column.name})", column.kind), ("count(*)", NUMBER)]
        )  # fmt: skip
        made = Column(made.name, kind)
        if self.rng.random() < 0.4:
            sql = f"select *, {function} over w as {made.name} from ({inner.sql}) window w as ({self.over(inner)})"
        else:
            sql = f"select *, {function} over ({self.over(inner)}) as {made.name} from ({inner.sql})"
        return Query(sql, (*inner.columns, made))

    def qualify(self, depth: int) -> Query:
        inner = self.query(depth)
        return Query(
            f"select * from ({inner.sql}) qualify row_number() over ({self.over_whole(inner)}) <= 2",
            inner.columns,
        )

    def over_whole(self, query: Query) -> str:
        order = ", ".join(c.name for c in self.some(query))
        return f"partition by {self.one(query).name} order by {order}"

    def distinct(self, depth: int) -> Query:
        inner = self.query(depth)
        columns = self.some(inner)
        names = ", ".join(c.name for c in columns)
        if self.rng.random() < 0.4:
            return Query(f"select distinct on ({names}) * from ({inner.sql}) order by all", inner.columns)
        return Query(f"select distinct {names} from ({inner.sql})", tuple(columns))

    def set_operation(self, depth: int) -> Query:
        left, right = self.query(depth), self.query(depth // 2)
        pairs = [(c, self.one(right, c.kind)) for c in self.some(left)]
        pairs = [pair for pair in pairs if pair[0].kind == pair[1].kind]
        if not pairs:
            return left
        operator = self.rng.choice(["union all", "union", "except", "intersect", "union all by name"])
        a = ", ".join(c.name for c, _ in pairs)
        b = ", ".join(f"{other.name} as {c.name}" for c, other in pairs)
        return Query(
            f"(select {a} from ({left.sql})) {operator} (select {b} from ({right.sql}))",
            tuple(c for c, _ in pairs),
        )

    def top(self, depth: int) -> Query:
        inner = self.query(depth)
        order = ", ".join(f"{c.name} {self.rng.choice(['', 'desc'])}" for c in self.some(inner))
        return Query(
            f"select * from ({inner.sql}) order by {order} limit {self.rng.randint(2, 5)}", inner.columns
        )

    def in_subquery(self, depth: int) -> Query:
        inner, other = self.query(depth), self.query(depth // 2)
        one = self.one(inner)
        two = self.one(other, one.kind)
        negated = self.rng.choice(["", "not "])
        return Query(
            f"select * from ({inner.sql}) where {one.name}::varchar {negated}in "
            f"(select {two.name}::varchar from ({other.sql}))",
            inner.columns,
        )

    def exists(self, depth: int) -> Query:
        inner, other = self.query(depth), self.query(depth // 2)
        one = self.one(inner)
        two = self.one(other, one.kind)
        negated = self.rng.choice(["", "not "])
        return Query(
            f"select * from ({inner.sql}) where {negated}exists (select 1 from ({other.sql}) "
            f"where {two.name}::varchar = {one.name}::varchar)",
            inner.columns,
        )

    def scalar(self, depth: int) -> Query:
        inner, other = self.query(depth), self.query(depth // 2)
        one = self.one(inner)
        two = self.one(other, one.kind)
        function, kind = self.aggregate(other)
        made = Column(self.name(), kind)
        where = f" where {two.name}::varchar = {one.name}::varchar" if self.rng.random() < 0.6 else ""
        return Query(
            f"select *, (select {function} from ({other.sql}){where}) as {made.name} from ({inner.sql})",
            (*inner.columns, made),
        )

    def lateral(self, depth: int) -> Query:
        inner, other = self.query(depth), self.query(depth // 2)
        one = self.one(inner)
        two = self.one(other, one.kind)
        a, b = self.alias(), self.alias()
        order = ", ".join(c.name for c in other.columns)
        made = [Column(self.name(), c.kind) for c in other.columns]
        parts = ", ".join(f"{c.name} as {m.name}" for c, m in zip(other.columns, made, strict=True))
        differs = f"{two.name}::varchar <> {a}.{one.name}::varchar"
        side = f"select {parts} from ({other.sql}) where {differs} order by {order} limit 1"
        return Query(
            f"select * from ({inner.sql}) {a} left join lateral ({side}) {b} on true", (*inner.columns, *made)
        )

    def with_cte(self, depth: int) -> Query:
        inner = self.query(depth)
        cte = self.alias()
        made = [Column(self.name(), c.kind) for c in inner.columns]
        names = ", ".join(c.name for c in made)
        one = self.rng.choice(made)
        return Query(
            f"with {cte}({names}) as ({inner.sql}) select * from {cte} where {one.name} is not null",
            tuple(made),
        )

    def star(self, depth: int) -> Query:
        inner = self.query(depth)
        changed = self.one(inner)
        made = Column(self.name(), changed.kind)
        kept = tuple(made if c == changed else c for c in inner.columns)
        if self.rng.random() < 0.5:
            return Query(f"select * rename ({changed.name} as {made.name}) from ({inner.sql})", kept)
        dropped = tuple(c for c in inner.columns if c != changed)
        if not dropped:
            return inner
        return Query(f"select * exclude ({changed.name}) from ({inner.sql})", dropped)

    def conditional(self, depth: int) -> Query:
        inner = self.query(depth)
        one = self.one(inner)
        two = self.one(inner, one.kind)
        other = two.name if two.kind == one.kind else "null"
        made = Column(self.name(), one.kind)
        case = f"case when {self.condition(inner)} then {one.name} else {other} end"
        return Query(
            f"select *, {case} as {made.name} from ({inner.sql}) where {made.name} is not null",
            (*inner.columns, made),
        )

    def unpivot(self, depth: int) -> Query:
        inner = self.query(depth)
        numbers = [c for c in inner.columns if c.kind == NUMBER]
        if len(numbers) < 2:
            return inner
        picked = numbers[:2]
        label, value = Column(self.name(), TEXT), Column(self.name(), NUMBER)
        casts = ", ".join(f"{c.name}::double as {c.name}" for c in picked)
        rest = tuple(c for c in inner.columns if c not in picked)
        source = ", ".join([*(c.name for c in rest), casts])
        names = ", ".join(c.name for c in picked)
        return Query(
            f"select * from (unpivot (select {source} from ({inner.sql})) on {names} "
            f"into name {label.name} value {value.name})",
            (*rest, label, value),
        )
