"""The two sides of a review: what git has of them, compiled by dbt without a warehouse.

The base is written to SLUICE_HOME/review/<commit>/ and kept there, so that the next review of a branch compiles its
own side only.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sluice.errors import SluiceError
from sluice.lineage import Graph, load_graph
from sluice.review.meaning import Columns, columns_of

Json = Mapping[str, Any]
KEPT = 5
"""Compiled bases that are kept."""
PARSED = "partial_parse.msgpack"
"""What dbt's parser leaves behind."""


@dataclass
class Revision:
    """One side: its files, its manifest (empty if it does not compile, with `error`), its lineage."""

    root: Path
    name: str
    manifest: Json = field(default_factory=dict)
    incremental: Mapping[str, str] = field(default_factory=dict)
    """Compiled code of incremental models in a run that adds to what is there."""
    error: str = ""
    cache: Path | None = None

    @cached_property
    def graph(self) -> Graph:
        return load_graph(self.manifest, cache_file=self.cache, root=self.root)

    @cached_property
    def columns(self) -> Columns:
        return columns_of(self.graph)

    def nodes(self, *kinds: str) -> dict[str, Any]:
        """Nodes by unique id, of the resource types named."""
        return {k: n for k, n in self.manifest.get("nodes", {}).items() if n["resource_type"] in kinds}

    @property
    def sources(self) -> dict[str, Any]:
        return dict(self.manifest.get("sources", {}))


def resolve_base(root: Path, ref: str) -> tuple[str, str | None]:
    """The commit to compare with, and a remark: the merge base, or the reference itself where history is cut off.

    Raises SluiceError if the reference is not known here and cannot be fetched.
    """
    if not _git(root, "rev-parse", "--git-dir"):
        raise SluiceError(f"{root} is no git repository, so there is nothing to compare with.")
    commit = _git(root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    if not commit:
        remote, _, branch = ref.partition("/") if ref.startswith("origin/") else ("origin", "", ref)
        if _git(root, "fetch", "--quiet", "--depth", "1", remote, branch) is not None:
            commit = _git(root, "rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}")
    if not commit:
        raise SluiceError(
            f"git knows no {ref!r}, and could not fetch it. Name a branch, tag or commit it has: "
            f"git fetch origin {ref.removeprefix('origin/')} && sluice review --base FETCH_HEAD"
        )
    merge_base = _git(root, "merge-base", commit, "HEAD")
    if merge_base:
        return merge_base, None
    return commit, (
        f"The history is cut off before the branch point, so this compares with {ref} as it is: changes "
        "others made there since appear as undone here."
    )


def write_base(root: Path, commit: str, folder: Path) -> Path:
    """The files of a commit, below `folder`; returns where."""
    project = folder / commit / "project"
    if not (project / "dbt_project.yml").is_file():
        project.mkdir(parents=True, exist_ok=True)
        prefix = (_git(root, "rev-parse", "--show-prefix") or "").rstrip("/")
        archive = subprocess.run(
            ["git", "archive", f"{commit}:{prefix}" if prefix else commit],
            cwd=root,
            capture_output=True,
            check=False,
        )
        if archive.returncode:
            raise SluiceError(
                f"git archive {commit} failed: {archive.stderr.decode(errors='replace').strip()}"
            )
        subprocess.run(["tar", "-x", "-C", str(project)], input=archive.stdout, check=True)
    (folder / commit).touch()
    kept = sorted((f for f in folder.iterdir() if f.is_dir()), key=lambda f: -f.stat().st_mtime)
    for old in [f for f in kept if re.fullmatch(r"[0-9a-f]{40}", f.name)][KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return project


def compile_both(old: Revision, new: Revision, kept: Path, scratch: Path, files: Collection[str]) -> None:
    """Compile the head, and the base if `kept` does not have it from before.

    files: those that differ. Where dbt reads none of them, the head's manifest is the base's.
    """
    differs = not all(f.startswith(NOT_READ) for f in files)
    wanted = [] if (kept / "incremental.json").is_file() else [(old.root, kept)]
    wanted += [(new.root, scratch)] if differs else []
    if wanted:
        _compile(wanted, _parsed(kept, new.root))
    read_compiled(old, kept)
    if differs:
        read_compiled(new, scratch)
    else:
        new.manifest, new.incremental, new.error = old.manifest, old.incremental, old.error


NOT_READ = (
    *("docs/", "pipelines/", "sandbox/", "bench/", "schemas/", ".github/", ".ci/"),
    *(
        "tests/python/",
        "tests/project/",
        "tests/review/",
        "README.md",
        "Makefile",
        "LICENSE",
        "audiences.yml",
    ),
)
"""What dbt does not read in this project: folders, and files."""


def _parsed(kept: Path, root: Path) -> Path | None:
    """The newest parse to start from: of this base, of a former one, or of `make check`."""
    found = [*kept.parents[1].glob(f"*/{kept.name}/{PARSED}"), root / "target" / "check" / PARSED]
    return max((f for f in found if f.is_file()), key=lambda f: f.stat().st_mtime, default=None)


def _compile(wanted: list[tuple[Path, Path]], parsed: Path | None) -> None:
    """Compile projects (root, target) in a process of dbt's own; see compiling.py."""
    for _, target in wanted:
        target.mkdir(parents=True, exist_ok=True)
        (target / "error.txt").unlink(missing_ok=True)
    if parsed is not None and parsed.parent != wanted[0][1]:
        shutil.copy(parsed, wanted[0][1])
    program = Path(__file__).with_name("compiling.py")
    done = subprocess.run(
        [sys.executable, "-P", str(program), *(str(folder) for pair in wanted for folder in pair)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    for _, target in wanted:
        if done.returncode and not (target / "incremental.json").is_file():
            (target / "error.txt").write_text(done.stdout + done.stderr, encoding="utf-8")


def read_compiled(revision: Revision, target: Path) -> Revision:
    """Take in what a compile left in `target`: the manifest, or dbt's error."""
    if not (target / "incremental.json").is_file():
        file = target / "error.txt"
        revision.error = _message(file.read_text(encoding="utf-8") if file.is_file() else "")
        return revision
    revision.manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    revision.incremental = json.loads((target / "incremental.json").read_text(encoding="utf-8"))
    revision.error = "\n".join(_not_overridden(revision))
    return revision


def _not_overridden(revision: Revision) -> Iterator[str]:
    """What dbt refuses when it parses a unit test, and not when only the tested model is parsed again."""
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


def changed_lines(root: Path, commit: str) -> dict[str, set[int]]:
    """Lines of the work tree that were added or changed since `commit`, by file; new files whole."""
    found: dict[str, set[int]] = {}
    name = ""
    for line in (_git(root, "diff", "-U0", "--relative", "--no-color", commit, "--", ".") or "").splitlines():
        if line.startswith("+++ "):
            name = line[6:] if line.startswith("+++ b/") else ""
        elif (match := re.match(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@", line)) and name:
            first, count = int(match[1]), int(match[2] or 1)
            found.setdefault(name, set()).update(range(first, first + count))
    for new in (_git(root, "ls-files", "--others", "--exclude-standard") or "").splitlines():
        with contextlib.suppress(UnicodeDecodeError, OSError):
            found[new] = set(range(1, len((root / new).read_text(encoding="utf-8").splitlines()) + 1))
    return found


def changed_files(root: Path, commit: str) -> list[str]:
    """Files that differ from `commit`, deleted ones too."""
    listed = _git(root, "diff", "--name-only", "--relative", commit, "--", ".") or ""
    new = _git(root, "ls-files", "--others", "--exclude-standard") or ""
    return sorted({*listed.splitlines(), *new.splitlines()})


def _git(root: Path, *arguments: str) -> str | None:
    """What git says, or None if it fails."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _message(output: str) -> str:
    """dbt's error without colours and times."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", output)
    lines = [re.sub(r"^\d\d:\d\d:\d\d\s+", "", line).rstrip() for line in text.splitlines()]
    wanted = [line for line in lines if line and "Traceback" not in line]
    return "\n".join(wanted[-12:]) or "dbt said nothing"
