"""Conventions that a project does not keep, each with the reason: its `conventions.yml`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from sluice.config.blocks import Expected, Strict
from sluice.config.mistakes import explain
from sluice.config.yaml_file import Problem, read_yaml
from sluice.errors import DeclarationError, with_hint

CONVENTIONS = "conventions.yml"
REASON_LETTERS = 10
"""Fewer are not a reason that somebody else understands."""


class _File(Strict):
    switched_off: dict[
        str,
        Annotated[
            str, Field(min_length=REASON_LETTERS), Expected("the reason, as a sentence of 10 letters or more")
        ],
    ] = Field(default={})
    """Names of rules, as `sluice check` prints them, with the reason for each."""


def switched_off_problems(
    root: Path, known: Collection[str] | None = None
) -> tuple[Mapping[str, str], list[Problem]]:
    """The reason for each rule that is switched off, or every mistake in the file; neither without a file.

    known: the names there are; without them, names are not checked.
    """
    file = root / CONVENTIONS
    lines = read_yaml(file) if file.is_file() else None
    if lines is None or isinstance(lines, Problem):
        return {}, [lines] if lines else []
    try:
        reasons = _File.model_validate({} if lines.value is None else lines.value).switched_off
    except ValidationError as error:
        return {}, explain(error, _File, file, lines)
    return reasons, [
        Problem(file, lines.line(["switched_off", name]), name, with_hint("is not a rule", name, known))
        for name in reasons
        if known is not None and name not in known
    ]


def switched_off(root: Path) -> Mapping[str, str]:
    """The reason for each rule that is switched off. Raises DeclarationError for a mistake in the file."""
    reasons, problems = switched_off_problems(root)
    if problems:
        raise DeclarationError("\n".join(map(str, problems)))
    return reasons
