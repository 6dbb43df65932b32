"""Gives the base of a review the dbt packages that are installed in the work tree, which git does not keep."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sluice.config.dbt_project import PACKAGE_FILES, PROJECT, folders, read_dbt_file, read_project_file
from sluice.errors import DeclarationError, SluiceError
from sluice.review.git import write_folder
from sluice.system import git


def share_packages(root: Path, base: Path, commit: str) -> str:
    """Link the installed packages of the project `root` into `base`, but local ones as they were at `commit`.

    A local package outside of the project is that of the commit if it is in the same repository.

    Returns what a reader of the review has to know: that the two sides ask for different packages; else "".
    """
    try:
        folder = folders(read_project_file(root), "packages-install-path", os.environ)[0]
        there = folders(read_project_file(base), "packages-install-path", os.environ)[0]
    except DeclarationError:  # dbt reports it
        return ""
    installed = root / folder
    named = [_texts(side) for side in (root, base)]
    if not installed.is_dir() or not any(named[1]):
        return ""
    if _is_linked(base / there):
        shutil.rmtree(
            base / there, ignore_errors=True
        )  # linked by an earlier review, maybe to other packages
        local = _local_packages(root)
        (base / there).mkdir(parents=True, exist_ok=True)
        for package in installed.iterdir():
            if package.is_dir():
                own = local.get(package.resolve()) or local.get(package.name)
                place = _at_base(own, root, base, commit) if own else package.resolve()
                if place.is_dir():
                    (base / there / package.name).symlink_to(place.resolve(), target_is_directory=True)
    if named[0] == named[1]:
        return ""
    return (
        "The base asks for other packages than this branch. Both sides were compiled with those installed here, so "
        "what another version of a package changes is not seen."
    )


def _is_linked(folder: Path) -> bool:
    """Whether a folder of packages is missing or holds only links: nothing that git keeps."""
    return not folder.is_symlink() and (not folder.is_dir() or all(f.is_symlink() for f in folder.iterdir()))


def _texts(root: Path) -> list[bytes]:
    return [f.read_bytes() if f.is_file() else b"" for f in map(root.joinpath, PACKAGE_FILES)]


def packages_beside(root: Path) -> list[Path]:
    """Local packages outside of the project that are in the same repository."""
    return sorted({f for f in _local_packages(root).values() if not f.is_relative_to(root.resolve())})


def name_package_files(root: Path, manifests: Iterable[Mapping[str, Any]]) -> None:
    """Let entries of local packages name their files from the project's root, as git does, not from the package's."""
    packages = {n: _from_root(f, root) for n, f in _local_packages(root).items() if isinstance(n, str)}
    for manifest in manifests:
        for kind in ("nodes", "macros", "sources", "exposures", "docs"):
            for entry in manifest.get(kind, {}).values():
                if folder := packages.get(entry["package_name"]):
                    entry["original_file_path"] = f"{folder}/{entry['original_file_path']}"
                    if entry.get("patch_path"):
                        entry["patch_path"] = entry["patch_path"].replace("://", f"://{folder}/", 1)


def _from_root(folder: Path, root: Path) -> str:
    return Path(os.path.relpath(folder, root.resolve())).as_posix()


def _at_base(folder: Path, root: Path, base: Path, commit: str) -> Path:
    """Where a local package is as it was at `commit`; it may be missing there."""
    place = Path(os.path.normpath(base / _from_root(folder, root)))
    if not place.is_dir():  # outside of the project
        with suppress(SluiceError):
            write_folder(folder, commit, place)
    return place


def _local_packages(root: Path) -> dict[Path | str, Path]:
    """The local packages inside the project or its repository, by their folder and by their name."""
    repository = Path(git(root, "rev-parse", "--show-toplevel") or root).resolve()
    found: dict[Path | str, Path] = {}
    for file in map(root.joinpath, PACKAGE_FILES):
        for entry in (read_dbt_file(file).get("packages") or []) if file.is_file() else []:
            if not (local := entry.get("local")):
                continue
            folder = (root / str(local)).resolve()
            if folder.is_relative_to(repository) and (folder / PROJECT).is_file():
                found |= {folder: folder, str(read_dbt_file(folder / PROJECT).get("name")): folder}
    return found
