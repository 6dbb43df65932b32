"""Writes a new project: the files of `template/`, the engine's wheel and its lock; all of them or none."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sluice import __version__
from sluice.config.environments import PRODUCTION
from sluice.errors import UsageError
from sluice.scaffold.example import example_company
from sluice.scaffold.names import Names, project_names
from sluice.scaffold.wheels import ENGINE, FOLDER, LOCK_OF_EXAMPLE, content, find_wheels, locked, with_hashes

TEMPLATE = Path(__file__).with_name("template")
PLACEHOLDER = re.compile(rb"@(project|distribution|company|version|run|ci|production)@")
OWN_EXAMPLE = ("macros/", "models/", "pipelines/", "sources/", "tests/")
"""Of the template: what the example company has in their place."""
TARGET_OF_EXAMPLE = "warehouse"
"""The only one in the example company's profile."""


def new_project(
    given: str, company: str | None = None, wheels: Path | None = None, *, example: bool = False
) -> tuple[Names, list[str]]:
    """Write a project called `given`, in a folder of that name; what it is called, and the files it consists of.

    wheels: a folder with the engine's wheel, if it is not found by itself. example: the project is that of the
    installed example company. Raises UsageError for a name that cannot be used, for a folder that has one of the files
    already, and for an example that is not installed; then nothing is written.
    """
    installed = example_company() if example else None
    with tempfile.TemporaryDirectory() as scratch:
        found = find_wheels(installed.distributions if installed else [ENGINE], wheels, Path(scratch))
        shown = content(found[-1], installed.folder) if installed else {}
        lock = shown.pop(LOCK_OF_EXAMPLE).decode("utf-8") if installed else locked(found)
        pinned = {
            "requirements.lock": with_hashes(found, lock).encode(),
            **{f"{FOLDER}/{wheel.name}": wheel.read_bytes() for wheel in found},
        }
    names = project_names(given, company, {ENGINE, *re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)})
    files = _named(_template(without=OWN_EXAMPLE if example else ()) | shown, names, example) | pinned
    _refuse_to_overwrite(names.folder, files)
    with _aside(names.folder) as aside:
        for name, text in files.items():
            file = aside / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text)
        _let_all_read(aside)
        _move(aside, names.folder, files)
    return names, sorted(files)


def _template(without: tuple[str, ...]) -> dict[str, bytes]:
    """Contents by path within the project."""
    found = (
        f for f in sorted(TEMPLATE.rglob("*")) if f.is_file() and f.suffix != ".pyc"
    )  # pip compiles modules
    files = {f.relative_to(TEMPLATE).as_posix(): f for f in found}
    return {name: f.read_bytes() for name, f in files.items() if not name.startswith(without or ("\n",))}


def _named(files: Mapping[str, bytes], names: Names, example: bool) -> dict[str, bytes]:
    """The files with the project's names in them."""
    values = {
        "project": names.project,
        "distribution": names.distribution,
        "company": names.company,
        "version": __version__,
        "run": "run --sandbox" if example else "run",
        "ci": TARGET_OF_EXAMPLE if example else "ci",
        "production": TARGET_OF_EXAMPLE if example else PRODUCTION,
    }
    return {
        name: PLACEHOLDER.sub(lambda found: values[found[1].decode()].encode(), text)
        for name, text in files.items()
    }


def _refuse_to_overwrite(folder: Path, files: Mapping[str, bytes]) -> None:
    if not folder.parent.is_dir():
        raise UsageError(f"{folder.parent} does not exist: make it first, or name another folder")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name another folder")
    there = [name for name in files if (folder / name).exists() or (folder / name).is_symlink()]
    above = {parent for name in files for parent in Path(name).parents}
    there += sorted(str(p) for p in above if (folder / p).exists() and not (folder / p).is_dir())
    if there:
        more = f" and {len(there) - 5} more" if len(there) > 5 else ""
        raise UsageError(
            f"{folder} has {', '.join(there[:5])}{more} already, and no file is overwritten: name another folder, "
            "or move what is there"
        )


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A folder on the same disk as the project's will be; gone at the end."""
    beside = folder if folder.is_dir() else folder.parent
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=beside))
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _let_all_read(folder: Path) -> None:
    """The rights git gives to files, instead of the owner's alone: a repository is shared, and has no secrets."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _move(aside: Path, folder: Path, files: Mapping[str, bytes]) -> None:
    """Rename the folder as a whole, or the files into one that exists; after an error none of them is there."""
    if not folder.exists():
        aside.rename(folder)
        return
    made: list[Path] = []
    try:
        for name in files:
            for parent in reversed((folder / name).parents):
                if not parent.exists():
                    parent.mkdir(mode=0o755)
                    made.append(parent)
            (aside / name).rename(folder / name)
            made.append(folder / name)
    except BaseException:
        for path in reversed(made):
            path.rmdir() if path.is_dir() else path.unlink()
        raise
