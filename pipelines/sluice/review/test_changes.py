"""Data and unit tests that were added, removed or weakened."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sluice.review.coverage import KEY_TESTS
from sluice.review.findings import Finding, Level, look, safe, stop
from sluice.review.revision import Revision
from sluice.review.wording import as_json, name_of, old_and_new, with_old_names


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


def declared_tests(revision: Revision, renamed: Mapping[str, str]) -> dict[str, list[DeclaredTest]]:
    """Tests by place and kind; models by their old names."""
    names = {name_of(n): name_of(o) for n, o in renamed.items()}
    found: dict[str, list[DeclaredTest]] = {}
    for node in revision.nodes("test").values():
        generic = node.get("test_metadata")
        above = [d for d in node["depends_on"]["nodes"] if not d.startswith("macro.")]
        tested = node.get("attached_node") or next(iter(above), "")
        if generic:
            model = names.get(name_of(tested), name_of(tested))
            kwargs = {k: v for k, v in generic["kwargs"].items() if k not in ("model", "column_name")}
            place = f"{model}.{node['column_name']}" if node.get("column_name") else model
            arguments = with_old_names(as_json(kwargs), names)
            test = DeclaredTest(place, generic["name"], arguments, _severity(node), "", tested)
        else:
            text = with_old_names(_code(node["raw_code"]), names)
            test = DeclaredTest(node["name"], "singular test", "", _severity(node), text, tested)
        found.setdefault(f"{test.kind}:{test.place}", []).append(test)
    for unit in revision.manifest.get("unit_tests", {}).values():
        model = names.get(unit["model"], unit["model"])
        rows = with_old_names(as_json([unit["given"], unit["expect"], unit.get("overrides")]), names)
        place = f"{model}.{with_old_names(unit['name'], names)}"
        tested = unit.get("tested_node_unique_id") or next(iter(unit["depends_on"]["nodes"]), "")
        found.setdefault(f"unit test:{place}", []).append(
            DeclaredTest(place, "unit test", rows, (), "", tested)
        )
    return found


def findings_of_tests(old: Revision, new: Revision, renamed: Mapping[str, str]) -> Iterator[Finding]:
    """Tests that were added, removed or weakened."""
    before, after = declared_tests(old, {}), declared_tests(new, renamed)
    alive = {*new.tables, *new.sources, *renamed.values()}
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
            yield Finding("test-removed", test.subject, level, f"{test.shown} is gone")
        for test in news:
            yield safe("test-added", test.subject, f"{test.shown} is new")


def _changed_test(before: DeclaredTest, after: DeclaredTest) -> Iterator[Finding]:
    o, n = dict(before.config), dict(after.config)
    for key in sorted({*o, *n}):
        if o.get(key) != n.get(key):
            text = f"{before.shown}: {key} {old_and_new(o.get(key), n.get(key))}"
            yield _changed_or_weakened(before, text, _is_weaker(key, o.get(key), n.get(key)))
    if before.text != after.text:
        yield _changed_or_weakened(before, f"{before.shown} asks something else now")
    if before.arguments == after.arguments:
        return
    if before.kind == "unit test":
        yield _changed_or_weakened(before, f"{before.shown} gives or expects other rows")
    else:
        yield from _changed_arguments(before, json.loads(before.arguments), json.loads(after.arguments))


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
    return stop("test-weakened", test.subject, text) if weaker else look("test-changed", test.subject, text)


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


def _severity(node: Any) -> tuple[tuple[str, str], ...]:
    config = node["config"]
    values = {key: config.get(key) for key in ("where", "limit", "error_if", "warn_if")}
    severity = str(config.get("severity") or "error").lower()
    # "!= 0" is what dbt fills in
    return (("severity", severity), *((k, str(v)) for k, v in values.items() if v not in (None, "!= 0")))


def _code(text: str) -> str:
    """SQL or Jinja without comments and layout."""
    text = re.sub(r"\{#.*?#\}|/\*.*?\*/", " ", text, flags=re.S)
    return " ".join(re.sub(r"--[^\n]*", " ", text).split())
