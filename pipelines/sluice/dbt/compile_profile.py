"""The profile a project is compiled with: the target of its own, whose databases dbt may read and never write.

Macros see the name, schema and databases of the target that is built, so that relations are called as in the warehouse.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import yaml

from sluice.config.profile import IN_MEMORY, Profile, name_of_database
from sluice.config.settings import Settings

KEPT = ("schema", "settings", "external_root")
"""What a target says beside its databases that SQL may depend on. Secrets stay where they are: nothing is connected."""


def compile_profile(settings: Settings, *, with_warehouse: bool) -> str:
    """The text of a `profiles.yml` with one target, named as the project's; "" without a profile or a file to build.

    with_warehouse: let macros that ask the warehouse while dbt compiles find it, where it exists and nobody writes it;
    otherwise they find an empty database of the same name.
    """
    profile = settings.profile
    if profile is None or profile.database not in profile.databases:
        return ""
    output: dict[str, Any] = {key: profile.written[key] for key in KEPT if key in profile.written}
    output |= {"type": "duckdb", "threads": 1, **_databases(profile, with_warehouse)}
    return yaml.safe_dump({profile.name: {"target": profile.target, "outputs": {profile.target: output}}})


def _databases(profile: Profile, with_warehouse: bool) -> dict[str, Any]:
    """The databases that dbt opens and attaches; one in memory stands for what is not to be read."""
    files = {name: file for name, file in profile.databases.items() if with_warehouse and _is_readable(file)}
    attach: list[dict[str, Any]] = []
    opened: dict[str, Any] = {"path": IN_MEMORY}
    for name in profile.databases:
        if name == name_of_database(profile.path) and name in files:
            opened = {"path": str(files[name]), "config_options": {"access_mode": "READ_ONLY"}}
        elif name in files:
            attach.append({"path": str(files[name]), "alias": name, "read_only": True})
        elif name.isidentifier():  # dbt-duckdb does not quote an alias
            attach.append({"path": IN_MEMORY, "alias": name})
    if profile.database in [entry["alias"] for entry in attach]:
        opened["database"] = profile.database
    return {**opened, "attach": attach}


def _is_readable(file: Path) -> bool:
    """Whether a database file exists and no other process writes it."""
    if not file.is_file():
        return False
    try:
        duckdb.connect(str(file), read_only=True).close()
    except duckdb.Error:
        return False
    return True
