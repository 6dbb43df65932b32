"""A dbt that builds only what has changed: `python -m sluice.build.session FD`, as `sluice.dbt.session`.

A command that begins with `--only-changed` leaves out what is as it was; with `--force` beside it, all is built and
noted. What was decided goes to `build_decisions.json` beside the warehouse.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from typing import Any

import duckdb
from dbt.adapters.factory import get_adapter
from dbt.artifacts.schemas.results import RunStatus, TestStatus
from dbt.artifacts.schemas.run import RunResult
from dbt.flags import get_flags
from dbt.task.base import BaseRunner
from dbt.task.build import BuildTask
from dbt.task.run import MicrobatchModelRunner, ModelRunner, RunTask
from dbt.task.seed import SeedRunner
from dbt.task.snapshot import SnapshotRunner
from dbt.task.test import TestRunner

from sluice.build.decisions import Decisions, Node, Production
from sluice.build.early import leave_out
from sluice.build.nodes import Nodes
from sluice.build.project_files import project_digest
from sluice.build.relations import cursor, drop, look, read_from, types
from sluice.config.environments import RAW
from sluice.config.settings import Settings, load_settings
from sluice.dbt.build_state import DECISIONS, FORCE, ONLY_CHANGED, keep_state, read_state
from sluice.dbt.deferral import DEFER, deferred_to
from sluice.dbt.session import serve
from sluice.engine.differing import Queries
from sluice.engine.raw_versions import RawVersions

PARTIAL = ("EMPTY", "SAMPLE")
"""Flags with which dbt builds other rows than the models say: nothing is known of them afterwards."""


class _Build:
    """One dbt command that decides node by node."""

    def __init__(self, settings: Settings, *, is_forced: bool) -> None:
        self._settings = settings
        self._queries = Queries(duckdb.connect(config={"threads": 1}))
        self._manifest: Any = None
        self._nodes: Nodes | None = None
        self._raw = RawVersions(settings.raw)
        self._has_failed = False
        self._lock = Lock()
        self.production = settings.production
        state = read_state(settings.home)
        self.decisions = Decisions(
            state, state.has_left(settings.warehouse), _same_sql, self._differs, self._outside, is_forced
        )

    def run(self, runner: Any, compiled: Any, manifest: Any, execute: Any) -> Any:
        """What dbt's own `run` returns; a node that is left as it is has the status `reused`."""
        node = self._take(manifest, runner.config).node(
            compiled, types, is_microbatch=isinstance(runner, MicrobatchModelRunner)
        )
        looks = partial(look, str(getattr(compiled, "relation_name", None) or ""))
        try:
            if self.decisions.decide(node, looks) == "":
                self._read_if_new(runner.adapter, node)
                return RunResult.from_node(compiled, RunStatus.Reused, "unchanged")
            runner.begin()
            if (node.kind == "seed" or node.keeps_rows) and looks(True):
                _drop_view(runner, compiled)  # which reads production: dbt makes no table in its place
            result = execute(compiled, manifest)
        except BaseException:
            self._has_failed = True
            self.decisions.failed(node)
            raise
        if result.status in (RunStatus.Success, TestStatus.Pass) and not _is_partial():
            self.decisions.built(node, looks)
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
            or bool(self._nodes and self._nodes.is_any_untraced)
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
            if self._nodes and self._nodes.is_any_unseen:
                state.unseen_writes_at = datetime.now(UTC).isoformat()
        state.project, state.files = project, files
        is_read = any(node.production for node in state.nodes.values())
        keep_state(self._settings, state, self.production if is_read else None)
        decisions = self._settings.home / DECISIONS
        decisions.write_text(json.dumps(self.decisions.reasons), encoding="utf-8")

    def leave_out(self, task: Any) -> None:
        """Leave out what cannot have changed, before dbt's build task begins."""
        nodes = self._take(task.manifest, task.config)
        nodes.read_templates(task.job_queue.get_selected_nodes())
        if self.decisions.is_forced:
            return
        adapter = get_adapter(task.config)
        with adapter.connection_named("left out"):
            adapter.connections.get_thread_connection().handle  # noqa: B018 - opens the database

            def is_left(key: str) -> bool:
                node = nodes.uncompiled(key, types)
                if node is None or not self.decisions.leaves(
                    node, partial(look, *node.relations[:1] or [""])
                ):
                    return False
                self._read_if_new(adapter, node)
                if node.kind != "unit_test":
                    nodes.with_sql(key, self.decisions.state.nodes[key].sql)
                return True

            leave_out(task, is_left)

    def _take(self, manifest: Any, config: Any) -> Nodes:
        with self._lock:
            if self._nodes is None:
                self._manifest, self._nodes = manifest, Nodes(manifest, config, self._queries)
                self._take_production()
                if get_flags().FULL_REFRESH or _is_partial():
                    self.decisions.is_forced = True
            return self._nodes

    def _take_production(self) -> None:
        """What production has, when its warehouse is attached, and so cannot change any more."""
        flags, there = get_flags(), self.production
        state = getattr(flags, "DEFER_STATE", None) or getattr(flags, "STATE", None)
        source = deferred_to(self._settings, state) if getattr(flags, "DEFER", False) else None
        if source:
            self._raw = RawVersions(source.raw)
        if there and there.warehouse and (source or self._settings.reads_production.is_file()):
            built = read_state(there.home)
            self.decisions.production = Production(
                built, built.is_of(there.warehouse), look, is_read=source is not None and source == there
            )

    def _differs(self, node: Node) -> str:
        assert self._nodes
        return self._nodes.differs(node)

    def _outside(self, unique_id: str) -> str | None:
        """See `Decisions.outside`."""
        if source := self._manifest.sources.get(unique_id):
            return self._raw.version(source.schema, source.identifier) if source.database == RAW else None
        node = self._manifest.nodes.get(unique_id)
        if node is None:
            return None
        if node.config.materialized == "ephemeral":
            self.decisions.pass_on(unique_id, node.depends_on.nodes)
            return self.decisions.outputs[unique_id]
        return self.decisions.not_selected(unique_id, partial(look, str(node.relation_name)))

    def _read_if_new(self, adapter: Any, node: Node) -> None:
        """Make the view that reads a node from production, if it is not there yet."""
        if source := self.decisions.to_read.pop(node.id, ""):
            self._settings.reads_production.touch()
            read_from(node.relations[0], source)
            relation = adapter.Relation.create_from(adapter.config, self._manifest.nodes[node.id])
            adapter.cache_dropped(relation)
            adapter.cache_added(relation.incorporate(type="view"))
            self.decisions.reads(node, look(node.relations[0], True))


def _is_partial() -> bool:
    return any(getattr(get_flags(), name, None) for name in PARTIAL)


def _drop_view(runner: Any, compiled: Any) -> None:
    with cursor() as con:
        drop(con, str(compiled.relation_name))
    runner.adapter.cache_dropped(runner.adapter.Relation.create_from(runner.config, compiled))


def _same_sql(before: str, after: str) -> bool:
    if before == after:
        return True
    from sluice.review.query_equivalence import same_query  # imports the parser: only where something changed

    return same_query(before, after)


_building: list[_Build] = []
_project: list[Any] = []
"""Digest and files of the project that was parsed."""


def _run(self: Any, compiled: Any, manifest: Any) -> Any:
    if _building and isinstance(self, ModelRunner | TestRunner):
        return _building[0].run(self, compiled, manifest, self.execute)
    return self.execute(compiled, manifest)


def _execute_nodes(self: Any) -> Any:
    if _building:
        _building[0].leave_out(self)
    return RunTask.execute_nodes(self)


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
        defers = [DEFER, "--state", str(build.production.state)] if build.production else []
        is_whole = [one for one in arguments if one not in ("--quiet", *defers)] == ["build"]
        build.keep(*_project if is_whole and not build.is_left_open else ("", {}))


def main() -> None:
    """Parse, then serve until the input ends."""
    settings = load_settings()
    _project[:] = project_digest(settings, read_state(settings.home).files)  # before the project is parsed
    BaseRunner.run = _run  # type: ignore[method-assign,assignment]
    BuildTask.execute_nodes = _execute_nodes  # type: ignore[method-assign]
    for kind in (ModelRunner, SeedRunner, SnapshotRunner, TestRunner):
        _silent_if_reused(kind)
    serve(int(sys.argv[1]), _deciding)


if __name__ == "__main__":
    main()
