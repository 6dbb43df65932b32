"""What git knows about the two sides: commits, changed files and lines."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from sluice.errors import SluiceError
from sluice.system import git

KEPT = 5
"""Compiled bases that are kept."""

DIFF = ("-U0", "--relative", "--no-color", "--no-ext-diff", "--src-prefix=a/", "--dst-prefix=b/")
"""Options by which a diff looks the same whatever the user has configured."""


def resolve_base(root: Path, ref: str) -> tuple[str, str | None]:
    """The commit to compare with, and a remark: the merge base, or the reference itself where history is cut off.

    Raises SluiceError if the reference is not known here and cannot be fetched.
    """
    if not git(root, "rev-parse", "--git-dir"):
        raise SluiceError(f"{root} is not a git repository, so there is nothing to compare with.")
    commit = git(root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    if not commit:
        remote, _, branch = ref.partition("/") if ref.startswith("origin/") else ("origin", "", ref)
        if git(root, "fetch", "--quiet", "--depth", "1", remote, branch) is not None:
            commit = git(root, "rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}")
    if not commit:
        raise SluiceError(
            f"git knows no {ref!r}, and could not fetch it. Name a branch, tag or commit it has: "
            f"git fetch origin {ref.removeprefix('origin/')} && sluice review --base FETCH_HEAD"
        )
    merge_base = git(root, "merge-base", commit, "HEAD")
    if merge_base:
        return merge_base, None
    return commit, (
        f"The history is cut off before the branch point, so this compares with {ref} as it is: changes "
        "others made there since appear as undone here."
    )


def write_base(root: Path, commit: str, folder: Path) -> Path:
    """The project's files at a commit, below `folder`, as deep as the project is in its repository; returns where."""
    project = folder / commit / "project" / (git(root, "rev-parse", "--show-prefix") or "")
    if not (project / "dbt_project.yml").is_file():
        write_folder(root, commit, project)
    (folder / commit).touch()
    kept = sorted((f for f in folder.iterdir() if f.is_dir()), key=lambda f: -f.stat().st_mtime)
    for old in [f for f in kept if re.fullmatch(r"[0-9a-f]{40}", f.name)][KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return project


def write_folder(folder: Path, commit: str, target: Path) -> None:
    """The files that a folder of the repository has at a commit; raises SluiceError if it has none there."""
    archive = subprocess.run(["git", "archive", commit], cwd=folder, capture_output=True, check=False)
    if archive.returncode:
        reason = archive.stderr.decode(errors="replace").strip()
        raise SluiceError(
            f"git cannot read {folder} as it was at {commit}, maybe it was not there yet: {reason}"
        )
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-x", "-C", str(target)], input=archive.stdout, check=True)


def changed_lines(root: Path, commit: str, made: Collection[Path] = ()) -> dict[str, set[int]]:
    """Lines of the work tree that were added or changed since `commit`, by file; new files whole.

    made: folders of what commands write, whose files count only where git keeps them.
    """
    found: dict[str, set[int]] = {}
    name = ""
    for line in (git(root, "diff", *DIFF, commit, "--", ".") or "").splitlines():
        if line.startswith("+++ "):  # a tab ends a name with a blank
            name = line[6:].rstrip("\t") if line.startswith("+++ b/") else ""
        elif (match := re.match(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@", line)) and name:
            first, count = int(match[1]), int(match[2] or 1)
            found.setdefault(name, set()).update(range(first, first + count))
    for new in _new_files(root, made):
        with contextlib.suppress(UnicodeDecodeError, OSError):
            found[new] = set(range(1, len((root / new).read_text(encoding="utf-8").splitlines()) + 1))
    return found


def changed_files(
    root: Path, commit: str, made: Collection[Path] = (), beside: Collection[Path] = ()
) -> list[str]:
    """Files that differ from `commit`, deleted ones too; `made` as in `changed_lines`.

    beside: other folders of the repository to look at.
    """
    listed = git(root, "diff", "--name-only", "--relative", commit, "--", ".") or ""
    there = (
        f"{os.path.relpath(folder, root)}/{name}"
        for folder in beside
        for name in changed_files(folder, commit)
    )
    return sorted({*listed.splitlines(), *_new_files(root, made), *there})


def _new_files(root: Path, made: Collection[Path]) -> list[str]:
    """Files that git neither keeps nor ignores, from `root`."""
    listed = (git(root, "ls-files", "--others", "--exclude-standard") or "").splitlines()
    return [name for name in listed if not any((root / name).is_relative_to(folder) for folder in made)]
