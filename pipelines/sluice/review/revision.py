"""The two sides of a review, compiled by dbt without a warehouse.

The base is written to SLUICE_HOME/review/<commit>/ and kept there, so that the next review of a branch compiles its
own side only.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from sluice.config.dbt_project import FOLDERS, PACKAGE_FILES, PROJECT, folders, read_project_file
from sluice.config.settings import Settings
from sluice.dbt.compile_profile import compile_profile
from sluice.dbt.compiling import COMPILED, PARSED, compile_error, compile_projects, is_compiled
from sluice.dbt.manifest import Manifest, Table
from sluice.errors import DeclarationError
from sluice.lineage import Graph, load_graph
from sluice.review.query_equivalence import Columns, columns_of

Json = Mapping[str, Any]
PROJECT_FILES = (
    f"{PROJECT} profiles.yml selectors.yml vars.yml .dbtignore packages.yml dependencies.yml package-lock.yml "
    "dbt-bouncer.yml conventions.yml"  # not dbt's, but what they say of the head needs the head's manifest
).split()
"""Files beside those folders."""


@dataclass
class Revision:
    """One side: its files, its manifest (empty if it does not compile, with `error`), its lineage."""

    root: Path
    name: str
    manifest: Json = field(default_factory=dict)
    incremental: Mapping[str, str] = field(default_factory=dict)
    """Compiled code of incremental models in a run that adds to what is there."""
    failed_tests: Mapping[str, str] = field(default_factory=dict)
    """dbt's message for data tests that do not compile, by unique id."""
    error: str = ""
    cache: Path | None = None

    @cached_property
    def graph(self) -> Graph:
        return load_graph(Manifest(self.manifest), cache_file=self.cache, root=self.root)

    @cached_property
    def columns(self) -> Columns:
        return columns_of(self.graph)

    def nodes(self, *kinds: str) -> dict[str, Any]:
        """Nodes by unique id, of the resource types named."""
        return {k: n for k, n in self.manifest.get("nodes", {}).items() if n["resource_type"] in kinds}

    @cached_property
    def tables(self) -> dict[str, Any]:
        """Models, seeds and snapshots by unique id."""
        return self.nodes("model", "seed", "snapshot")

    @property
    def sources(self) -> dict[str, Any]:
        """Source tables by unique id."""
        return dict(self.manifest.get("sources", {}))

    @cached_property
    def consumers(self) -> dict[str, Table]:
        """Metrics, saved queries and exposures by unique id."""
        return {k: t for k, t in Manifest(self.manifest).tables.items() if t.is_consumer}

    @property
    def exposures(self) -> dict[str, Any]:
        """Exposures by unique id."""
        return dict(self.manifest.get("exposures", {}))


def compile_both(
    settings: Settings, old: Revision, new: Revision, kept: Path, scratch: Path, files: Collection[str]
) -> None:
    """Compile the head, and the base if `kept` does not have it from before, both with the profile of the work tree.

    files: those that differ. Where dbt reads none of them, the head's manifest is the base's.
    """
    reads = read_by_dbt(new.root)
    differs = any(reads(f) for f in files)
    profile = compile_profile(settings, with_warehouse=True)
    wanted = [] if is_compiled(kept, profile) else [(old.root, kept)]
    wanted += [(new.root, scratch)] if differs else []
    if wanted:
        _start_from(_parsed(kept, settings), wanted[0][1])
        compile_projects(wanted, profile=profile)
    read_compiled(old, kept)
    if differs:
        read_compiled(new, scratch)
    else:
        new.manifest, new.incremental, new.failed_tests = old.manifest, old.incremental, old.failed_tests
        new.error = old.error


def read_by_dbt(root: Path) -> Callable[[str], bool]:
    """A test of whether a file, named from the root, can change what dbt compiles.

    Where the folders are not known (Jinja in a path, a local package), any file can."""
    try:
        project = read_project_file(root)
        if not project:
            return lambda _: True
        named = [folder for key in FOLDERS for folder in folders(project, key, os.environ)]
        packages = "".join(
            f.read_text(encoding="utf-8") for f in map(root.joinpath, PACKAGE_FILES) if f.is_file()
        )
    except (OSError, UnicodeDecodeError, DeclarationError):
        return lambda _: True
    plain = [PurePosixPath(folder) for folder in named if ".." not in folder]
    if len(plain) < len(named) or "local:" in packages:  # a local package lies anywhere
        return lambda _: True
    return lambda file: file in PROJECT_FILES or any(PurePosixPath(file).is_relative_to(f) for f in plain)


def _parsed(kept: Path, settings: Settings) -> Path | None:
    """The newest parse to start from: of this base, of a former one, or of `sluice check`."""
    found = [*kept.parents[1].glob(f"*/{kept.name}/{PARSED}"), settings.target / "check" / PARSED]
    return max((f for f in found if f.is_file()), key=lambda f: f.stat().st_mtime, default=None)


def _start_from(parsed: Path | None, target: Path) -> None:
    """Let dbt begin with an earlier parse."""
    if parsed is not None and parsed.parent != target:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(parsed, target)


def read_compiled(revision: Revision, target: Path) -> Revision:
    """Take in what a compile left in `target`: the manifest, or dbt's error."""
    if not (target / COMPILED).is_file():
        revision.error = compile_error(target) or "dbt said nothing"
        return revision
    revision.manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    left = json.loads((target / COMPILED).read_text(encoding="utf-8"))
    revision.incremental, revision.failed_tests = left["incremental"], left["failed_tests"]
    revision.error = "\n".join(_not_overridden(revision))
    return revision


def _not_overridden(revision: Revision) -> Iterator[str]:
    """Errors that dbt reports when it parses a unit test, but not when it parses only the tested model again."""
    models = revision.nodes("model")
    for unit in revision.manifest.get("unit_tests", {}).values():
        node = models.get((unit["depends_on"]["nodes"] or [""])[0])
        macros = (unit.get("overrides") or {}).get("macros") or {}
        asks = node is not None and "macro.dbt.is_incremental" in node["depends_on"]["macros"]
        if node is not None and asks and not isinstance(macros.get("is_incremental"), bool):
            yield (
                f"Boolean override for 'is_incremental' must be provided for unit test '{unit['name']}' in "
                f"model '{node['name']}'"
            )
