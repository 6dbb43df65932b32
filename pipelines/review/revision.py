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
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.errors import SluiceError
from pipelines.lineage import Graph, load_graph
from pipelines.review.meaning import Columns, columns_of

Json = Mapping[str, Any]
KEPT = 5
"""Compiled bases that are kept."""
TRUE_INCREMENTAL = """{% macro is_incremental() %}
    {{ return(model is defined and model.config.materialized == "incremental" and execute) }}
{% endmacro %}
"""


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


def start_compile(root: Path, target: Path) -> subprocess.Popen[str]:
    """dbt compile of a project into `target`, as a process that runs already."""
    target.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [
            str(Path(sys.executable).with_name("dbt")),
            *("--quiet", "compile", "--target", "check", "--target-path", str(target)),
            *("--log-path", str(target), "--exclude", "resource_type:test", "resource_type:unit_test"),
        ],
        cwd=root,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(["", str(Path(__file__).parents[2])]).lstrip(os.pathsep),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish_compile(process: subprocess.Popen[str], revision: Revision, target: Path) -> Revision:
    """Wait for a compile; the manifest, or dbt's error, goes into the revision."""
    output, _ = process.communicate()
    file = target / "manifest.json"
    if process.returncode or not file.is_file():
        revision.error = _message(output)
        return revision
    revision.manifest = json.loads(file.read_text(encoding="utf-8"))
    return revision


def compile_revision(revision: Revision, target: Path) -> Revision:
    """start_compile and finish_compile, and once more for incremental models, if there are any."""
    if not (target / "manifest.json").is_file():
        revision = finish_compile(start_compile(revision.root, target), revision, target)
    else:
        revision.manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    return revision


def compile_incremental(revision: Revision, folder: Path) -> None:
    """Compile incremental models as in a run that adds to a table that exists, in a copy of the project."""
    wanted = [k for k, n in revision.nodes("model").items() if n["config"]["materialized"] == "incremental"]
    if not wanted:
        return
    copy = folder / "incremental"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    project = [
        "models",
        "sources",
        "macros",
        "seeds",
        "tests/generic",
        "dbt_project.yml",
        "profiles.yml",
        "selectors.yml",
    ]
    for name in project:
        source = revision.root / name
        if source.is_dir():
            shutil.copytree(source, copy / name)
        elif source.is_file():
            shutil.copy(source, copy / name)
    (copy / "macros" / "is_incremental.sql").write_text(TRUE_INCREMENTAL, encoding="utf-8")
    twin = Revision(copy, revision.name)
    finish_compile(start_compile(copy, folder / "incremental-target"), twin, folder / "incremental-target")
    nodes = twin.nodes("model")
    revision.incremental = {k: nodes[k]["compiled_code"] for k in wanted if k in nodes}


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
