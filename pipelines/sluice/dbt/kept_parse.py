"""What dbt's last parse left, and whether the project is still the one that was parsed.

Only the text of models may differ: whoever uses the parse reads that from the files. All else that decides what a model
compiles to (names of relations, macros, variables) has to be the same, else dbt parses again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sluice.config.dbt_project import PROJECT, folders, read_project_file
from sluice.config.settings import Settings
from sluice.dbt.compiling import PARSED
from sluice.dbt.nodes import Json

ASIDE = "show"
"""Folder of the target for what dbt compiles of single models: the results of the last build stay where they are."""
SEEN = "profile.sha256"
PLACEHOLDER = "DBT_DEFAULT_PLACEHOLDER"
"""What dbt keeps of a variable of the environment that was not set, as its default was used."""
OF_DBT = ("dbt", "dbt_duckdb")
"""Projects within dbt itself, which change with its version."""
READ_WHOLE = ("schema", "macro", "generic_test", "snapshot", "function")
READ_BY_OTHERS = ("docs", "singular_test", "analysis", "fixture")
"""Types of files, as dbt calls them: those whose content matters, and those that no model's SQL depends on."""
LOOKED_THROUGH = {
    "model-paths": (".sql", ".py", ".yml", ".yaml"),
    "snapshot-paths": (".sql", ".yml", ".yaml"),
    "seed-paths": (".csv", ".yml", ".yaml"),
    "macro-paths": (".sql", ".yml", ".yaml"),
}
"""Where a file that was not parsed yet matters."""
SWITCHES = re.compile(
    r"DBT_(ENGINE_)?(FULL_REFRESH|EMPTY|SAMPLE|DEFER|STATE|FAVOR_STATE|EVENT_TIME_\w+|VARS|INJECT_\w+)"
)
"""Variables of the environment that let dbt compile something else."""
ENV_VAR = re.compile(r"\benv_var\b")


class StaleParseError(Exception):
    """The parse says nothing certain about the project as it is now; the message is the reason."""


class KeptParse:
    """One parse of dbt's. `nodes`, `sources` and `macros` are entries by unique id, as in a manifest."""

    def __init__(self, entries: Json) -> None:
        self.entries = entries
        self.nodes: dict[str, Json] = entries["nodes"]
        self.sources: dict[str, Json] = entries["sources"]
        self.macros: dict[str, Json] = entries["macros"]
        self.project = str(entries["metadata"]["project_name"])

    @property
    def models(self) -> dict[str, Json]:
        """The project's models by the names that a person gives them: `orders`, of versions `orders.v2`."""
        return {
            f"{node['name']}.v{node['version']}" if node.get("version") else node["name"]: node
            for node in self.nodes.values()
            if node["resource_type"] == "model" and node["package_name"] == self.project
        }


def read_kept_parse(*targets: Path) -> KeptParse | None:
    """The newest parse in these folders; None without one that can be read."""
    import msgpack  # dbt's own; most commands need no parse

    files = [file for target in targets if (file := target / PARSED).is_file()]
    for file in sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True):
        try:
            return KeptParse(msgpack.unpackb(file.read_bytes(), strict_map_key=False))
        except (ValueError, KeyError, TypeError, msgpack.UnpackException):
            continue  # another dbt is just writing it, or a version with another format did
    return None


def refuse_stale(settings: Settings, parse: KeptParse) -> None:
    """Raise StaleParseError if anything but the text of models may be another than when it was parsed."""
    metadata, checked = parse.entries["metadata"], parse.entries["state_check"]
    if metadata["dbt_version"] != version("dbt-core"):
        raise StaleParseError("the project was last parsed by another version of dbt")
    _refuse_other_profile(settings, checked, metadata)
    project = (settings.root / PROJECT).read_text(encoding="utf-8")
    if checked["project_hashes"].get(parse.project, {}).get("checksum") != _digest(project):
        raise StaleParseError(f"{PROJECT} has changed since it was last parsed")
    if ENV_VAR.search(project) or (settings.root / "vars.yml").exists():
        raise StaleParseError("variables of the project come from the environment or vars.yml")
    for name in os.environ:
        if SWITCHES.fullmatch(name):
            raise StaleParseError(f"the environment has {name}")
    for name, value in parse.entries["env_vars"].items():
        if os.environ.get(name, PLACEHOLDER) != value:
            raise StaleParseError(f"{name} in the environment has changed since the project was last parsed")
    if changed := next(_changed_files(settings, parse.project, parse.entries["files"]), None):
        raise StaleParseError(f"{changed} has changed since it was last parsed")


def _refuse_other_profile(settings: Settings, checked: Mapping[str, Any], metadata: Json) -> None:
    """Target and profile by dbt's own digest, which also covers `--vars`; the profile's content by its times."""
    profile = settings.profile
    if profile is None:
        raise StaleParseError("the project has no profile")
    named = _digest("\0".join(["{}", profile.name, profile.target, metadata["dbt_version"]]))
    if checked["vars_hash"]["checksum"] != named:
        raise StaleParseError("the project was last parsed for another target, or with --vars")
    if any("{{" in str(profile.written.get(key)) for key in ("schema", "database")):
        raise StaleParseError(f"the target's schema depends on the environment in {profile.file.name}")
    about = profile.file.stat()
    parsed = datetime.fromisoformat(metadata["invocation_started_at"]).timestamp()
    if max(about.st_mtime, about.st_ctime) < parsed:
        return
    seen = settings.target / ASIDE / SEEN
    if not seen.is_file() or seen.read_text(encoding="ascii") != _seen(profile.file, checked):
        raise StaleParseError(f"{profile.file.name} has changed since the project was last parsed")


def keep_seen(settings: Settings, before: str, parse: KeptParse) -> None:
    """Keep that dbt has compared the parse with the profile: it writes none where nothing has changed.

    before: `profile_digest` as dbt started.
    """
    if settings.profile and before == _content(settings.profile.file):
        seen = _seen(settings.profile.file, parse.entries["state_check"])
        (settings.target / ASIDE / SEEN).write_text(seen, encoding="ascii")


def profile_digest(settings: Settings) -> str:
    """Digest of the profile's file."""
    return _content(settings.profile.file) if settings.profile else ""


def _content(file: Path) -> str:
    return _digest(file.read_text(encoding="utf-8"))


def _seen(profile: Path, checked: Mapping[str, Any]) -> str:
    return f"{_content(profile)} {checked['profile_hash']['checksum']}"


def _changed_files(settings: Settings, project: str, files: Mapping[str, Json]) -> Iterator[str]:
    """Names of files that are gone, have other content than when dbt read them, or are new."""
    known = set()
    for entry in files.values():
        kind, place = entry["parse_file_type"], entry["path"]
        if entry["project_name"] in OF_DBT or kind in READ_BY_OTHERS:
            continue
        root = settings.root if entry["project_name"] == project else Path(place["project_root"])
        file = root / place["searched_path"] / place["relative_path"]
        known.add(file)
        name = os.path.relpath(file, settings.root)
        if not file.is_file():
            yield name
        elif kind in READ_WHOLE:
            # dbt's own digest: it does not tell one blank from another
            content = " ".join(file.read_text(encoding="utf-8").split())
            if _digest(content) != entry["checksum"]["checksum"]:
                yield name
    written = read_project_file(settings.root)
    for key, endings in LOOKED_THROUGH.items():
        for folder in folders(written, key, os.environ):
            for file in (settings.root / folder).rglob("*"):
                if file.suffix in endings and file not in known:
                    yield os.path.relpath(file, settings.root)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
