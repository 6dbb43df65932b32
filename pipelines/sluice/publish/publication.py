"""Builds a version: audits, writes each audience's copy beside the one in use, and switches to it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import duckdb

from sluice.config.audiences import Audience
from sluice.config.sources import load_sources
from sluice.dbt import run_results
from sluice.dbt.run_results import Outcome
from sluice.errors import ConnectionError, DeclarationError, PublishError
from sluice.publish.audit import Violation, audit, count, orphans
from sluice.publish.operation import Operation
from sluice.publish.policy_changes import forbidden_columns
from sluice.publish.project import Model, Project
from sluice.publish.published_files import (
    attached,
    fingerprint,
    link,
    opens,
    parquet_opens,
    parquet_query,
    rewrite,
    write_duckdb,
    write_parquet,
    writing_connection,
)
from sluice.publish.selection import (
    Digests,
    check_filter,
    condition,
    open_warehouse,
    selection,
    warehouse_columns,
)
from sluice.publish.versions import PublishedAudience, PublishedTable, Version, new_name
from sluice.sql import quoted


@dataclass
class Published:
    """What a publication did."""

    version: str
    written: dict[str, list[str]] = field(default_factory=dict)
    """Tables that were written, by audience; a DuckDB file is written whole when one of its tables changed."""
    audiences: dict[str, PublishedAudience] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)


@dataclass
class Rotated:
    """What a key rotation did."""

    versions: list[str]
    left_to_do: str
    """What the person who rotated has to do now."""


class Publication(Operation):
    """Writes versions."""

    @cached_property
    def outcomes(self) -> Mapping[str, Outcome]:
        """What dbt last reported of each model and test."""
        return run_results.merge(self.settings)

    @cached_property
    def project(self) -> Project:
        """The granted models; raises DeclarationError when grants and policy do not fit."""
        cache = self.settings.lineage_cache
        return Project.read(self.settings.target, self.policy, self.outcomes, cache)

    def run(self, run_id: str | None, accept_rows: bool) -> Published:
        """See publish."""
        for mirror in self.mirrors:
            mirror.settle()
        previous = self.versions.read_current()
        hashed = self.versions.folder if previous and _has_hashes(previous) else None
        masking_key = self.keys.masking(self.policy, hashed)
        with open_warehouse(self.settings.warehouse, masking_key, self.settings.lock_seconds) as con:
            held = self._audit(con, previous, accept_rows)
            if unclassed := list(self.project.unclassed(held)):
                raise DeclarationError("\n".join(unclassed))
            building = self.versions.begin()
            digests = Digests(con)
            result = Published(
                new_name(), held={m.name: held[i] for i, m in self.project.models.items() if i in held}
            )
            for audience in self.policy.audiences:
                published, written = self._write(con, digests, audience, building, previous, set(held))
                result.audiences[audience.name] = published
                result.written[audience.name] = written
        version = Version(
            version=result.version,
            created_at=datetime.now(UTC),
            run_id=run_id,
            git_commit=_git_commit(self.settings.root),
            load_packages=self.run_store.packages(),
            tests={i: self.outcomes[i].status for i in sorted(self.project.tests) if i in self.outcomes},
            held={name: reason.splitlines()[0] for name, reason in result.held.items()},
            audiences=result.audiences,
        )
        for mirror in self.mirrors:
            mirror.send(version, building)
        self.versions.seal(version)
        self.versions.switch(result.version)
        for mirror in self.mirrors:
            mirror.switch(result.version)
        self.versions.prune(self.policy.publishing.keep)
        return result

    def _audit(
        self, con: duckdb.DuckDBPyConnection, previous: Version | None, accept_rows: bool
    ) -> dict[str, str]:
        """Models to hold back, with the reason; raises PublishError when nothing may be published."""
        sources = load_sources(self.settings.sources) if self.settings.sources.is_dir() else []
        found = audit(
            con, self.project, self.outcomes, sources, self.run_store, previous, accept_rows=accept_rows
        )
        if not found:
            return {}
        if self.policy.publishing.on_failure == "stop":
            raise PublishError(_refusal(found, previous))
        held: dict[str, str] = {}
        for violation in found:
            for unique_id in self.project.descendants(violation.affected_models):
                held.setdefault(unique_id, str(violation))
        return held

    def _write(
        self,
        con: duckdb.DuckDBPyConnection,
        digests: Digests,
        audience: Audience,
        building: Path,
        previous: Version | None,
        held: set[str],
    ) -> tuple[PublishedAudience, list[str]]:
        """Build one audience's file or folder; returns what it holds and which tables were written."""
        old = previous.audiences.get(audience.name) if previous else None
        old_path = (
            self.versions.path(previous.version) / _file(audience.name, old.format)
            if previous and old
            else None
        )
        key = self.keys.find(audience)
        if old and old_path and old.is_encrypted and not self._opens(con, old, old_path, key):
            path = old_path
            why = self.keys.missing(
                audience, lambda key: self._opens(con, old, path, key), self.versions.folder
            )
            raise ConnectionError(f"the published file of {audience.name} is encrypted: {why}")
        with ExitStack() as stack:
            readable = (
                old is not None and old_path is not None and self._readable(con, stack, old, old_path, key)
            )
            tables = {}
            for model in self._granted(audience):
                if model.unique_id not in held:
                    tables[model.name] = self._select(con, digests, audience, model)
                elif (
                    readable
                    and old
                    and old_path
                    and (kept := self._kept(con, audience, model, old, old_path, key))
                ):
                    assert previous is not None
                    held_from = kept[1].held_from or previous.version
                    tables[model.name] = kept[0], kept[1].model_copy(update={"held_from": held_from})
            by_model = {table.model: (sql, table) for sql, table in tables.values()}
            if held and (reasons := list(orphans(con, self.project, by_model))):
                raise PublishError(f"holding back does not work for {audience.name}: {'; '.join(reasons)}")
            reused = old if readable and old and old.format == audience.format else None
            same = [n for n, (_, t) in tables.items() if reused and _is_same(t, reused.tables.get(n))]
            written = self._store(con, audience, building, key, tables, same, old_path if reused else None)
        published = PublishedAudience(
            format=audience.format,
            is_encrypted=key is not None,
            tables={name: table for name, (_, table) in tables.items()},
            to=audience.to,
        )
        return published, written

    def _store(
        self,
        con: duckdb.DuckDBPyConnection,
        audience: Audience,
        building: Path,
        key: str | None,
        tables: Mapping[str, tuple[str, PublishedTable]],
        same: Sequence[str],
        old_path: Path | None,
    ) -> list[str]:
        path = building / _file(audience.name, audience.format)
        if audience.format == "duckdb":
            if old_path and len(same) == len(tables) == self._table_count(con):
                link(old_path, path)
                return []
            write_duckdb(con, path, key, tables)
            return list(tables)
        folder = building / f"{audience.name}.new"
        folder.mkdir()
        for name, (sql, table) in tables.items():
            if old_path and name in same and (old_path / name).is_dir():
                link(old_path / name, folder / name)
            else:
                write_parquet(con, folder / name, key, name, sql, table)
        self.versions.replace(path, folder)
        return [name for name in tables if name not in same]

    def _table_count(self, con: duckdb.DuckDBPyConnection) -> int:
        row = con.execute("select count(*) from duckdb_tables() where database_name = 'previous'").fetchone()
        assert row is not None
        return int(row[0])

    def _granted(self, audience: Audience) -> Iterator[Model]:
        return (m for m in self.project.models.values() if audience.name in m.grants)

    def _select(
        self, con: duckdb.DuckDBPyConnection, digests: Digests, audience: Audience, model: Model
    ) -> tuple[str, PublishedTable]:
        chosen = selection(audience, model, warehouse_columns(con, model), digests)
        check_filter(con, audience, model, chosen)
        rows, digest = fingerprint(con, chosen.sql, chosen.columns)
        table = PublishedTable(
            model=model.unique_id,
            rows=rows,
            fingerprint=digest,
            columns=chosen.columns,
            classed=chosen.classed,
            condition=chosen.condition,
            rows_in_warehouse=count(con, model),
            partition_by=model.partition_by if audience.format == "parquet" else (),
        )
        return chosen.sql, table

    def _kept(
        self,
        con: duckdb.DuckDBPyConnection,
        audience: Audience,
        model: Model,
        old: PublishedAudience,
        old_path: Path,
        key: str | None,
    ) -> tuple[str, PublishedTable] | None:
        """A held model as it was last published; None when it was not, or when today's policy forbids it."""
        table = old.tables.get(model.name)
        classes = {c.name: c.data_class for c in model.columns if c.data_class}
        if (
            table is None
            or table.condition != condition(audience, model)
            or list(forbidden_columns(model.name, table, audience, classes))
        ):
            return None
        if old.format == "parquet":
            return parquet_query(con, old_path / model.name, key), table
        return f"from previous.{quoted(model.name)}", table

    def _readable(
        self,
        con: duckdb.DuckDBPyConnection,
        stack: ExitStack,
        old: PublishedAudience,
        old_path: Path,
        key: str | None,
    ) -> bool:
        """Whether tables of the last version can be reused; a DuckDB file stays attached as `previous`."""
        if old.is_encrypted != (key is not None) or not self._opens(con, old, old_path, key):
            return False
        if old.format == "duckdb":
            stack.enter_context(attached(con, old_path, "previous", key))
        return True

    def _opens(
        self, con: duckdb.DuckDBPyConnection, old: PublishedAudience, old_path: Path, key: str | None
    ) -> bool:
        if old.format == "duckdb":
            return opens(con, old_path, key)
        return all(parquet_opens(con, old_path / name, key) for name in list(old.tables)[:1])

    def rotate(self, audience: Audience) -> Rotated:
        """See rotate_key."""
        old, new = self.keys.begin_rotation(audience)
        rotated: dict[int, Path] = {}
        done = []
        building = self.versions.begin()
        with writing_connection() as con:
            for name in self.versions.names:
                version = self.versions.read(name)
                published = version.audiences.get(audience.name)
                if published is None:
                    continue
                path = self.versions.path(name) / _file(audience.name, published.format)
                shutil.rmtree(building / "new", ignore_errors=True)  # a file renamed onto itself stays behind
                for file in [path] if path.is_file() else sorted(path.rglob("*.parquet")):
                    inode = file.stat().st_ino
                    if inode not in rotated:
                        rotated[inode] = building / f"{inode}{file.suffix}"
                        rewrite(con, file, rotated[inode], old, new)
                    link(rotated[inode], building / "new" / file.relative_to(path.parent))
                self.versions.replace(path, building / "new" / path.name)
                published.is_encrypted = True
                self.versions.amend(version)
                done.append(name)
        self.keys.end_rotation(audience, new)
        self.versions.discard()
        for mirror in [m for m in self.mirrors if m.audience == audience.name]:
            for name in done:
                mirror.send(self.versions.read(name), self.versions.path(name))
            if self.versions.current:
                mirror.switch(self.versions.current)
        return Rotated(done, self.keys.left_to_do(audience))


def _is_same(new: PublishedTable, old: PublishedTable | None) -> bool:
    def content(table: PublishedTable) -> tuple[object, ...]:
        return table.rows, table.fingerprint, list(table.columns.items()), table.classed, table.partition_by

    return old is not None and content(new) == content(old)


def _has_hashes(version: Version) -> bool:
    tables = [table for audience in version.audiences.values() for table in audience.tables.values()]
    return any(treatment == "hash" for table in tables for _, treatment in table.classed.values())


def _file(audience: str, kind: str) -> str:
    return f"{audience}.duckdb" if kind == "duckdb" else audience


def _refusal(found: Sequence[Violation], previous: Version | None) -> str:
    serving = f"; readers keep version {previous.version}" if previous else ""
    return "\n".join([f"nothing was published{serving}:", *(f"  {violation}" for violation in found)])


def _git_commit(root: Path) -> str | None:
    """The commit of the project, with `+` when files differ from it; None outside of git."""
    try:
        answers = [
            subprocess.run(
                ["git", *command], cwd=root, capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return answers[0] + ("+" if answers[1] else "")
