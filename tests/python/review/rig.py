"""Compiles patched copies of this project in this process, each from what the base's parse left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import chdir
from functools import cache
from pathlib import Path

from pipelines.review import Review, compare
from pipelines.review.revision import PARSED, Revision, read_compiled
from pipelines.settings import Settings

ROOT = Path(__file__).parents[3]
PATCHES = ROOT / "tests" / "review"
PARTS = (
    *("models", "sources", "macros", "seeds", "tests/generic", "tests/data"),
    *("dbt_project.yml", "profiles.yml", "selectors.yml", "audiences.yml"),
)


class Bench:
    """A base, compiled once, and branches off it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "lineage.sqlite"
        self.base = self._compiled(self._copied("base"), "base", None)
        assert not self.base.error, self.base.error

    def branch(self, patch: str) -> Revision:
        """The project with a patch."""
        root = self._copied(patch)
        apply(root, patch)
        return self._compiled(root, patch, self.folder / "base-target")

    def review(self, patch: str, settings: Settings | None = None) -> Review:
        """The review of a patch, with data if there are settings of a warehouse."""
        return compare(settings, self.base, self.branch(patch), self.folder / f"{patch}-scratch")

    def _copied(self, name: str) -> Path:
        root = self.folder / name
        for part in PARTS:
            source, target = ROOT / part, root / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy(source, target)
        return root

    def _compiled(self, root: Path, name: str, parsed: Path | None) -> Revision:
        from pipelines.review.compiling import compile_project

        target = self.folder / f"{name}-target"
        target.mkdir()
        if parsed is not None:
            shutil.copy(parsed / PARSED, target)
        revision = Revision(root, name, cache=self.cache)
        with chdir(root):
            revision.error = compile_project(root, target)
        return revision if revision.error else read_compiled(revision, target)


def apply(root: Path, patch: str) -> None:
    """Apply a patch to a copy of the project that is no git repository."""
    file = PATCHES / f"{patch}.patch"
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(root.parent)}
    subprocess.run(["git", "apply", "--recount", str(file)], cwd=root, env=environment, check=True)


@cache
def patches() -> list[str]:
    """Names of all patches."""
    return sorted(f.stem for f in PATCHES.glob("*.patch"))
