"""What git is asked for: the base, also in a shallow clone, and the lines that changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sluice.errors import SluiceError
from sluice.review.git import changed_files, changed_lines, resolve_base, write_base


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "protocol.file.allow=always"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=root, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Branch `main` with two commits; branch `work` off the first, with one."""
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    (root / "dbt_project.yml").write_text("name: x\n", encoding="utf-8")
    (root / "a.sql").write_text("select 1\nfrom t\n", encoding="utf-8")
    git(root, "add", ".")
    git(root, "commit", "-qm", "one")
    git(root, "checkout", "-qb", "work")
    (root / "a.sql").write_text("select 1\nfrom t\nwhere x\n", encoding="utf-8")
    git(root, "commit", "-qam", "mine")
    git(root, "checkout", "-q", "main")
    (root / "b.sql").write_text("select 2\n", encoding="utf-8")
    git(root, "add", ".")
    git(root, "commit", "-qm", "two")
    git(root, "checkout", "-q", "work")
    return root


def test_the_branch_point_counts(repository: Path) -> None:
    commit, remark = resolve_base(repository, "main")
    assert (commit, remark) == (git(repository, "rev-parse", "main~1"), None)
    assert changed_files(repository, commit) == ["a.sql"]
    assert changed_lines(repository, commit) == {"a.sql": {3}}


def test_the_work_tree_counts_with_new_files(repository: Path) -> None:
    (repository / "c.sql").write_text("select 3\nfrom u\n", encoding="utf-8")
    commit, _ = resolve_base(repository, "main")
    assert changed_lines(repository, commit)["c.sql"] == {1, 2}


def test_a_shallow_clone_compares_with_the_base_as_it_is(repository: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth", "1", "--branch", "work", repository.as_uri(), str(clone))
    commit, remark = resolve_base(clone, "main")
    assert commit == git(repository, "rev-parse", "main")
    assert remark is not None
    project = write_base(clone, commit, tmp_path / "kept")
    assert (project / "b.sql").read_text(encoding="utf-8") == "select 2\n"


def test_an_unknown_base_says_what_to_do(repository: Path) -> None:
    with pytest.raises(SluiceError, match="git fetch origin"):
        resolve_base(repository, "nowhere")
