"""The engine's wheel, and the lock of what it needs: `python .ci/dist.py FOLDER` (make dist calls it). No network.

The lock is requirements.lock without what only the example company, its servers and development need, hashes kept.
"""

import contextlib
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

from setuptools.build_meta import build_wheel


def engine_lock(lock: str, requirements: list[str]) -> str:
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


def main() -> None:
    folder = Path(sys.argv[1]).absolute()
    os.chdir(Path(__file__).parents[1])
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("sluice-*.whl"):
        old.unlink()
    # setuptools copies into build/ first, and would take along what an earlier build left there
    shutil.rmtree("build", ignore_errors=True)
    with contextlib.redirect_stdout(sys.stderr):
        wheel = build_wheel(str(folder))
    shutil.rmtree("build")
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    lock = engine_lock(Path("requirements.lock").read_text(encoding="utf-8"), project["dependencies"])
    (folder / "requirements.txt").write_text(lock, encoding="utf-8")
    sys.stdout.write(f"{folder / wheel}\n{folder / 'requirements.txt'}\n")


main()
