"""The targets of a profile as environments: folders, files, which one is used, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sluice.config.environments import refuse_foreign_files
from sluice.config.profile import TARGET
from sluice.config.settings import load_settings
from sluice.errors import DeclarationError, UsageError

OUTPUT = "    {name}: {{type: duckdb, path: '{path}', attach: [{{path: '{raw}', alias: raw, read_only: {only}}}]}}\n"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (TARGET, "DBT_TARGET_PATH", "DBT_PROFILE", "DBT_PROFILES_DIR", "SLUICE_HOME", "PROD"):
        monkeypatch.setenv(name, "to be restored")  # load_settings may set it from .env
        monkeypatch.delenv(name)


def write(root: Path, **paths: str) -> None:
    """A project whose first target is the default; raw is beside each warehouse."""
    (root / "dbt_project.yml").write_text("name: x\nprofile: x\n")
    outputs = "".join(
        OUTPUT.format(name=name, path=path, raw=f"{Path(path).parent}/raw.duckdb", only="true")
        for name, path in paths.items()
    )
    (root / "profiles.yml").write_text(f"x:\n  target: {next(iter(paths))}\n  outputs:\n{outputs}")


def test_each_target_has_its_folder_files_and_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path, dev="warehouse/dev/dev.duckdb", prod='{{ env_var("PROD", "warehouse/prod") }}/prod.duckdb'
    )
    settings = load_settings(tmp_path)
    assert settings.environment
    assert settings.environment.name == "dev"
    assert (settings.home, settings.database) == (tmp_path / "warehouse/dev", "dev")
    assert settings.target == tmp_path / "target"
    monkeypatch.setenv("PROD", str(tmp_path / "elsewhere"))
    monkeypatch.setenv(TARGET, "prod")
    settings = load_settings(tmp_path)
    assert settings.warehouse == tmp_path / "elsewhere/prod.duckdb"
    assert settings.raw == tmp_path / "elsewhere/raw.duckdb"
    assert settings.target == tmp_path / "target/env/prod"


def test_files_in_a_common_folder_leave_each_target_a_folder_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, dev="dev.duckdb", prod="prod.duckdb")
    settings = load_settings(tmp_path)
    assert settings.home == tmp_path / "warehouse/dev"
    assert settings.warehouse == tmp_path / "dev.duckdb"
    assert [other.home for other in settings.others] == [tmp_path / "warehouse/prod"]


def test_one_target_is_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, dev="elsewhere/dev.duckdb")
    settings = load_settings(tmp_path)
    assert (settings.environment, settings.home) == (None, tmp_path / "warehouse")
    monkeypatch.setenv(TARGET, "prod")
    with pytest.raises(UsageError, match=r"there is no target 'prod' in .*: there are dev\."):
        load_settings(tmp_path)


def test_variables_of_an_environment_go_before_those_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, dev="warehouse/dev/dev.duckdb", prod="warehouse/prod/prod.duckdb")
    (tmp_path / ".env").write_text("DBT_TARGET=prod\nPROD=of the project\n")
    (tmp_path / ".env.prod").write_text("PROD=of production\n")
    (tmp_path / ".env.dev").write_text("PROD=of dev\n")
    settings = load_settings(tmp_path)
    assert (settings.home.name, settings.chosen_by) == ("prod", "DBT_TARGET in .env")
    assert os.environ["PROD"] == "of production"


def test_what_is_wrong_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, dev="warehouse/dev/dev.duckdb", prod='{{ env_var("PROD") }}/prod.duckdb')
    assert "the environment variable PROD, which is not set" in load_settings(tmp_path).others[0].problem
    monkeypatch.setenv(TARGET, "prod")
    with pytest.raises(DeclarationError, match=r"the target prod: .* needs the environment variable PROD"):
        load_settings(tmp_path)
    monkeypatch.setenv(TARGET, "prd")
    with pytest.raises(UsageError, match=r"there are dev, prod\. Did you mean prod\?"):
        load_settings(tmp_path)
    (tmp_path / "profiles.yml").write_text("x:\n  target: [\n")
    with pytest.raises(DeclarationError, match=r"profiles\.yml cannot be read"):
        load_settings(tmp_path)


def test_targets_in_one_folder_are_refused(tmp_path: Path) -> None:
    write(tmp_path, dev="warehouse/prod/dev.duckdb", prod="prod.duckdb")
    with pytest.raises(DeclarationError, match="dev and prod would write in the same folder"):
        load_settings(tmp_path)


def test_a_file_of_another_target_is_not_written(tmp_path: Path) -> None:
    write(tmp_path, dev="data/all.duckdb", prod="data/all.duckdb")
    settings = load_settings(tmp_path)
    assert settings.environment
    with pytest.raises(DeclarationError, match=r"the target dev would build .*all\.duckdb, which is prod's"):
        refuse_foreign_files(settings.environment, settings.others)
    write(tmp_path, dev="warehouse/dev/dev.duckdb", prod="warehouse/prod/prod.duckdb")
    text = (
        (tmp_path / "profiles.yml")
        .read_text()
        .replace("warehouse/dev/raw.duckdb", "warehouse/prod/raw.duckdb")
    )
    (tmp_path / "profiles.yml").write_text(text)
    settings = load_settings(tmp_path)
    assert settings.environment
    refuse_foreign_files(settings.environment, settings.others)
    (tmp_path / "profiles.yml").write_text(text.replace("read_only: true", "read_only: false", 1))
    settings = load_settings(tmp_path)
    assert settings.environment
    with pytest.raises(DeclarationError, match=r"attaches .*raw\.duckdb, which is prod's, for writing"):
        refuse_foreign_files(settings.environment, settings.others)
