"""What dbt's manifest says of tables, columns and tests, in the few words the catalog needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluice.errors import SluiceError

Json = Mapping[str, Any]

LAYERS = ("source", "seed", "staging", "intermediate", "utilities", "snapshot", "marts", "exposure")
"""From left to right; a folder below models/ that is not named here is shown between intermediate and marts."""
TABLE_KINDS = ("seed", "snapshot", "model")
COMMENT = re.compile(r"^\s*\{#-?\s*(.+?)\s*-?#\}", re.DOTALL)
SENTENCE = re.compile(r"^(.+?[.!?])(\s|$)", re.DOTALL)


@dataclass(frozen=True)
class ColumnFacts:
    """A column as it is declared; `type` is empty where nothing is declared."""

    name: str
    type: str = ""
    description: str = ""
    data_class: str = ""
    tags: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    field: str = ""


@dataclass(frozen=True)
class TableFacts:
    """A source table, seed, snapshot, model or exposure."""

    id: str
    kind: str
    name: str
    layer: str
    domain: str
    description: str
    grain: str
    owner: str
    owner_mail: str
    relation: str
    """Quoted name in the warehouse, `"warehouse"."marts"."fct_orders"`; empty for exposures."""
    file: str
    parents: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    access: str = ""
    materialized: str = ""
    contract: bool = False
    audiences: tuple[str, ...] = ()
    columns: Mapping[str, ColumnFacts] = field(default_factory=dict)
    raw_sql: str = ""
    compiled_sql: str = ""
    checksum: str = ""
    freshness: Json = field(default_factory=dict)
    """dbt's `warn_after` and `error_after`; sources only."""
    url: str = ""
    maturity: str = ""
    exposure_type: str = ""
    source: tuple[str, str] | None = None
    """(source, table) for source tables: how the ledger calls them."""
    loaded_at_field: str = ""
    queries: tuple[tuple[str, str], ...] = ()
    """(title, SQL) of the sample queries a person wrote."""

    @property
    def first_sentence(self) -> str:
        match = SENTENCE.match(self.description)
        return " ".join((match[1] if match else self.description).split())


@dataclass(frozen=True)
class TestFacts:
    """A data test or a unit test; `claim` says in words what holds when it passes."""

    id: str
    name: str
    kind: str
    """data, singular or unit."""
    type: str
    """The generic test's name; empty for the other kinds."""
    table: str
    also: tuple[str, ...]
    """Other tables it reads."""
    column: str
    claim: str
    severity: str
    sql: str
    to: tuple[str, str] | None = None
    """For relationships: (table id, column) that is referred to."""
    columns: tuple[str, ...] = ()
    """For keys of several columns."""


@dataclass(frozen=True)
class Project:
    """All of a manifest that the catalog shows."""

    name: str
    generated_at: str
    tables: Mapping[str, TableFacts]
    tests: Mapping[str, TestFacts]
    manifest: Json

    @property
    def uncompiled(self) -> list[str]:
        """SQL models whose compiled code the manifest does not have."""
        return [
            t.name
            for t in self.tables.values()
            if t.kind in ("model", "snapshot") and t.raw_sql and not t.compiled_sql
        ]


def read_project(target: Path) -> Project:
    """The project as dbt last wrote it into `target`; raises SluiceError where it did not."""
    file = target / "manifest.json"
    if not file.is_file():
        raise SluiceError(
            f"{file} does not exist, so nothing is known of the models. Run `sluice build` first."
        )
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise SluiceError(f"{file} is broken: {error}. Run `sluice build` again.") from error
    return project_of(manifest)


def project_of(manifest: Json) -> Project:
    """The project a parsed manifest describes."""
    tables: dict[str, TableFacts] = {}
    for entry in manifest.get("sources", {}).values():
        tables[entry["unique_id"]] = _source(entry)
    for entry in manifest.get("nodes", {}).values():
        if entry["resource_type"] in TABLE_KINDS:
            tables[entry["unique_id"]] = _model(entry, manifest)
    for entry in manifest.get("exposures", {}).values():
        tables[entry["unique_id"]] = _exposure(entry)
    metadata = manifest.get("metadata", {})
    return Project(
        name=str(metadata.get("project_name") or "warehouse"),
        generated_at=str(metadata.get("generated_at") or ""),
        tables=tables,
        tests={t.id: t for t in _tests(manifest, tables)},
        manifest=manifest,
    )


def _meta(entry: Json) -> Json:
    return {**(entry.get("meta") or {}), **((entry.get("config") or {}).get("meta") or {})}


def _columns(entry: Json) -> dict[str, ColumnFacts]:
    found = {}
    for column in (entry.get("columns") or {}).values():
        meta = _meta(column)
        tags = {*(column.get("tags") or ()), *((column.get("config") or {}).get("tags") or ())}
        found[column["name"].lower()] = ColumnFacts(
            name=column["name"],
            type=column.get("data_type") or "",
            description=_flat(column.get("description")),
            data_class=str(meta.get("data_class") or ""),
            tags=tuple(sorted(tags)),
            constraints=tuple(_constraint(c) for c in column.get("constraints") or ()),
            field=str(meta.get("field") or ""),
        )
    return found


def _constraint(entry: Json) -> str:
    kind = str(entry.get("type") or "").replace("_", " ")
    return f"{kind} {entry['expression']}" if entry.get("expression") else kind


def bare(relation: str) -> str:
    """A relation's name as lineage writes it: without quotes, in lower case."""
    return relation.replace('"', "").replace("`", "").lower()


def _flat(text: str | None) -> str:
    return " ".join((text or "").split())


def _source(entry: Json) -> TableFacts:
    meta = {**(entry.get("source_meta") or {}), **_meta(entry)}
    config = entry.get("config") or {}
    freshness = entry.get("freshness") or config.get("freshness") or {}
    return TableFacts(
        id=entry["unique_id"],
        kind="source",
        name=f"{entry['source_name']}.{entry['name']}",
        layer="source",
        domain=entry["source_name"],
        description=(entry.get("description") or "").strip(),
        grain=_grain(entry),
        owner=str(meta.get("owner") or ""),
        owner_mail=str(meta.get("owner") or ""),
        relation=entry.get("relation_name") or "",
        file=entry.get("original_file_path") or "",
        tags=tuple(entry.get("tags") or ()),
        columns=_columns(entry),
        freshness={
            k: v for k, v in freshness.items() if k in ("warn_after", "error_after") and v and v.get("count")
        },
        source=(entry["source_name"], entry["name"]),
        loaded_at_field=str(entry.get("loaded_at_field") or ""),
        queries=_queries(meta),
    )


def _model(entry: Json, manifest: Json) -> TableFacts:
    config = entry.get("config") or {}
    meta = _meta(entry)
    folders = entry.get("fqn") or []
    layer = (
        entry["resource_type"]
        if entry["resource_type"] != "model"
        else (folders[1] if len(folders) > 2 else "models")
    )
    owner, mail = _owner(entry, config, meta, manifest)
    grants = (config.get("grants") or {}).get("select") or []
    return TableFacts(
        id=entry["unique_id"],
        kind=entry["resource_type"],
        name=entry.get("alias") or entry["name"],
        layer=layer,
        domain=folders[2] if len(folders) > 3 else "",
        description=(entry.get("description") or "").strip(),
        grain=_grain(entry),
        owner=owner,
        owner_mail=mail,
        relation=entry.get("relation_name") or "",
        file=entry.get("original_file_path") or "",
        parents=tuple((entry.get("depends_on") or {}).get("nodes") or ()),
        tags=tuple(entry.get("tags") or ()),
        access=str(entry.get("access") or config.get("access") or ""),
        materialized=str(config.get("materialized") or ""),
        contract=bool((config.get("contract") or {}).get("enforced")),
        audiences=(grants,) if isinstance(grants, str) else tuple(grants),
        columns=_columns(entry),
        raw_sql=(entry.get("raw_code") or "").strip() if entry.get("language", "sql") == "sql" else "",
        compiled_sql=(entry.get("compiled_code") or "").strip(),
        checksum=str((entry.get("checksum") or {}).get("checksum") or ""),
        queries=_queries(meta),
    )


def _exposure(entry: Json) -> TableFacts:
    owner = entry.get("owner") or {}
    return TableFacts(
        id=entry["unique_id"],
        kind="exposure",
        name=entry.get("label") or entry["name"],
        layer="exposure",
        domain=str(entry.get("type") or ""),
        description=(entry.get("description") or "").strip(),
        grain="",
        owner=str(owner.get("name") or owner.get("email") or ""),
        owner_mail=str(owner.get("email") or ""),
        relation="",
        file=entry.get("original_file_path") or "",
        parents=tuple((entry.get("depends_on") or {}).get("nodes") or ()),
        tags=tuple(entry.get("tags") or ()),
        url=str(entry.get("url") or ""),
        maturity=str(entry.get("maturity") or ""),
        exposure_type=str(entry.get("type") or ""),
    )


def _owner(entry: Json, config: Json, meta: Json, manifest: Json) -> tuple[str, str]:
    if meta.get("owner"):
        return str(meta["owner"]), str(meta["owner"])
    group = entry.get("group") or config.get("group")
    for found in manifest.get("groups", {}).values():
        if group and found["name"] == group:
            owner = found.get("owner") or {}
            mail = owner.get("email") or ""
            mail = mail if isinstance(mail, str) else ", ".join(mail)
            return str(owner.get("name") or mail), mail
    return "", ""


def _grain(entry: Json) -> str:
    """`One row per …`: the description's first sentence, else the comment that opens the SQL."""
    description = (entry.get("description") or "").strip()
    first = SENTENCE.match(description)
    sentence = _flat(first[1] if first else description)
    if sentence.lower().startswith("one row"):
        return sentence
    comment = COMMENT.match(entry.get("raw_code") or "")
    if comment and comment[1].lower().startswith("one row"):
        text = _flat(comment[1])
        return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")
    return ""


def _queries(meta: Json) -> tuple[tuple[str, str], ...]:
    return tuple(
        (str(q.get("title") or "Query"), str(q["sql"]).strip())
        for q in meta.get("sample_queries") or ()
        if isinstance(q, Mapping) and q.get("sql")
    )


def _tests(manifest: Json, tables: Mapping[str, TableFacts]) -> Iterator[TestFacts]:
    names = {t.name: t.id for t in tables.values() if t.kind in TABLE_KINDS}
    for entry in manifest.get("nodes", {}).values():
        if entry["resource_type"] == "test":
            yield _data_test(entry, tables, names)
    for entry in manifest.get("unit_tests", {}).values():
        parents = [p for p in (entry.get("depends_on") or {}).get("nodes") or () if p in tables]
        model = names.get(entry.get("model", ""), parents[0] if parents else "")
        yield TestFacts(
            id=entry["unique_id"],
            name=entry["name"],
            kind="unit",
            type="",
            table=model,
            also=(),
            column="",
            claim=_flat(entry.get("description")) or _words(entry["name"].split("__", 1)[-1]),
            severity="error",
            sql="",
        )


def _data_test(entry: Json, tables: Mapping[str, TableFacts], names: Mapping[str, str]) -> TestFacts:
    metadata = entry.get("test_metadata") or {}
    kwargs = metadata.get("kwargs") or {}
    parents = [p for p in (entry.get("depends_on") or {}).get("nodes") or () if p in tables]
    attached = str(entry.get("attached_node") or "")
    if not attached and parents:
        # A test of a source has no attached node; of relationships it names the table that is referred to first. A
        # singular test compares tables: it is about the one that is furthest down.
        last = max(parents, key=lambda p: _rank(tables[p].layer)) if not metadata else parents[0]
        attached = parents[-1] if metadata.get("name") == "relationships" else last
    to = None
    if metadata.get("name") == "relationships":
        other = next((p for p in parents if p != attached), attached)
        to = (other, str(kwargs.get("field") or ""))
    column = str(entry.get("column_name") or kwargs.get("column_name") or "")
    kind = "data" if metadata else "singular"
    return TestFacts(
        id=entry["unique_id"],
        name=entry["name"],
        kind=kind,
        type=str(metadata.get("name") or ""),
        table=attached,
        also=tuple(p for p in parents if p != attached),
        column=column,
        claim=_claim(entry, metadata, kwargs, column, tables[to[0]].name if to and to[0] in tables else ""),
        severity=str((entry.get("config") or {}).get("severity") or "error").lower(),
        sql=(entry.get("compiled_code") or "").strip(),
        to=to,
        columns=tuple(str(c) for c in kwargs.get("columns") or ()),
    )


def _claim(entry: Json, metadata: Json, kwargs: Json, column: str, refers_to: str) -> str:
    """What holds when the test passes, as a sentence."""
    if entry.get("description"):
        return _flat(entry["description"])
    key = ", ".join(str(c) for c in kwargs.get("columns") or ()) or column
    match metadata.get("name"):
        case None:
            return _words(entry["name"])
        case "primary_key":
            return f"{key} is unique and never null."
        case "unique":
            return f"{column} is unique."
        case "not_null":
            return f"{column} is never null."
        case "accepted_values":
            return f"{column} is one of {', '.join(str(v) for v in kwargs.get('values') or ())}."
        case "relationships":
            return f"Every {column} is a {kwargs.get('field')} of {refers_to or kwargs.get('to')}."
        case "expression_is_true":
            return f"{_flat(str(kwargs.get('expression')))} holds for every row."
        case name:
            shown = {k: v for k, v in kwargs.items() if k not in ("model", "column_name")}
            arguments = ", ".join(f"{k} {v}" for k, v in shown.items())
            return (
                f"{_words(str(name))[:-1]} of {column or 'the table'}{f': {arguments}' if arguments else ''}."
            )


def _rank(layer: str) -> int:
    return LAYERS.index(layer) if layer in LAYERS else LAYERS.index("marts") - 1


def _words(name: str) -> str:
    text = name.replace("_", " ").strip()
    return f"{text[:1].upper()}{text[1:]}." if text else ""
