"""What a new project is called: in dbt, as a distribution, in its texts, on disk."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import yaml

from sluice.config.column_names import normalized
from sluice.errors import UsageError

LONGEST = 60
IN_QUOTES = set('"\\`{}<>')
"""What would end a quoted text of YAML or TOML, or begin Jinja or HTML."""


@dataclass(frozen=True)
class Names:
    """`project` is an identifier for dbt, `company` what texts call the owner of the warehouse."""

    folder: Path
    project: str
    company: str

    @property
    def distribution(self) -> str:
        """The name in pyproject.toml, which has to begin with a letter or a digit."""
        return self.project.strip("_").replace("_", "-")


def project_names(given: str, company: str | None, taken: Collection[str]) -> Names:
    """Names from the name or path that was typed; `taken` are the distributions that are installed beside it.

    Raises UsageError where none can be made.
    """
    path = Path(given).expanduser()
    typed = path.name if path.name not in ("", "..") else path.resolve().name
    if not given.strip() or not any(sign.isalnum() for sign in typed):
        raise UsageError(f"{given!r} has no letter to make a name from: give the project a name such as acme")
    names = Names(
        folder=(path.parent / _identifier(typed) if path.name == given else path).resolve(),
        project=_identifier(typed),
        company=_company(typed) if company is None else company.strip(),
    )
    if len(names.project) > LONGEST:
        raise UsageError(
            f"{names.project} has {len(names.project)} characters, more than {LONGEST}: shorten it"
        )
    if yaml.safe_load(names.project) != names.project:
        raise UsageError(
            f"{names.project} means something else in YAML: choose another name, such as {names.project}_warehouse"
        )
    if names.project == "dbt" or names.distribution in taken:
        raise UsageError(
            f"{names.project} is the name of a library that every warehouse needs: "
            f"choose another one, such as {names.project}_warehouse"
        )
    if not names.company or not names.company.isprintable() or IN_QUOTES & set(names.company):
        raise UsageError(
            f"The company cannot be called {names.company!r}: the name is written into files, "
            f"so it is one line without any of {' '.join(sorted(IN_QUOTES))}. Give another one with --company."
        )
    return names


def _identifier(typed: str) -> str:
    """Lower case before words are split, since GmbH is one word."""
    return normalized(typed.lower())


def _company(typed: str) -> str:
    """A name in capitals, blanks or dots is a company's already; `acme_coffee` is Acme Coffee."""
    return typed.replace("_", " ").strip().title() if typed == _identifier(typed) else typed
