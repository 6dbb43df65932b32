"""What git is asked for: the base, also in a shallow clone, and the lines that changed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sluice.errors import SluiceError
from sluice.review.git import changed_files, changed_lines, resolve_base, write_base
from sluice.review.packages import name_package_files, packages_beside, share_packages


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


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """A repository with a project in a folder, `über uns`, and a package beside it, which has changed since main."""
    top = tmp_path / "several"
    project, package = top / "über uns", top / "shared"
    for folder in (project / "models", project / "dbt_packages", package / "macros"):
        folder.mkdir(parents=True)
    (project / "dbt_project.yml").write_text("name: us\n")
    (project / "packages.yml").write_text("packages: [{local: ../shared}]\n")
    (project / ".gitignore").write_text("dbt_packages/\n/warehouse/\n")
    (project / "dbt_packages" / "shared").symlink_to("../../shared")
    (project / "models" / "über alles.sql").write_text("select 1\n")
    (package / "dbt_project.yml").write_text("name: shared\n")
    (package / "macros" / "a.sql").write_text("before\n")
    git(top, "init", "-q", "-b", "main")
    git(top, "add", ".")
    git(top, "commit", "-qm", "one")
    (package / "macros" / "a.sql").write_text("after\n")
    (project / "models" / "über alles.sql").write_text("select 2\n")
    return project


def test_a_project_in_a_folder_of_its_repository(several: Path) -> None:
    """The base is the project as it was, with the package beside it as it was, and names have umlauts and blanks."""
    git(several, "config", "diff.mnemonicPrefix", "true")
    commit, _ = resolve_base(several, "main")
    base = write_base(several, commit, several / "warehouse" / "review")
    assert share_packages(several, base, commit) == ""
    assert (base / "models" / "über alles.sql").read_text() == "select 1\n"
    assert (base / "dbt_packages" / "shared" / "macros" / "a.sql").read_text() == "before\n"
    beside = packages_beside(several)
    assert changed_files(several, commit, beside=beside) == [
        "../shared/macros/a.sql",
        "models/über alles.sql",
    ]
    assert changed_lines(several, commit) == {"models/über alles.sql": {1}}
    macro = {"package_name": "shared", "original_file_path": "macros/a.sql", "patch_path": None}
    name_package_files(several, [{"macros": {"macro.shared.a": macro}}])
    assert macro["original_file_path"] == "../shared/macros/a.sql"


def test_a_project_that_is_new_in_its_repository(several: Path) -> None:
    commit, _ = resolve_base(several, "main")
    shutil.copytree(several, new := several.parent / "new", symlinks=True)
    with pytest.raises(SluiceError, match="maybe it was not there yet"):
        write_base(new, commit, new / "warehouse" / "review")
