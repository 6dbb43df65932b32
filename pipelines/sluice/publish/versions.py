"""Versions on disk: built aside, sealed, and made current by one rename for all audiences at once.

published/building/           a version being built; what a killed run left there is deleted
published/versions/<version>/ sealed: manifest.json and a file or folder per audience; only a new key replaces those
published/current             a link to the version readers get
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from sluice.config.audiences import Treatment
from sluice.engine.locks import locked
from sluice.errors import DamagedError, PublishError
from sluice.system import share


class PublishedTable(BaseModel):
    """One table of one audience."""

    model: str
    """dbt's unique id."""
    rows: int
    fingerprint: str
    """Sum of a 64-bit hash of every row as published; does not depend on the order of the rows."""
    columns: dict[str, str]
    """DuckDB type by column, in order."""
    classed: dict[str, tuple[str, Treatment]]
    """Data class of a column, and what was done to it."""
    condition: str | None
    """The row filter."""
    rows_in_warehouse: int
    """Before the row filter; the limits of the next version count from it."""
    partition_by: tuple[str, ...] = ()
    """Columns a Parquet folder is partitioned by."""
    description: str = ""
    """What the repository says of the table; it is the comment of the published one."""
    comments: dict[str, str] = {}
    """The same by column, of those that have a description."""
    held_from: str | None = None
    """The version the table was taken from, because the audit refused the one in the warehouse."""
    made_from: str = ""
    """Digest of all that decides its rows, see BuiltContent; empty where the last build did not know it."""


class PublishedAudience(BaseModel):
    """What one audience gets."""

    format: Literal["duckdb", "parquet"]
    is_encrypted: bool
    tables: dict[str, PublishedTable]
    to: str | None = None
    files: dict[str, str] = {}
    """SHA-256 by path below the version's folder; empty in versions of earlier releases."""


class Version(BaseModel):
    """The content of manifest.json."""

    version: str
    created_at: datetime
    run_id: str | None
    """The run after which this was published."""
    git_commit: str | None
    """The project's commit; ends in `+` if files differ from it."""
    load_packages: dict[str, str]
    """dlt's load id by source table."""
    tests: dict[str, str]
    """Status of every test dbt ran, by its unique id."""
    held: dict[str, str] = {}
    """Models that were held back, and why; without sample rows, as every audience can read this."""
    models: dict[str, str] = {}
    """Checksum of the SQL of every model of the project as it was published, by its unique id."""
    audiences: dict[str, PublishedAudience]

    def content(self) -> str:
        """What readers see: equal for two versions that differ only in their time."""
        return "|".join(
            f"{name}:{audience.format}:{table}:{list(published.columns.items())}:{published.fingerprint}"
            for name, audience in sorted(self.audiences.items())
            for table, published in sorted(audience.tables.items())
        )


class Versions:
    """The folder `published`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.building = folder / "building"
        self._current = folder / "current"

    @property
    def current(self) -> str | None:
        """Name of the version readers get."""
        return self._current.readlink().name if self._current.is_symlink() else None

    @property
    def names(self) -> list[str]:
        """Sealed versions, oldest first."""
        return sorted(path.parent.name for path in self.folder.glob("versions/*/manifest.json"))

    def path(self, version: str) -> Path:
        return self.folder / "versions" / version

    def read(self, version: str) -> Version:
        """The manifest of a sealed version. Raises DamagedError where it cannot be read."""
        file = self.path(version) / "manifest.json"
        try:
            return Version.model_validate_json(file.read_bytes())
        except (ValidationError, FileNotFoundError, IsADirectoryError) as error:
            raise DamagedError(
                file,
                "it is missing" if isinstance(error, FileNotFoundError) else "it is not a version's manifest",
                f"Restore {file.parent} from a backup; without one, move {self.folder} away and publish again, which "
                "gives readers a new version without the earlier ones",
            ) from None

    def read_current(self) -> Version | None:
        return self.read(self.current) if self.current else None

    def damaged(self, version: Version, audience: str) -> list[Path]:
        """Files of an audience that are missing or not as they were published; reads all of them."""
        places = {self.path(version.version) / n: d for n, d in version.audiences[audience].files.items()}
        return [file for file, digest in places.items() if not file.is_file() or _sha256(file) != digest]

    def refuse_damage(self, version: Version, audiences: Iterable[str]) -> None:
        """Raise DamagedError if these audiences' files of a version are not as they were published."""
        for audience in audiences:
            for file in self.damaged(version, audience):
                raise DamagedError(
                    file,
                    "its content is not what was published" if file.is_file() else "it is missing",
                    "Restore it from a backup; without one, `sluice publish` writes it again in a new version. If a "
                    f"key rotation was interrupted, call `sluice publish --rotate-key {audience}` again",
                )

    @contextmanager
    def locked(self, seconds: float) -> Iterator[None]:
        """Keep other publications out; raises LockedError after `seconds`."""
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.folder, "sluice publish", seconds, "the folder"))
            except OSError as error:
                raise PublishError(f"nothing can be published into {self.folder}: {error}") from None
            yield

    def begin(self) -> Path:
        """An empty folder for the next version; what a killed run left is gone after this."""
        self.discard()
        self.building.mkdir(parents=True)
        return self.building

    def discard(self) -> None:
        """Delete what was built and not sealed."""
        shutil.rmtree(self.building, ignore_errors=True)

    def seal(self, version: Version) -> None:
        """Turn what was built into a version: complete and on disk, but not yet current."""
        (self.building / "manifest.json").write_text(version.model_dump_json(indent=2), encoding="utf-8")
        for file in sorted(self.building.rglob("*"), reverse=True):
            if not file.is_dir():
                file.chmod(0o400)
            _sync(file)
        _sync(self.building)
        self.path(version.version).parent.mkdir(exist_ok=True)
        self.building.rename(self.path(version.version))
        _sync(self.path(version.version).parent)

    def amend(self, version: Version) -> None:
        """Replace the manifest of a sealed version."""
        new = self.building / "manifest.json"
        new.write_text(version.model_dump_json(indent=2), encoding="utf-8")
        new.chmod(0o400)
        _sync(new)
        new.replace(self.path(version.version) / "manifest.json")

    def share(self, groups: Mapping[str, int]) -> None:
        """Let the group of each audience, and nobody else but the owner, read its files, in each version there is."""
        passable = 0o711 if groups else 0o700
        for name in self.names:
            version, folder = self.read(name), self.path(name)
            for audience, published in version.audiences.items():
                file = folder / (f"{audience}.duckdb" if published.format == "duckdb" else audience)
                if file.exists():  # else it was removed, which the other versions do not suffer from
                    for part in [file.resolve(), *file.resolve().rglob("*")]:
                        share(part, groups.get(audience))
            (folder / "manifest.json").chmod(0o444 if groups else 0o400)
            folder.chmod(passable)
        for folder in (self.folder / "versions", self.folder):
            folder.chmod(passable)
        if groups:  # whoever may read a file has to reach it, and sees nothing on the way
            home = self.folder.parent
            home.chmod(home.stat().st_mode | 0o111)

    def replace(self, path: Path, new: Path) -> None:
        """Replace the file or folder `path` of a version by `new`: readers find either the old one or the new one.

        A folder cannot be replaced by a rename, so `path` is a link to one beside it.
        """
        if not new.is_dir():
            new.replace(path)
            return
        folder = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        new.rename(folder)
        link = path.with_name(f".{path.name}.new")
        link.unlink(missing_ok=True)
        link.symlink_to(folder.name, target_is_directory=True)
        link.replace(path)
        for old in path.parent.glob(f".{path.name}.*"):
            if old.name != folder.name:
                shutil.rmtree(old)

    def switch(self, version: str) -> None:
        """Make `version` current by one rename: readers get either the old one or this one."""
        link = self.folder / "current.new"
        link.unlink(missing_ok=True)
        link.symlink_to(Path("versions") / version, target_is_directory=True)
        link.replace(self._current)
        _sync(self.folder)

    def prune(self, keep: int) -> list[str]:
        """Remove all but the current version and the newest `keep` of different content; returns the removed names."""
        seen: set[str] = set()
        removed = []
        for name in reversed(self.names):
            content = self.read(name).content()
            if name == self.current or (content not in seen and len(seen) < keep):
                seen.add(content)
            else:
                # without its manifest it does not count as a version, should the process be killed now
                (self.path(name) / "manifest.json").unlink()
                removed.append(name)
        for path in self.folder.glob("versions/*"):
            if path.name != self.current and not (path / "manifest.json").exists():
                shutil.rmtree(path)
        return removed

    def before(self, version: str) -> str:
        """The version before `version`; raises PublishError when there is none."""
        if older := [name for name in self.names if name < version]:
            return older[-1]
        raise PublishError(f"there is no version before {version} in {self.folder}")


def new_name() -> str:
    """A version's name, which sorts by time."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def file_digests(folder: Path, path: Path, known: dict[int, str]) -> dict[str, str]:
    """SHA-256 of the file `path`, or of the files in it, by path below `folder`.

    `known` are those that need not be read, by inode; the others are added.
    """
    found = {}
    for file in [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file()):
        inode = file.stat().st_ino
        known[inode] = found[file.relative_to(folder).as_posix()] = known.get(inode) or _sha256(file)
    return found


def _sha256(file: Path) -> str:
    """About 1 GB a second."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Flush to disk, so that a power cut after the switch does not leave an incomplete version."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
