"""Builds what changed on both sides, in a scratch folder, and compares the tables.

Both sides are built from the same inputs: raw, and the warehouse's tables of models that did not change. So it does
not matter which branch the warehouse was built from last. Where a rebuilt table turns out equal, what lies below it
and did not change itself is left alone.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from sluice.config.settings import Settings
from sluice.engine import engine
from sluice.errors import LockedError
from sluice.lineage import Ref
from sluice.privacy.personal_columns import scrub
from sluice.review.clauses import counted
from sluice.review.declared import classes, keys_of
from sluice.review.findings import Finding, Level
from sluice.review.models import Change, must_rebuild
from sluice.review.revision import Revision
from sluice.sql import quoted

EXAMPLES = 3
MASK = "•••"
RISKY = {"NESTED_LOOP_JOIN", "BLOCKWISE_NL_JOIN", "CROSS_PRODUCT"}
"""Operators whose time grows with the product of their inputs."""
BLOCK = 262_144
"""Bytes of a block of a DuckDB file."""
LOSS = 0.05
"""Share of a public table's rows that may go without the review saying stop."""


@dataclass
class ColumnDiff:
    """One column, over the rows both sides have: how many values differ; nulls, distincts and sum, old and new."""

    name: str
    changed: int
    nulls: tuple[int, int]
    distinct: tuple[int, int]
    total: tuple[Any, Any]
    examples: list[str] = field(default_factory=list)


@dataclass
class TableDiff:
    """One table on both sides; None stands for a side that has no such table."""

    id: str
    name: str
    rows: tuple[int | None, int | None]
    key: list[str]
    added: int = 0
    removed: int = 0
    changed: int = 0
    duplicates: int = 0
    """Rows of the new side beyond the first of each key."""
    columns: list[ColumnDiff] = field(default_factory=list)
    seconds: tuple[float, float] = (0.0, 0.0)
    bytes: tuple[int, int] = (0, 0)
    """Compressed, in the database's blocks; a block of several tables is divided among them."""
    error: str = ""

    @property
    def is_equal(self) -> bool:
        return not (self.error or self.added or self.removed or self.changed or self.columns) and (
            self.rows[0] == self.rows[1]
        )


@dataclass
class DataReview:
    """All that was built and compared; `untouched`: below a change, but nothing arrives there."""

    tables: list[TableDiff] = field(default_factory=list)
    untouched: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    bytes: tuple[int, int] = (0, 0)
    remark: str = ""

    @property
    def seconds(self) -> tuple[float, float]:
        return sum(t.seconds[0] for t in self.tables), sum(t.seconds[1] for t in self.tables)


def compare_data(
    settings: Settings,
    old: Revision,
    new: Revision,
    changed: list[Change],
    renamed: Mapping[str, str],
    scratch: Path,
) -> DataReview:
    """Build and compare; counts what the clauses of `changed` cost (they are replaced in place)."""
    if not settings.warehouse.is_file() or not settings.raw.is_file():
        return DataReview(
            remark="There is no warehouse here, so nothing was built: lineage and meaning only."
        )
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        with duckdb.connect(str(scratch / "work.duckdb")) as connection:
            connection.execute("set TimeZone = 'UTC'; set memory_limit = '1500MB'; set threads = 2")
            connection.execute(f"set temp_directory = '{scratch / 'tmp'}'")
            for name in ("base", "head"):
                connection.execute(f"attach '{scratch / f'{name}.duckdb'}' as {name}")
            for name, file in (("raw", settings.raw), ("warehouse", settings.warehouse)):
                engine().attach(connection, file, name, seconds=0)
            return _Builder(connection, old, new, changed, renamed).run(scratch)
    except LockedError:
        return DataReview(remark="The warehouse is being written by another command, so nothing was built.")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Side:
    """One revision in the scratch: which relation stands for which node."""

    def __init__(self, name: str, revision: Revision) -> None:
        self.name = name
        self.nodes = revision.nodes("model", "seed", "snapshot")
        self.places: dict[str, str] = {}
        self.revision = revision

    def sql(self, text: str) -> str:
        for key, place in self.places.items():
            if relation := self.nodes[key].get("relation_name"):
                text = text.replace(relation, place)
        return text


class _Builder:
    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        old: Revision,
        new: Revision,
        changed: list[Change],
        renamed: Mapping[str, str],
    ) -> None:
        self.connection = connection
        self.old, self.new = _Side("base", old), _Side("head", new)
        self.changed = changed
        self.renamed = renamed
        self.found = {
            f"{schema}.{name}".lower()
            for schema, name in connection.execute(
                "select schema_name, table_name from duckdb_tables() where database_name = 'warehouse' union all "
                "select schema_name, view_name from duckdb_views() where database_name = 'warehouse'"
            ).fetchall()
        }
        self.review = DataReview()
        # both sides, as a class that is taken away now was given for a reason
        self.hidden = {*classes(new, trust_none=False), *classes(old, trust_none=False)}
        self.names = _names(old) | _names(new)
        self.unequal: set[str] = set()
        self.failed: set[str] = set()
        """What cannot be built on the head's side, and all below it."""

    def run(self, scratch: Path) -> DataReview:
        order = must_rebuild(self.old.revision, self.new.revision, self.changed)
        own = {c.id for c in self.changed if c.rebuilds}
        for key in order:
            node = self.new.nodes[key]
            if node["config"]["materialized"] == "ephemeral":
                self.unequal.add(key)
                continue
            parents = node["depends_on"].get("nodes") or []
            if any(p in self.failed for p in parents):
                self.failed.add(key)
                continue
            if key not in own and not any(p in self.unequal for p in parents):
                self.review.untouched.append(node["name"])
                continue
            diff = self._table(key, node)
            self.review.tables.append(diff)
            if not diff.is_equal:
                self.unequal.add(key)
            if diff.error and key not in self.new.places:
                self.failed.add(key)
            self._judge(key, node, diff)
            if key in own and key in self.new.revision.incremental and not diff.error:
                self._late_rows(key, diff)
        self._count_clauses()
        self._plans()
        self._sizes(scratch)
        return self.review

    # -- building

    def _table(self, key: str, node: Any) -> TableDiff:
        former = self.renamed.get(key, key)
        diff = TableDiff(key, node["name"], (None, None), keys_of(self.new.revision, key))
        seconds = [0.0, 0.0]
        for i, (side, own) in enumerate(((self.old, former), (self.new, key))):
            if own not in side.nodes:
                continue
            try:
                seconds[i] = self._build(side, own)
            except duckdb.Error as error:
                words = scrub(str(error), self.names)  # messages quote values
                diff.error = f"{'the base' if i == 0 else 'it'} cannot be built: {words}"
                if i == 1:
                    return diff
        diff.seconds = (seconds[0], seconds[1])
        places = [side.places.get(k) for side, k in ((self.old, former), (self.new, key))]
        rows = [self._one(f"select count(*) from {p}") if p else None for p in places]
        diff.rows = (rows[0], rows[1])
        if places[0] and places[1]:
            self._compare(diff, key, places[0], places[1])
        return diff

    def _build(self, side: _Side, key: str) -> float:
        """Build a node into the side's own database; its seconds."""
        node = side.nodes[key]
        for parent in node["depends_on"].get("nodes") or []:
            if parent in side.nodes:
                self._place(side, parent)
        place = f'"{side.name}"."{node["schema"]}"."{node.get("alias") or node["name"]}"'
        self.connection.execute(f'create schema if not exists "{side.name}"."{node["schema"]}"')
        started = time.monotonic()
        if node["resource_type"] == "seed":
            self.connection.execute(f"create or replace table {place} as {self._seed_sql(side, node)}")
        else:
            self.connection.execute(f"create or replace table {place} as {side.sql(node['compiled_code'])}")
        side.places[key] = place
        return time.monotonic() - started

    def _place(self, side: _Side, key: str) -> None:
        """Make sure a parent stands somewhere: built here, in the warehouse, or built now."""
        if key in side.places:
            return
        node = side.nodes[key]
        if node["config"]["materialized"] == "ephemeral":
            for parent in node["depends_on"].get("nodes") or []:
                if parent in side.nodes:
                    self._place(side, parent)
            return
        relation = f"{node['schema']}.{node.get('alias') or node['name']}"
        if relation.lower() in self.found:
            schema, name = relation.split(".", 1)
            side.places[key] = f'warehouse."{schema}"."{name}"'
        else:
            self._build(side, key)

    def _seed_sql(self, side: _Side, node: Any) -> str:
        file = side.revision.root / node["original_file_path"]
        types = {k.lower(): v for k, v in (node["config"].get("column_types") or {}).items()}
        relation = f"{node['schema']}.{node.get('alias') or node['name']}"
        if relation.lower() in self.found:
            described = self.connection.execute(
                f'describe warehouse."{node["schema"]}"."{node["name"]}"'
            ).fetchall()
            types = {**{name.lower(): kind for name, kind, *_ in described}, **types}
        header = self.connection.execute(
            f"describe from read_csv('{file}', all_varchar = true, header = true)"
        ).fetchall()
        columns = [f'cast("{n}" as {types.get(n.lower(), "varchar")}) as "{n}"' for n, *_ in header]
        return f"select {', '.join(columns)} from read_csv('{file}', all_varchar = true, header = true)"

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
            self.review.findings.append(Finding("incremental-misses", diff.name, Level.LOOK, text))

    # -- comparing

    def _compare(self, diff: TableDiff, key: str, base: str, head: str) -> None:
        names = [[n for n, *_ in self.connection.execute(f"describe {p}").fetchall()] for p in (base, head)]
        shared = [n for n in names[1] if n in names[0]]
        grain = [n for n in shared if n.lower() in {k.lower() for k in diff.key}]
        if len(grain) != len(diff.key) or not grain:
            diff.key = []
        if diff.key:
            columns = ", ".join(map(quoted, grain))
            diff.duplicates = self._one(
                f"select coalesce(sum(n - 1), 0) from (select count(*) as n from {head} group by {columns})"
            )
            unique = not diff.duplicates and not self._one(
                f"select coalesce(sum(n - 1), 0) from (select count(*) as n from {base} group by {columns})"
            )
        else:
            unique = False
        if unique:
            changed = self._by_key(diff, grain, [n for n in shared if n not in grain], base, head, key)
        else:
            changed = self._as_sets(diff, shared, base, head)
        for name in changed:
            diff.columns.append(self._column(name, changed[name], base, head))
        self._examples(diff, key, grain, base, head, unique)

    def _by_key(
        self, diff: TableDiff, grain: list[str], others: list[str], base: str, head: str, key: str
    ) -> dict[str, int]:
        joined = f"{base} as b full outer join {head} as h on " + " and ".join(
            f"b.{quoted(k)} is not distinct from h.{quoted(k)}" for k in grain
        )
        both = "b.rowid is not null and h.rowid is not null"
        differ = [f"b.{quoted(c)} is distinct from h.{quoted(c)}" for c in others]
        counts = ", ".join(f"count(*) filter ({both} and {d})" for d in differ)
        anything = " or ".join(differ) or "false"
        row = self.connection.execute(
            f"select count(*) filter (b.rowid is null), count(*) filter (h.rowid is null), "
            f"count(*) filter ({both} and ({anything})){', ' + counts if counts else ''} from {joined}"
        ).fetchone()
        assert row is not None
        diff.added, diff.removed, diff.changed = row[0], row[1], row[2]
        return {name: n for name, n in zip(others, row[3:], strict=True) if n}

    def _as_sets(self, diff: TableDiff, shared: list[str], base: str, head: str) -> dict[str, int]:
        columns = ", ".join(map(quoted, shared))
        diff.added = self._one(
            f"select count(*) from (select {columns} from {head} except all select {columns} from {base})"
        )
        diff.removed = self._one(
            f"select count(*) from (select {columns} from {base} except all select {columns} from {head})"
        )
        if not diff.added and not diff.removed:
            return {}
        changed = {}
        for name in shared:
            column = quoted(name)
            n = self._one(
                f"select count(*) from (select {column} from {head} except all select {column} from {base})"
            )
            if n:
                changed[name] = n
        return changed

    def _column(self, name: str, changed: int, base: str, head: str) -> ColumnDiff:
        column = quoted(name)
        kind = self._one(f"select typeof({column}) from {head} limit 1") or ""
        is_number = re.match(r"(DECIMAL|U?(TINY|SMALL|BIG|HUGE)?INT|DOUBLE|FLOAT)", str(kind)) is not None
        total = f"sum({column})" if is_number else "null"
        rows = [
            self.connection.execute(
                f"select count(*) - count({column}), count(distinct {column}), {total} from {p}"
            ).fetchone()
            for p in (base, head)
        ]
        a, b = (r or (0, 0, None) for r in rows)
        return ColumnDiff(name, changed, (a[0], b[0]), (a[1], b[1]), (a[2], b[2]))

    def _examples(
        self, diff: TableDiff, key: str, grain: list[str], base: str, head: str, unique: bool
    ) -> None:
        if not unique:
            return
        on = " and ".join(f"b.{quoted(k)} is not distinct from h.{quoted(k)}" for k in grain)
        shown_key = not any(Ref(key, k.lower()) in self.hidden for k in grain)
        identity = " || ' ' || ".join(f"cast(h.{quoted(k)} as varchar)" for k in grain)
        for column in diff.columns:
            c = quoted(column.name)
            rows = self.connection.execute(
                f"select {identity}, cast(b.{c} as varchar), cast(h.{c} as varchar) from {base} as b join {head} as h "
                f"on {on} where b.{c} is distinct from h.{c} order by 1 limit {EXAMPLES}"
            ).fetchall()
            is_hidden = Ref(diff.id, column.name.lower()) in self.hidden
            for identifier, before, after in rows:
                values = [MASK if is_hidden and v is not None else _shown(v) for v in (before, after)]
                column.examples.append(f"{identifier if shown_key else MASK}: {values[0]} → {values[1]}")

    # -- judging

    def _judge(self, key: str, node: Any, diff: TableDiff) -> None:
        add = self.review.findings.append
        name, public = diff.name, node.get("access") == "public"
        if diff.error:
            level = Level.LOOK if diff.error.startswith("the base") else Level.STOP
            add(Finding("build", name, level, f"`{name}`: {diff.error}"))
            return
        if diff.duplicates:
            text = f"`{name}`: {diff.duplicates:,} rows beyond one for each {', '.join(diff.key)}"
            add(Finding("key-not-unique", name, Level.STOP, text))
        before, after = diff.rows
        if before and after is not None and after < before * (1 - LOSS) and public:
            text = f"`{name}`: {before:,} → {after:,} rows ({(after - before) / before:+.1%})"
            add(Finding("rows-lost", name, Level.STOP, text))
        if before and after == 0:
            add(Finding("rows-lost", name, Level.STOP, f"`{name}` is empty now"))
        if (node["config"].get("contract") or {}).get("enforced"):
            self._contract(key, node)

    def _contract(self, key: str, node: Any) -> None:
        """What dbt would refuse when it builds: another type, a missing or an extra column, a null."""
        place = self.new.places[key]
        types = {n.lower(): t for n, t, *_ in self.connection.execute(f"describe {place}").fetchall()}
        for name, column in node["columns"].items():
            subject = f"{node['name']}.{name}"
            if name.lower() not in types:
                text = f"`{subject}` is in the contract, but not in the query"
                self.review.findings.append(Finding("contract-broken", subject, Level.STOP, text))
                continue
            if column.get("data_type"):
                wanted = self._one(f"select typeof(cast(null as {column['data_type']}))")
                if wanted != types[name.lower()]:
                    text = f"`{subject}`: the contract says {wanted}, the query yields {types[name.lower()]}"
                    self.review.findings.append(Finding("contract-broken", subject, Level.STOP, text))
            if any(c["type"] == "not_null" for c in column.get("constraints") or []):
                nulls = self._one(f"select count(*) from {place} where {quoted(name)} is null")
                if nulls:
                    text = f"`{subject}`: {nulls:,} nulls, where the contract allows none"
                    self.review.findings.append(Finding("contract-broken", subject, Level.STOP, text))
        for extra in sorted(set(types) - {n.lower() for n in node["columns"]}):
            text = f"`{node['name']}.{extra}` is in the query, but not in the contract"
            self.review.findings.append(
                Finding("contract-broken", f"{node['name']}.{extra}", Level.STOP, text)
            )

    def _count_clauses(self) -> None:
        for change in self.changed:
            if change.id not in self.new.nodes:
                continue
            for i, clause in enumerate(change.clauses):
                with suppress(duckdb.Error):
                    change.clauses[i] = counted(clause, self._counter(change))

    def _counter(self, change: Change) -> Any:
        # clauses speak of relations by their old names where something was renamed
        old = {
            n["relation_name"]: self.new.places.get(k, self.old.places.get(k))
            for k, n in self.old.nodes.items()
        }

        def count(sql: str) -> int:
            sql = self.new.sql(_requoted(sql, [*old, *(n["relation_name"] for n in self.new.nodes.values())]))
            for relation, place in old.items():
                if place and relation:
                    sql = sql.replace(relation, place)
            return int(self._one(sql))

        return count

    def _sizes(self, scratch: Path) -> None:
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

    def _plans(self) -> None:
        for change in self.changed:
            former = change.old or change.id
            if change.how != "meaning" or change.id not in self.new.places or former not in self.old.places:
                continue
            plans = []
            for side, key in ((self.old, former), (self.new, change.id)):
                sql = side.sql(side.nodes[key]["compiled_code"])
                row = self.connection.execute(f"explain (format json) {sql}").fetchone()
                plans.append(_operators(json.loads(row[1]) if row else []))
            for operator in sorted(RISKY & set(plans[1])):
                if plans[1].count(operator) > plans[0].count(operator):
                    text = f"`{change.name}`: the plan has a {operator.lower().replace('_', ' ')} now"
                    self.review.findings.append(
                        Finding("plan", f"{change.name}.{operator.lower()}", Level.LOOK, text)
                    )
        for diff in self.review.tables:
            before, after = diff.seconds
            if after > 1 and after > 3 * before > 0:
                text = f"`{diff.name}`: {before:.1f} s → {after:.1f} s"
                self.review.findings.append(Finding("slower", diff.name, Level.LOOK, text))

    def _one(self, sql: str) -> Any:
        row = self.connection.execute(sql).fetchone()
        return row[0] if row else None


def _operators(plan: Iterable[Mapping[str, Any]]) -> list[str]:
    found: list[str] = []
    for node in plan:
        found.append(str(node.get("name", "")).strip())
        found += _operators(node.get("children") or [])
    return found


def _requoted(sql: str, relations: Collection[str]) -> str:
    """Relations as dbt writes them, after sqlglot has written the query anew."""
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


def _shown(value: str | None) -> str:
    return "null" if value is None else value if len(value) <= 60 else value[:57] + "..."
