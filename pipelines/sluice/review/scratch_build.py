"""Builds what changed on both sides, in a scratch folder, and compares the tables.

Both sides are built from the same inputs: raw, and the warehouse's tables of models that did not change. Those that the
last build made from other SQL are built here, too, so that it does not matter which branch the warehouse is of. Where a
rebuilt table turns out equal, what lies below it and did not change itself is left alone.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb

from sluice.config.settings import Settings
from sluice.engine import engine
from sluice.errors import LockedError
from sluice.privacy.redaction import scrub
from sluice.review.built_tables import BuiltTables
from sluice.review.coverage import keys_of
from sluice.review.data_findings import plan_findings, speed_findings, table_findings
from sluice.review.data_tests import failed_tests, run_test
from sluice.review.downstream import must_rebuild
from sluice.review.findings import Finding, Level, look
from sluice.review.model_changes import Change, Renamed, renamed_relations, with_old_relations
from sluice.review.privacy_changes import classes
from sluice.review.result import DataReview
from sluice.review.revision import Revision
from sluice.review.snapshots import first_snapshot
from sluice.review.table_diff import TableDiff, columns_of_table, compare_tables
from sluice.review.test_changes import declared_test
from sluice.review.wording import name_of
from sluice.sql import first_value, literal, quoted

BLOCK = 262_144
"""Bytes of a block of a DuckDB file."""


def compare_data(
    settings: Settings,
    old: Revision,
    new: Revision,
    changed: list[Change],
    renamed: Renamed,
    scratch: Path,
) -> DataReview:
    """Build and compare; counts what the clauses of `changed` cost (they are replaced in place)."""
    files = {name: file for name, file in settings.databases.items() if file.is_file()}
    if settings.database not in files:
        return DataReview(
            remark="There is no warehouse here, so nothing was built: lineage and meaning only."
        )
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        with duckdb.connect(str(scratch / "work.duckdb")) as connection:
            connection.execute("set TimeZone = 'UTC'; set memory_limit = '1500MB'; set threads = 2")
            connection.execute(f"set temp_directory = {literal(scratch / 'tmp')}")
            for name in ("base", "head"):
                connection.execute(f"attach {literal(scratch / f'{name}.duckdb')} as {name}")
            for name, file in files.items():
                engine().attach(connection, file, name, seconds=0)
            built = _built(connection, settings.database, files)
            sides = (
                _Side(connection, "base", old, built, BuiltTables(settings, old)),
                _Side(connection, "head", new, built, BuiltTables(settings, new)),
            )
            return _Comparison(connection, sides, changed, renamed).run(scratch)
    except LockedError:
        return DataReview(remark="The warehouse is being written by another command, so nothing was built.")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _built(connection: duckdb.DuckDBPyConnection, main: str, databases: Iterable[str]) -> dict[str, str]:
    """The place of each table and view that exists, by `database.schema.name` in lower case.

    The database `main` is also called `memory`, as it is after a compile without a profile.
    """
    rows = connection.execute(
        "select database_name, schema_name, table_name from duckdb_tables() union all "
        "select database_name, schema_name, view_name from duckdb_views() where not internal"
    ).fetchall()
    found = {}
    for database, schema, name in rows:
        place = ".".join(map(quoted, (database, schema, name)))
        if database in databases:
            found[f"{database}.{schema}.{name}".lower()] = place
        if database == main:
            found[f"memory.{schema}.{name}".lower()] = place
    return found


class _Side:
    """One revision in the scratch database `name`; `places` says which relation stands for which node."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        name: str,
        revision: Revision,
        built: Mapping[str, str],
        tables: BuiltTables,
    ) -> None:
        self.connection = connection
        self._tables = tables
        self.name = name
        self.revision = revision
        self.nodes = revision.tables
        self.built = built
        """Tables and views that exist, see `_built`."""
        self.places: dict[str, str] = {}

    def sql(self, text: str) -> str:
        """Compiled SQL with the places of its relations."""
        for key, place in self.places.items():
            if relation := self.nodes[key].get("relation_name"):
                text = text.replace(relation, place)
        return text

    def build(self, key: str) -> float:
        """Build a node into this side's database; its seconds."""
        node = self.nodes[key]
        self._place_parents(node)
        place = f'"{self.name}"."{node["schema"]}"."{node.get("alias") or node["name"]}"'
        self.connection.execute(f'create schema if not exists "{self.name}"."{node["schema"]}"')
        if not _is_sql(node):
            raise duckdb.NotSupportedError(f"{node['name']} is a Python model, which a review does not run")
        started = time.monotonic()
        is_seed = node["resource_type"] == "seed"
        query = self._seed_sql(node) if is_seed else self.sql(node["compiled_code"])
        if node["resource_type"] == "snapshot":
            query = first_snapshot(query, node["config"])
        self.connection.execute(f"create or replace table {place} as {query}")
        self.places[key] = place
        return time.monotonic() - started

    def _place_parents(self, node: Any) -> None:
        self.place(node["depends_on"].get("nodes") or [])

    def place(self, keys: Iterable[str]) -> None:
        """Find nodes in the warehouse, or build them."""
        for key in keys:
            if key in self.nodes and key not in self.places:
                self._place(key)

    def _place(self, key: str) -> None:
        """Find a parent in the warehouse, or build it."""
        node = self.nodes[key]
        if node["config"]["materialized"] == "ephemeral":
            self._place_parents(node)
        elif (place := self._in_warehouse(node)) is not None and not self._tables.is_other(key):
            self.places[key] = place
        else:
            self.build(key)

    def _in_warehouse(self, node: Any) -> str | None:
        parts = node.get("database") or "memory", node["schema"], node.get("alias") or node["name"]
        return self.built.get(".".join(parts).lower())

    def _seed_sql(self, node: Any) -> str:
        file, delimiter = (
            self.revision.root / node["original_file_path"],
            node["config"].get("delimiter") or ",",
        )
        lines = f"read_csv({literal(file)}, all_varchar = true, header = true, delim = {literal(delimiter)})"
        types = {k.lower(): v for k, v in (node["config"].get("column_types") or {}).items()}
        if (place := self._in_warehouse(node)) is not None:
            types = {**{n.lower(): t for n, t in columns_of_table(self.connection, place).items()}, **types}
        header = self.connection.execute(f"describe from {lines}").fetchall()
        columns = [f'cast("{n}" as {types.get(n.lower(), "varchar")}) as "{n}"' for n, *_ in header]
        return f"select {', '.join(columns)} from {lines}"


class _Comparison:
    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        sides: tuple[_Side, _Side],
        changed: list[Change],
        renamed: Renamed,
    ) -> None:
        self.connection = connection
        self.old, self.new = sides
        old, new = self.old.revision, self.new.revision
        self.changed = changed
        self.renamed = renamed
        self.review = DataReview()
        # both sides, as a class that is taken away now was given for a reason
        self.hidden = {*classes(new, trust_none=False), *classes(old, trust_none=False)}
        self.names = _names(old) | _names(new)

    def run(self, scratch: Path) -> DataReview:
        own = {c.id for c in self.changed if c.rebuilds}
        unequal: set[str] = set()
        failed: set[str] = set()
        """What cannot be built on the head's side, and all below it."""
        for key in must_rebuild(self.new.revision, self.changed):
            node = self.new.nodes[key]
            parents = node["depends_on"].get("nodes") or []
            if node["config"]["materialized"] == "ephemeral":
                unequal.add(key)
            elif failed.intersection(parents):
                failed.add(key)
            elif key not in own and not unequal.intersection(parents):
                self.review.untouched.append(node["name"])
            elif not _is_sql(node):
                failed.add(key)
                text = f"`{node['name']}` is a Python model, which a review does not run"
                text += ": it and what it feeds are not compared"
                self.review.findings.append(look("not-compared", node["name"], text))
            else:
                diff = self._table(key, node)
                self.review.tables.append(diff)
                if not diff.is_equal or diff.reshaped:
                    unequal.add(key)
                if diff.error and key not in self.new.places:
                    failed.add(key)
                if not diff.error and key in own and key in self.new.revision.incremental:
                    self._late_rows(key, diff)
        self._run_tests(unequal, failed)
        self._count_clauses()
        self._compare_plans()
        self._measure(scratch)
        return self.review

    def _table(self, key: str, node: Any) -> TableDiff:
        former = self.renamed.get(key, key)
        diff = TableDiff(key, node["name"], (None, None), keys_of(self.new.revision, key))
        diff.is_public = node.get("access") == "public"
        seconds = [0.0, 0.0]
        for i, (side, own) in enumerate(((self.old, former), (self.new, key))):
            if own in side.nodes:
                try:
                    seconds[i] = side.build(own)
                except duckdb.Error as error:
                    words = scrub(str(error), self.names)  # messages quote values
                    diff.error = f"{'it' if i else 'the base'} cannot be built: {words}"
        place = self.new.places.get(key)
        if diff.error:
            level = Level.LOOK if place else Level.STOP
            self.review.findings.append(Finding("build", diff.name, level, f"`{diff.name}`: {diff.error}"))
        if place is None:
            return diff
        diff.seconds = (seconds[0], seconds[1])
        base = self.old.places.get(former)
        diff.rows = (self._count(base) if base else None, self._count(place))
        if base:
            compare_tables(self.connection, diff, base, place, self.hidden)
        if not diff.error:
            self.review.findings += table_findings(self.connection, node, diff, place)
        return diff

    def _run_tests(self, unequal: set[str], failed: set[str]) -> None:
        """Data tests that are new or changed, or read a table that differs; with the models' own test findings."""
        names = {name_of(n): name_of(o) for n, o in self.renamed.items()}
        relations = renamed_relations(self.old.revision, self.new.revision, self.renamed)
        before = self.old.revision.nodes("test")
        for key, node in self.new.revision.nodes("test").items():
            sql = node.get("compiled_code") or ""
            former = (before.get(key) or {}).get("compiled_code")
            is_other = former is None or with_old_relations(sql, relations) != former
            parents = {p for p in node["depends_on"]["nodes"] if p in self.new.nodes}
            if not is_other and not parents & unequal:
                continue
            test = declared_test(key, node, names, {})
            if not sql or parents & failed:
                self.review.tests_not_run.append(test.shown)
                continue
            try:
                self.new.place(parents)
                self.old.place({self.renamed.get(p, p) for p in parents} & {*self.old.nodes})
                both = former if former is None else self.old.sql(former), self.new.sql(sql)
                self.review.tests.append(run_test(self.connection, test, node, before.get(key), both))
            except duckdb.Error:
                self.review.tests_not_run.append(test.shown)
        self.review.findings += failed_tests(self.review.tests, self.review.findings)

    def _count(self, place: str) -> int:
        return int(first_value(self.connection, f"select count(*) from {place}"))

    def _late_rows(self, key: str, diff: TableDiff) -> None:
        """Hold back every twentieth row, run the incremental query on the rest, and see which come in."""
        if not diff.key:
            return
        full, node = self.new.places[key], self.new.nodes[key]
        columns = ", ".join(map(quoted, diff.key))
        rest = f'head."{node["schema"]}"."{node["name"]}__rest"'
        self.connection.execute(f"create table {rest} as from {full} where hash({columns}) % 20 <> 0")
        self.new.places[key] = rest
        sql = self.new.sql(self.new.revision.incremental[key])
        self.new.places[key] = full
        row = self.connection.execute(
            f"with late as (select {columns} from {full} where hash({columns}) % 20 = 0), "
            f"arriving as (select {columns} from ({sql})) "
            f"select count(*), count(*) filter (({columns}) not in (select ({columns}) from arriving)) from late"
        ).fetchone()
        self.connection.execute(f"drop table {rest}")
        if row is not None and row[1]:
            text = (
                f"`{diff.name}`: of {row[0]:,} rows held back at random, as if they came late, the incremental query "
                f"never takes in {row[1]:,}"
            )
            self.review.findings.append(look("incremental-misses", diff.name, text))

    def _count_clauses(self) -> None:
        # clauses speak of relations by their old names where something was renamed
        old = {
            n["relation_name"]: self.new.places.get(k, self.old.places.get(k))
            for k, n in self.old.nodes.items()
        }
        relations = [*old, *(n["relation_name"] for n in self.new.nodes.values())]

        def count(sql: str) -> int:
            sql = self.new.sql(_requoted(sql, relations))
            for relation, place in old.items():
                if place and relation:
                    sql = sql.replace(relation, place)
            return int(first_value(self.connection, sql))

        for change in self.changed:
            for i, clause in enumerate(change.clauses if change.id in self.new.nodes else []):
                with suppress(duckdb.Error):
                    change.clauses[i] = clause.counted(count)

    def _compare_plans(self) -> None:
        for change in self.changed:
            former = change.old or change.id
            if change.how == "meaning" and change.id in self.new.places and former in self.old.places:
                before = self.old.sql(self.old.nodes[former]["compiled_code"])
                after = self.new.sql(self.new.nodes[change.id]["compiled_code"])
                self.review.findings += plan_findings(self.connection, change.name, before, after)
        for diff in self.review.tables:
            self.review.findings += speed_findings(diff)

    def _measure(self, scratch: Path) -> None:
        for name in ("base", "head"):
            self.connection.execute(f"checkpoint {name}")
        files = [(scratch / f"{name}.duckdb").stat().st_size for name in ("base", "head")]
        self.review.bytes = (files[0], files[1])
        sizes = self._bytes("base"), self._bytes("head")
        for diff in self.review.tables:
            former = self.renamed.get(diff.id, diff.id)
            before, after = self.old.places.get(former, ""), self.new.places.get(diff.id, "")
            diff.bytes = sizes[0].get(before, 0), sizes[1].get(after, 0)

    def _bytes(self, database: str) -> dict[str, int]:
        """Bytes of each table of a scratch database, by place; see TableDiff.bytes."""
        tables = self.connection.execute(
            "select schema_name, table_name from duckdb_tables() where database_name = ?", [database]
        ).fetchall()
        places = [f'"{database}"."{schema}"."{name}"' for schema, name in tables]
        if not places:
            return {}
        segments = " union all ".join(
            f"select '{place}' as place, block_id, len(additional_block_ids) as more "
            f"from pragma_storage_info('{place}') where persistent and block_id >= 0"
            for place in places
        )
        return dict(
            self.connection.execute(
                "with shares as (select place, more, 1 / count(*) over (partition by block_id) as share "
                f"from ({segments})) "
                f"select place, cast(sum(share + more) * {BLOCK} as bigint) from shares group by place"
            ).fetchall()
        )


def _is_sql(node: Any) -> bool:
    return bool(node.get("language", "sql") == "sql")


def _requoted(sql: str, relations: Collection[str]) -> str:
    """Relations spelled as dbt spells them, in a query that sqlglot has written."""
    for relation in relations:
        if relation:
            sql = re.sub(re.escape(relation), lambda _, r=relation: r, sql, flags=re.I)  # type: ignore[misc]
    return sql


def _names(revision: Revision) -> set[str]:
    """Names of tables and columns in lower case, which a message may quote."""
    found: set[str] = set()
    for node in revision.graph.nodes.values():
        found |= {
            node.name.lower(),
            *re.split(r"\W+", node.relation.lower()),
            *(c.lower() for c in node.columns),
        }
    return found
