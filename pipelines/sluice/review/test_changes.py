"""Data and unit tests that were added, removed or weakened."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp
from sqlglot.errors import SqlglotError

from sluice.review.clauses import changed_clauses
from sluice.review.coverage import KEY_TESTS
from sluice.review.findings import Finding, Level, look, safe, stop
from sluice.review.macro_changes import changed_macros, code, macros_of
from sluice.review.model_changes import Renamed, renamed_relations, with_old_relations
from sluice.review.query_equivalence import parse, same_meaning
from sluice.review.revision import Revision
from sluice.review.wording import as_json, name_of, old_and_new, with_old_names

SINGLE = 3
"""Tests that are named one by one when the same setting changed on all of them."""
HARMLESS = (
    "alias schema database tags meta group static_analysis materialized store_failures store_failures_as docs"
).split()
"""Configuration of a test that does not decide when it fails."""


@dataclass(frozen=True)
class DeclaredTest:
    """A data or unit test; `place` and `kind` stay when its arguments change."""

    place: str
    kind: str
    arguments: str
    config: tuple[tuple[str, str], ...]
    text: str
    tested: str
    """Id of what it tests."""
    node: str = field(default="", compare=False)
    """Its own id; empty for unit tests."""
    sql: str = field(default="", compare=False)
    """Compiled, with models by their old names; empty if it does not compile."""
    file: str = field(default="", compare=False)

    @property
    def subject(self) -> str:
        """The test in the ids of findings."""
        return f"{self.place}.{self.kind.replace(' ', '_')}"

    @property
    def shown(self) -> str:
        """The test in a sentence."""
        if self.kind == "singular test":
            return f"the test `{self.place}`"
        if self.kind == "unit test":
            return f"the unit test `{self.place.split('.')[-1]}`"
        return f"`{self.kind}` on `{self.place}`"


def declared_tests(
    revision: Revision, renamed: Mapping[str, str], relations: Mapping[str, str]
) -> dict[str, list[DeclaredTest]]:
    """Tests by place and kind; models by their old names, new relations by their old ones."""
    names = {name_of(n): name_of(o) for n, o in renamed.items()}
    found: dict[str, list[DeclaredTest]] = {}
    for key, node in revision.nodes("test").items():
        test = declared_test(key, node, names, relations)
        found.setdefault(f"{test.kind}:{test.place}", []).append(test)
    for unit in revision.manifest.get("unit_tests", {}).values():
        model = names.get(unit["model"], unit["model"])
        rows = with_old_names(as_json([unit["given"], unit["expect"], unit.get("overrides")]), names)
        place = f"{model}.{with_old_names(unit['name'], names)}"
        tested = unit.get("tested_node_unique_id") or next(iter(unit["depends_on"]["nodes"]), "")
        found.setdefault(f"unit test:{place}", []).append(
            DeclaredTest(place, "unit test", rows, (), "", tested, file=unit["original_file_path"])
        )
    return found


def declared_test(
    key: str, node: Any, names: Mapping[str, str], relations: Mapping[str, str]
) -> DeclaredTest:
    """One data test; `names` maps new names of models to old ones."""
    generic = node.get("test_metadata")
    above = [d for d in node["depends_on"]["nodes"] if not d.startswith("macro.")]
    tested = node.get("attached_node") or next(iter(above), "")
    sql = node.get("compiled_code") or ""
    for cte in node.get("extra_ctes") or []:  # an ephemeral model is compared by itself
        sql = sql.replace(cte["sql"], f" cte_{name_of(cte['id'])} as (select 1)")
    compiled = {"node": key, "sql": with_old_relations(sql, relations), "file": node["original_file_path"]}
    if not generic:
        text = with_old_names(code(node["raw_code"]), names)
        return DeclaredTest(node["name"], "singular test", "", _config(node), text, tested, **compiled)
    model = names.get(name_of(tested), name_of(tested))
    kwargs = {k: v for k, v in generic["kwargs"].items() if k not in ("model", "column_name")}
    place = f"{model}.{node['column_name']}" if node.get("column_name") else model
    arguments = with_old_names(as_json(kwargs), names)
    return DeclaredTest(place, generic["name"], arguments, _config(node), "", tested, **compiled)


def findings_of_tests(old: Revision, new: Revision, renamed: Renamed) -> Iterator[Finding]:
    """Tests that were added, removed or weakened, and what generic tests ask."""
    moved = {
        table["relation_name"]: old.sources[key]["relation_name"]
        for key, table in new.sources.items()
        if key in old.sources
    }  # which has a finding of its own
    relations = {**renamed_relations(old, new, renamed), **moved}
    before, after = declared_tests(old, {}, {}), declared_tests(new, renamed, relations)
    alive = {*new.tables, *new.sources, *renamed.values()}
    macros = changed_macros(old, new)
    bodies: dict[str, list[tuple[DeclaredTest, DeclaredTest]]] = {}
    settings: dict[tuple[str, str | None, str | None], list[DeclaredTest]] = {}
    for key in sorted({*before, *after}):
        olds, news = list(before.get(key, [])), list(after.get(key, []))
        for test in list(
            olds
        ):  # first the same test, then with other settings, then another of the same kind
            twin = next((n for n in news if n == test), None)
            twin = twin or next(
                (n for n in news if (n.arguments, n.text) == (test.arguments, test.text)), None
            )
            twin = twin or (news[0] if news else None)
            if twin is None:
                continue
            olds.remove(test)
            news.remove(twin)
            o, n = dict(test.config), dict(twin.config)
            for name in sorted({*o, *n}):
                if o.get(name) != n.get(name):
                    settings.setdefault((name, o.get(name), n.get(name)), []).append(test)
            if (test.arguments, test.text) != (twin.arguments, twin.text):
                yield from _changed_test(test, twin)
            elif o.get("where") == n.get("where") and _asks_other(new, test, twin):
                bodies.setdefault(test.kind if test.arguments else test.place, []).append((test, twin))
        for test in olds:
            level = Level.LOOK if test.tested not in alive else Level.STOP
            yield Finding("test-removed", test.subject, level, f"{test.shown} is gone", test.file)
        for test in news:
            yield safe("test-added", test.subject, f"{test.shown} is new", test.file)
    yield from _changed_settings(settings)
    for pairs in bodies.values():
        yield _changed_body(new, macros, pairs)
    for key in sorted(set(new.failed_tests) - set(old.failed_tests)):
        node = new.manifest["nodes"][key]
        text = f"the test `{node['name']}` does not compile: {new.failed_tests[key]}"
        yield stop("test-weakened", node["name"], text, node["original_file_path"])


def _asks_other(new: Revision, before: DeclaredTest, after: DeclaredTest) -> bool:
    """True if the compiled queries of a test differ, or one that does not compile uses a macro that changed."""
    return before.sql != after.sql and not same_meaning(before.sql, after.sql, new.columns, new.columns)


def _changed_body(
    new: Revision, macros: Mapping[str, str], pairs: list[tuple[DeclaredTest, DeclaredTest]]
) -> Finding:
    """What tests of one kind ask now; said once."""
    before, after = pairs[0]
    clauses = changed_clauses(before.sql, after.sql)
    how = "; ".join(c.text for c in clauses) or "its query changed"
    used = sorted(macros_of(new.manifest.get("macros", {}), new.manifest["nodes"][after.node]) & {*macros})
    file = macros[used[0]] if used else ""
    where = "" if len(pairs) == 1 else f" ({len(pairs)} tests, for example on `{before.place}`)"
    is_generic = before.kind not in ("singular test", "unit test")
    shown = f"the generic test `{before.kind}`" if is_generic and len(pairs) > 1 else before.shown
    subject = before.kind if is_generic and len(pairs) > 1 else before.subject
    text = f"{shown}{where} asks something else now: {how}"
    kind, level = ("test-changed", Level.LOOK)
    if any(c.kind.endswith("-added") and c.affects_rows for c in clauses) or _fails_less(
        before.sql, after.sql
    ):
        kind, level, text = "test-weakened", Level.STOP, f"{text}; fewer rows break it"
    return Finding(kind, subject, level, text, file)


def _fails_less(before: str, after: str) -> bool:
    """True if only numbers differ between two queries for failing rows, and each comparison is harder to meet."""
    try:
        trees = [parse(sql) for sql in (before, after)]
    except SqlglotError:
        return False
    compared = [list(t.find_all(exp.GT, exp.GTE, exp.LT, exp.LTE)) for t in trees]
    moved = [
        (1 if isinstance(o, exp.GT | exp.GTE) else -1) * (float(n.expression.name) - float(o.expression.name))
        for o, n in zip(*compared, strict=False)
        if o.expression.is_number and n.expression.is_number and o.expression != n.expression
    ]
    return _same_but_numbers(before, after) and bool(moved) and min(moved) > 0


def _changed_settings(
    settings: Mapping[tuple[str, str | None, str | None], list[DeclaredTest]],
) -> Iterator[Finding]:
    """Settings of tests; one that changed on many tests is said once."""
    for (key, o, n), tests in settings.items():
        is_weaker = _is_weaker(key, o, n)
        if len(tests) <= SINGLE:
            for test in tests:
                yield _changed_or_weakened(test, f"{test.shown}: {key} {old_and_new(o, n)}", is_weaker)
            continue
        places = ", ".join(test.shown for test in tests[:SINGLE])
        text = f"{key} {old_and_new(o, n)} on {len(tests)} tests: {places} and {len(tests) - SINGLE} more"
        kind, level = ("test-weakened", Level.STOP) if is_weaker else ("test-changed", Level.LOOK)
        yield Finding(kind, key, level, text)


def _changed_test(before: DeclaredTest, after: DeclaredTest) -> Iterator[Finding]:
    if before.text != after.text:
        clauses = "; ".join(c.text for c in changed_clauses(before.sql, after.sql))
        text = f"{before.shown} asks something else now" + (f": {clauses}" if clauses else "")
        yield _changed_or_weakened(after, text)
    if before.arguments == after.arguments:
        return
    if before.kind == "unit test":
        yield _changed_or_weakened(after, f"{before.shown} gives or expects other rows")
    else:
        yield from _changed_arguments(after, json.loads(before.arguments), json.loads(after.arguments))


def _changed_arguments(test: DeclaredTest, old: Any, new: Any) -> Iterator[Finding]:
    if test.kind == "accepted_values":
        if more := _listed_beyond(new, old, "values"):
            yield _changed_or_weakened(test, f"{test.shown} takes {more} too", weaker=True)
        if fewer := _listed_beyond(old, new, "values"):
            yield _changed_or_weakened(test, f"{test.shown} takes {fewer} no more")
        if more or fewer:
            return
    if test.kind in KEY_TESTS and (more := _listed_beyond(new, old, "columns")):
        text = f"{test.shown} has {more} in the key too, so fewer rows break it"
        yield _changed_or_weakened(test, text, weaker=True)
        return
    for key in sorted({*old, *new}):
        o, n = old.get(key), new.get(key)
        if o != n:
            weaker = _same_but_numbers(o, n) and _numbers(n) > _numbers(o)
            yield _changed_or_weakened(test, f"{test.shown}: {key} {old_and_new(o, n)}", weaker)


def _changed_or_weakened(test: DeclaredTest, text: str, weaker: bool = False) -> Finding:
    if weaker:
        return stop("test-weakened", test.subject, text, test.file)
    return look("test-changed", test.subject, text, test.file)


def _listed_beyond(one: Any, other: Any, argument: str) -> str:
    """What an argument lists in one test and not in the other."""
    return ", ".join(f"`{v}`" for v in one.get(argument, []) if v not in other.get(argument, []))


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


def _config(node: Any) -> tuple[tuple[str, str], ...]:
    config = {k: v for k, v in node["config"].items() if k not in HARMLESS and v not in (None, "", [], {})}
    config["severity"] = str(config.get("severity") or "error").lower()
    # what dbt fills in
    filled = {"error_if": "!= 0", "warn_if": "!= 0", "fail_calc": "count(*)", "enabled": True}
    return tuple(sorted((k, str(v)) for k, v in config.items() if filled.get(k) != v))
