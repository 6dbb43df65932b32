"""What changed in what is declared: configuration, contracts, grants, data classes, freshness, sources, tests.

Each function takes two revisions and yields findings; nothing here looks at data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sluice.config.audiences import UNCLASSED, Policy, read_policy
from sluice.lineage import ROWS, EdgeType, Graph, Ref
from sluice.review.findings import Finding, Level
from sluice.review.revision import Revision

STORAGE = (
    "materialized",
    "incremental_strategy",
    "unique_key",
    "on_schema_change",
    "full_refresh",
    "pre-hook",
    "post-hook",
    "database",
    "schema",
    "alias",
    "enabled",
    "column_types",
    "event_time",
    "batch_size",
    "lookback",
    "begin",
)
"""Configuration that changes how or where a model is built; a change rebuilds it."""
KEYS = ("primary_key", "unique", "unique_combination_of_columns")


def meta(entry: Mapping[str, Any]) -> dict[str, Any]:
    """`meta` of a node or column, wherever dbt left it."""
    return {**(entry.get("meta") or {}), **((entry.get("config") or {}).get("meta") or {})}


def grants(node: Mapping[str, Any]) -> set[str]:
    """Audiences that may select from a node."""
    select = ((node.get("config") or {}).get("grants") or {}).get("select") or []
    return {select} if isinstance(select, str) else set(select)


def pairs(old: Revision, new: Revision, renamed: Mapping[str, str], *kinds: str) -> Iterator[tuple[Any, Any]]:
    """Nodes of both sides; `renamed` maps new ids to old ones."""
    before = old.nodes(*kinds)
    for key, node in new.nodes(*kinds).items():
        if (former := before.get(renamed.get(key, key))) is not None:
            yield former, node


# -- models ----------------------------------------------------------------------------------------------


def storage(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """Configuration of a node that changes how it is built, old and new."""
    found = {}
    for key in STORAGE:
        o, n = before["config"].get(key), after["config"].get(key)
        if (o or None) != (n or None):
            found[key] = (o, n)
    return found


def model_findings(old: Revision, new: Revision, renamed: Mapping[str, str]) -> Iterator[Finding]:
    """Configuration, contracts, access, owners."""
    for before, after in pairs(old, new, renamed, "model", "seed", "snapshot"):
        name = after["name"]
        for key, (o, n) in storage(before, after).items():
            if key == "alias" and before["name"] != name:
                continue
            yield Finding("config", f"{name}.{key}", Level.LOOK, f"`{name}`: {key} {_was(o, n)}")
        yield from _contract(before, after)
        yield from _access(before, after)
    yield from _exposures(old, new, renamed)


def _access(before: Any, after: Any) -> Iterator[Finding]:
    name = after["name"]
    o, n = before.get("access"), after.get("access")
    if o != n:
        level = Level.STOP if o == "public" else Level.LOOK
        yield Finding("access", name, level, f"`{name}`: access {_was(o, n)}")
    o, n = before.get("group"), after.get("group")
    if o != n:
        yield Finding("owner", name, Level.LOOK, f"`{name}`: group {_was(o, n)}")
    added, removed = grants(after) - grants(before), grants(before) - grants(after)
    for audience in sorted(added):
        yield Finding(
            "grant-added", f"{name}.{audience}", Level.LOOK, f"`{name}` is granted to **{audience}**"
        )
    for audience in sorted(removed):
        yield Finding(
            "grant-removed",
            f"{name}.{audience}",
            Level.LOOK,
            f"`{name}` is no longer granted to **{audience}**",
        )


def _contract(before: Any, after: Any) -> Iterator[Finding]:
    name = after["name"]
    o, n = (bool((x["config"].get("contract") or {}).get("enforced")) for x in (before, after))
    if o and not n:
        yield Finding("contract-removed", name, Level.STOP, f"`{name}`: its contract is no longer enforced")
    if n and not o:
        yield Finding("contract-added", name, Level.SAFE, f"`{name}`: has a contract now")
    if not o:
        return
    olds, news = before["columns"], after["columns"]
    for column, entry in olds.items():
        subject = f"{name}.{column}"
        if column not in news:
            yield Finding("contract-column-removed", subject, Level.STOP, f"`{subject}` left the contract")
            continue
        types = _type(entry.get("data_type")), _type(news[column].get("data_type"))
        if types[0] != types[1]:
            level = Level.LOOK if _is_wider(*types) else Level.STOP
            kind = "widened" if level is Level.LOOK else "changed"
            yield Finding(
                f"type-{kind}", subject, level, f"`{subject}`: type {kind}, {types[0]} → {types[1]}"
            )
        constraints = [{c["type"] for c in x.get("constraints") or []} for x in (entry, news[column])]
        for lost in sorted(map(str, constraints[0] - constraints[1])):
            yield Finding(
                "constraint-removed", f"{subject}.{lost}", Level.LOOK, f"`{subject}`: no {lost} any more"
            )
        for more in sorted(map(str, constraints[1] - constraints[0])):
            yield Finding(
                "constraint-added", f"{subject}.{more}", Level.SAFE, f"`{subject}`: {more} from now on"
            )
    for column in news:
        if column not in olds:
            text = f"`{name}.{column}` joined the contract"
            yield Finding("contract-column-added", f"{name}.{column}", Level.SAFE, text)


def _exposures(old: Revision, new: Revision, renamed: Mapping[str, str]) -> Iterator[Finding]:
    before, after = old.manifest.get("exposures", {}), new.manifest.get("exposures", {})
    for key, exposure in before.items():
        if key not in after:
            text = f"the exposure `{exposure['name']}` is gone; {owner(exposure)} owned it"
            yield Finding("exposure-removed", exposure["name"], Level.LOOK, text)
    for key, exposure in after.items():
        name = exposure["name"]
        if key not in before:
            yield Finding("exposure-added", name, Level.SAFE, f"new exposure `{name}`")
            continue
        owners = owner(before[key]), owner(exposure)
        if owners[0] != owners[1]:
            text = f"the exposure `{name}`: owner {_was(*owners)}"
            yield Finding("exposure-owner", name, Level.LOOK, text)
        o, n = (_used(side, renamed) for side in (before[key], exposure))
        if o != n:
            text = f"the exposure `{name}` uses {_was(', '.join(sorted(o)), ', '.join(sorted(n)))}"
            yield Finding("exposure-changed", name, Level.LOOK, text)


def _used(exposure: Any, renamed: Mapping[str, str]) -> set[str]:
    """Models, by their old names, and the columns of them, that an exposure says it uses."""
    models = {_name(renamed.get(k, k)) for k in exposure["depends_on"]["nodes"]}
    names = {_name(new): _name(old) for new, old in renamed.items()}
    columns = (_renamed(str(c), names) for c in meta(exposure).get("columns") or [])
    return models | set(columns)


def owner(entry: Mapping[str, Any]) -> str:
    """Whom to ask about an exposure."""
    who = entry.get("owner") or {}
    return (
        " ".join(filter(None, [who.get("name"), f"<{who['email']}>" if who.get("email") else ""])) or "nobody"
    )


SYNONYMS = {
    "varchar": "text",
    "string": "text",
    "int": "integer",
    "int8": "bigint",
    "int4": "integer",
    "bool": "boolean",
}
INTEGERS = ["tinyint", "smallint", "integer", "bigint", "hugeint"]


def _type(text: str | None) -> str:
    plain = re.sub(r"\s+", "", (text or "").lower()).replace("numeric", "decimal")
    return SYNONYMS.get(plain, plain)


def _is_wider(before: str, after: str) -> bool:
    """True if every value of one type is the same value of the other."""
    if before in INTEGERS and after in INTEGERS:
        return INTEGERS.index(after) > INTEGERS.index(before)
    decimals = [re.fullmatch(r"decimal\((\d+),(\d+)\)", t) for t in (before, after)]
    if decimals[0] and decimals[1]:
        (p, s), (q, t) = ((int(m[1]), int(m[2])) for m in decimals if m)
        return t >= s and q - t >= p - s
    return False


# -- personal data ---------------------------------------------------------------------------------------


def classes(revision: Revision, trust_none: bool = True) -> dict[Ref, set[str]]:
    """The data classes of each column: its own, else those of the columns its value comes from.

    `data_class: none` ends the chain, as it does when publishing; with trust_none false it does not.
    """
    own: dict[Ref, str] = {}
    for key, node in {**revision.nodes("model", "seed", "snapshot"), **revision.sources}.items():
        for name, column in node["columns"].items():
            data_class = meta(column).get("data_class")
            if data_class and (trust_none or data_class != UNCLASSED):
                own[Ref(key, name.lower())] = data_class
    found: dict[Ref, set[str]] = {}
    for ref, data_class in own.items():
        if data_class != UNCLASSED:
            _spread(revision.graph, ref, data_class, own, found)
    return found


def _spread(
    graph: Graph, start: Ref, data_class: str, own: Mapping[Ref, str], found: dict[Ref, set[str]]
) -> None:
    waiting, seen = [start], {start}
    while waiting:
        ref = waiting.pop()
        found.setdefault(ref, set()).add(data_class)
        for edge in graph.edges_out_of(ref):
            target = edge.target
            if edge.type is EdgeType.INFLUENCE or target.column == ROWS or target in seen or target in own:
                continue
            seen.add(target)
            waiting.append(target)


def policies(old: Revision, new: Revision) -> tuple[Policy | None, Policy | None]:
    """audiences.yml of both sides, None where there is none that can be read."""
    before, after = (read_policy(r.root / "audiences.yml")[0] for r in (old, new))
    return before, after


def privacy_findings(old: Revision, new: Revision, renamed: Mapping[str, str]) -> Iterator[Finding]:
    """Classes that changed, and personal data that an audience newly reads in clear."""
    before, after = old.nodes("model", "seed", "snapshot"), new.nodes("model", "seed", "snapshot")
    sides = [(old, {**before, **old.sources}), (new, {**after, **new.sources})]
    declared: list[dict[tuple[str, str], str]] = [
        {
            (key, name.lower()): c
            for key, node in nodes.items()
            for name, column in node["columns"].items()
            if (c := meta(column).get("data_class"))
        }
        for _, nodes in sides
    ]
    for (key, column), data_class in sorted(declared[1].items()):
        former = declared[0].get((renamed.get(key, key), column))
        known = renamed.get(key, key) in sides[0][1]
        if former is not None and former != data_class:
            subject = f"{_name(key)}.{column}"
            yield Finding(
                "class-changed", subject, Level.LOOK, f"`{subject}`: data class {former} → {data_class}"
            )
        elif former is None and known and column in sides[0][1][renamed.get(key, key)]["columns"]:
            subject = f"{_name(key)}.{column}"
            yield Finding("class-added", subject, Level.SAFE, f"`{subject}` is of class {data_class} now")
    back = {o: n for n, o in renamed.items()}
    for (key, column), data_class in sorted(declared[0].items()):
        now = back.get(key, key)
        if (now, column) not in declared[1] and column in sides[1][1].get(now, {"columns": {}})["columns"]:
            subject = f"{_name(now)}.{column}"
            text = f"`{subject}` has lost its data class {data_class}"
            yield Finding("class-removed", subject, Level.STOP, text)
    yield from policy_findings(old, new)
    clear_before, clear_after = _in_clear(old, renamed=None), _in_clear(new, renamed=renamed)
    for entry in sorted(clear_after - clear_before):
        audience, table, column, data_class = entry
        text = f"**{audience}** newly read `{table}.{column}` (class {data_class}) in clear"
        yield Finding("clear-text", f"{audience}.{table}.{column}", Level.STOP, text)


def _in_clear(revision: Revision, renamed: Mapping[str, str] | None) -> set[tuple[str, str, str, str]]:
    """(audience, model, column, class) of what is published unmasked, models by their old names."""
    policy = read_policy(revision.root / "audiences.yml")[0]
    if policy is None:
        return set()
    found = set()
    carried = classes(revision)
    for key, node in revision.nodes("model", "seed", "snapshot").items():
        for audience in policy.audiences:
            if audience.name not in grants(node):
                continue
            for name, column in node["columns"].items():
                own = meta(column).get("data_class")
                kinds = {own} if own else carried.get(Ref(key, name.lower()), set())
                # what the publisher sees is the column's own class: without one it masks nothing
                for data_class in kinds - {UNCLASSED}:
                    if own is None or audience.treatment(own) == "clear":
                        old_key = (renamed or {}).get(key, key)
                        found.add((audience.name, _name(old_key), name.lower(), data_class))
    return found


def policy_findings(old: Revision, new: Revision) -> Iterator[Finding]:
    """What changed in audiences.yml, which needs no manifest."""
    before, after = policies(old, new)
    if before is None or after is None:
        return
    olds = {a.name: a for a in before.audiences}
    for audience in after.audiences:
        former = olds.get(audience.name)
        if former is None:
            yield Finding("audience-added", audience.name, Level.LOOK, f"new audience **{audience.name}**")
            continue
        for data_class in sorted(
            set(former.masks) | set(former.clear) | set(audience.masks) | set(audience.clear)
        ):
            o, n = former.treatment(data_class), audience.treatment(data_class)
            if o != n:
                level = Level.STOP if n == "clear" else Level.LOOK
                text = f"**{audience.name}** get {data_class} {_was(o, n)}"
                yield Finding("mask", f"{audience.name}.{data_class}", level, text)
        if former.row_filter != audience.row_filter:
            text = f"**{audience.name}**: the filter of the rows they see changed"
            yield Finding("row-filter", audience.name, Level.STOP, text)
        if former.key != audience.key:
            yield Finding(
                "key",
                audience.name,
                Level.LOOK,
                f"**{audience.name}**: encryption key {_was(former.key, audience.key)}",
            )
    for name in sorted(set(olds) - {a.name for a in after.audiences}):
        yield Finding("audience-removed", name, Level.LOOK, f"the audience **{name}** is gone")


# -- sources ---------------------------------------------------------------------------------------------

NO_RELOAD = ("deletes", "lookback", "shrink_limit", "tolerance", "drift", "schedule")
"""Keys of a load that only say how later rows are taken in."""
Load = Mapping[str, Any]


def reload_reason(key: str, before: Load, after: Load) -> str:
    """Why raw is not what a fresh load would make it, after a key of a load changed; "" if the next load sees to that.

    before, after: all load keys of the table, with its source's `kind`.
    """
    if key in NO_RELOAD:
        return ""
    if after.get("kind") == "files":
        return "files loaded before are not read again"
    is_whole = not after.get("cursor") and not _is_incremental(after)
    ways = _disposition(before), _disposition(after)
    if ways[1] == "replace":
        return "raw keeps the column" if key == "columns" and _fewer(before, after) else ""
    if key == "cursor":
        return "the highest value loaded is of the old cursor" if before.get(key) and after.get(key) else ""
    if key in ("primary_key", "write_disposition"):
        if ways == ("append", "merge"):
            return "rows that were added several times stay"
        merged = key == "primary_key" and ways == ("merge", "merge")
        return "rows in raw were merged by the old key" if merged else ""
    if key == "filter":
        if after.get("deletes") == "compare_keys" or (is_whole and not after.get("filter")):
            return ""
        return "rows loaded before are not filtered again, those left out before not read again"
    if key == "columns":
        if _fewer(before, after):
            return "raw keeps the column, and rows loaded before their values"
        return "" if is_whole else "rows loaded before have null in the new column"
    return "rows loaded before are not read again"


def _disposition(load: Load) -> str:
    """As declaration.py has it: what becomes of a table's old rows."""
    if load.get("write_disposition"):
        return str(load["write_disposition"])
    is_added = load.get("cursor") or _is_incremental(load) or load.get("kind") == "stream"
    return "merge" if load.get("primary_key") else "append" if is_added else "replace"


def _is_incremental(load: Load) -> bool:
    """An API that is asked for new records only."""
    return "incremental" in _json(load.get("endpoint"))


def _fewer(before: Load, after: Load) -> bool:
    """True if a column that was loaded may be no longer."""
    o, n = (x.get("columns") or {} for x in (before, after))
    excluded = set(n.get("exclude") or []) - set(o.get("exclude") or [])
    included = n.get("include") is not None and (
        o.get("include") is None or bool(set(o["include"]) - set(n["include"]))
    )
    return bool(excluded) or included


def source_findings(old: Revision, new: Revision) -> Iterator[Finding]:
    """Tables, columns, types and load keys of the sources; freshness."""
    before, after = old.sources, new.sources
    yield from _systems(before, after)
    for key, table in after.items():
        name = f"{table['source_name']}.{table['name']}"
        if key not in before:
            yield Finding(
                "source-table-added",
                name,
                Level.LOOK,
                f"new source table `{name}`; the next load reads it whole",
            )
            continue
        yield from _source(name, before[key], table)
    for key, table in before.items():
        if key not in after:
            name = f"{table['source_name']}.{table['name']}"
            yield Finding(
                "source-table-removed",
                name,
                Level.LOOK,
                f"source table `{name}` is no longer loaded; raw keeps it",
            )


def _systems(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Finding]:
    """Load keys of a source as a whole: its kind, its connection, its address."""
    loads: list[dict[str, Load]] = [
        {t["source_name"]: (t.get("source_meta") or {}).get("load") or {} for t in side.values()}
        for side in (before, after)
    ]
    for name in sorted(loads[0].keys() & loads[1].keys()):
        o, n = loads[0][name], loads[1][name]
        for key in sorted({*o, *n}):
            if o.get(key) != n.get(key):
                text = (
                    f"`{name}`: load.{key} {_was(o.get(key), n.get(key))}; rows loaded before are not read again: "
                    f"if they are others there, a full reload follows, `sluice load {name} --full-refresh`"
                )
                yield Finding("source-load", f"{name}.{key}", Level.LOOK, text)


def _source(name: str, before: Any, after: Any) -> Iterator[Finding]:
    olds, news = before["columns"], after["columns"]
    for column in olds:
        if column not in news:
            text = f"`{name}.{column}` is no longer declared: the type and tests it had are gone"
            yield Finding("source-column-removed", f"{name}.{column}", Level.LOOK, text)
            continue
        o, n = _type(olds[column].get("data_type")), _type(news[column].get("data_type"))
        if o != n:
            text = (
                f"`{name}.{column}`: {o or 'no type'} → {n or 'no type'}; "
                f"a full reload follows: `sluice load {name} --full-refresh`"
            )
            yield Finding("source-type", f"{name}.{column}", Level.LOOK, text)
    for column in news:
        if column not in olds:
            text = f"`{name}.{column}` is declared from now on" + _new_column(name, _loads(before, after)[1])
            yield Finding("source-column-added", f"{name}.{column}", Level.LOOK, text)
    own = [meta(x).get("load") or {} for x in (before, after)]
    loads = _loads(before, after)
    for key in sorted({*own[0], *own[1]}):
        was, now = own[0].get(key), own[1].get(key)
        if was == now:
            continue
        why = reload_reason(key, *loads)
        follows = f"; a full reload follows, as {why}: `sluice load {name} --full-refresh`" if why else ""
        yield Finding(
            "source-load", f"{name}.{key}", Level.LOOK, f"`{name}`: load.{key} {_was(was, now)}{follows}"
        )
    limits = _freshness(before), _freshness(after)
    if limits[0] != limits[1]:
        yield Finding("freshness", name, Level.LOOK, f"`{name}`: freshness {_was(*limits)}")
    if before.get("loaded_at_field") != after.get("loaded_at_field"):
        text = (
            f"`{name}`: loaded_at_field {_was(before.get('loaded_at_field'), after.get('loaded_at_field'))}"
        )
        yield Finding("freshness", f"{name}.loaded_at_field", Level.LOOK, text)


def _loads(before: Any, after: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """All load keys of a table on both sides, those of its source among them."""
    old, new = (
        {**((x.get("source_meta") or {}).get("load") or {}), **(meta(x).get("load") or {})}
        for x in (before, after)
    )
    return old, new


def _new_column(name: str, load: Load) -> str:
    if load.get("kind") != "files" and not load.get("cursor") and not _is_incremental(load):
        return "; the next load brings it for all rows"
    return (
        "; unless raw has it already, rows loaded before have null in it: a full reload follows, "
        f"`sluice load {name} --full-refresh`"
    )


def _freshness(table: Any) -> str | None:
    found = table.get("freshness") or (table.get("config") or {}).get("freshness") or {}
    parts = []
    for key in ("warn_after", "error_after"):
        limit = found.get(key) or {}
        if limit.get("count"):
            parts.append(f"{key.split('_')[0]} after {limit['count']} {limit['period']}")
    return ", ".join(parts) or None


# -- tests -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Test:
    """A data or unit test; `place` and `kind` stay when its arguments change."""

    place: str
    kind: str
    arguments: str
    config: tuple[tuple[str, str], ...]
    text: str
    tested: str
    """Id of what it tests."""


def declared_tests(revision: Revision, renamed: Mapping[str, str]) -> dict[str, list[Test]]:
    """Tests by place and kind; models by their old names."""
    names = {_name(n): _name(o) for n, o in renamed.items()}
    found: dict[str, list[Test]] = {}
    for node in revision.nodes("test").values():
        generic = node.get("test_metadata")
        above = [d for d in node["depends_on"]["nodes"] if not d.startswith("macro.")]
        tested = node.get("attached_node") or next(iter(above), "")
        if generic:
            model = names.get(_name(tested), _name(tested))
            kwargs = {k: v for k, v in generic["kwargs"].items() if k not in ("model", "column_name")}
            place = f"{model}.{node['column_name']}" if node.get("column_name") else model
            arguments = _renamed(_json(kwargs), names)
            test = Test(place, generic["name"], arguments, _severity(node), "", tested)
        else:
            text = _renamed(_code(node["raw_code"]), names)
            test = Test(node["name"], "singular test", "", _severity(node), text, tested)
        found.setdefault(f"{test.kind}:{test.place}", []).append(test)
    for unit in revision.manifest.get("unit_tests", {}).values():
        model = names.get(unit["model"], unit["model"])
        rows = _renamed(_json([unit["given"], unit["expect"], unit.get("overrides")]), names)
        place = f"{model}.{_renamed(unit['name'], names)}"
        tested = unit.get("tested_node_unique_id") or next(iter(unit["depends_on"]["nodes"]), "")
        found.setdefault(f"unit test:{place}", []).append(Test(place, "unit test", rows, (), "", tested))
    return found


def _renamed(text: str, names: Mapping[str, str]) -> str:
    for new, old in names.items():
        text = re.sub(rf"\b{re.escape(new)}(?=\b|__)", old, text)
    return text


def findings_of_tests(old: Revision, new: Revision, renamed: Mapping[str, str]) -> Iterator[Finding]:
    """Tests that were added, removed, or ask for less than they did."""
    before, after = declared_tests(old, {}), declared_tests(new, renamed)
    alive = {*new.nodes("model", "seed", "snapshot"), *new.sources, *renamed.values()}
    for key in sorted({*before, *after}):
        olds, news = list(before.get(key, [])), list(after.get(key, []))
        for test in list(olds):
            if test in news:
                olds.remove(test)
                news.remove(test)
        for test in list(olds):  # the same test with other settings before another test of the same kind
            twin = next((n for n in news if (n.arguments, n.text) == (test.arguments, test.text)), None)
            twin = twin or (news[0] if news else None)
            if twin is not None:
                olds.remove(test)
                news.remove(twin)
                yield from _changed_test(test, twin)
        for test in olds:
            level = Level.LOOK if test.tested not in alive else Level.STOP
            yield Finding(
                "test-removed",
                f"{test.place}.{test.kind.replace(' ', '_')}",
                level,
                f"{_shown(test)} is gone",
            )
        for test in news:
            yield Finding(
                "test-added",
                f"{test.place}.{test.kind.replace(' ', '_')}",
                Level.SAFE,
                f"{_shown(test)} is new",
            )


def _changed_test(before: Test, after: Test) -> Iterator[Finding]:
    subject = f"{before.place}.{before.kind.replace(' ', '_')}"
    o, n = dict(before.config), dict(after.config)
    for key in sorted({*o, *n}):
        if o.get(key) != n.get(key):
            weaker = _is_weaker(key, o.get(key), n.get(key))
            kind = "test-weakened" if weaker else "test-changed"
            level = Level.STOP if weaker else Level.LOOK
            yield Finding(kind, subject, level, f"{_shown(before)}: {key} {_was(o.get(key), n.get(key))}")
    if before.text != after.text:
        yield Finding("test-changed", subject, Level.LOOK, f"{_shown(before)} asks something else now")
    if before.arguments == after.arguments:
        return
    a, b = json.loads(before.arguments), json.loads(after.arguments)
    if before.kind == "unit test":
        yield Finding("test-changed", subject, Level.LOOK, f"{_shown(before)} gives or expects other rows")
        return
    if before.kind == "accepted_values":
        more, fewer = (
            [v for v in x.get("values", []) if v not in y.get("values", [])] for x, y in ((b, a), (a, b))
        )
        if more:
            text = f"{_shown(before)} takes {', '.join(f'`{v}`' for v in more)} too"
            yield Finding("test-weakened", subject, Level.STOP, text)
        if fewer:
            text = f"{_shown(before)} takes {', '.join(f'`{v}`' for v in fewer)} no more"
            yield Finding("test-changed", subject, Level.LOOK, text)
        if more or fewer:
            return
    if before.kind in KEYS:
        more = [c for c in b.get("columns", []) if c not in a.get("columns", [])]
        if more:
            text = f"{_shown(before)} has {', '.join(f'`{c}`' for c in more)} in the key too, so fewer rows break it"
            yield Finding("test-weakened", subject, Level.STOP, text)
            return
    for key in sorted({*a, *b}):
        if a.get(key) != b.get(key):
            loose = (
                _numbers(b.get(key)) > _numbers(a.get(key))
                if _same_but_numbers(a.get(key), b.get(key))
                else False
            )
            kind, level = ("test-weakened", Level.STOP) if loose else ("test-changed", Level.LOOK)
            yield Finding(kind, subject, level, f"{_shown(before)}: {key} {_was(a.get(key), b.get(key))}")


def _numbers(value: Any) -> list[float]:
    return [float(x) for x in re.findall(r"\d+(?:\.\d+)?", str(value))]


def _same_but_numbers(a: Any, b: Any) -> bool:
    """A tolerance that was moved: the same text with other numbers."""
    return re.sub(r"\d+(?:\.\d+)?", "#", str(a)) == re.sub(r"\d+(?:\.\d+)?", "#", str(b))


def _is_weaker(key: str, before: str | None, after: str | None) -> bool:
    if key == "severity":
        return after == "warn"
    if key in ("where", "limit"):
        return after is not None
    if key in ("error_if", "warn_if"):
        return _numbers(after) > _numbers(before) or "<" in (after or "")
    return key == "enabled" and after == "False"


def _severity(node: Any) -> tuple[tuple[str, str], ...]:
    config = node["config"]
    values = {
        "severity": str(config.get("severity") or "error").lower(),
        "where": config.get("where"),
        "limit": config.get("limit"),
        "error_if": config.get("error_if") if config.get("error_if") != "!= 0" else None,
        "warn_if": config.get("warn_if") if config.get("warn_if") != "!= 0" else None,
    }
    return tuple((k, str(v)) for k, v in values.items() if v is not None)


def _code(text: str) -> str:
    """SQL or Jinja without comments and layout."""
    text = re.sub(r"\{#.*?#\}|/\*.*?\*/", " ", text, flags=re.S)
    return " ".join(re.sub(r"--[^\n]*", " ", text).split())


def _shown(test: Test) -> str:
    if test.kind == "singular test":
        return f"the test `{test.place}`"
    if test.kind == "unit test":
        return f"the unit test `{test.place.split('.')[-1]}`"
    return f"`{test.kind}` on `{test.place}`"


@dataclass(frozen=True)
class Coverage:
    """How much is tested, of models and of their columns."""

    models: int
    keyed: int
    columns: int
    tested: int


def coverage(revision: Revision) -> Coverage:
    """Models with a key that is tested, and columns with any test."""
    models = revision.nodes("model")
    keyed: set[str] = set()
    tested: set[tuple[str, str]] = set()
    for node in revision.nodes("test").values():
        attached, generic = node.get("attached_node"), node.get("test_metadata")
        if not generic or attached not in models:
            continue
        if generic["name"] in KEYS:
            keyed.add(attached)
        named = [node["column_name"]] if node.get("column_name") else generic["kwargs"].get("columns") or []
        tested.update((attached, str(c).lower()) for c in named)
    return Coverage(len(models), len(keyed), sum(len(m["columns"]) for m in models.values()), len(tested))


def keys_of(revision: Revision, unique_id: str) -> list[str]:
    """Columns of the tested key of a model, [] if none is."""
    found: list[str] = []
    for node in revision.nodes("test").values():
        generic = node.get("test_metadata")
        if not generic or node.get("attached_node") != unique_id or generic["name"] not in KEYS:
            continue
        columns = generic["kwargs"].get("columns") or generic["kwargs"].get("combination_of_columns")
        columns = columns or [node.get("column_name") or generic["kwargs"].get("column_name")]
        if not found or generic["name"] == "primary_key":
            found = [str(c) for c in columns]
    return found


def _name(unique_id: str) -> str:
    parts = unique_id.split(".")
    return ".".join(parts[2:]) if parts[0] == "source" else parts[-1]


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _was(before: Any, after: Any) -> str:
    return " → ".join(
        "nothing" if v in (None, "", [], {}) else v if isinstance(v, str) else _json(v)
        for v in (before, after)
    )
