"""The glossary in `docs/glossary.yml`: the words people use for the data."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from sluice.config.blocks import Strict
from sluice.config.mistakes import explain
from sluice.config.yaml_file import Problem, read_yaml
from sluice.errors import DeclarationError


class Term(Strict):
    """A business word: what it means, what else people call it, and where it is found."""

    term: str
    meaning: str
    """One or two sentences."""
    synonyms: list[str] = Field(default=[])
    """Other words for it, in any language."""
    words: list[str] = Field(default=[])
    """Words in names of tables and columns that stand for it, e.g. `amount_eur`."""
    columns: list[str] = Field(default=[])
    """Where to look first: `model.column`, or a model."""


class _File(Strict):
    terms: list[Term] = Field(default=[])


def glossary_problems(file: Path) -> tuple[list[Term], list[Problem]]:
    """The terms of a glossary file, or every mistake in it; neither without a file."""
    lines = read_yaml(file) if file.is_file() else None
    if lines is None or isinstance(lines, Problem):
        return [], [lines] if lines else []
    try:
        return _File.model_validate({} if lines.value is None else lines.value).terms, []
    except ValidationError as error:
        return [], explain(error, _File, file, lines)


def read_glossary(file: Path) -> list[Term]:
    """The terms of a glossary file; none without a file. Raises DeclarationError."""
    terms, problems = glossary_problems(file)
    if problems:
        raise DeclarationError("\n".join(map(str, problems)))
    return terms
