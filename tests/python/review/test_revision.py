"""Which files dbt reads, so that a change of any other compiles nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.review.revision import read_by_dbt

PROJECT = "name: tiny\nmodel-paths: [models, sources]\ntest-paths: [tests/data]\nmacro-paths: macros\n"


@pytest.mark.parametrize(
    ("file", "is_read"),
    [
        ("models/a.sql", True),
        ("sources/crm.yml", True),
        ("tests/data/a_claim.sql", True),
        ("macros/cents.sql", True),
        ("seeds/regions.csv", True),  # where dbt looks by default
        ("dbt_project.yml", True),
        ("profiles.yml", True),
        ("packages.yml", True),
        ("tests/python/test_a.py", False),
        ("models.md", False),
        ("docs/models/a.md", False),
        ("audiences.yml", False),
    ],
)
def test_dbt_reads_the_folders_of_its_project_file(tmp_path: Path, file: str, is_read: bool) -> None:
    (tmp_path / "dbt_project.yml").write_text(PROJECT, encoding="utf-8")
    assert read_by_dbt(tmp_path)(file) is is_read


@pytest.mark.parametrize(
    ("project", "packages"),
    [
        (None, None),
        ("name: [", None),
        (PROJECT + "seed-paths: [\"{{ env_var('SEEDS') }}\"]\n", None),
        (PROJECT, "packages: [{local: shared}]\n"),
    ],
)
def test_any_file_may_be_read_where_the_folders_are_not_known(
    tmp_path: Path, project: str | None, packages: str | None
) -> None:
    for name, text in (("dbt_project.yml", project), ("packages.yml", packages)):
        if text is not None:
            (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_by_dbt(tmp_path)("docs/a.md")
