"""The wheels that a project installs the engine from, and the lock that pins them and everything they need.

A project has the wheels in its folder `wheels`, so that it needs no registry that has the engine.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname
from zipfile import BadZipFile, ZipFile

import sluice
from sluice.errors import SluiceError, UsageError

FOLDER = "wheels"
ENGINE = "sluice"
RELEASED = (ENGINE, "sluice_servers", "sluice_sandbox")
"""Distributions of one version: the engine, and what an example company consists of."""
LOCK = "sluice/scaffold/requirements.lock"
"""In the engine's wheel; .ci/dist.py writes it."""
LOCK_OF_EXAMPLE = "requirements.lock"
"""Beside the files of the project, in the wheel of the company."""
CHECKOUT = Path(sluice.__file__).parents[2]
BUILD = CHECKOUT / ".ci" / "dist.py"
"""What `make dist` runs; it is there if the engine is a checkout of its repository."""


def find_wheels(names: Sequence[str], given: Path | None, scratch: Path) -> list[Path]:
    """One wheel for each distribution: from the folder `given`, from where it was installed, or built by a checkout.

    scratch: an empty folder for wheels that are built. Raises UsageError if one is not found.
    """
    if given is None and BUILD.is_file():
        done = subprocess.run(
            [sys.executable, str(BUILD), str(scratch)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SluiceError(f"{BUILD} could not build the engine's wheel: {done.stderr[-300:].strip()}")
        given = scratch
    return [_in_folder(name, given) if given else _installed_from(name) for name in names]


def _in_folder(name: str, folder: Path) -> Path:
    pattern = f"{name.replace('-', '_')}-{sluice.__version__}-*.whl"
    if found := next(folder.glob(pattern), None):
        return found
    raise UsageError(
        f"{folder} has no {pattern}: name the folder that `make dist` writes in Sluice's repository"
    )


def _installed_from(name: str) -> Path:
    """The file that pip or uv was given, which they note as PEP 610 says."""
    try:
        noted = distribution(name).read_text("direct_url.json")
    except PackageNotFoundError:
        noted = None
    source = urlsplit(json.loads(noted or "{}").get("url", ""))
    wheel = Path(url2pathname(source.path))
    if source.scheme == "file" and wheel.suffix == ".whl" and wheel.is_file():
        return wheel
    raise UsageError(
        f"The wheel from which {name} {sluice.__version__} was installed is not known, or gone. A project gets a copy "
        "of it: name the folder it is in with --wheels"
    )


def content(wheel: Path, folder: str) -> dict[str, bytes]:
    """Files of a wheel by their path below a folder, or the file itself by its name.

    Raises SluiceError if there is none.
    """
    with _opened(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(folder)]
        if not names:
            raise SluiceError(f"{wheel} has no {folder}: build it with `make dist` in Sluice's repository")
        return {name.removeprefix(folder): archive.read(name) for name in names}


def locked(wheels: Sequence[Path]) -> str:
    """What a project with these wheels needs beside them, with hashes: the lock of the company, else the engine's.

    Raises SluiceError if none of them has a lock.
    """
    for wheel in reversed(wheels):
        with _opened(wheel) as archive:
            for name in archive.namelist():
                if name == LOCK or name.endswith(f"/project/{LOCK_OF_EXAMPLE}"):
                    return archive.read(name).decode("utf-8")
    raise SluiceError(f"{wheels[0]} has no {LOCK}: build it with `make dist` in Sluice's repository")


def _opened(wheel: Path) -> ZipFile:
    try:
        return ZipFile(wheel)
    except BadZipFile:
        raise SluiceError(
            f"{wheel} is not a wheel that can be read: take it from where Sluice was built"
        ) from None


def with_hashes(wheels: Sequence[Path], lock: str) -> str:
    """The lines of requirements.lock for wheels in the project's folder, then those of `lock`."""
    lines = [
        f"./{FOLDER}/{wheel.name} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
        for wheel in wheels
    ]
    return "".join([*lines, lock])
