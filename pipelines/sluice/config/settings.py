"""Where files are, and the switches of dbt and dlt: the one place that reads the environment."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

AUDIENCES = "audiences.yml"
GLOSSARY = "docs/glossary.yml"


@dataclass(frozen=True)
class Settings:
    """The files and folders of one project on one machine.

    `root` is the repository (the folder of `dbt_project.yml`), `home` holds everything a run makes.
    """

    root: Path
    home: Path

    @property
    def sources(self) -> Path:
        return self.root / "sources"

    @property
    def audiences(self) -> Path:
        """Who may read what; a project without this file publishes nothing."""
        return self.root / AUDIENCES

    @property
    def raw(self) -> Path:
        return self.home / "raw.duckdb"

    @property
    def warehouse(self) -> Path:
        return self.home / "warehouse.duckdb"

    @property
    def published(self) -> Path:
        """The versions that readers get."""
        return self.home / "published"

    @property
    def tokens(self) -> Path:
        """Who may connect to `sluice serve`."""
        return self.home / "keys" / "tokens.json"

    @property
    def target(self) -> Path:
        """Where dbt writes its artifacts; dbt reads the same variable."""
        return self.root / os.environ.get("DBT_TARGET_PATH", "target")

    @property
    def ledger(self) -> Path:
        return self.home / "ledger.sqlite"

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
        return float(os.environ.get("SLUICE_LOCK_SECONDS", "60"))

    @property
    def connections(self) -> Path:
        """Connections of this machine, as the sandbox writes them; the environment comes first."""
        return self.home / "connections.toml"


def find_project(start: Path | None = None) -> Path:
    """The nearest folder at or above `start` (default: the working directory) with a `dbt_project.yml`."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "dbt_project.yml").is_file():
            return folder
    return start


def make_importable(root: Path) -> None:
    """Let the project's own Python be imported by its path, e.g. `pipelines.reference` for `pipelines/reference.py`."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))


def load_settings(root: Path | None = None) -> Settings:
    """Settings from the environment: `SLUICE_HOME` (default `warehouse/` in the project)."""
    root = find_project(root)
    return Settings(root=root, home=(root / os.environ.get("SLUICE_HOME", "warehouse")).resolve())


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
