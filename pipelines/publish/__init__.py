"""Write, audit, publish: one verified, immutable copy per audience, switched for all of them at once.

What readers open is never the warehouse. A version is built beside the one in use, audited before, read back
after, and becomes current by one rename; whoever has a file open keeps it.
"""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import duckdb

from pipelines.audiences import UNCLASSED, Audience, Policy, load_policy
from pipelines.connections import Connections
from pipelines.declaration import load_sources
from pipelines.errors import ConnectionError, PublishError
from pipelines.evidence import Outcome, remember
from pipelines.ledger import Ledger
from pipelines.publish.gate import Violation, audit, count, orphans
from pipelines.publish.keys import Keys
from pipelines.publish.mirror import Mirror
from pipelines.publish.project import Model, Project
from pipelines.publish.versions import PublishedAudience, PublishedTable, Version, Versions, new_name
from pipelines.publish.write import (
    attached,
    check_filter,
    condition,
    fingerprint,
    link,
    open_warehouse,
    opens,
    parquet_opens,
    parquet_query,
    rewrite,
    selection,
    warehouse_columns,
    without_values,
    write_duckdb,
    write_parquet,
    writing_connection,
)
from pipelines.settings import Settings

__all__ = ["Published", "publish", "rollback", "rotate_key"]


@dataclass
class Published:
    """What a publication did."""

    version: str
    written: dict[str, list[str]] = field(default_factory=dict)
    """Tables that were written, by audience; a DuckDB file is written whole when one of its tables changed."""
    audiences: dict[str, PublishedAudience] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)


def publish(settings: Settings, *, run_id: str | None = None, accept_rows: bool = False) -> Published:
    """Publish the granted models of the warehouse; `run_id` is the run they come from (default: the last).

    Raises DeclarationError for a wrong policy, PublishError when the audit refuses; readers then keep what
    they had.
    """
    publication = _Publication(settings)
    with publication.versions.locked(), _recorded(publication, "publish") as row:
        published = publication.run(run_id or publication.ledger.last_run(), accept_rows)
        row.update(version=published.version, detail="; ".join(published.held) or None)
        return published


def rollback(settings: Settings, version: str | None = None) -> str:
    """Give readers `version` again (default: the one before the current); returns its name.

    Raises PublishError when there is no such version, or when it shows what the policy forbids by now.
    """
    publication = _Publication(settings)
    versions = publication.versions
    with versions.locked(), _recorded(publication, "rollback") as row:
        current = versions.read_current()
        if current is None:
            raise PublishError("nothing is published yet")
        wanted = version or versions.before(current.version)
        row.update(version=wanted)
        if wanted not in versions.names:
            raise PublishError(f"there is no version {wanted}; there are {', '.join(versions.names)}")
        old = versions.read(wanted)
        if reasons := list(_forbidden(old, publication.policy, current)):
            raise PublishError(f"{wanted} shows more than is allowed now: {'; '.join(reasons)}")
        versions.switch(wanted)
        for mirror in publication.mirrors:
            mirror.switch(wanted)
    return wanted


def rotate_key(settings: Settings, name: str) -> list[str]:
    """Write every kept version of an audience anew with its next key; returns the versions.

    The content stays as it is. Cut short, it is finished by calling it again: files that the next key opens
    are done.
    """
    publication = _Publication(settings)
    audiences = publication.policy.audiences
    found = [a for a in audiences if a.name == name]
    if not found:
        raise PublishError(f"there is no audience {name!r}; there are {', '.join(a.name for a in audiences)}")
    with publication.versions.locked(), _recorded(publication, "rotate_key", name) as row:
        rotated = publication.rotate(found[0])
        row.update(version=publication.versions.current)
    return rotated


class _Publication:
    """The parts of a publication, and one attempt at it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.policy = load_policy(settings.root / "audiences.yml")
        self.connections = Connections(settings.root, settings.connections)
        self.keys = Keys(settings.home / "keys", self.connections)
        self.ledger = Ledger(settings.ledger)
        self.versions = Versions(settings.home / "published")

    @cached_property
    def outcomes(self) -> Mapping[str, Outcome]:
        """What dbt last said of each model and test."""
        return remember(self.settings)

    @cached_property
    def project(self) -> Project:
        """The granted models; raises DeclarationError when grants and policy do not fit."""
        cache = self.settings.home / "lineage.sqlite"
        return Project.read(self.settings.target, self.policy, self.outcomes, cache)

    @cached_property
    def mirrors(self) -> list[Mirror]:
        """The copies elsewhere."""
        found = (a for a in self.policy.audiences if a.to)
        return [Mirror(a, self.versions, self.settings.root, self.connections) for a in found]

    def run(self, run_id: str | None, accept_rows: bool) -> Published:
        """See publish."""
        for mirror in self.mirrors:
            mirror.settle()
        previous = self.versions.read_current()
        with open_warehouse(self.settings.warehouse, self.keys.masking(self.policy)) as con:
            held = self._audit(con, previous, accept_rows)
            building = self.versions.begin()
            result = Published(
                new_name(), held={m.name: held[i] for i, m in self.project.models.items() if i in held}
            )
            for audience in self.policy.audiences:
                published, written = self._write(con, audience, building, previous, set(held))
                result.audiences[audience.name] = published
                result.written[audience.name] = written
        version = Version(
            version=result.version,
            created_at=datetime.now(UTC),
            run_id=run_id,
            git_commit=_git_commit(self.settings.root),
            load_packages=self.ledger.packages(),
            tests={i: self.outcomes[i].status for i in sorted(self.project.tests) if i in self.outcomes},
            held=result.held,
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
        """Models to hold back, with the reason; raises PublishError when all has to stay as it is."""
        sources = load_sources(self.settings.sources) if self.settings.sources.is_dir() else []
        found = audit(
            con, self.project, self.outcomes, sources, self.ledger, previous, accept_rows=accept_rows
        )
        if not found:
            return {}
        if self.policy.publishing.on_failure == "stop":
            raise PublishError(_refusal(found, previous))
        held: dict[str, str] = {}
        for violation in found:
            for unique_id in self.project.descendants(violation.speaks_against):
                held.setdefault(unique_id, str(violation))
        return held

    def _write(
        self,
        con: duckdb.DuckDBPyConnection,
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
            raise ConnectionError(
                f"the published file of {audience.name} is encrypted, and the key set now ({audience.key}) does not "
                f"open it: set the right one; a new one is brought in by `sluice publish --rotate-key {audience.name}`"
            )
        with ExitStack() as stack:
            readable = (
                old is not None and old_path is not None and self._readable(con, stack, old, old_path, key)
            )
            tables = {}
            for model in self._granted(audience):
                if model.unique_id not in held:
                    tables[model.name] = self._select(con, audience, model)
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
            same = [n for n, (_, t) in tables.items() if readable and old and _is_same(t, old.tables.get(n))]
            written = self._store(con, audience, building, key, tables, same, old_path if readable else None)
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
        path.mkdir()
        for name, (sql, table) in tables.items():
            if old_path and name in same and (old_path / name).is_dir():
                link(old_path / name, path / name)
            else:
                partition_by = self.project.models[table.model].partition_by
                write_parquet(con, path / name, key, name, sql, table, partition_by)
        return [name for name in tables if name not in same]

    def _table_count(self, con: duckdb.DuckDBPyConnection) -> int:
        row = con.execute("select count(*) from duckdb_tables() where database_name = 'previous'").fetchone()
        assert row is not None
        return int(row[0])

    def _granted(self, audience: Audience) -> Iterator[Model]:
        return (m for m in self.project.models.values() if audience.name in m.grants)

    def _select(
        self, con: duckdb.DuckDBPyConnection, audience: Audience, model: Model
    ) -> tuple[str, PublishedTable]:
        chosen = selection(audience, model, warehouse_columns(con, model))
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
        """A held model as it was published last; None when it was not, or shows what is forbidden by now."""
        table = old.tables.get(model.name)
        classes = {c.name: c.data_class for c in model.columns if c.data_class}
        if (
            table is None
            or table.condition != condition(audience, model)
            or list(_forbidden_columns(model.name, table, audience, classes))
        ):
            return None
        if old.format == "parquet":
            return parquet_query(con, old_path / model.name, key), table
        return f'from previous."{model.name}"', table

    def _readable(
        self,
        con: duckdb.DuckDBPyConnection,
        stack: ExitStack,
        old: PublishedAudience,
        old_path: Path,
        key: str | None,
    ) -> bool:
        """Whether the last version can be taken over; a DuckDB file stays attached as `previous`."""
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

    def rotate(self, audience: Audience) -> list[str]:
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
                for file in [path] if path.is_file() else sorted(path.rglob("*.parquet")):
                    inode = file.stat().st_ino
                    if inode not in rotated:
                        rotated[inode] = building / f"{inode}{file.suffix}"
                        rewrite(con, file, rotated[inode], old, new)
                    (building / "link").unlink(missing_ok=True)  # renaming onto itself leaves it
                    link(rotated[inode], building / "link")
                    (building / "link").replace(file)
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
        return done


@contextmanager
def _recorded(
    publication: _Publication, action: str, audience: str | None = None
) -> Iterator[dict[str, str | None]]:
    """A row in the ledger from beginning to end; errors keep their words, but no secrets."""
    row: dict[str, str | None] = {"version": None, "detail": None}
    ledger, versions = publication.ledger, publication.versions
    ledger.close_publications(versions.current)
    number = ledger.begin_publication(action, audience, getpass.getuser())
    try:
        yield row
    except BaseException as error:
        versions.discard()
        words = without_values(error) if isinstance(error, duckdb.Error) else str(error)
        text = publication.connections.redact(words or type(error).__name__)
        refused = isinstance(error, PublishError)
        ledger.end_publication(number, "refused" if refused else "failed", row["version"], text)
        if isinstance(error, duckdb.Error):
            raise PublishError(f"{action} failed, readers keep what they have: {text}") from None
        raise
    ledger.end_publication(number, "done", row["version"], row["detail"])


def _forbidden(old: Version, policy: Policy, current: Version) -> Iterator[str]:
    """What an old version shows that must not be shown any more."""
    known = {a.name: a for a in policy.audiences}
    for name, published in old.audiences.items():
        now = current.audiences.get(name)
        if name not in known or now is None:
            yield f"the audience {name} is gone"
            continue
        for table_name, table in published.tables.items():
            if table_name not in now.tables:
                yield f"{name} is not granted {table_name} any more"
            elif now.tables[table_name].condition != table.condition:
                yield f"{name} has another row filter for {table_name}"
            else:
                classes = {column: found[0] for column, found in now.tables[table_name].classed.items()}
                yield from _forbidden_columns(table_name, table, known[name], classes)


def _forbidden_columns(
    name: str, table: PublishedTable, audience: Audience, classes: Mapping[str, str]
) -> Iterator[str]:
    """Columns of an old table that are masked otherwise by now; `classes` are the data classes of today."""
    for column in table.columns:
        data_class, treatment = table.classed.get(column, (UNCLASSED, "clear"))
        wanted = audience.treatment(classes.get(column, data_class))
        if wanted != treatment:
            yield f"{audience.name} would see {name}.{column} as {treatment}, not {wanted}"


def _is_same(new: PublishedTable, old: PublishedTable | None) -> bool:
    return old is not None and (new.rows, new.fingerprint, list(new.columns.items()), new.classed) == (
        old.rows,
        old.fingerprint,
        list(old.columns.items()),
        old.classed,
    )


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
