"""Whether the files of a dbt project, and all else that dbt reads of it, are the same as before."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sluice.config.dbt_project import FOLDERS, PACKAGE_FILES, PROJECT, folders, read_project_file
from sluice.config.profile import PROFILES, TARGET
from sluice.config.settings import TARGET_PATH, Settings
from sluice.dbt.run_results import PROCESS, RECORDED

ENV_VAR = re.compile(rb"\benv_var\s*\(\s*(?:(['\"])([^'\"]+)\1\s*[,)])?")
"""A variable of the environment; without a name in quotes it may be any."""
PACKAGES = ("dbt-core", "dbt-duckdb", "duckdb", "sluice")

OURS = {TARGET, TARGET_PATH, f"{RECORDED}{PROCESS[0]}"}
"""Variables that Sluice sets for dbt; the target is a part of the digest by its name."""

Files = dict[str, list[Any]]
"""By path: size in bytes, time of change in ns, SHA-256, and the variables of the environment that the file names."""


def project_digest(settings: Settings, known: Mapping[str, list[Any]]) -> tuple[str, Files]:
    """Digest of all that dbt reads, and the files; those of `known` size and time are not read again.

    Empty if it is not known which variables of the environment are read.
    """
    files: Files = {}
    for file in _files(settings):
        about = file.stat()
        name = os.path.relpath(file, settings.root)
        stamp = [about.st_size, about.st_mtime_ns]
        kept = known.get(name)
        files[name] = kept if kept and kept[:2] == stamp else [*stamp, *_content(file)]
    variables = {variable for entry in files.values() for variable in entry[3]}
    if "" in variables:
        return "", files
    environment = {
        k: v for k, v in os.environ.items() if k in variables or (k.startswith("DBT_") and k not in OURS)
    }
    what = [
        [(name, entry[2]) for name, entry in sorted(files.items())],
        sorted(environment.items()),
        [version(name) for name in PACKAGES],
        settings.environment.name if settings.environment else "",
    ]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest(), files


def _files(settings: Settings) -> Iterator[Path]:
    root = settings.root
    project = read_project_file(root)
    profile = settings.profile.file if settings.profile else root / PROFILES
    for file in (*(root / name for name in (PROJECT, "selectors.yml", "vars.yml", *PACKAGE_FILES)), profile):
        if file.is_file():
            yield file
    for folder in {root / name for key in FOLDERS for name in folders(project, key, os.environ)}:
        yield from sorted(file for file in _within(folder, set()) if file.suffix != ".pyc")


def _within(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """All files, also those behind links: dbt links packages that are folders."""
    if folder.is_dir() and folder.resolve() not in seen:
        seen.add(folder.resolve())
        for entry in folder.iterdir():
            if entry.is_file():
                yield entry
            else:
                yield from _within(entry, seen)


def _content(file: Path) -> tuple[str, list[str]]:
    data = file.read_bytes()
    named = {match[2].decode(errors="replace") if match[2] else "" for match in ENV_VAR.finditer(data)}
    return hashlib.sha256(data).hexdigest(), sorted(named)
