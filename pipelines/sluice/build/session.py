"""A dbt that builds only what has changed: `python -m sluice.build.session FD`, as `sluice.dbt.session`.

A command that begins with `--only-changed` leaves out what is as it was; with `--force` beside it, all is built and
noted. What was decided goes to `build_decisions.json` beside the warehouse.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.artifacts.schemas.results import RunStatus, TestStatus
from dbt.artifacts.schemas.run import RunResult
from dbt.contracts.graph.nodes import UnitTestDefinition, UnitTestNode
from dbt.flags import get_flags
from dbt.task.base import BaseRunner
from dbt.task.run import MicrobatchModelRunner, ModelRunner
from dbt.task.seed import SeedRunner
from dbt.task.snapshot import SnapshotRunner
from dbt.task.test import TestRunner

from sluice.build.decisions import Decisions, Node, digest
from sluice.build.project_files import PACKAGES, project_digest
from sluice.config.environments import RAW
from sluice.config.settings import Settings, load_settings
from sluice.dbt.build_state import DECISIONS, FORCE, ONLY_CHANGED, keep_state, read_state
from sluice.dbt.manifest import Manifest, bare, meta
from sluice.dbt.session import serve
from sluice.dbt.untraced import JINJA, QUERIES, untraced
from sluice.dbt.untraced import PACKAGES as OF_DBT
from sluice.engine.differing import Queries
from sluice.engine.raw_versions import RawVersions
from sluice.sql import literal, quoted

PARTIAL = ("EMPTY", "SAMPLE")
"""Flags with which dbt builds other rows than the models say: nothing is known of them afterwards."""
NOT_BUILT = ("meta", "tags", "docs", "group", "access", "freshness", "grants")
"""Parts of a node's configuration that do not change what is built."""
VARIABLE = re.compile(r"\benv_var\s*\(\s*(['\"])(.+?)\1")
MOMENTS = re.compile(r"\b(run_started_at|invocation_id|modules\W+(datetime|pytz))\b")
"""What Jinja writes another value for at each build."""
EQUAL_BUT_DIFFERENT = re.compile(r"INTERVAL|TIME WITH TIME ZONE|VARIANT|(DOUBLE|FLOAT).")
"""Types with values that DuckDB takes for equal and that read differently (30 days and a month), and nested ones."""


class _Build:
    """One dbt command that decides node by node."""

    def __init__(self, settings: Settings, *, is_forced: bool) -> None:
        self._settings = settings
        self._raw = RawVersions(settings.raw)
        self._queries = Queries(duckdb.connect(config={"threads": 1}))
        self._manifest: Any = None
        self._untraced: dict[str, list[tuple[str, str]]] = {}
        self._runner: Any = None
        self._has_failed = False
        self._lock = Lock()
        state = read_state(settings)
        self.decisions = Decisions(
            state,
            state.is_of(settings.warehouse),
            _same_sql,
            self._differs,
            self._outside,
            is_forced,
        )

    def run(self, runner: Any, compiled: Any, manifest: Any, execute: Any) -> Any:
        """What dbt's own `run` returns; a node that is left as it is has the status `reused`."""
        self._take(runner, manifest)
        is_partial = any(getattr(get_flags(), name, None) for name in PARTIAL)
        if get_flags().FULL_REFRESH or is_partial:
            self.decisions.is_forced = True
        node = self._node(runner, compiled)
        look = partial(self._look, runner, compiled, node.is_view)
        if self.decisions.decide(node, look) == "":
            return RunResult.from_node(compiled, RunStatus.Reused, "unchanged")
        runner.begin()
        try:
            result = execute(compiled, manifest)
        except BaseException:
            self._has_failed = True
            self.decisions.failed(node)
            raise
        if result.status in (RunStatus.Success, TestStatus.Pass) and not is_partial:
            seen = "" if node.is_test else look()
            self.decisions.built(node, seen, seen if node.is_view else "")
        else:
            self._has_failed = True
            self.decisions.failed(node)
        return result

    @property
    def is_left_open(self) -> bool:
        """Whether the next build has something to do, even if nothing changes."""
        nodes = self.decisions.state.nodes
        return (
            self._has_failed
            or any(key not in nodes for key in self.decisions.reasons)
            or bool(self._untraced)
        )

    def keep(self, project: str, files: dict[str, list[Any]]) -> None:
        """Keep what is known now, when the databases are closed; `project`: digest of what is built whole, or empty."""
        self.decisions.forget_unseen()
        state = self.decisions.state
        if self._manifest is not None:
            known = {*self._manifest.nodes, *self._manifest.unit_tests}
            state.nodes = {key: node for key, node in state.nodes.items() if key in known}
            sources = self._manifest.sources.values()
            state.sources = {s.unique_id: [s.schema, s.identifier] for s in sources if s.database == RAW}
            if self._untraced or any(
                getattr(node, "language", "sql") != "sql" for node in self._manifest.nodes.values()
            ):
                state.unseen_writes_at = datetime.now(UTC).isoformat()
        state.project, state.files = project, files
        keep_state(self._settings, state)
        decisions = self._settings.home / DECISIONS
        decisions.write_text(json.dumps(self.decisions.reasons), encoding="utf-8")

    def _take(self, runner: Any, manifest: Any) -> None:
        with self._lock:
            if self._manifest is None:
                self._manifest, self._runner = manifest, runner
                self._untraced = untraced(Manifest(manifest.writable_manifest().to_dict(omit_none=False)))

    def _node(self, runner: Any, compiled: Any) -> Node:
        if isinstance(compiled, UnitTestDefinition | UnitTestNode):
            return self._unit_test(runner, compiled)
        kind = str(compiled.resource_type)
        config = {k: v for k, v in compiled.config.to_dict().items() if k not in NOT_BUILT}
        columns = [
            [
                c.name,
                c.data_type,
                [x.to_dict() for x in c.constraints],
                c.description if config.get("persist_docs") else "",
                c.quote,
            ]
            for c in getattr(compiled, "columns", {}).values()
        ]
        of_table = [x.to_dict() for x in getattr(compiled, "constraints", ())]
        described = compiled.description if config.get("persist_docs") else ""
        query = compiled.compiled_code or "" if kind != "seed" else ""
        sql = self._seed(runner, compiled) if kind == "seed" else query
        if config.get("materialized") == "incremental":  # whose SQL is another one when its table is there
            sql = self._template(runner, compiled)
        always = "; ".join(reason for reason, _ in self._untraced.get(compiled.unique_id, ())[:1])
        if getattr(compiled, "language", "sql") != "sql":
            always = "it is written in Python"
        if isinstance(runner, MicrobatchModelRunner):
            always = "which batches are built depends on the time"
        after = meta(compiled.to_dict()).get("build_after")
        return Node(
            compiled.unique_id,
            kind,
            sql,
            query,
            digest([config, columns, of_table, described, compiled.relation_name, self._engine(runner)]),
            tuple(dict.fromkeys(compiled.depends_on.nodes))
            if hasattr(compiled, "depends_on") and kind != "seed"
            else (),
            is_view=config.get("materialized") == "view",
            is_always=always,
            build_after=timedelta(**{f"{after['period']}s": int(after["count"])}) if after else None,
        )

    def _unit_test(self, runner: Any, test: Any) -> Node:
        """It is what is given and expected, and all that the model is compiled from."""
        model = self._manifest.nodes[test.depends_on.nodes[0]]
        parents = (
            self._manifest.nodes.get(k) or self._manifest.sources.get(k) for k in model.depends_on.nodes
        )
        types = [self._types(parent) for parent in parents if parent is not None]
        given = test.to_dict() if hasattr(test, "to_dict") else {}
        text = digest(
            [
                {k: given.get(k) for k in ("given", "expect", "overrides", "model", "config")},
                self._template(runner, model),
                types,
            ]
        )
        return Node(test.unique_id, "unit_test", text, "", digest(self._engine(runner)), ())

    def _template(self, runner: Any, model: Any) -> str:
        """Digest of all that a model's SQL is compiled from; any macro of the project may take the place of dbt's."""
        used = self._macros(model.depends_on.macros)
        macros = [
            macro.macro_sql
            for key, macro in sorted(self._manifest.macros.items())
            if key in used or macro.package_name == runner.config.project_name
        ]
        own = [model.config.meta, model.config.tags, model.name, str(model.relation_name)]
        named = {match[2] for text in (model.raw_code, *macros) for match in VARIABLE.finditer(text)}
        variables = {name: os.environ.get(name) for name in named if name}
        return digest([model.raw_code, macros, own, runner.config.vars.to_dict(), variables])

    def _macros(self, start: Sequence[str]) -> set[str]:
        found: set[str] = set()
        waiting = list(start)
        while waiting:
            key = waiting.pop()
            if key not in found and key in self._manifest.macros:
                found.add(key)
                waiting += self._manifest.macros[key].depends_on.macros
        return found

    def _seed(self, runner: Any, seed: Any) -> str:
        """Digest of the file: dbt's own is that of the path, for files of a megabyte and more."""
        file = Path(
            runner.config.project_root if not seed.root_path else seed.root_path, seed.original_file_path
        )
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    def _engine(self, runner: Any) -> list[Any]:
        credentials = runner.config.credentials
        options = [
            getattr(credentials, name, None)
            for name in ("settings", "extensions", "config_options", "schema")
        ]
        return [*map(version, PACKAGES), json.dumps(options, default=str, sort_keys=True)]

    def _differs(self, node: Node) -> str:
        if found := self._of_jinja(node):
            return found
        if not node.query:
            return ""
        known = [self._relation(key) for key in (node.id, *self._reached(node.parents))]
        return self._queries.differing(node.query, known)

    def _of_jinja(self, node: Node) -> str:
        """What Jinja writes into the SQL from elsewhere; tables whose Jinja queries the database are built always."""
        test = self._manifest.unit_tests.get(node.id)
        found = self._manifest.nodes.get(test.depends_on.nodes[0] if test else node.id)
        if found is None or node.kind == "seed":
            return ""
        used = (self._manifest.macros[key] for key in sorted(self._macros(found.depends_on.macros)))
        own = [macro.macro_sql for macro in used if macro.package_name not in OF_DBT]
        for text in (found.raw_code, str(found.config.get("where")), *own):
            for code in JINJA.finditer(text):
                if code[1] and (match := MOMENTS.search(code[1])):
                    return f"its Jinja writes {match[0]} into it, which is another at each build"
                if node.is_test and code[1] and QUERIES.search(code[1]):
                    return "its Jinja may query the database while it is compiled"
        return ""

    def _reached(self, parents: Sequence[str]) -> Iterator[str]:
        """The parents, and what the ephemeral ones among them read."""
        for parent in parents:
            yield parent
            found = self._manifest.nodes.get(parent)
            if found is not None and found.config.materialized == "ephemeral":
                yield from self._reached(found.depends_on.nodes)

    def _relation(self, unique_id: str) -> str:
        node = self._manifest.nodes.get(unique_id) or self._manifest.sources.get(unique_id)
        return bare(str(getattr(node, "relation_name", "") or ""))

    def _outside(self, unique_id: str) -> str | None:
        """See `Decisions.outside`."""
        if source := self._manifest.sources.get(unique_id):
            is_loaded = source.database == RAW and self._settings.raw.is_file()
            return self._raw.version(source.schema, source.identifier) if is_loaded else None
        node = self._manifest.nodes.get(unique_id)
        if node is None:
            return None
        if node.config.materialized == "ephemeral":
            self.decisions.pass_on(unique_id, node.depends_on.nodes)
            return self.decisions.outputs[unique_id]
        known = self.decisions.state.nodes.get(unique_id)
        is_view = node.config.materialized == "view"
        if known is None or (is_view and known.differs):
            return None
        if self.decisions.is_trusted or self._look(self._runner, node, is_view) == (
            known.definition if is_view else known.output
        ):
            return known.output
        return None

    def _look(self, runner: Any, node: Any, is_view: bool) -> str:
        """See `decisions.Look`."""
        if is_view:
            return self._value(f"select sql from duckdb_views() where {_place(node, 'view_name')}")
        with self._cursor() as con:
            where = _place(node, "table_name")
            columns = con.execute(
                f"select column_name, data_type from duckdb_columns() where {where} order by column_index"
            ).fetchall()
        if not columns:
            return ""
        values = ", ".join(value for name, kind in columns for value in _compared(quoted(name), kind))
        rows = self._value(
            f"select count(*) || ' ' || coalesce(sum(hash({values})::hugeint), 0)::varchar from {node.relation_name}"
        )
        return f"{rows} {digest(columns)}"

    def _types(self, node: Any) -> str:
        columns = "string_agg(column_name || ' ' || data_type, ', ' order by column_index)"
        return self._value(f"select {columns} from duckdb_columns() where {_place(node, 'table_name')}")

    def _cursor(self) -> Any:
        """A connection of its own: what dbt's have not committed is not looked at."""
        return DuckDBConnectionManager.env().conn.cursor()  # type: ignore[attr-defined]

    def _value(self, sql: str) -> str:
        with self._cursor() as con:
            row = con.execute(sql).fetchone()
        return str(row[0]) if row and row[0] is not None else ""


def _place(node: Any, name: str) -> str:
    """The condition by which DuckDB's catalog has a relation; `name`: the column with its name."""
    return (
        f"database_name = {literal(str(node.database))} and schema_name = {literal(str(node.schema))}"
        f" and {name} = {literal(str(getattr(node, 'identifier', None) or node.alias))}"
    )


def _compared(name: str, kind: str) -> list[str]:
    """What tells a column's values apart."""
    if kind in ("DOUBLE", "FLOAT"):
        return [name, f"signbit({name})"]
    return [f"cast({name} as varchar)"] if EQUAL_BUT_DIFFERENT.search(kind) else [name]


def _same_sql(before: str, after: str) -> bool:
    from sluice.review.query_equivalence import canonical  # imports the parser: only where something changed

    return before == after or canonical(before, {}) == canonical(after, {})


_building: list[_Build] = []
_project: list[Any] = []
"""Digest and files of the project that was parsed."""


def _run(self: Any, compiled: Any, manifest: Any) -> Any:
    if _building and isinstance(self, ModelRunner | TestRunner):
        return _building[0].run(self, compiled, manifest, self.execute)
    return self.execute(compiled, manifest)


def _silent_if_reused(kind: Any) -> None:
    """Let dbt say that it begins with a node when that is decided, and nothing of those that are left."""
    before_execute, after_execute = kind.before_execute, kind.after_execute

    def before(self: Any) -> None:
        if not _building:
            before_execute(self)

    def after(self: Any, result: Any) -> None:
        if result.status != RunStatus.Reused:
            after_execute(self, result)

    kind.before_execute, kind.after_execute, kind.begin = before, after, before_execute


@contextmanager
def _deciding(arguments: list[str]) -> Iterator[list[str]]:
    """dbt's arguments, while nodes are decided on if the command asks for it."""
    own = [one for one in arguments if one in (ONLY_CHANGED, FORCE)]
    arguments = [one for one in arguments if one not in own]
    if ONLY_CHANGED not in own:
        yield arguments
        return
    settings = load_settings()
    raw = RawVersions(settings.raw)
    if not raw.is_known and not any(other.owns(settings.raw) for other in settings.others):
        raw.keep((), "")  # by what this build reads, the next one can tell
    build = _Build(settings, is_forced=FORCE in own)
    _building.append(build)
    try:
        yield arguments
    finally:
        _building.clear()
        is_whole = [one for one in arguments if one != "--quiet"] == ["build"]
        build.keep(*_project if is_whole and not build.is_left_open else ("", {}))


def main() -> None:
    """Parse, then serve until the input ends."""
    settings = load_settings()
    _project[:] = project_digest(settings, read_state(settings).files)  # before the project is parsed
    BaseRunner.run = _run  # type: ignore[method-assign,assignment]
    for kind in (ModelRunner, SeedRunner, SnapshotRunner, TestRunner):
        _silent_if_reused(kind)
    serve(int(sys.argv[1]), _deciding)


if __name__ == "__main__":
    main()
