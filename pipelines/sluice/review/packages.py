"""Gives the base of a review the dbt packages that are installed in the work tree, which git does not keep."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sluice.config.dbt_project import PACKAGE_FILES, PROJECT, folders, read_dbt_file, read_project_file
from sluice.errors import DeclarationError


def share_packages(root: Path, base: Path) -> str:
    """Link the installed packages of the project `root` into `base`, but local ones as `base` has them.

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
                inside = local.get(package.resolve()) or local.get(package.name)
                place = base / inside if inside else package.resolve()
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


def _local_packages(root: Path) -> dict[Path | str, Path]:
    """The local packages inside the project, from its root, by their folder and by their name."""
    found: dict[Path | str, Path] = {}
    for file in map(root.joinpath, PACKAGE_FILES):
        for entry in (read_dbt_file(file).get("packages") or []) if file.is_file() else []:
            folder = (root / str(entry.get("local") or "..")).resolve()
            if folder.is_relative_to(root.resolve()) and (folder / PROJECT).is_file():
                inside = folder.relative_to(root.resolve())
                found |= {folder: inside, str(read_dbt_file(folder / PROJECT).get("name")): inside}
    return found
