"""Compiles a project without a warehouse, and holds it to every convention."""

from __future__ import annotations

import os
from pathlib import Path

from sluice.config.dbt_project import PROJECT, folders, read_project_file
from sluice.config.settings import Settings
from sluice.config.yaml_file import Problem
from sluice.conventions import access_rules, data_test_rules, model_rules, property_rules, seed_rules
from sluice.conventions.bouncer import bouncer_failures, bouncer_rules, rule_name
from sluice.conventions.project import Project, Rule
from sluice.conventions.switched_off import switched_off
from sluice.dbt.compile_profile import compile_profile
from sluice.dbt.compiling import compile_error, compile_projects
from sluice.dbt.manifest import read_manifest
from sluice.errors import SluiceError

RULES: tuple[Rule, ...] = (
    model_rules.readable_sql,
    model_rules.staging_model,
    model_rules.grain_line,
    model_rules.import_ctes,
    model_rules.referenced_tables,
    model_rules.described_columns,
    model_rules.portable_sql,
    model_rules.record_ids,
    model_rules.one_macro_per_file,
    property_rules.first_sentence,
    property_rules.shared_texts,
    property_rules.grain_and_key,
    property_rules.property_files,
    property_rules.source_columns,
    seed_rules.seed_reasons,
    seed_rules.seed_types,
    property_rules.complete_exposures,
    property_rules.described_selectors,
    property_rules.disabled_for_a_reason,
    data_test_rules.algebraic_test,
    data_test_rules.row_floor,
    data_test_rules.snapshot_history,
    data_test_rules.unit_test_names,
    data_test_rules.exact_fixtures,
    data_test_rules.fixture_rows,
    data_test_rules.singular_tests,
    access_rules.audiences,
    access_rules.glossary,
)
"""Those that dbt-bouncer has no check for."""


def rule_names(root: Path) -> set[str]:
    """All rules that a project may switch off."""
    return {rule_name(rule.__name__) for rule in RULES} | bouncer_rules(root)


def check_conventions(settings: Settings) -> tuple[int, list[Problem]]:
    """The number of models, and every place that breaks a convention; (0, []) for a project without models.

    Rules that the project switches off (`conventions.yml`) are left out.

    Compiles the project into `target/check`; no file is opened as a warehouse. Raises SluiceError with dbt's message if
    the project does not compile.
    """
    if not _has_models(settings.root):
        return 0, []
    target = settings.target / "check"
    profile = compile_profile(settings, with_warehouse=False)
    compile_projects([(settings.root, target)], profile=profile, strict=True)
    if error := compile_error(target):
        raise SluiceError(f"the project does not compile without a warehouse:\n{error}")
    off = switched_off(settings.root)
    project = Project(settings.root, read_manifest(target, command="sluice check"))
    problems = [
        Problem(settings.root / found.file, found.line, rule_name(rule.__name__), found.message)
        for rule in RULES
        if rule_name(rule.__name__) not in off
        for found in rule(project)
    ]
    problems += [
        Problem(settings.root / (f.file or PROJECT), 1, rule_name(f.check), f.message)
        for f in bouncer_failures(settings.root, target)
    ]
    return len(project.models), sorted(problems, key=lambda p: (p.file, p.line))


def _has_models(root: Path) -> bool:
    paths = folders(read_project_file(root), "model-paths", os.environ)
    return any(next((root / path).rglob("*.sql"), None) for path in paths)
