"""Builds a version: audits, writes each audience's copy beside the one in use, and switches to it."""

from __future__ import annotations

import getpass
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import duckdb

from sluice.config.audiences import Audience
from sluice.config.sources import read_sources
from sluice.dbt import run_results
from sluice.dbt.run_results import Outcome
from sluice.errors import ConnectionError, DeclarationError, PublishError
from sluice.publish.audit import WRONG_DECLARATION, audit, orphans
from sluice.publish.built_content import BuiltContent
from sluice.publish.granted_models import GrantedModels, Model
from sluice.publish.operation import Operation, refusal
from sluice.publish.policy_changes import forbidden_columns
from sluice.publish.published_files import (
    attached,
    fingerprint,
    link,
    opens,
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
    row_count,
    selection,
    warehouse_columns,
)
from sluice.publish.versions import PublishedAudience, PublishedTable, Version, file_digests, new_name
from sluice.sql import quoted
from sluice.system import git, group_number, may_share_with


@dataclass
class Published:
    """What a publication did."""

    version: str
    written: dict[str, list[str]] = field(default_factory=dict)
    """Tables that were written, by audience; a DuckDB file is written whole when one of its tables changed."""
    audiences: dict[str, PublishedAudience] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    not_copied: list[str] = field(default_factory=list)
    """Audiences with a place elsewhere (`to`) that only production writes."""
    unread: dict[str, list[str]] = field(default_factory=dict)
    """Tables, by audience, whose rows were not read in the warehouse: the last build says that they are the same."""


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
    def granted(self) -> GrantedModels:
        """The granted models; raises DeclarationError when grants and policy do not fit."""
        cache = self.settings.lineage_cache
        return GrantedModels.read(self.settings.target, self.policy, self.outcomes, cache)

    def run(self, run_id: str | None, accept_rows: bool, on_step: Callable[[str], None]) -> Published:
        """See publish."""
        groups = self._groups()
        for mirror in self.mirrors:
            mirror.settle()
        previous = self.versions.read_current()
        hashed = self.versions.folder if previous and _has_hashes(previous) else None
        masking_key = self.keys.masking(self.policy, hashed)
        with open_warehouse(self.settings, masking_key) as con:
            on_step("audit")
            held = self._audit(con, previous, accept_rows)
            if unclassed := list(self.granted.unclassed(held)):
                raise DeclarationError("\n".join(unclassed))
            building = self.versions.begin()
            content = BuiltContent(self.settings, con, masking_key)
            digests = Digests(con)
            held_names = {m.name: held[i] for i, m in self.granted.models.items() if i in held}
            result = Published(new_name(), held=held_names)
            if self.settings.is_rehearsal:
                result.not_copied = [audience.name for audience in self.policy.audiences if audience.to]
            for number, audience in enumerate(self.policy.audiences, 1):
                on_step(f"{audience.name}, audience {number} of {len(self.policy.audiences)}")
                copy = _Copy(self, con, digests, content, audience, previous, held)
                result.audiences[audience.name], result.written[audience.name] = copy.write(building)
                result.unread[audience.name] = copy.unread
        version = Version(
            version=result.version,
            created_at=datetime.now(UTC),
            run_id=run_id,
            git_commit=_git_commit(self.settings.root),
            load_packages=self.run_store.packages(),
            tests={
                i: self.outcomes[i].status for i in sorted(self.granted.manifest.tests) if i in self.outcomes
            },
            held={name: reason.splitlines()[0] for name, reason in result.held.items()},
            models={t.id: t.checksum for t in self.granted.manifest.tables.values() if t.kind == "model"},
            audiences=result.audiences,
        )
        for mirror in self.mirrors:
            on_step("copies elsewhere")
            mirror.send(version, building)
        self.versions.seal(version)
        self.versions.share(groups)
        self.versions.switch(result.version)
        for mirror in self.mirrors:
            mirror.switch(result.version)
        self.versions.prune(self.policy.publishing.keep)
        return result

    def _groups(self) -> dict[str, int]:
        """The number of each audience's group; raises DeclarationError for a group that this user cannot share with."""
        found = {}
        for audience in self.policy.audiences:
            if audience.group:
                number = group_number(audience.group)
                if number is None:
                    raise DeclarationError(
                        f"{self.policy.file.name}: {audience.name}: this machine has no group {audience.group!r}"
                    )
                if not may_share_with(number):
                    raise DeclarationError(
                        f"{self.policy.file.name}: {audience.name}: {getpass.getuser()} is not in the group "
                        f"{audience.group!r} and may not give files to it; add the user to the group"
                    )
                found[audience.name] = number
        return found

    def _audit(
        self, con: duckdb.DuckDBPyConnection, previous: Version | None, accept_rows: bool
    ) -> dict[str, str]:
        """Models to hold back, with the reason; raises PublishError when nothing may be published."""
        sources, problems = read_sources(self.settings.sources)
        found = audit(
            con,
            self.granted,
            self.outcomes,
            sources,
            problems,
            self.run_store,
            previous,
            accept_rows=accept_rows,
        )
        if not found:
            return {}
        if self.policy.publishing.on_failure == "stop":
            reasons = "\n".join(map(str, found))
            if all(violation.rule == WRONG_DECLARATION for violation in found):
                raise DeclarationError(reasons)
            raise PublishError(refusal(reasons, previous.version if previous else None))
        held: dict[str, str] = {}
        for violation in found:
            for unique_id in self.granted.manifest.descendants(violation.affected_models):
                held.setdefault(unique_id, str(violation))
        return held

    def rotate(self, audience: Audience) -> Rotated:
        """See rotate_key."""
        old, new = self.keys.begin_rotation(audience)
        rotated: dict[int, Path] = {}
        known: dict[int, str] = {}
        done = []
        building = self.versions.begin()
        with writing_connection() as con:
            for name in self.versions.names:
                version = self.versions.read(name)
                published = version.audiences.get(audience.name)
                if published is None:
                    continue
                path = self.versions.path(name) / _file(audience.name, published.format)
                if not all(opens(con, file, new) for file in self.versions.damaged(version, audience.name)):
                    self.versions.refuse_damage(
                        version, [audience.name]
                    )  # else an interrupted rotation wrote them
                shutil.rmtree(building / "new", ignore_errors=True)  # a file renamed onto itself stays behind
                for file in [path] if path.is_file() else sorted(path.rglob("*.parquet")):
                    inode = file.stat().st_ino
                    if inode not in rotated:
                        rotated[inode] = building / f"{inode}{file.suffix}"
                        rewrite(con, file, rotated[inode], old, new)
                    link(rotated[inode], building / "new" / file.relative_to(path.parent))
                self.versions.replace(path, building / "new" / path.name)
                published.is_encrypted = True
                published.files = file_digests(path.parent, path, known)
                self.versions.amend(version)
                done.append(name)
        self.versions.share(self._groups())
        self.keys.end_rotation(audience, new)
        self.versions.discard()
        for mirror in [m for m in self.mirrors if m.audience == audience.name]:
            for name in done:
                mirror.send(self.versions.read(name), self.versions.path(name))
            if self.versions.current:
                mirror.switch(self.versions.current)
        return Rotated(done, self.keys.left_to_do(audience))


class _Copy:
    """The copy of one audience: what it got with the version before, and what it gets now."""

    def __init__(
        self,
        publication: Publication,
        con: duckdb.DuckDBPyConnection,
        digests: Digests,
        content: BuiltContent,
        audience: Audience,
        previous: Version | None,
        held: Collection[str],
    ) -> None:
        self.unread: list[str] = []
        """Tables that are as they were published, which `write` did not read in the warehouse."""
        self._con, self._digests, self._content = con, digests, content
        self._audience, self._held = audience, held
        self._granted, self._versions = publication.granted, publication.versions
        self._key = publication.keys.find(audience)
        self._previous = previous.version if previous else ""
        self._old = previous.audiences.get(audience.name) if previous else None
        self._old_path = self._versions.path(self._previous) / _file(
            audience.name, self._old.format if self._old else audience.format
        )
        if previous and self._old and self._versions.damaged(previous, audience.name):
            if any(table.model in held for table in self._old.tables.values()):
                self._versions.refuse_damage(previous, [audience.name])  # it has the only copy of them
            if self._key or not self._old.is_encrypted:
                self._old = None
        if self._old and self._old.is_encrypted and not self._opens(self._key):
            why = publication.keys.missing(audience, self._opens, self._versions.folder)
            raise ConnectionError(f"the published file of {audience.name} is encrypted: {why}")

    def write(self, building: Path) -> tuple[PublishedAudience, list[str]]:
        """Write the file or folder into `building`; returns what it holds, and which tables were written."""
        tables = {}
        with ExitStack() as stack:
            old = self._attach_old(stack)
            # without files it was published by an earlier release, and nothing tells whether it was damaged since
            reused = old if old and old.files and old.format == self._audience.format else None
            for model in [m for m in self._granted.models.values() if self._audience.name in m.grants]:
                if model.unique_id not in self._held:
                    tables[model.name] = self._select(model, reused)
                elif old and (kept := self._keep(model, old)):
                    tables[model.name] = kept
            by_model = {table.model: (sql, table) for sql, table in tables.values()}
            if self._held and (reasons := list(orphans(self._con, self._granted, by_model))):
                raise PublishError(
                    f"holding back does not work for {self._audience.name}: {'; '.join(reasons)}"
                )
            same = [n for n, (_, t) in tables.items() if reused and _is_same(t, reused.tables.get(n))]
            is_same = reused is not None and len(same) == len(tables) == len(reused.tables)
            written = self._store(building, tables, same, is_same)
        linked = self._old.files if self._old else {}
        known = {(self._old_path.parent / file).stat().st_ino: digest for file, digest in linked.items()}
        published = PublishedAudience(
            format=self._audience.format,
            is_encrypted=self._key is not None,
            tables={name: table for name, (_, table) in tables.items()},
            to=self._audience.to,
            files=file_digests(building, building / _file(self._audience.name, self._audience.format), known),
        )
        return published, written

    def _store(
        self,
        building: Path,
        tables: Mapping[str, tuple[str, PublishedTable]],
        same: Sequence[str],
        is_same: bool,
    ) -> list[str]:
        """Write the tables that are not the `same` as before, or link the whole file if `is_same`."""
        path = building / _file(self._audience.name, self._audience.format)
        if self._audience.format == "duckdb":
            if is_same:
                link(self._old_path, path)
                return []
            write_duckdb(self._con, path, self._key, tables)
            return list(tables)
        folder = building / f"{self._audience.name}.new"
        folder.mkdir()
        for name, (sql, table) in tables.items():
            if name in same and (self._old_path / name).is_dir():
                link(self._old_path / name, folder / name)
            else:
                write_parquet(self._con, folder / name, self._key, name, sql, table)
        self._versions.replace(path, folder)
        return [name for name in tables if name not in same]

    def _select(self, model: Model, old: PublishedAudience | None) -> tuple[str, PublishedTable]:
        """The query of a model, and what it must hold; rows that are as they were are those of `old`, whose files are
        as they were published.
        """
        types = warehouse_columns(self._con, model)
        chosen = selection(self._audience, model, types)
        check_filter(self._con, self._audience, model, chosen)
        made_from = self._content.digest(model, chosen)
        before = old.tables.get(model.name) if old else None
        if old and before and made_from and before.made_from == made_from:
            self.unread.append(model.name)
            query = self._published(old, model.name)
            rows, digest, in_warehouse = before.rows, before.fingerprint, before.rows_in_warehouse
        else:
            query = selection(self._audience, model, types, self._digests).sql
            rows, digest = fingerprint(self._con, query, chosen.columns)
            in_warehouse = row_count(self._con, model)
        table = PublishedTable(
            model=model.unique_id,
            rows=rows,
            fingerprint=digest,
            columns=chosen.columns,
            classed=chosen.classed,
            condition=chosen.condition,
            rows_in_warehouse=in_warehouse,
            partition_by=model.partition_by if self._audience.format == "parquet" else (),
            description=model.description,
            comments={n: text for n in chosen.columns if (text := model.columns[n].description)},
            made_from=made_from,
        )
        return query, table

    def _keep(self, model: Model, old: PublishedAudience) -> tuple[str, PublishedTable] | None:
        """A held model as it was last published; None when it was not, or when today's policy forbids it."""
        table = old.tables.get(model.name)
        classes = {name: c.data_class for name, c in model.columns.items() if c.data_class}
        if (
            table is None
            or table.condition != condition(self._audience, model)
            or list(forbidden_columns(model.name, table, self._audience, classes))
        ):
            return None
        query = self._published(old, model.name)
        return query, table.model_copy(update={"held_from": table.held_from or self._previous})

    def _published(self, old: PublishedAudience, name: str) -> str:
        """A query of a table as it was last published."""
        if old.format == "duckdb":
            return f"from previous.{quoted(name)}"
        return parquet_query(self._con, self._old_path / name, self._key)

    def _attach_old(self, stack: ExitStack) -> PublishedAudience | None:
        """The last version if its tables can be reused; a DuckDB file stays attached as `previous`."""
        old = self._old
        if old is None or old.is_encrypted != (self._key is not None) or not self._opens(self._key):
            return None
        if old.format == "duckdb":
            stack.enter_context(attached(self._con, self._old_path, "previous", self._key))
        return old

    def _opens(self, key: str | None) -> bool:
        assert self._old
        if self._old.format == "duckdb":
            return opens(self._con, self._old_path, key)
        return all(opens(self._con, self._old_path / name, key) for name in list(self._old.tables)[:1])


def _is_same(new: PublishedTable, old: PublishedTable | None) -> bool:
    def content(table: PublishedTable) -> tuple[object, ...]:
        described = table.description, table.comments
        columns = list(table.columns.items())
        return table.rows, table.fingerprint, columns, table.classed, table.partition_by, described

    return old is not None and content(new) == content(old)


def _has_hashes(version: Version) -> bool:
    tables = [table for audience in version.audiences.values() for table in audience.tables.values()]
    return any(treatment == "hash" for table in tables for _, treatment in table.classed.values())


def _file(audience: str, kind: str) -> str:
    return f"{audience}.duckdb" if kind == "duckdb" else audience


def _git_commit(root: Path) -> str | None:
    """The commit of the project, with `+` when files differ from it; None outside of git."""
    commit, changed = git(root, "rev-parse", "HEAD"), git(root, "status", "--porcelain")
    return None if commit is None or changed is None else commit + ("+" if changed else "")
