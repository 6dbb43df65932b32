"""Conventions of seeds: what their rows are for, and that dbt keeps what is written in them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sluice.conventions.project import Finding, Project
from sluice.dbt.seeds import Guess, guesses

SHOWN = 24
"""Characters of a value's pattern that a message shows."""


def seed_reasons(project: Project) -> Iterator[Finding]:
    """Seeds say why each of their rows is there."""
    for node in project.nodes("seed"):
        if "reason" not in node["columns"]:
            yield project.at(
                node,
                f"{node['name']} has no `reason` column. A list that a person keeps has one, or nobody dares to "
                "change it.",
            )


def seed_types(project: Project) -> Iterator[Finding]:
    """Seeds have `column_types` where dbt's guess would change or refuse a value, and these round nothing."""
    for node in project.nodes("seed"):
        config, name = node["config"], node["original_file_path"]
        try:
            for guess in guesses(
                project.root / name, config.get("column_types") or {}, config.get("delimiter") or ","
            ):
                yield Finding(name, guess.line, _message(guess))
        except ValueError as error:
            yield Finding(name, 1, f"is not a CSV file that dbt can read: {error}")


def _message(guess: Guess) -> str:
    letters = re.sub(r"[^\W\d_]", "a", guess.written)
    pattern = re.sub(r"(?<!^)(?<!0)\d|[1-9]", "9", letters)[:SHOWN]  # leading zeros are what matters
    if guess.is_declared:
        how = "is rounded" if guess.read else "does not fit, so that dbt seed fails"
        return f"column {guess.column} is declared {guess.type}, and a value like {pattern} {how}: correct one of them."
    types = "text"
    if guess.type == "boolean":
        what, types = "only the words true and false become boolean values", "boolean or text"
    elif guess.read is None:
        what = f"a value like {pattern} does not fit, so that dbt seed fails"
    elif guess.type == "float8":
        what, types = (
            f"a value like {pattern} becomes a binary fraction that is only close to it",
            "a decimal or text",
        )
    else:
        what = f"a value like {pattern} is changed"
    return (
        f"column {guess.column} has no type, and dbt guesses {guess.type}: {what}. Write {types} into the seed's "
        f"config: column_types: {{{guess.column}: …}}; data_type of the column has no effect."
    )
