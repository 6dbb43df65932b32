"""The parts of a query that a review compares: CTEs, branches, tables, joins, conditions, columns."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from sluice.review.query_equivalence import DIALECT
from sluice.review.wording import clip

Scopes = dict[str, exp.Query]
FINAL = "final select"
WHOLE = 60
"""Expressions up to this length are shown whole."""
CONTEXT = 30
"""Characters around a difference in an expression that is too long to show."""


def scopes_of(tree: exp.Query) -> Scopes:
    """CTEs by name in lower case, and the select below them."""
    found: Scopes = {}
    for cte in tree.ctes:
        if isinstance(cte.this, exp.Query):
            found[cte.alias.lower()] = cte.this
    found[FINAL] = tree
    return found


def matched_scopes(old: Scopes, new: Scopes) -> list[tuple[str, str]]:
    """Pairs of old and new scopes: by name, then by content, then by order."""
    pairs = [(name, name) for name in old if name in new]
    left = [n for n in old if n not in new]
    right = [n for n in new if n not in old]
    for name in list(left):
        for other in list(right):
            if sql_text(old[name]) == sql_text(new[other]):
                pairs.append((name, other))
                left.remove(name)
                right.remove(other)
                break
    if len(left) == len(right):
        pairs += list(zip(left, right, strict=True))
    order = {name: i for i, name in enumerate(new)}
    return sorted(pairs, key=lambda pair: order[pair[1]])


def branches_of(query: exp.Query) -> list[exp.Query]:
    """The selects of a union, or the query itself."""
    if isinstance(query, exp.SetOperation):
        return [*branches_of(query.left), *branches_of(query.right)]
    if isinstance(query, exp.Subquery) and isinstance(query.this, exp.Query):
        return branches_of(query.this)
    return [query]


def set_operator(branch: exp.Query) -> str:
    """What joins a branch to those before it, e.g. `union all`."""
    parent = branch.parent
    while isinstance(parent, exp.Subquery):
        parent = parent.parent
    if not isinstance(parent, exp.SetOperation):
        return ""
    return f"{parent.key}{'' if parent.args.get('distinct') else ' all'}"


def set_operators(branches: list[exp.Query]) -> str:
    """All operators between the branches: `union, union all`."""
    return ", ".join(sorted({set_operator(b) for b in branches} - {""}))


def source_of(branch: exp.Query) -> str:
    """The table a branch reads first."""
    from_ = branch.args.get("from_")
    return short_name(relation_name(from_.this)) if from_ is not None else sql_text(branch)[:60]


def relation_name(node: exp.Expression) -> str:
    """A table's full name in lower case; anything else as SQL."""
    if isinstance(node, exp.Table):
        return ".".join(part.name.lower() for part in node.parts)
    return sql_text(node)


def short_name(name: str) -> str:
    """A table's name without database and schema."""
    return clip(name.split(".")[-1], 100)


def tables_by_alias(select: exp.Select) -> dict[str, str]:
    """Alias to table of what a select reads."""
    nodes = [j.this for j in select.args.get("joins") or []]
    if (from_ := select.args.get("from_")) is not None:
        nodes.insert(0, from_.this)
    names: dict[str, str] = {}
    for node in nodes:
        name = relation_name(node)
        # the same table twice: a number tells the second from the first
        number = sum(1 for v in names.values() if v.split("#")[0] == name)
        names[node.alias_or_name.lower()] = f"{name}#{number}" if number else name
    return {alias: name.replace("#", "_again_") for alias, name in names.items()}


def joins_by_table(select: exp.Select, name_of: Callable[[str], str]) -> dict[tuple[str, int], exp.Join]:
    """Joins by the table they add and how many joins of that table precede."""
    found: dict[tuple[str, int], exp.Join] = {}
    for join in select.args.get("joins") or []:
        name, number = name_of(relation_name(join.this)), 0
        while (name, number) in found:
            number += 1
        found[(name, number)] = join
    return found


def join_words(join: exp.Join | None) -> str:
    """What a join is called: `left join`."""
    if join is None:
        return "join"
    words = [join.args.get(key) or "" for key in ("method", "side", "kind")]
    text = " ".join(word.lower() for word in words if word and word.upper() not in ("OUTER", "INNER"))
    if not text and not join.args.get("on") and not join.args.get("using"):
        return "cross join"
    return f"{text or 'inner'} join"


def join_condition(join: exp.Join, key: Callable[[exp.Expression], str]) -> str:
    """A join's condition as a text that does not depend on the order of its parts."""
    on = join.args.get("on")
    parts = sorted(_equality(c, key) for c in and_parts(on)) if on is not None else []
    return " and ".join([*parts, *(key(u) for u in join.args.get("using") or [])])


def _equality(condition: exp.Expression, key: Callable[[exp.Expression], str]) -> str:
    if isinstance(condition, exp.EQ):
        return " = ".join(sorted([key(condition.left), key(condition.right)]))
    return key(condition)


def and_parts(node: exp.Expression) -> list[exp.Expression]:
    """The conditions that `and` joins."""
    node = node.unnest()
    return (
        [part for side in (node.left, node.right) for part in and_parts(side)]
        if isinstance(node, exp.And)
        else [node]
    )


def conditions_of(select: exp.Select, clause: str) -> list[exp.Expression]:
    """The conditions of `where`, `having` or `qualify`."""
    node = select.args.get(clause)
    return [] if node is None else and_parts(node.this)


def spelled_out(clause: exp.Expression, select: exp.Select) -> exp.Expression:
    """A `group by` with expressions for its ordinals and for the aliases of the select; other clauses as they are."""
    if not isinstance(clause, exp.Group):
        return clause
    outputs, copy = outputs_of(select), clause.copy()
    keys: list[exp.Expression] = []
    for key in copy.expressions:
        if isinstance(key, exp.Literal) and key.is_int and int(key.name) <= len(select.expressions):
            key = select.expressions[int(key.name) - 1].unalias().copy()
        elif isinstance(key, exp.Column) and not key.table and key.name.lower() in outputs:
            key = outputs[key.name.lower()].copy()
        keys.append(key)
    if copy.args.get("all"):
        keys += [o.copy() for o in outputs.values() if not o.find(exp.AggFunc)]
        copy.set("all", None)
    copy.set("expressions", sorted(keys, key=sql_text))
    return copy


def multiplies_rows(column: exp.Expression) -> bool:
    """True if one row makes several: `unnest(tags) as tag`."""
    return column.find(exp.Unnest, exp.Explode) is not None


def outputs_of(select: exp.Select) -> dict[str, exp.Expression]:
    """The expressions of the select list by their names in lower case."""
    return {(node.alias_or_name or sql_text(node)).lower(): node.unalias() for node in select.expressions}


def sql_of(part: exp.Expression | list[exp.Expression] | None) -> str:
    """One expression or several as SQL."""
    if isinstance(part, list):
        return ", ".join(sql_text(p) for p in part)
    return sql_text(part) if part is not None else ""


def sql_text(node: exp.Expression) -> str:
    """An expression as SQL, without comments."""
    return node.sql(dialect=DIALECT, comments=False, normalize_functions="lower").strip()


def change_text(old: exp.Expression | None, new: exp.Expression | None) -> str:
    """Old and new SQL of a clause, in backticks; of a long one only the part that differs."""
    if old is not None and new is not None and max(len(sql_text(n)) for n in (old, new)) > WHOLE:
        old, new = differing_parts(old, new)
    texts = [sql_text(node) if node is not None else "" for node in (old, new)]
    if all(texts) and max(map(len, texts)) > 2 * WHOLE:
        texts = _around_difference(*texts)
    return " → ".join(f"`{clip(text, 300)}`" for text in texts if text)


def differing_parts(old: exp.Expression, new: exp.Expression) -> tuple[exp.Expression, exp.Expression]:
    """The smallest part of two expressions that holds all their differences."""
    if type(old) is not type(new):
        return old, new
    children = [list(node.iter_expressions()) for node in (old, new)]
    plain = [{k: v for k, v in n.args.items() if isinstance(v, str | bool | int)} for n in (old, new)]
    if len(children[0]) != len(children[1]) or plain[0] != plain[1]:
        return old, new
    pairs = [(o, n) for o, n in zip(*children, strict=True) if o != n]
    if len(pairs) != 1 or isinstance(pairs[0][0], exp.Identifier):
        return old, new
    return differing_parts(*pairs[0])


def _around_difference(old: str, new: str) -> list[str]:
    """Two texts from a little before where they differ to a little after."""
    start = _shared(old, new)
    end = _shared(old[start:][::-1], new[start:][::-1])
    start, end = max(0, start - CONTEXT), max(0, end - CONTEXT)
    return [
        f"{'…' if start else ''}{text[start : len(text) - end]}{'…' if end else ''}" for text in (old, new)
    ]


def _shared(one: str, other: str) -> int:
    """How many characters two texts have in common from their beginning."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
