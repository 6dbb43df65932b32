"""What `sluice new` writes is a warehouse that runs; and it writes all of it, or nothing."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import py_compile
import subprocess
import sys
import tomllib
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
import yaml

from sluice import __version__
from sluice.config.settings import load_settings
from sluice.errors import SluiceError, UsageError
from sluice.scaffold import wheels as wheel_module
from sluice.scaffold.project import TEMPLATE, new_project
from tests.python.scaffold.conftest import LOCK


@pytest.fixture(scope="module")
def acme(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "acme"
    new_project(str(folder), "Müller & Söhne: Kaffee", wheels)
    return folder


def sluice(folder: Path, *arguments: str) -> str:
    """What the command prints; it must succeed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLUICE_")}
    command = [str(Path(sys.executable).with_name("sluice")), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(300)
def test_it_keeps_the_conventions(acme: Path) -> None:
    assert "2 models: all conventions are kept" in sluice(acme, "check")


@pytest.mark.full
@pytest.mark.timeout(300)
def test_it_runs_and_publishes(acme: Path) -> None:
    said = sluice(acme, "run")
    assert "models: 2 built; tests: 6 passed" in said
    assert (acme / "target" / "catalog.html").is_file()
    with duckdb.connect(
        acme / "warehouse" / "dev" / "published" / "current" / "analysts.duckdb", read_only=True
    ) as con:
        assert con.sql("select count(*), sum(gross_eur) from fct_example_orders").fetchone() == (
            4,
            Decimal("212.18"),
        )


def test_its_files_say_whose_it_is_and_what_it_needs(acme: Path, wheels: Path) -> None:
    (wheel,) = (acme / "wheels").iterdir()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert wheel.read_bytes() == (wheels / wheel.name).read_bytes()
    lock = (acme / "requirements.lock").read_text()
    assert lock == f"./wheels/{wheel.name} \\\n    --hash=sha256:{digest}\n{LOCK}"
    pyproject = tomllib.loads((acme / "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["project"]["dependencies"] == [f"sluice[project]=={__version__}"]
    assert pyproject["tool"]["uv"]["sources"] == {"sluice": {"path": f"wheels/{wheel.name}"}}
    assert "Müller & Söhne: Kaffee" in pyproject["project"]["description"]
    groups = yaml.safe_load((acme / "models" / "_groups.yml").read_text(encoding="utf-8"))["groups"]
    assert groups[0]["owner"]["name"].endswith("Müller & Söhne: Kaffee")
    assert (
        (acme / "README.md")
        .read_text(encoding="utf-8")
        .startswith("# The data warehouse of Müller & Söhne: Kaffee")
    )
    for name in ("models", "sources", "macros", "tests", "pipelines"):
        assert (acme / name).is_dir()
    left = [
        f
        for f in acme.rglob("*")
        if f.is_file() and f.stat().st_size < 10_000 and b"@project@" in f.read_bytes()
    ]
    assert not left
    assert (acme / "README.md").stat().st_mode & 0o777 == 0o644


def test_its_files_are_few(acme: Path, wheels: Path, tmp_path: Path) -> None:
    py_compile.compile(str(TEMPLATE / "pipelines" / "example.py"))  # as pip does
    _, files = new_project(str(tmp_path / "few"), None, wheels)
    assert len(files) <= 25, "with the engine's wheel"


def test_its_targets_are_environments(acme: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DBT_TARGET", "SLUICE_HOME"):
        monkeypatch.delenv(name, raising=False)
    settings = load_settings(acme)
    assert settings.environment
    found = {e.name: (e.home, e.raw) for e in (settings.environment, *settings.others)}
    folders = {name: acme / "warehouse" / name for name in ("dev", "ci", "prod")}
    assert found == {name: (folder, folder / "raw.duckdb") for name, folder in folders.items()}
    assert settings.environment.name == "dev"
    monkeypatch.setenv("SLUICE_HOME", str(acme / "elsewhere"))
    monkeypatch.setenv("DBT_TARGET", "prod")
    assert load_settings(acme).home == acme / "elsewhere" / "prod"
    for workflow, target in {"pull_request": "ci", "run": "prod"}.items():
        text = (acme / ".github" / "workflows" / f"{workflow}.yml").read_text(encoding="utf-8")
        assert yaml.safe_load(text)["env"] == {"DBT_TARGET": target}


def test_editors_check_its_declarations(acme: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    assert "written: .vscode/source.schema.json" in sluice(acme, "schema", "--write"), "as make install does"
    for schema, patterns in json.loads((acme / ".vscode" / "settings.json").read_text())[
        "yaml.schemas"
    ].items():
        validator = jsonschema.Draft202012Validator(json.loads((acme / schema).read_text()))
        files = [file for pattern in patterns for file in acme.glob(pattern)]
        assert files
        for file in files:
            assert not list(validator.iter_errors(yaml.safe_load(file.read_text()))), file


def test_a_folder_with_other_files_gets_the_project(tmp_path: Path, wheels: Path) -> None:
    (tmp_path / "LICENSE").write_text("ours")
    (tmp_path / "models").mkdir()
    _, files = new_project(str(tmp_path), "Acme", wheels)
    assert {f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("*") if f.is_file()} == {
        *files,
        "LICENSE",
    }


def test_no_file_is_overwritten(tmp_path: Path, wheels: Path) -> None:
    (tmp_path / "README.md").write_text("ours")
    (tmp_path / "sources").write_text("a file where a folder would be")
    (tmp_path / ".gitignore").symlink_to("nowhere")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=r"has \.gitignore, README\.md, sources already"):
        new_project(str(tmp_path), "Acme", wheels)
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(UsageError, match="is a file: name another folder"):
        new_project(str(tmp_path / "README.md"), "Acme", wheels)
    with pytest.raises(UsageError, match="does not exist: make it first"):
        new_project(str(tmp_path / "a" / "b"), "Acme", wheels)


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("step", ["write_bytes", "rename"])
def test_a_failure_leaves_nothing(
    step: str, exists: bool, tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the twentieth file, or at the renaming of the folder."""
    folder = tmp_path / "acme"
    if exists:
        folder.mkdir()
        (folder / "LICENSE").write_text("ours")
    calls = iter(range(1000))
    whole = getattr(Path, step)

    def full(path: Path, *arguments: object) -> object:
        if next(calls) >= (20 if exists or step == "write_bytes" else 0):
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(path, *arguments)

    monkeypatch.setattr(Path, step, full)
    with pytest.raises(OSError, match="No space left"):
        new_project(str(folder), "Acme", wheels)
    assert [p.name for p in tmp_path.rglob("*")] == (["acme", "LICENSE"] if exists else [])


def test_a_wheel_that_is_not_found_is_asked_for(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=rf"has no sluice-{__version__}-\*\.whl"):
        new_project(str(tmp_path / "acme"), None, tmp_path)
    monkeypatch.setattr(wheel_module, "BUILD", tmp_path / "none")
    with pytest.raises(UsageError, match="name the folder it is in with --wheels"):
        new_project(str(tmp_path / "acme"))
    (wheel,) = wheels.iterdir()
    (tmp_path / wheel.name).write_bytes(b"PK\x05\x06" + bytes(18))  # a zip file without content
    with pytest.raises(SluiceError, match="build it with `make dist`"):
        new_project(str(tmp_path / "acme"), None, tmp_path)
    assert not (tmp_path / "acme").exists()
