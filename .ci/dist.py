"""The engine's wheel, and the lock of what it needs: `python .ci/dist.py FOLDER` (make dist calls it). No network.

A lock is requirements.lock without what is not needed, hashes kept. The one beside the wheel is the engine's; the one
within is for projects that `sluice new` makes, and has the tools they use beside the engine, too.
"""

import os
import re
import shutil
import sys
import tempfile
import tomllib
from contextlib import redirect_stdout
from pathlib import Path

from setuptools.build_meta import build_wheel

ROOT = Path(__file__).resolve().parents[1]
WHEEL = ("pyproject.toml", "LICENSE", "docs/install.md", "pipelines/sluice")
"""What the wheel is built from."""


def needed_lock(lock: str, requirements: list[str]) -> str:
    """The entries of `lock` that are required, directly or by an entry that is; its comments say by whom."""
    entries = []  # a name may have several, each for other versions of Python
    for entry in re.split(r"^(?=[\w.-]+==)", lock, flags=re.MULTILINE):
        if found := re.match(r"[\w.-]+(?===)", entry):
            via = set(re.findall(r"^ +# (?:via | +)([\w.-]+)$", entry, re.MULTILINE))
            entries.append((found[0], via, entry))
    needed = {re.split(r"[\[<>=!~; ]", requirement)[0].lower() for requirement in requirements}
    while more := {name for name, via, _ in entries if via & needed} - needed:
        needed |= more
    return "".join(entry for name, _, entry in entries if name in needed)


def copy_of(files: tuple[str, ...], folder: Path) -> None:
    """Files and folders of the repository in another folder, where building leaves what it leaves."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)


def main() -> None:
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("sluice-*.whl"):
        old.unlink()
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    engine, tools = project["dependencies"], project["optional-dependencies"]["project"]
    (folder / "requirements.txt").write_text(needed_lock(lock, engine), encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        copy_of(WHEEL, Path(scratch))
        inside = Path(scratch, "pipelines/sluice/scaffold/requirements.lock")
        inside.write_text(needed_lock(lock, engine + tools), encoding="utf-8")
        os.chdir(scratch)
        with redirect_stdout(sys.stderr):
            wheel = build_wheel(str(folder))
        os.chdir(ROOT)
    sys.stdout.write(f"{folder / wheel}\n{folder / 'requirements.txt'}\n")


main()
