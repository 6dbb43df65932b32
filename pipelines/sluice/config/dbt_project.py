"""What a dbt project says of itself in dbt_project.yml: its folders, and the profile it is built with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sluice.errors import DeclarationError

PROJECT = "dbt_project.yml"
FOLDERS = {
    "model-paths": ["models"],
    "seed-paths": ["seeds"],
    "macro-paths": ["macros"],
    "test-paths": ["tests"],
    "analysis-paths": ["analyses"],
    "snapshot-paths": ["snapshots"],
    "function-paths": ["functions"],
    "docs-paths": ["models"],
    "packages-install-path": ["dbt_packages"],
}
"""Keys of dbt_project.yml that name the folders dbt reads, and where it looks without them."""
MACRO = re.compile(r"{%-?\s*(macro|test)\s+(\w+)")
"""Where a file defines a macro or a generic test."""
PACKAGE_FILES = ("packages.yml", "dependencies.yml", "package-lock.yml")


def read_project_file(root: Path) -> dict[str, Any]:
    """The values of `root`/dbt_project.yml, Jinja as it is written; empty without one. DeclarationError if broken."""
    file = root / PROJECT
    return read_dbt_file(file) if file.is_file() else {}


def read_dbt_file(file: Path) -> dict[str, Any]:
    """A YAML file of dbt's as dbt reads it, Jinja as it is written; raises DeclarationError for a broken file."""
    import yaml  # here: `sluice --help` reads none

    from sluice.config.yaml_file import LOADER

    try:
        text = file.read_text(encoding="utf-8-sig")
        found = yaml.load(text, LOADER)  # noqa: S506 - it is the C version of the safe loader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DeclarationError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    return found if isinstance(found, dict) else {}


def folders(project: Mapping[str, Any], key: str, environment: Mapping[str, str]) -> list[str]:
    """The folders that `key` of a project names, from the project's root; raises DeclarationError."""
    given = project.get(key)
    named = FOLDERS[key] if given is None else given if isinstance(given, list) else [given]
    return [str(rendered(name, environment, PROJECT)) for name in named]


def macros(root: Path, environment: Mapping[str, str]) -> set[str]:
    """Names of the macros that the project itself defines, as dbt calls them: a generic test is `test_<name>`."""
    project = read_project_file(root)
    tests = (f"{path}/generic" for path in folders(project, "test-paths", environment))
    files = {
        f for p in (*folders(project, "macro-paths", environment), *tests) for f in (root / p).rglob("*.sql")
    }
    found = [
        match for file in files for match in MACRO.findall(file.read_text(encoding="utf-8", errors="replace"))
    ]
    return {f"test_{name}" if kind == "test" else name for kind, name in found}


def rendered(value: Any, environment: Mapping[str, str], file: str | Path) -> Any:
    """A value of a YAML file of dbt's with the Jinja that dbt allows there: `env_var` and what it is combined with.

    Raises DeclarationError, which names `file`, for a variable that is not set and for Jinja that cannot be read.
    """
    if isinstance(value, dict):
        return {key: rendered(inner, environment, file) for key, inner in value.items()}
    if isinstance(value, list):
        return [rendered(inner, environment, file) for inner in value]
    if not isinstance(value, str) or ("{{" not in value and "{%" not in value):
        return value
    from jinja2 import Environment  # takes 0.1 s, and most files hold no Jinja
    from jinja2.exceptions import TemplateError

    def env_var(name: str, default: Any = None) -> str:
        found = environment.get(name, default)
        if found is None:
            raise DeclarationError(
                f"{file}: {value!r} needs the environment variable {name}, which is not set here. "
                "Set it, or write a default: env_var('NAME', 'default')"
            )
        return str(found)

    jinja = Environment(autoescape=False)  # noqa: S701 - it makes paths, not pages
    jinja.filters.update(dict.fromkeys(("as_bool", "as_number", "as_native", "as_text"), str))
    try:
        return jinja.from_string(value).render(env_var=env_var, var=lambda _, default="": default)
    except TemplateError as error:
        raise DeclarationError(f"{file}: {value!r} cannot be read: {error}") from None
