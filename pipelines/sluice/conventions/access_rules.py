"""Conventions of who may read what (`audiences.yml`), and of the words people search by (`docs/glossary.yml`)."""

from __future__ import annotations

from collections.abc import Iterator

from sluice.config.audiences import load_policy
from sluice.config.glossary import read_glossary
from sluice.config.settings import AUDIENCES, GLOSSARY
from sluice.conventions.project import Finding, Project
from sluice.publish.granted_models import GrantedModels


def audiences(project: Project) -> Iterator[Finding]:
    """Grants, data classes and audiences fit together; nothing personal reaches an audience without a class."""
    if not (project.root / AUDIENCES).is_file():
        return
    policy = load_policy(project.root / AUDIENCES)
    granted = GrantedModels(project.manifest, policy.publishing.rows)
    for mistake in granted.mistakes(policy):
        yield Finding(AUDIENCES, 1, mistake)
    names = {name for model in granted.models.values() for name in model.grants}
    for i, audience in enumerate(policy.audiences):
        if audience.name not in names:
            message = (
                f"{audience.name} is granted no model, so its file is empty: grant it one, or remove it."
            )
            yield Finding(AUDIENCES, project.line(AUDIENCES, "audiences", i), message)
    for model in granted.models.values():
        if not model.is_contracted:
            node = project.manifest.tables[model.unique_id].entry
            message = (
                f"{model.name} is granted without a contract. Readers need a promise of names and types."
            )
            yield project.at(node, message)


def glossary(project: Project) -> Iterator[Finding]:
    """The words people use lead to tables and columns that exist, and each has one meaning."""
    columns = {
        node["name"]: {name.lower() for name in node["columns"]}
        for node in project.nodes("model", "seed", "snapshot")
    }
    meanings: dict[str, str] = {}
    for i, term in enumerate(read_glossary(project.root / GLOSSARY)):
        line = project.line(GLOSSARY, "terms", i)
        for place in term.columns:
            table, _, column = place.partition(".")
            if table not in columns or (column and column not in columns[table]):
                yield Finding(
                    GLOSSARY,
                    line,
                    f"{term.term} names {place}, which does not exist. The catalog's search sends people there: "
                    "name the model or column as it is called now.",
                )
        for word in {term.term, *term.synonyms}:
            if (first := meanings.setdefault(word.lower(), term.term)) != term.term:
                yield Finding(GLOSSARY, line, f"{word!r} also stands for {first}: keep one of them.")
