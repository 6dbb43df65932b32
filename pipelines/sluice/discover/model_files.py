"""The files that model a source: staging models, their tests and texts, a first mart and the entity diagram."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from sluice.config.audiences import load_policy
from sluice.config.dbt_project import folders, macros, read_project_file
from sluice.config.settings import Settings
from sluice.config.sources import load_sources, read_sources
from sluice.config.text_files import diff, replace_text
from sluice.config.yaml_file import Lines, dig, read_yaml
from sluice.discover.contract import SURE, DiscoveredSource, Relationship
from sluice.discover.entity_diagram import FILE as DIAGRAM
from sluice.discover.entity_diagram import as_declared_before, diagram, with_diagram
from sluice.discover.first_mart import Mart, choose_mart, mart_entry, mart_sql, mart_test_name, mart_test_sql
from sluice.discover.raw_sources import sources_in_raw
from sluice.discover.relationships import find
from sluice.discover.staged_tables import StagedTable, stage_source
from sluice.discover.staging_models import ModelEntry, Reference, entry_lines, staging_entry, staging_sql
from sluice.discover.yaml_text import one_line

MART_DEFAULTS: Mapping[str, object] = {
    "materialized": "table",
    "access": "public",
    "contract": {"enforced": True},
}
"""What a mart is, as far as dbt_project.yml does not say it of all marts."""


@dataclass(frozen=True)
class ModelFiles:
    """The proposed texts by path, and what is worth saying about them."""

    texts: Mapping[Path, str]
    notes: Sequence[str] = ()


@dataclass
class Saved:
    """What became of the proposed files."""

    written: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    """They exist, and stay as they are."""
    patches: list[str] = field(default_factory=list)
    """What existing files lack, as `git apply` takes it."""
    notes: Sequence[str] = ()


class ExistingModels:
    """What the project's models and their descriptions are so far."""

    def __init__(self, root: Path) -> None:
        self._project = read_project_file(root)
        models = [path for path in self._folders("model-paths") if path != "sources"]
        self.folder = root / (models[0] if models else "models")
        self.tests = root / next(iter(self._folders("test-paths")), "tests")
        self.columns: dict[str, set[str]] = {}
        """Described columns by model."""
        self.texts: Counter[tuple[str, str]] = Counter()
        """How often a column has a text of its own, by name and text."""
        self.generic_tests = {
            name.removeprefix("test_") for name in macros(root, os.environ) if name.startswith("test_")
        }
        for file in sorted(self.folder.rglob("*.y*ml")):
            read = read_yaml(file)
            for entry in dig(read.value, "models") or [] if isinstance(read, Lines) else []:
                described = [column for column in dig(entry, "columns") or [] if dig(column, "name")]
                self.columns[str(dig(entry, "name"))] = {column["name"] for column in described}
                self.texts.update(
                    (column["name"], str(dig(column, "description") or "")) for column in described
                )

    def _folders(self, key: str) -> list[str]:
        return folders(self._project, key, os.environ)

    def mart_settings(self, key: str) -> bool:
        """Whether dbt_project.yml sets `key` for all marts."""
        of_all = dig(self._project, "models", str(self._project.get("name"))) or {}
        levels = (self._project.get("models") or {}, of_all, dig(of_all, "marts") or {})
        return any(name in level for level in levels if isinstance(level, dict) for name in (key, f"+{key}"))

    @property
    def has_marts(self) -> bool:
        return any((self.folder / "marts").rglob("*.sql"))


def propose_models(
    settings: Settings,
    name: str,
    relationships: Sequence[Relationship],
    found: DiscoveredSource | None = None,
    con: duckdb.DuckDBPyConnection | None = None,
) -> ModelFiles:
    """The files for the declared source `name`; what is written to disk is not touched.

    relationships: those that this source takes part in. found: the source as discovery saw it, with its rows in
    `con`; without them, nothing is said that only rows can show. Raises DeclarationError if the source is not declared,
    or declared wrongly.
    """
    existing = ExistingModels(settings.root)
    sources = {source.name: source for source in load_sources(settings.sources, [name])}
    seen = {table.name: table for table in found.tables} if found else {}
    tables = stage_source(sources[name], seen, con)
    file = settings.root / DIAGRAM
    before = file.read_text(encoding="utf-8") if file.is_file() else None
    relationships = as_declared_before(before, name, relationships)
    references = _references(settings, name, tables, relationships, existing)
    entries = [staging_entry(table, references[table.name]) for table in tables]
    staging = existing.folder / "staging" / name
    marts = existing.folder / "marts" / name
    texts = {staging / f"{table.model}.sql": staging_sql(table) for table in tables}
    mart = None
    if not any(marts.glob("*.sql")):
        mart = choose_mart(tables, references, is_needed=not existing.has_marts)
    config, notes = _mart_config(settings, existing) if mart else ({}, [])
    mart_entries = [mart_entry(mart, config)] if mart else []
    new = [entry for entry in (*entries, *mart_entries) if entry.name not in existing.columns]
    docs = _shared_texts(name, new, existing)
    texts |= _with_entries(staging / f"_{name}__models.yml", entries, new, docs, existing)
    if mart:
        texts |= _mart_texts(mart, marts, existing)
        texts |= _with_entries(marts / f"_{name}__models.yml", mart_entries, new, docs, existing)
    if docs:
        texts |= _docs_file(existing.folder / "_docs" / f"{name}.md", docs)
    texts[file] = with_diagram(before, name, diagram(name, tables, relationships))
    without = [table.name for table in sources[name].tables if table.name not in {t.name for t in tables}]
    notes += [f"{name}.{table} declares no columns, so it has no model yet" for table in without]
    return ModelFiles(texts, notes)


def is_declared(settings: Settings, name: str) -> bool:
    """Whether the project has a source of this name, or a file for one."""
    return (settings.sources / f"{name}.yml").is_file() or name in {
        s.name for s in read_sources(settings.sources)[0]
    }


def propose_from_raw(settings: Settings, name: str, con: duckdb.DuckDBPyConnection) -> ModelFiles:
    """As `propose_models`, by what raw holds instead of the system; raw is attached to `con`.

    Raises LockedError while a load writes raw.
    """
    sources = sources_in_raw(settings, con)
    found = next((source for source in sources if source.name == name), None)
    if found is None:
        proposed = propose_models(settings, name, [])
        note = f"{name} is not loaded, so references and values are not known: load it, and run this again"
        return ModelFiles(proposed.texts, [*proposed.notes, note])
    related = [r for r in find(con, sources) if name in (r.table[0], r.to_table[0])]
    return propose_models(settings, name, related, found, con)


def _references(
    settings: Settings,
    name: str,
    tables: Sequence[StagedTable],
    relationships: Sequence[Relationship],
    existing: ExistingModels,
) -> dict[str, list[Reference]]:
    """What refers to another model's columns, by the table it begins in; the surest one of each column."""
    known = {(table.source, table.name): table for table in tables}
    others = {r.to_table[0] for r in relationships} - {name}
    for source in load_sources(settings.sources) if others else ():
        if source.name in others:
            known |= {(t.source, t.name): t for t in stage_source(source) if t.model in existing.columns}
    found: dict[str, list[Reference]] = {table.name: [] for table in tables}
    taken: set[tuple[str, ...]] = set()
    for r in sorted(relationships, key=lambda r: (-r.confidence, -r.coverage)):
        child, parent = known.get(r.table), known.get(r.to_table)
        if child is None or parent is None or child.source != name or r.confidence < SURE:
            continue
        if (child.name, *r.columns) in taken:
            continue
        columns, there = child.of_source(r.columns), parent.of_source(r.to_columns)
        missing = {c.name for c in there} - existing.columns.get(parent.model, {c.name for c in there})
        if not columns or not there or missing:
            continue
        taken.add((child.name, *r.columns))
        is_seen = r.declared or (child.is_whole and parent.is_whole)
        is_certain = r.coverage >= 1 and is_seen and parent.source == name and not parent.leaves_out_deleted
        found[child.name].append(
            Reference(columns, parent, there, r.coverage, r.declared, is_certain, r.confidence, r.reason)
        )
    return found


def _mart_config(settings: Settings, existing: ExistingModels) -> tuple[dict[str, object], list[str]]:
    """What the mart's entry has to set itself, and who it could not be granted to."""
    config = {key: value for key, value in MART_DEFAULTS.items() if not existing.mart_settings(key)}
    if existing.mart_settings("grants") or not settings.audiences.is_file():
        return config, []
    audiences = [audience.name for audience in load_policy(settings.audiences).audiences]
    if len(audiences) == 1:
        return config | {"grants": {"select": audiences}}, []
    note = f"the mart is granted to nobody yet, so it is not published: audiences are {', '.join(audiences) or 'none'}"
    return config, [note]


def _mart_texts(mart: Mart, folder: Path, existing: ExistingModels) -> dict[Path, str]:
    test = existing.tests / mart.fact.source / f"{mart_test_name(mart)}.sql"
    return {folder / f"{mart.name}.sql": mart_sql(mart), test: mart_test_sql(mart)}


def _shared_texts(
    source: str, entries: Sequence[ModelEntry], existing: ExistingModels
) -> dict[tuple[str, str], str]:
    """Docs blocks for texts that three models share: their names by column and text."""
    times = existing.texts + Counter(
        (column.name, column.description) for entry in entries for column in entry.columns
    )
    docs: dict[tuple[str, str], str] = {}
    for entry in entries:
        for column in entry.columns:
            key = (column.name, column.description)
            if times[key] >= 3 and key not in docs:
                taken = docs.values()
                names = (
                    f"{source}__{column.name}",
                    *(f"{source}__{column.name}__{n}" for n in range(2, len(docs) + 3)),
                )
                docs[key] = next(name for name in names if name not in taken)
    return docs


def _with_entries(
    file: Path,
    entries: Sequence[ModelEntry],
    new: Sequence[ModelEntry],
    docs: Mapping[tuple[str, str], str],
    existing: ExistingModels,
) -> dict[Path, str]:
    """The YAML file with entries for what it does not describe yet, after those it has."""
    missing = [entry for entry in entries if any(entry is other for other in new)]
    blocks = ["\n".join(entry_lines(entry, docs, existing.generic_tests)) for entry in missing]
    if not file.is_file():
        return {file: "\n\n".join(["version: 2", "models:\n" + "\n\n".join(blocks)]) + "\n"} if blocks else {}
    before = file.read_text(encoding="utf-8")
    return {file: "\n\n".join([before.rstrip("\n"), *blocks]) + "\n"}


def _docs_file(file: Path, docs: Mapping[tuple[str, str], str]) -> dict[Path, str]:
    before = file.read_text(encoding="utf-8").rstrip("\n") if file.is_file() else ""
    blocks = [
        f"{{% docs {name} %}}\n{one_line(text)}\n{{% enddocs %}}"
        for (_, text), name in sorted(docs.items(), key=lambda item: item[1])
        if f"{{% docs {name} %}}" not in before
    ]
    return {file: "\n\n".join([*([before] if before else []), *blocks]) + "\n"}


def save_models(settings: Settings, proposed: ModelFiles) -> Saved:
    """Write the files that do not exist; of the others, only the generated part of the diagram changes."""
    saved = Saved(notes=proposed.notes)
    for file, text in proposed.texts.items():
        before = file.read_text(encoding="utf-8") if file.is_file() else None
        name = file.relative_to(settings.root)
        if before is None or (name.as_posix() == DIAGRAM and before != text):
            replace_text(file, text)
            saved.written.append(file)
        else:
            saved.kept.append(file)
            if file.suffix != ".sql" and before != text:
                saved.patches.append(diff(name.as_posix(), before, text))
    return saved
