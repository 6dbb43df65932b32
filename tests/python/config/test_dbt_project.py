"""What a project's own folders define."""

from __future__ import annotations

from pathlib import Path

from sluice.config.dbt_project import macros


def test_macros_are_found_in_the_folders_of_the_project_whatever_their_files_are_called(
    tmp_path: Path,
) -> None:
    texts = {
        "dbt_project.yml": "name: a\nmacro-paths: [sql, \"{{ env_var('MORE', 'more') }}\"]\ntest-paths: [checks]\n",
        "sql/deep/two.sql": "{%- macro one(x) -%}{%- endmacro -%}\n{% macro two() %}{% endmacro %}",
        "more/any.sql": "{%-  test three(model) %}{% endtest %}",
        "checks/generic/all.sql": "{% test four(model) %}{% endtest %}",
        "checks/claim.sql": "{% test not_there(model) %}{% endtest %}",
        "macros/elsewhere.sql": "{% macro elsewhere() %}{% endmacro %}",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert macros(tmp_path, {}) == {"one", "two", "test_three", "test_four"}
    assert macros(tmp_path, {"MORE": "nothing"}) == {"one", "two", "test_four"}
