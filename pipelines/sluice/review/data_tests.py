"""Runs data tests on both sides of a scratch build: what fails now, and did not before."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from sluice.review.coverage import KEY_TESTS
from sluice.review.findings import Finding, Level
from sluice.review.test_changes import DeclaredTest


@dataclass(frozen=True)
class TestRun:
    """A data test and the rows it returned before and after; None where that side does not have what it reads."""

    test: DeclaredTest
    node: Any
    failing: tuple[int | None, int]
    is_error: bool
    """More rows than the test allows; otherwise it only warns."""

    @property
    def fails_newly(self) -> bool:
        return self.failing[1] > (self.failing[0] or 0)

    @property
    def sentence(self) -> str:
        """`17,968 rows of fct_lines have no match in dim_items.sku, 0 before`."""
        before, after = self.failing
        arguments = (self.node.get("test_metadata") or {}).get("kwargs") or {}
        named = re.search(r"""ref\(\s*['"](\w+)['"]|source\([^,]*,\s*['"](\w+)""", str(arguments.get("to")))
        if self.test.kind == "relationships" and named:
            what = f"{'has' if after == 1 else 'have'} no match in `{named[1] or named[2]}.{arguments.get('field')}`"
        else:
            what = "fails" if after == 1 else "fail"
        since = f", {before:,} before" if before is not None else ""
        return f"{self.test.shown}: {after:,} row{'s' * (after != 1)} {what}{since}"


def run_test(
    connection: duckdb.DuckDBPyConnection,
    test: DeclaredTest,
    node: Any,
    former: Any,
    sql: tuple[str | None, str],
) -> TestRun:
    """Run a test's query on both sides. Raises duckdb.Error if the new side's cannot be run.

    former: the test's node in the base, if it was there: what was an error there is one, whatever the branch says.
    """
    count = node["config"].get("fail_calc") or "count(*)"

    def failing(query: str) -> int:
        found = connection.execute(f"select {count} from ({query}) as failing").fetchone()
        return int(found[0] or 0) if found else 0

    after = failing(sql[1])
    before: int | None = None
    if sql[0] is not None:
        try:
            before = failing(sql[0])
        except duckdb.Error:
            before = None

    def breaks(condition: str) -> bool:
        found = connection.execute(f"select {after} {condition}").fetchone()
        return bool(found and found[0])

    configs = [n["config"] for n in (node, former) if n is not None]
    if not any(breaks(c.get(key) or "!= 0") for c in configs for key in ("warn_if", "error_if")):
        return TestRun(test, node, (before, 0), False)
    is_error = any(
        str(c.get("severity") or "error").lower() == "error" and breaks(c.get("error_if") or "!= 0")
        for c in configs
    )
    return TestRun(test, node, (before, after), is_error)


def failed_tests(runs: Iterable[TestRun], found: Iterable[Finding]) -> Iterator[Finding]:
    """Tests that fail newly, except keys and nulls that another finding has said."""
    said = {f.id for f in found}
    for run in runs:
        test = run.test
        model = test.place.split(".")[0]
        is_said = (test.kind in KEY_TESTS and f"key-not-unique:{model}" in said) or (
            test.kind in ("not_null", *KEY_TESTS) and f"contract-broken:{test.place}" in said
        )
        if run.fails_newly and not is_said:
            level = Level.STOP if run.is_error else Level.LOOK
            yield Finding("test-fails", test.subject, level, run.sentence)
