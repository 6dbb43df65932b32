"""`sluice adopt` and docs/adopt.md, in a project that knows nothing of Sluice."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import duckdb
import pytest
import yaml

from sluice.config.settings import load_settings
from sluice.errors import DeclarationError, SluiceError
from sluice.scaffold.adopt import found_in, proposed_files, write_files
from tests.blocks import ROOT, blocks
from tests.python.adopt.foreign import VARIABLES, Foreign

PAGE = [block for block in blocks(ROOT / "docs" / "adopt.md") if block.language in ("sh", "yaml")]
WRITTEN = [
    ".gitignore",
    "audiences.yml",
    "macros/duckdb__apply_grants.sql",
    "macros/_macros.yml",
    "docs/glossary.yml",
    ".github/workflows/sluice-review.yml",
    "conventions.yml",
]


def small(root: Path) -> None:
    """A project with a model and a profile of its own, in git."""
    files = {
        "dbt_project.yml": "name: tiny\nprofile: tiny\n",
        "profiles.yml": "tiny: {target: x, outputs: {x: {type: duckdb, path: tiny.duckdb}}}\n",
        "models/orders.sql": "select 1 as id\n",
        ".gitignore": "*.log",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.mark.full  # it compiles the project: 15 s
@pytest.mark.timeout(600)
def test_what_is_missing_is_written_once(tiny: Path) -> None:
    (tiny / "audiences.yml").write_text("audiences: []\n", encoding="utf-8")
    settings = load_settings(tiny)
    files = proposed_files(settings)
    assert [f.path for f in files] == [name for name in WRITTEN if name != "audiences.yml"]
    assert (
        files[0].after
        == "*.log\n# what Sluice and dbt write, and passwords\n/warehouse/\n/target/\n/tiny.duckdb\n/.env\n/.env.x\n"
    )
    assert "+/warehouse/" in files[0].diff
    assert "-*.log" in files[0].diff  # it ended without an end of line
    switched_off = yaml.safe_load(files[-1].after)["switched_off"]
    assert switched_off["model-directories"] == "not kept in 1 place when Sluice was adopted"
    assert not (tiny / "docs").exists()
    write_files(tiny, files)
    assert (tiny / "audiences.yml").read_text() == "audiences: []\n"
    assert proposed_files(settings) == []
    workflow = yaml.safe_load((tiny / ".github/workflows/sluice-review.yml").read_text())
    assert "dbt deps" not in str(workflow)
    assert "defaults" not in workflow["jobs"]["review"]
    assert "@" not in str(workflow["jobs"]["review"]["steps"][-1]["if"])


def test_a_file_that_changes_meanwhile_stays(tiny: Path) -> None:
    (tiny / "conventions.yml").write_text("switched_off: {}\n", encoding="utf-8")
    files = proposed_files(load_settings(tiny))
    (tiny / ".gitignore").write_text("another\n", encoding="utf-8")
    with pytest.raises(SluiceError, match=r"\.gitignore has changed meanwhile"):
        write_files(tiny, files)
    assert (tiny / ".gitignore").read_text() == "another\n"


def test_what_is_there_under_another_name_is_not_proposed(tiny: Path) -> None:
    (tiny / "conventions.yml").write_text("switched_off: {}\n", encoding="utf-8")
    files = {f.path: f.after for f in proposed_files(load_settings(tiny))}
    assert set(files) == set(WRITTEN) - {"conventions.yml"}
    (tiny / "macros").mkdir()
    text = "{%- macro duckdb__apply_grants(relation, grant_config, should_revoke=True) %}{% endmacro %}"
    (tiny / "macros" / "of_dbt.sql").write_text(text, encoding="utf-8")
    (tiny / ".github" / "workflows").mkdir(parents=True)
    (tiny / ".github" / "workflows" / "pull.yaml").write_text(files[".github/workflows/sluice-review.yml"])
    assert [f.path for f in proposed_files(load_settings(tiny))] == [
        ".gitignore",
        "audiences.yml",
        "docs/glossary.yml",
    ]


def test_a_project_in_a_folder_of_its_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub reads workflows of the repository's folder only."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    root = tmp_path / "über uns"
    root.mkdir()
    small(root)
    (root / ".git").rename(tmp_path / ".git")
    (root / "conventions.yml").write_text("switched_off: {}\n", encoding="utf-8")
    [file] = [f for f in proposed_files(load_settings(root)) if f.path.endswith("sluice-review.yml")]
    assert file.path == "../.github/workflows/sluice-review.yml"
    write_files(root, [file])
    job = yaml.safe_load((tmp_path / ".github/workflows/sluice-review.yml").read_text())["jobs"]["review"]
    assert job["defaults"]["run"]["working-directory"] == "über uns/"
    assert "hashFiles('über uns/review.md')" in str(job["steps"])
    assert [f.path for f in proposed_files(load_settings(root)) if "workflows" in f.path] == []


def test_why_the_conventions_are_not_known(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise SluiceError("depends on a node named 'gone'")

    monkeypatch.setattr("sluice.scaffold.adopt.check_conventions", fails)
    file = proposed_files(load_settings(tiny))[-1]
    assert file.path == "conventions.yml"
    assert "depends on a node named 'gone'" in file.purpose


def test_without_a_profile(tiny: Path) -> None:
    (tiny / "profiles.yml").unlink()
    with pytest.raises(DeclarationError, match=r"no profiles\.yml is found .* ~/\.dbt"):
        found_in(load_settings(tiny))


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_page(bakery: Foreign) -> None:
    """Its blocks, in their order; a YAML block is what the properties of the project then say of its model."""
    said = {}
    for block in PAGE:
        if block.language == "yaml":
            properties = bakery.root / "models" / "schema.yml"
            content = yaml.safe_load(properties.read_text())
            [shown], [model] = (
                [m for m in found["models"] if m["name"] == "customers"]
                for found in (yaml.safe_load(block.text), content)
            )
            columns = {c["name"]: c for c in shown["columns"]}
            model["config"] = shown["config"]
            model["columns"] = [{**c, **columns.get(c["name"], {})} for c in model["columns"]]
            properties.write_text(yaml.safe_dump(content, sort_keys=False))
            continue
        for line in block.text.splitlines():
            said[line] = bakery.run(*shlex.split(line))
    assert "nothing was written" in said["sluice adopt"]
    written = [f"../{name}" if name.startswith(".github") else name for name in WRITTEN]
    assert f"written: {', '.join(written)}" in said["sluice adopt --write"]
    assert "raw_payments.cents  [seed]" in said["sluice lineage customers.lifetime_value"]
    assert "## Review:" in said["sluice review --base main"]
    assert (bakery.root / "target" / "catalog.html").stat().st_size > 50_000
    with duckdb.connect(
        str(bakery.root / "warehouse/dev/published/current/analysts.duckdb"), read_only=True
    ) as con:
        assert con.execute("select count(*), count(email), count(town) from customers").fetchone() == (
            60,
            0,
            60,
        )
