"""Where files are, and the switches of dbt and dlt: the one place that reads the environment."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path

from sluice.config.dbt_project import PROJECT, read_project_file, rendered
from sluice.config.environments import (
    PRODUCTION,
    RAW,
    Environment,
    environments,
    refuse_shared_folders,
    refuse_unknown_target,
)
from sluice.config.profile import TARGET, Profile, read_profile, read_targets
from sluice.errors import DeclarationError, UsageError, nearest
from sluice.system import keep_new_files_private, tighten

PREFIX, LOCK_SECONDS = "SLUICE_", "SLUICE_LOCK_SECONDS"
HOME, DEFAULT_HOME = "SLUICE_HOME", "warehouse"
"""The environment variable that says where a run writes, and the folder of the project without it."""
AUDIENCES = "audiences.yml"
WAREHOUSE = "warehouse"
"""Name of the database that dbt builds, as SQL writes it, where the profile says nothing else."""
TARGET_PATH = "DBT_TARGET_PATH"
GLOSSARY = "docs/glossary.yml"
UPGRADE_JOURNAL = "upgrade.json"
"""Stands beside the run store while `sluice upgrade` exchanges files."""


@dataclass(frozen=True)
class Settings:
    """The files and folders of one project on one machine.

    `root` is the repository (the folder of `dbt_project.yml`), `home` holds everything a run makes. `environment` is
    the target of a profile with several; `others` are the rest of them.
    """

    root: Path
    home: Path
    environment: Environment | None = None
    others: tuple[Environment, ...] = ()
    chosen_by: str = ""
    """Why it is this environment, or this home."""

    @property
    def sources(self) -> Path:
        return self.root / "sources"

    @property
    def audiences(self) -> Path:
        """Who may read what; a project without this file publishes nothing."""
        return self.root / AUDIENCES

    @property
    def raw(self) -> Path:
        """What loads write: every source as it is."""
        return self.environment.raw if self.environment else self.home / f"{RAW}.duckdb"

    @cached_property
    def profile(self) -> Profile | None:
        """What dbt builds, and where; None without a file of profiles. Raises DeclarationError for a mistake in it."""
        if self.environment:
            return self.environment.profile
        return read_profile(self.root, {**os.environ, HOME: str(self.home)})

    @property
    def database(self) -> str:
        """The name that the relations of models begin with: the database that dbt builds."""
        profile = self.profile
        return profile.database if profile and profile.database in profile.databases else WAREHOUSE

    @property
    def warehouse(self) -> Path:
        """The file that dbt builds."""
        return self.databases[self.database]

    @property
    def databases(self) -> dict[str, Path]:
        """The files that models are built in and read from, by the names that SQL gives them; some may not exist.

        Those of the profile, and raw; the warehouse in `home` where dbt builds into no file (no profile, or in memory).
        Where views read production's tables, also its warehouse, and its raw if this target has none.
        """
        found = self.profile.databases if self.profile else {}
        is_named = self.profile is not None and self.profile.database in found
        there = self.production if self.reads_production.is_file() else None
        return {
            **({there.profile.database: there.warehouse} if there and there.warehouse else {}),
            **({} if is_named else {WAREHOUSE: self.home / f"{WAREHOUSE}.duckdb"}),
            **found,
            RAW: there.raw if there and not self.raw.is_file() else self.raw,
        }

    @property
    def production(self) -> Environment | None:
        """Another target that is production."""
        return next((other for other in self.others if other.name == PRODUCTION), None)

    @property
    def reads_production(self) -> Path:
        """An empty file that is there as long as views of this target read tables of production."""
        return self.home / "reads_production"

    @property
    def is_rehearsal(self) -> bool:
        """Whether another target of the project is production."""
        return self.production is not None

    @property
    def published(self) -> Path:
        """The versions that readers get."""
        return self.home / "published"

    def published_path(self, audience: str, file_format: str) -> Path:
        """What an audience reads: a DuckDB file, or a folder of Parquet."""
        return self.published / "current" / (f"{audience}.duckdb" if file_format == "duckdb" else audience)

    @property
    def tokens(self) -> Path:
        """Who may connect to `sluice serve`."""
        return self.home / "keys" / "tokens.json"

    @cached_property
    def target(self) -> Path:
        """Where dbt writes its artifacts, and the catalog's page is; dbt reads the same variable."""
        given = os.environ.get(TARGET_PATH)
        written = given or read_project_file(self.root).get("target-path") or "target"
        folder = self.root / str(rendered(written, os.environ, self.root / PROJECT))
        if given or self.environment is None or self.environment.is_default:
            return folder
        return folder / "env" / self.environment.name

    @property
    def ledger(self) -> Path:
        return self.home / "ledger.sqlite"

    @property
    def upgrade_journal(self) -> Path:
        """What an upgrade that has begun to exchange files has to put back if it is interrupted."""
        return self.home / UPGRADE_JOURNAL

    @property
    def backups(self) -> Path:
        """Copies that upgrades made of what they changed; may be a link to another disk."""
        return self.home / "backups"

    @property
    def serve_audit(self) -> Path:
        """What happened in the sessions of `sluice serve`."""
        return self.home / "serve.sqlite"

    @property
    def lineage_cache(self) -> Path:
        """Parsed queries and profiles, kept between commands; it only saves time."""
        return self.home / "lineage.sqlite"

    @property
    def pipelines(self) -> Path:
        """dlt's working folders: state and load packages, one folder per source."""
        return self.home / "pipelines"

    @property
    def landing(self) -> Path:
        """Scratch of a running load; emptied when it starts."""
        return self.home / "landing"

    @property
    def lock_seconds(self) -> float:
        """How long a command waits for another one that holds the warehouse."""
        given = os.environ.get(LOCK_SECONDS) or "60"
        with suppress(ValueError):
            if (seconds := float(given)) >= 0:
                return seconds
        raise DeclarationError(f"{LOCK_SECONDS} is {given!r}: write a number of seconds, such as 60")

    @property
    def connections(self) -> Path:
        """Connections of this machine, as the sandbox writes them; the environment comes first."""
        return self.home / "connections.toml"


def find_project(start: Path) -> Path | None:
    """The nearest folder at or above `start` with a `dbt_project.yml`."""
    start = start.resolve()
    return next((f for f in (start, *start.parents) if (f / PROJECT).is_file()), None)


def keep_private(settings: Settings) -> None:
    """Let only the owner read what this process writes from now on, and what earlier versions wrote for everyone.

    Published files and the sandbox's servers have rights of their own.
    """
    keep_new_files_private()
    tighten(settings.home, leave=("published", "sandbox"))
    for folder in (settings.target, settings.root / "logs"):  # compiled SQL may hold values, and messages do
        tighten(folder)


def load_settings(start: Path | None = None) -> Settings:
    """Settings of the project at or above `start` (default: the working directory).

    In a project whose profile has several targets, the target says where a run writes: DBT_TARGET, else the profile's
    default. In others `SLUICE_HOME` does (default `warehouse/` in the project). The project's files `.env.<target>` and
    `.env` complete the environment. Raises UsageError outside of a project and for a target that does not exist, and
    DeclarationError for a mistake in what it reads.
    """
    start = start or Path.cwd()
    if (root := find_project(start)) is None:
        raise UsageError(f"No Sluice project here: {PROJECT} not found in {start} or above")
    chosen_by = f"--target, or {TARGET} in the environment" if os.environ.get(TARGET) else ""
    default, targets = read_targets(root, os.environ)
    if len(targets) > 1:
        named = os.environ.get(TARGET) or _value_of(root / ".env", TARGET) or default
        _complete_environment(root / f".env.{named}")
    _complete_environment(root / ".env")
    _refuse_unknown_settings()
    if (given := os.environ.get(HOME) or DEFAULT_HOME).startswith("~"):
        os.environ[HOME] = given = str(Path(given).expanduser())  # dbt's profile reads it, too
    home = (root / given).resolve()
    if home.exists() and not home.is_dir():
        raise DeclarationError(f"{HOME} is {os.environ[HOME]!r}: write the path of a folder, this is a file")
    if name := os.environ.get(TARGET):
        refuse_unknown_target(name, targets)
    found = environments(home, default, targets)
    if not found:
        why = f"{HOME} is set" if os.environ.get(HOME) else f"{HOME} is not set"
        return Settings(root=root, home=home, chosen_by=why)
    refuse_unknown_target(name or default, targets)
    environment = found.pop(name or default)
    if environment.problem:
        raise DeclarationError(f"the target {environment.name}: {environment.problem}")
    others = tuple(found.values())
    refuse_shared_folders(environment, others)
    chosen_by = chosen_by or (f"{TARGET} in .env" if name else f"default of {environment.profile.file}")
    return Settings(root, environment.home, environment, others, chosen_by)


def choose_target(name: str) -> None:
    """Let this process, and those it starts, work on a target of the profile."""
    os.environ[TARGET] = name


def _refuse_unknown_settings() -> None:
    endings = [setting.removeprefix(PREFIX) for setting in (HOME, LOCK_SECONDS)]
    for name in os.environ:
        ending = name.removeprefix(PREFIX)
        if name.startswith(PREFIX) and ending not in endings and (meant := nearest(ending, endings)):
            raise DeclarationError(
                f"{name} in the environment or .env is not a setting of Sluice. Did you mean {PREFIX}{meant[0]}?"
            )


def _value_of(file: Path, name: str) -> str | None:
    """A variable of a file `.env`, read before its other variables; a mistake in it is reported when those are."""
    from dotenv import dotenv_values

    return dotenv_values(file).get(name) if file.is_file() else None


def _complete_environment(file: Path) -> None:
    """Take over what the environment does not have from a file `.env`; raises DeclarationError for a mistake."""
    if not file.is_file():
        return
    from dotenv import load_dotenv
    from dotenv.parser import parse_stream

    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DeclarationError(f"{file} cannot be read: it is not valid UTF-8") from None
    for entry in parse_stream(StringIO(text)):
        if entry.error:
            written = entry.original.string
            blank = written[: len(written) - len(written.lstrip())]
            line = entry.original.line + blank.count("\n")
            raise DeclarationError(
                f"{file}:{line}: is not NAME=value. A value with blanks, # or quotes stands in quotes that are closed."
            )
    load_dotenv(stream=StringIO(text), override=False)


def quiet_tools() -> None:
    """Switch off statistics and chatter of the tools underneath; nothing phones home.

    Set as environment variables, so that child processes (dbt) inherit them.
    """
    os.environ.update(
        RUNTIME__DLTHUB_TELEMETRY="false",
        LOAD__DELETE_COMPLETED_JOBS="true",  # raw has the rows; a second copy of all data is not wanted
        RUNTIME__LOG_LEVEL=os.environ.get("RUNTIME__LOG_LEVEL", "CRITICAL"),
        DBT_SEND_ANONYMOUS_USAGE_STATS="false",
        DO_NOT_TRACK="1",
    )
