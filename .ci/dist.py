"""The wheels and the locks of what they need: `python .ci/dist.py FOLDER` (make dist calls it). No network.

The engine's wheel, and those of the example company and the servers it needs. A lock is requirements.lock without
what is not needed, hashes kept. Those within the wheels are for projects that `sluice new` makes, and have the tools
they use beside the engine, too.
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
ENGINE = ("pyproject.toml", "LICENSE", "docs/install.md", "pipelines/sluice")
"""What the engine's wheel is built from."""
COMPANY = (
    *("dbt_project.yml", "profiles.yml", "selectors.yml", "audiences.yml", "dbt-bouncer.yml", ".sqlfluff"),
    *("sources", "models", "seeds", "macros", "tests/generic", "tests/data", "docs/glossary.yml"),
    "pipelines/reference.py",
)
"""The project of the example company, which its wheel brings."""
EXCLUDED = "dbt-core-experimental-parser ; python_version < '3'\n"
"""As an override of uvx the lock leaves out what dbt-core asks for, as pyproject.toml does for uv."""


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


def build(folder: Path, project: Path) -> None:
    """The wheel of a copy, into `folder`."""
    os.chdir(project)
    with redirect_stdout(sys.stderr):
        wheel = build_wheel(str(folder))
    sys.stdout.write(f"{folder / wheel}\n")


def main() -> None:
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("sluice*.whl"):
        old.unlink()
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    engine, extras = project["dependencies"], project["optional-dependencies"]
    own = needed_lock(lock, engine + extras["project"])
    sandbox = needed_lock(lock, engine + extras["project"] + extras["sandbox"])
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch)
        copy_of((*ENGINE, "servers", "sandbox"), copy)
        (copy / "pipelines/sluice/scaffold/requirements.lock").write_text(own, encoding="utf-8")
        build(folder, copy)
        build(folder, copy / "servers")
        copy_of(COMPANY, copy / "sandbox/project")
        (copy / "sandbox/project/requirements.lock").write_text(sandbox, encoding="utf-8")
        build(folder, copy / "sandbox")
        os.chdir(ROOT)
    for name, text in {"requirements": needed_lock(lock, engine), "requirements-sandbox": sandbox}.items():
        (folder / f"{name}.txt").write_text(text + EXCLUDED, encoding="utf-8")
        sys.stdout.write(f"{folder / name}.txt\n")


main()
