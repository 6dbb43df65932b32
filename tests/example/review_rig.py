"""Compiles patched copies of this project in this process, each from what the base's parse left behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import duckdb

from sandbox import company
from sluice.config.settings import Settings
from sluice.dbt.compiling import PARSED
from sluice.review import Review, compare
from sluice.review.revision import Revision, read_compiled
from sluice.sql import quoted

ROOT = Path(__file__).parents[2]
PATCHES = ROOT / "tests" / "example" / "patches"
PARTS = (
    *("models", "sources", "macros", "seeds", "tests/generic", "tests/data"),
    *("dbt_project.yml", "profiles.yml", "selectors.yml", "audiences.yml", "requirements.lock", ".sqlfluff"),
    *(".github", "pipelines/reference.py"),
)


class Bench:
    """A base, compiled once, and branches off it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "lineage.sqlite"
        self.branches: dict[str, Revision] = {}
        self.base = self._compiled(self._copied("base"), "base", None)
        assert not self.base.error, self.base.error

    def branch(self, patch: str) -> Revision:
        """The project with a patch, compiled once."""
        if patch not in self.branches:
            self.branches[patch] = self._branch(patch)
        return self.branches[patch]

    def _branch(self, patch: str) -> Revision:
        root = self._copied(patch)
        apply(root, patch)
        return self._compiled(root, patch, self.folder / "base-target")

    def review(self, patch: str, settings: Settings | None = None) -> Review:
        """The review of a patch, with data if there are settings of a warehouse."""
        text = (PATCHES / f"{patch}.patch").read_text(encoding="utf-8")
        files = set(re.findall(r"^(?:---|\+\+\+) [ab]/(.*)$", text, re.M))
        scratch = self.folder / f"{patch}-scratch"
        return compare(settings, self.base, self.branch(patch), scratch, sorted(files))

    def _copied(self, name: str) -> Path:
        """A copy of the base, which is one of this project as it was at the start."""
        return copied(self.folder / name, ROOT if name == "base" else self.folder / "base")

    def _compiled(self, root: Path, name: str, parsed: Path | None) -> Revision:
        from sluice.dbt.compiling import compile_project

        target = self.folder / f"{name}-target"
        target.mkdir()
        if parsed is not None:
            shutil.copy(parsed / PARSED, target)
        revision = Revision(root, name, cache=self.cache)
        with chdir(root):
            revision.error = compile_project(root, target)
        return revision if revision.error else read_compiled(revision, target)


class Loaded:
    """AnyCompany at scale 0.05, loaded once; `settings` are those of its home, in which the base is built."""

    def __init__(self, home: Path, base: Revision) -> None:
        self.settings = Settings(root=ROOT, home=home)
        try:
            company.up(home, scale=0.05)  # in this process, with which its servers end
            self._sluice("load")
        finally:
            self._sluice("sandbox", "down")
        with duckdb.connect(str(self.settings.warehouse)) as connection:
            self._build(connection, base, "warehouse")

    def differences(self, head: Revision, renamed: Mapping[str, str]) -> dict[str, tuple[int, int]]:
        """Rows before and after of each model that a build of all models of `head` makes another table of."""
        with duckdb.connect() as connection:
            connection.execute(f"attach '{self.settings.warehouse}' as warehouse (read_only)")
            self._build(connection, head, "memory")
            found = {}
            for key, node in head.nodes("model").items():
                former = renamed.get(key, key).split(".")[-1]
                pair = f"warehouse.{node['schema']}.{former}", f"memory.{node['schema']}.{node['name']}"
                if not _exists(connection, pair[0]):
                    continue
                names = [[n for n, *_ in connection.execute(f"describe {t}").fetchall()] for t in pair]
                shared = ", ".join(quoted(n) for n in names[1] if n in names[0])
                before, after = (f"(select {shared} from {t})" for t in pair)
                different = connection.execute(
                    f"from {before} except all from {after} union all (from {after} except all from {before}) limit 1"
                ).fetchall()
                rows = [connection.execute(f"select count(*) from {t}").fetchall()[0][0] for t in pair]
                if different or rows[0] != rows[1]:
                    found[node["name"]] = (rows[0], rows[1])
            return found

    def _build(self, connection: duckdb.DuckDBPyConnection, revision: Revision, database: str) -> None:
        """All seeds and models, from their compiled SQL, parents first."""
        connection.execute(f"set TimeZone = 'UTC'; attach '{self.settings.raw}' as raw (read_only)")
        nodes = revision.nodes("seed", "model")
        above = {k: [p for p in n["depends_on"].get("nodes", []) if p in nodes] for k, n in nodes.items()}
        for key in TopologicalSorter(above).static_order():
            node = nodes[key]
            connection.execute(f"create schema if not exists {node['schema']}")
            if node["resource_type"] == "seed":
                types = node["config"]["column_types"]
                query = f"from read_csv('{revision.root / node['original_file_path']}', types = {types})"
            else:
                query = node["compiled_code"].replace('"memory".', f'"{database}".')
            connection.execute(f"create table {node['schema']}.{node['name']} as {query}")

    def _sluice(self, *arguments: str) -> None:
        program = Path(sys.executable).with_name("sluice")
        environment = {**os.environ, "SLUICE_HOME": str(self.settings.home)}
        done = subprocess.run(
            [str(program), *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _exists(connection: duckdb.DuckDBPyConnection, relation: str) -> bool:
    database, schema, name = relation.split(".")
    sql = "select 1 from duckdb_tables() where (database_name, schema_name, table_name) = (?, ?, ?)"
    return bool(connection.execute(sql, [database, schema, name]).fetchall())


def copied(root: Path, origin: Path) -> Path:
    """Copy the parts of a project that patches change; returns `root`."""
    for part in PARTS:
        source, target = origin / part, root / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    return root


def apply(root: Path, patch: str) -> None:
    """Apply a patch to a copy of the project that is no git repository."""
    file = PATCHES / f"{patch}.patch"
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(root.parent)}
    subprocess.run(["git", "apply", "--recount", str(file)], cwd=root, env=environment, check=True)


@cache
def patches() -> list[str]:
    """Names of all patches."""
    return sorted(f.stem for f in PATCHES.glob("*.patch"))
