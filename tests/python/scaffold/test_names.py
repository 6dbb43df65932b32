"""What people call their companies becomes names that dbt, YAML and TOML take, or an error that says why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sluice.errors import UsageError
from sluice.scaffold.names import project_names

TAKEN = {"sluice", "duckdb", "pre-commit"}


@pytest.mark.parametrize(
    ("given", "project", "distribution", "company"),
    [
        ("acme", "acme", "acme", "Acme"),
        ("acme_coffee", "acme_coffee", "acme-coffee", "Acme Coffee"),
        ("Müller & Söhne GmbH", "muller_and_sohne_gmbh", "muller-and-sohne-gmbh", "Müller & Söhne GmbH"),
        ("123", "_123", "123", "123"),
        ("acme.io", "acme_io", "acme-io", "acme.io"),
        ("class", "class", "class", "Class"),
        ("日本", "ri_ben", "ri-ben", "日本"),
        ("_x", "_x", "x", "X"),
    ],
)
def test_a_name_is_made(given: str, project: str, distribution: str, company: str) -> None:
    names = project_names(given, None, TAKEN)
    assert (names.project, names.distribution, names.company) == (project, distribution, company)
    assert names.folder == Path.cwd() / project
    assert re.fullmatch(r"[^\d\W]\w*", names.project), "what dbt takes"


def test_a_path_is_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert project_names(f"{tmp_path}/My Warehouse", "Acme", TAKEN).folder == tmp_path / "My Warehouse"
    monkeypatch.chdir(tmp_path)
    here = project_names(".", None, TAKEN)
    assert (here.folder, here.company) == (tmp_path, project_names(tmp_path.name, None, TAKEN).company)


@pytest.mark.parametrize(
    ("given", "company", "why"),
    [
        ("", None, "no letter"),
        ("!!!", None, "no letter"),
        ("true", None, "means something else in YAML"),
        ("dbt", None, "dbt_warehouse"),
        ("DuckDB", None, "a library that every warehouse needs"),
        ("pre_commit", None, "a library that every warehouse needs"),
        ("a" * 61, None, "has 61 characters"),
        ('x"y', None, "Give another one with --company"),
        ("acme", "{{ env_var('HOME') }}", "cannot be called"),
        ("acme", "two\nlines", "cannot be called"),
    ],
)
def test_a_name_that_cannot_be_used(given: str, company: str | None, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        project_names(given, company, TAKEN)
