"""What a project's profile says, found and read as dbt does."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.config.profile import read_profile
from sluice.config.settings import Settings
from sluice.errors import DeclarationError

PROFILES = """
config: {send_anonymous_usage_stats: false}
bakery:
  target: "{{ env_var('STAGE', 'dev') }}"
  outputs:
    dev: &shared
      type: duckdb
      path: "{{ env_var('STAGE', 'dev') }}.duckdb"
      schema: anna
      attach:
        - {path: /srv/ops.db.duckdb, read_only: true}
        - {path: "postgresql://shop", alias: shop, type: postgres}
        - {path: notes.sqlite, type: sqlite}
        - {path: lookups.duckdb, alias: lists, options: {read_only: true}}
    prod:
      <<: *shared
      path: "/srv/bakery.duckdb"
      schema: analytics
    cloud: {type: duckdb, path: "md:bakery"}
    memory: {type: duckdb}
    elsewhere: {type: postgres, host: "{{ env_var('HOST_THAT_NOBODY_SET') }}"}
    wanting: {type: duckdb, path: "{{ env_var('PATH_THAT_NOBODY_SET') }}"}
    broken: {type: duckdb, path: "{{ env_var( }}"}
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    for name in ("DBT_TARGET", "DBT_PROFILES_DIR", "DBT_PROFILE", "DBT_TARGET_PATH"):
        monkeypatch.delenv(name, raising=False)
    project, folder = tmp_path / "project", tmp_path / "user" / ".dbt"
    project.mkdir()
    folder.mkdir(parents=True)
    (project / "dbt_project.yml").write_text(
        "name: bakery\nprofile: bakery\ntarget-path: build\n", encoding="utf-8"
    )
    (folder / "profiles.yml").write_text(PROFILES, encoding="utf-8")
    return project


def test_the_files_of_a_target(root: Path) -> None:
    found = read_profile(root, {})
    assert found
    assert (found.target, found.schema, found.database) == ("dev", "anna", "dev")
    assert found.databases == {
        "dev": root / "dev.duckdb",
        "ops": Path("/srv/ops.db.duckdb"),
        "lists": root / "lookups.duckdb",
    }
    assert [a.name for a in found.attached if a.is_read_only] == ["ops", "lists"]
    assert found.unread == ["shop", "notes"]


def test_the_target_is_that_of_the_environment(root: Path) -> None:
    found = read_profile(root, {"DBT_TARGET": "prod"})
    assert found
    assert (found.schema, found.databases["bakery"]) == ("analytics", Path("/srv/bakery.duckdb"))
    rendered = read_profile(root, {"STAGE": "prod"})
    assert rendered
    assert rendered.target == "prod"


@pytest.mark.parametrize("target", ["cloud", "memory"])
def test_a_target_without_a_file_leaves_the_warehouse_at_home(
    root: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setenv("DBT_TARGET", target)
    settings = Settings(root, root / "home")
    assert settings.databases == {
        "raw": root / "home" / "raw.duckdb",
        "warehouse": root / "home" / "warehouse.duckdb",
    }
    assert settings.database == "warehouse"


def test_settings_of_a_project(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(root, root / "home")
    assert (settings.database, settings.warehouse) == ("dev", root / "dev.duckdb")
    assert settings.target == root / "build"
    monkeypatch.setenv("DBT_TARGET_PATH", "elsewhere")
    assert Settings(root, root / "home").target == root / "elsewhere"
    monkeypatch.setenv("DBT_PROFILES_DIR", str(root))  # where there are none
    assert Settings(root, root / "home").profile is None


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"DBT_TARGET": "pord"}, r"has no target 'pord'; it has .*prod.* Did you mean prod\?"),
        ({"DBT_PROFILE": "bakary"}, r"no profile 'bakary'.* Did you mean bakery\?"),
        ({"DBT_TARGET": "elsewhere"}, "is of type 'postgres'; Sluice works with dbt-duckdb"),
    ],
)
def test_a_mistake_says_what_there_is(root: Path, environment: dict[str, str], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        read_profile(root, environment)


@pytest.mark.parametrize(
    ("target", "said"),
    [("wanting", "needs the environment variable PATH_THAT_NOBODY_SET"), ("broken", "cannot be read")],
)
def test_what_cannot_be_filled_in(root: Path, target: str, said: str) -> None:
    found = read_profile(root, {"DBT_TARGET": target})
    assert found
    with pytest.raises(DeclarationError, match=said):
        found.databases  # noqa: B018
