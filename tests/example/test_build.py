"""Over the patches of the review: `sluice build` leaves what a plain `dbt build` leaves, and builds less."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from sandbox import company
from sluice.dbt.build_state import DECISIONS
from sluice.sql import quoted
from tests.example.review_rig import PATCHES, ROOT, apply, copied

EXPECTED: dict[str, dict[str, Any]] = yaml.safe_load((PATCHES / "expected.yml").read_text(encoding="utf-8"))
MEANINGLESS = ["aliases_and_parentheses", "comment_only", "cte_renamed", "description_only", "formatting",
               "lint_loosened", "macro_commented"]  # fmt: skip
"""Patches after which nothing is another one."""
AS_BEFORE = {"success": "fine", "pass": "fine", "reused": "fine", "no-op": "fine", "partial success": "fine"}
"""dbt's statuses of nodes that are as they should be; other statuses are compared as they are."""
PARSED = Path("target", "partial_parse.msgpack")
RESULTS = Path("target", "run_results.json")

Contents = dict[str, tuple[list[tuple[str, str]], list[tuple[str, int]]]]
"""By relation: names and types of its columns, and each row's text with the number of times it is there."""


@dataclass
class Built:
    """What one build has left."""

    code: int
    said: str
    statuses: dict[str, str]
    contents: Contents


class Twins:
    """The base, built once by `sluice build`; from that warehouse both builds start, in the same folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.kept = folder, folder / "home", folder / "kept"
        self.base = copied(folder / "base", ROOT)
        try:
            company.up(self.home, scale=0.05)  # in this process, with which its servers end
            self._run(ROOT, "sluice", "load")
        finally:
            self._run(ROOT, "sluice", "sandbox", "down")
        code, said = self._run(self.base, "sluice", "build")
        assert code == 0, said
        self.nodes = len(json.loads((self.base / RESULTS).read_text(encoding="utf-8"))["results"])
        (self.home / DECISIONS).unlink()
        shutil.copytree(
            self.home, self.kept, ignore=shutil.ignore_patterns("sandbox")
        )  # times stay as they are

    def project(self, patch: str) -> Path:
        """A patched copy, which dbt parses in no time."""
        root = copied(self.folder / patch, self.base)
        apply(root, patch)
        (root / PARSED).parent.mkdir()
        shutil.copy2(self.base / PARSED, root / PARSED)
        return root

    def build(self, root: Path, *command: str) -> Built:
        """Run a command over the base's warehouse, from the same parse."""
        shutil.rmtree(self.home)
        shutil.copytree(self.kept, self.home)
        shutil.copy2(self.base / PARSED, root / PARSED)
        (root / RESULTS).unlink(missing_ok=True)
        code, said = self._run(root, *command)
        found = json.loads((root / RESULTS).read_text(encoding="utf-8")) if (root / RESULTS).is_file() else {}
        statuses = {one["unique_id"]: one["status"] for one in found.get("results", [])}
        return Built(code, said, statuses, self._contents())

    def reasons(self) -> dict[str, str]:
        """Why the last build made each node that it made."""
        file = self.home / DECISIONS
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return {key: reason for key, reason in found.items() if reason}

    def _contents(self) -> Contents:
        with duckdb.connect() as con:
            con.execute("set TimeZone = 'UTC'")
            for name in ("raw", "warehouse"):
                con.execute(f"attach '{self.home / name}.duckdb' as {name} (read_only)")
            con.execute("use warehouse")
            relations = con.execute(
                "select table_schema, table_name from information_schema.tables where table_catalog = 'warehouse'"
            ).fetchall()
            found = {}
            for schema, name in relations:
                relation = f"warehouse.{quoted(schema)}.{quoted(name)}"
                columns = [(c, kind) for c, kind, *_ in con.execute(f"describe {relation}").fetchall()]
                rows = con.execute(
                    f"select hash(r::varchar)::varchar, count(*) from {relation} as r group by 1 order by 1"
                ).fetchall()
                found[f"{schema}.{name}"] = (columns, rows)
            return found

    def _run(self, folder: Path, tool: str, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [str(Path(sys.executable).with_name(tool)), *arguments],
            cwd=folder,
            env={**os.environ, "SLUICE_HOME": str(self.home)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return Twins(tmp_path_factory.mktemp("build"))


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("patch", sorted(EXPECTED))
@pytest.mark.sample(3)
def test_a_build_leaves_what_a_plain_build_leaves(twins: Twins, patch: str) -> None:
    """Both start from the warehouse as the base's build left it.

    A plain `dbt build` makes each table and view again, so that it shows whatever was left wrongly. An incremental model
    adds to what is there in both; from nothing, plain dbt would make another one of it. Tables of models that were deleted stay.
    """
    root = twins.project(patch)
    plain = twins.build(root, "dbt", "--quiet", "build")
    partial = twins.build(root, "sluice", "build", "--explain")
    reasons = twins.reasons()
    _note(patch, partial, reasons, plain)
    assert (partial.code == 0) == (plain.code == 0), partial.said
    if not plain.statuses:  # the project does not compile
        assert partial.statuses == {}
        assert partial.contents == plain.contents
        return
    if partial.statuses:  # else all was left, without dbt
        assert _results(partial) == _results(plain)
    else:
        assert set(_results(plain).values()) == {"fine"}
    assert sorted(partial.contents) == sorted(plain.contents)
    for name, made in plain.contents.items():
        assert partial.contents[name] == made, name
    if patch in MEANINGLESS:  # a unit test is run again for another text of its model
        assert {key for key in reasons if not key.startswith("unit_test.")} == set()
    built = {key.split(".")[2] for key in reasons if key.startswith("model.")}
    means = {name for name, how in EXPECTED[patch].get("models", {}).items() if how in ("meaning", "added")}
    models = {key: status for key, status in plain.statuses.items() if key.startswith("model.")}
    ran = {key.split(".")[2] for key, status in models.items() if status != "skipped"}
    assert means & ran <= built
    assert len(reasons) < len(plain.statuses) or "config" in str(reasons)


def _results(built: Built) -> Mapping[str, str]:
    return {key: AS_BEFORE.get(status, status) for key, status in built.statuses.items()}


def _note(patch: str, partial: Built, reasons: Mapping[str, str], plain: Built) -> None:
    """For who compares: one line per patch in the file that the variable names."""
    if file := os.environ.get("SLUICE_BUILD_FIGURES"):
        kinds = [key.split(".")[0] for key in reasons]
        others = [key.split(".")[0] for key in plain.statuses]
        line = {
            "patch": patch,
            "models": [sum(k not in ("test", "unit_test") for k in each) for each in (kinds, others)],
            "tests": [sum(k in ("test", "unit_test") for k in each) for each in (kinds, others)],
            "codes": [partial.code, plain.code],
            "reasons": dict(reasons),
        }
        with Path(file).open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(line) + "\n")
