"""What a project's profile says: the target that is built, its database files and its schema.

The one place that reads `profiles.yml`, found as dbt finds it: DBT_PROFILES_DIR, the project, `~/.dbt`. The target is
that of DBT_TARGET (which `--target` sets), else that which the profile names. dbt reads the same variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sluice.config.dbt_project import PROJECT, read_dbt_file, read_project_file, rendered
from sluice.errors import DeclarationError, did_you_mean

PROFILES = "profiles.yml"
PROFILES_DIR, PROFILE, TARGET = "DBT_PROFILES_DIR", "DBT_PROFILE", "DBT_TARGET"
"""Environment variables of dbt's."""
IN_MEMORY = ":memory:"
DATABASE_FILES = ("", "duckdb")
"""Types of an attached database that are files of DuckDB's."""


@dataclass(frozen=True)
class Attached:
    """A database that the profile attaches."""

    name: str
    path: str
    type: str
    is_read_only: bool


@dataclass(frozen=True)
class Profile:
    """One target of one profile. `written` is its output in the YAML, with Jinja; relative paths begin at `root`."""

    root: Path
    file: Path
    name: str
    target: str
    targets: tuple[str, ...]
    written: Mapping[str, Any]
    environment: Mapping[str, str]

    @property
    def schema(self) -> str:
        """Where models without a schema of their own are built."""
        return str(self._value("schema", "main"))

    @property
    def path(self) -> str:
        """The database that dbt opens, as the profile says it: a file, `:memory:` or the address of a service."""
        return str(self._value("path", IN_MEMORY))

    @property
    def database(self) -> str:
        """The name that relations of this target begin with."""
        return str(self._value("database", "") or name_of_database(self.path))

    @cached_property
    def attached(self) -> tuple[Attached, ...]:
        """What the profile attaches, in its order."""
        found = []
        for entry in self._value("attach", None) or []:
            options = entry.get("options") or {}
            path = str(entry["path"])
            kind = str(entry.get("type") or options.get("type") or "").lower()
            is_read_only = "true" in str(entry.get("read_only") or options.get("read_only")).lower()
            found.append(
                Attached(str(entry.get("alias") or name_of_database(path)), path, kind, is_read_only)
            )
        return tuple(found)

    @cached_property
    def databases(self) -> dict[str, Path]:
        """The DuckDB files of this target by the names that SQL gives them: the one dbt opens, then those attached."""
        wanted = [Attached(name_of_database(self.path), self.path, "", False), *self.attached]
        return {
            database.name: self.root / Path(database.path).expanduser()
            for database in wanted
            if database.type in DATABASE_FILES and is_file_path(database.path)
        }

    @property
    def unread(self) -> list[str]:
        """Names of databases of this target that are not files of DuckDB's."""
        return [a.name for a in self.attached if a.name not in self.databases]

    def has_plugin(self, module: str) -> bool:
        """Whether dbt-duckdb loads this plugin."""
        plugins = self.written.get("plugins") or []
        return any(isinstance(each, dict) and each.get("module") == module for each in plugins)

    def _value(self, key: str, default: Any) -> Any:
        value = self.written.get(key)
        return default if value is None else rendered(value, self.environment, self.file)


def name_of_database(path: str) -> str:
    """What dbt-duckdb calls a database: its file's name up to the first point."""
    return "memory" if path == IN_MEMORY else Path(path).name.lstrip(".").split(".")[0]


def is_file_path(path: str) -> bool:
    """Whether a path of a profile is a file of this machine, not memory or an address."""
    return path not in ("", IN_MEMORY) and ":" not in path[2:]


def read_profile(root: Path, environment: Mapping[str, str]) -> Profile | None:
    """The profile of the project in `root`; None where no file of profiles exists.

    Raises DeclarationError where the file does not hold the profile or target that is wanted, or for another kind of
    database than DuckDB.
    """
    project = read_project_file(root)
    file = profiles_file(root, environment)
    if file is None:
        return None
    profiles = {k: v for k, v in read_dbt_file(file).items() if k != "config"}
    name = environment.get(PROFILE) or str(rendered(project.get("profile") or "default", environment, file))
    if name not in profiles:
        raise DeclarationError(
            f"{file}: there is no profile {name!r}, which {root / PROJECT} names; it has "
            f"{_listed(profiles)}.{did_you_mean(name, profiles)}"
        )
    found = profiles[name] or {}
    outputs = found.get("outputs") or {}
    target = environment.get(TARGET) or str(rendered(found.get("target") or "default", environment, file))
    if target not in outputs:
        raise DeclarationError(
            f"{file}: the profile {name!r} has no target {target!r}; it has {_listed(outputs)}."
            f"{did_you_mean(target, outputs)}"
        )
    if (kind := rendered(outputs[target].get("type"), environment, file)) != "duckdb":
        raise DeclarationError(
            f"{file}: the target {target!r} of the profile {name!r} is of type {kind!r}; Sluice works with dbt-duckdb. "
            "Name a target of type duckdb with --target"
        )
    return Profile(root, file, name, target, tuple(outputs), outputs[target], environment)


def read_targets(root: Path, environment: Mapping[str, str]) -> tuple[str, dict[str, Profile]]:
    """The name of the default target, and every target of the project's profile; none where there is no profile.

    Raises DeclarationError for a file that cannot be read.
    """
    file = profiles_file(root, environment)
    if file is None:
        return "", {}
    name = environment.get(PROFILE) or str(
        rendered(read_project_file(root).get("profile") or "default", environment, file)
    )
    found = read_dbt_file(file).get(name)
    outputs = found.get("outputs") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(outputs, dict):
        return "", {}
    default = str(rendered(found.get("target") or "default", environment, file))
    return default, {
        str(target): Profile(root, file, name, str(target), tuple(outputs), written, environment)
        for target, written in outputs.items()
        if isinstance(written, dict)
    }


def profiles_file(root: Path, environment: Mapping[str, str]) -> Path | None:
    """The file of profiles that dbt reads for the project in `root`; None if there is none."""
    if given := environment.get(PROFILES_DIR):
        folders = [root / Path(given).expanduser()]
    else:
        folders = [root, Path.home() / ".dbt"]
    return next((file for folder in folders if (file := folder / PROFILES).is_file()), None)


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(str, names))) or "none"
