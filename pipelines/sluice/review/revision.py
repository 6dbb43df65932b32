"""The two sides of a review, compiled by dbt without a warehouse.

The base is written to SLUICE_HOME/review/<commit>/ and kept there, so that the next review of a branch compiles its
own side only.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from sluice.dbt.compiling import COMPILED, PARSED, compile_error, compile_projects
from sluice.dbt.manifest import Manifest
from sluice.lineage import Graph, load_graph
from sluice.review.query_equivalence import Columns, columns_of

Json = Mapping[str, Any]
PATHS = {
    "model-paths": "models",
    "seed-paths": "seeds",
    "macro-paths": "macros",
    "test-paths": "tests",
    "analysis-paths": "analyses",
    "snapshot-paths": "snapshots",
    "function-paths": "functions",
    "docs-paths": "models",
    "packages-install-path": "dbt_packages",
}
"""Keys of dbt_project.yml that name the folders dbt reads, and where it looks without them."""
PACKAGES = ("packages.yml", "dependencies.yml")
PROJECT_FILES = (
    "dbt_project.yml profiles.yml selectors.yml vars.yml .dbtignore packages.yml dependencies.yml package-lock.yml "
    "dbt-bouncer.yml"  # not dbt's, but what it says of the head needs the head's manifest
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

    @property
    def exposures(self) -> dict[str, Any]:
        """Exposures by unique id."""
        return dict(self.manifest.get("exposures", {}))


def owner(entry: Mapping[str, Any]) -> str:
    """Whom to ask about an exposure."""
    who = entry.get("owner") or {}
    return (
        " ".join(filter(None, [who.get("name"), f"<{who['email']}>" if who.get("email") else ""])) or "nobody"
    )


def compile_both(old: Revision, new: Revision, kept: Path, scratch: Path, files: Collection[str]) -> None:
    """Compile the head, and the base if `kept` does not have it from before.

    files: those that differ. Where dbt reads none of them, the head's manifest is the base's.
    """
    reads = read_by_dbt(new.root)
    differs = any(reads(f) for f in files)
    wanted = [] if (kept / COMPILED).is_file() else [(old.root, kept)]
    wanted += [(new.root, scratch)] if differs else []
    if wanted:
        _compile(wanted, _parsed(kept, new.root))
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
        project = yaml.safe_load((root / "dbt_project.yml").read_text(encoding="utf-8"))
        folders = [str(f) for key, default in PATHS.items() for f in _listed(project.get(key), default)]
        packages = "".join(f.read_text(encoding="utf-8") for f in map(root.joinpath, PACKAGES) if f.is_file())
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError):
        return lambda _: True
    plain = [PurePosixPath(folder) for folder in folders if "{{" not in folder and ".." not in folder]
    if len(plain) < len(folders) or "local:" in packages:  # a local package lies anywhere
        return lambda _: True
    return lambda file: file in PROJECT_FILES or any(PurePosixPath(file).is_relative_to(f) for f in plain)


def share_packages(root: Path, base: Path) -> None:
    """Let the base use the installed dbt packages of the work tree, which git does not keep, if it names the same."""
    files = [(side / name for name in (*PACKAGES, "package-lock.yml")) for side in (root, base)]
    texts = [[f.read_bytes() if f.is_file() else b"" for f in side] for side in files]
    try:
        project = yaml.safe_load((root / "dbt_project.yml").read_text(encoding="utf-8"))
        folder = str(project.get("packages-install-path") or PATHS["packages-install-path"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError):
        return
    if texts[0] == texts[1] and any(texts[0]) and (root / folder).is_dir() and not (base / folder).exists():
        (base / folder).parent.mkdir(parents=True, exist_ok=True)
        (base / folder).symlink_to(root / folder, target_is_directory=True)


def _listed(value: Any, default: str) -> list[Any]:
    return [default] if value is None else value if isinstance(value, list) else [value]


def _parsed(kept: Path, root: Path) -> Path | None:
    """The newest parse to start from: of this base, of a former one, or of `sluice check`."""
    found = [*kept.parents[1].glob(f"*/{kept.name}/{PARSED}"), root / "target" / "check" / PARSED]
    return max((f for f in found if f.is_file()), key=lambda f: f.stat().st_mtime, default=None)


def _compile(wanted: list[tuple[Path, Path]], parsed: Path | None) -> None:
    """Compile projects (root, target), beginning with an earlier parse."""
    if parsed is not None and parsed.parent != wanted[0][1]:
        wanted[0][1].mkdir(parents=True, exist_ok=True)
        shutil.copy(parsed, wanted[0][1])
    compile_projects(wanted)


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
