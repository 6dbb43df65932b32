"""What `sluice new` writes of this repository's macros and generic tests is what is tested here."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "pipelines" / "sluice" / "scaffold" / "template"
PARTS = {
    "macros/dbt_overrides.sql": [
        ROOT / "macros" / f"{name}.sql"
        for name in ("generate_schema_name", "duckdb__apply_grants", "format_row")
    ],
    "tests/generic/generic_tests.sql": sorted((ROOT / "tests" / "generic").glob("*.sql")),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_file_of_the_template_is_the_repositorys_files_joined(name: str) -> None:
    joined = "\n".join(part.read_text(encoding="utf-8") for part in PARTS[name])
    assert (TEMPLATE / name).read_text(encoding="utf-8") == joined, (
        f"{name} of the template and its parts differ: copy the change from one to the other."
    )


def test_what_the_template_says_of_them_is_what_the_repository_says() -> None:
    here = {
        macro["name"]: macro
        for file in (ROOT / "macros" / "_macros.yml", ROOT / "tests" / "generic" / "_generic.yml")
        for macro in yaml.safe_load(file.read_text(encoding="utf-8"))["macros"]
    }
    for macro in yaml.safe_load((TEMPLATE / "macros" / "_macros.yml").read_text(encoding="utf-8"))["macros"]:
        assert macro == here[macro["name"]]
