"""The glossary in `docs/glossary.yml`: the words people use for the data."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sluice.errors import DeclarationError


class Term(BaseModel):
    """A business word: what it means, what else people call it, and where it is found."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    term: str
    meaning: str
    """One or two sentences."""
    synonyms: list[str] = []
    """Other words for it, in any language."""
    words: list[str] = []
    """Words in names of tables and columns that stand for it, e.g. `amount_eur`."""
    columns: list[str] = []
    """Where to look first: `model.column`, or a model."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    terms: list[Term] = []


def read_glossary(file: Path) -> list[Term]:
    """The terms of a glossary file; none without a file. Raises DeclarationError."""
    if not file.is_file():
        return []
    try:
        return _File.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")) or {}).terms
    except (yaml.YAMLError, ValidationError) as error:
        raise DeclarationError(f"{file}: {error}") from error
