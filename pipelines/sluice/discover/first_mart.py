"""A first mart: the most connected table of a source that has figures and a date, with what its references describe."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sluice.discover.contract import SURE
from sluice.discover.sql_layout import conditions, imports, is_keyword, left_join, select_list, summed_cte
from sluice.discover.staged_tables import StagedColumn, StagedTable
from sluice.discover.staging_models import ModelEntry, Reference

MOST_PARENTS = 5
"""Tables that are joined; the conventions allow a model six inputs."""
MOST_OWN_COLUMNS = 90
"""Columns of the table itself; the conventions allow a mart 160 lines."""
MOST_COLUMNS = 6
"""Columns that a joined table adds."""
UPKEEP = re.compile(r"(^|_)(creat|updat|modif|chang|insert|load|last_update|row)")
"""Columns that say when a row was written, and nothing of what it stands for."""
LONG_TEXT = re.compile(
    r"(^|_)(description|comment|comments|note|notes|remark|remarks|body|text|html|url|picture)$"
)
EXACT = ("INT", "DECIMAL")
"""Types whose sums are the same in any order."""


@dataclass(frozen=True)
class Joined:
    """A table that is joined."""

    reference: Reference
    cte: str
    """The import of its staging model."""
    alias: str
    """The same, unless the table is joined twice."""
    columns: Mapping[str, StagedColumn]
    """What it adds, by names in the mart."""


@dataclass(frozen=True)
class Mart:
    """The mart over one table."""

    name: str
    fact: StagedTable
    cte: str
    """The import of the fact's staging model."""
    joined: tuple[Joined, ...]

    @property
    def columns(self) -> list[StagedColumn]:
        """Those of the table itself, with its key, that a contract can promise."""
        promised = [column for column in self.fact.columns if _can_be_promised(column)]
        kept = [column for column in promised if column.name not in self.fact.key]
        kept = kept[: MOST_OWN_COLUMNS - len(self.fact.key)]
        return [column for column in promised if column.name in self.fact.key or column in kept]


def choose_mart(
    tables: Sequence[StagedTable], references: Mapping[str, Sequence[Reference]], *, is_needed: bool
) -> Mart | None:
    """The mart to begin with; None if no table has references and figures, unless a mart `is_needed` anyway.

    references: by the name of the table that they begin in.
    """
    candidates = [(table, _parents(table, references.get(table.name, ()))) for table in tables]

    def score(candidate: tuple[StagedTable, Sequence[Reference]]) -> tuple[int, int, int, int]:
        table, parents = candidate
        has_date = _has_date(table) or any(_has_date(parent.table) for parent in parents)
        facts = int(bool(_measures(table))) + int(has_date)
        return (int(not table.is_numbered), len(parents) + facts, table.rows or 0, len(table.columns))

    is_fact = [c for c in candidates if c[1] and _measures(c[0]) and not c[0].is_numbered]
    chosen = max(is_fact or (candidates if is_needed else []), key=score, default=None)
    if chosen is None:
        return None
    fact, parents = chosen
    mart = _joined(fact, parents)
    return mart if mart.columns else None


def _joined(fact: StagedTable, parents: Sequence[Reference]) -> Mart:
    prefix = "fct" if _measures(fact) or _has_date(fact) else "dim"
    ctes = {fact.model: _free(fact, ())}
    mart = Mart(f"{prefix}_{fact.name}", fact, ctes[fact.model], ())
    taken = {column.name for column in mart.columns}
    chosen: list[tuple[Reference, dict[str, StagedColumn]]] = []
    for parent in parents[:MOST_PARENTS]:
        if columns := _described_by(parent, taken):
            taken |= set(columns)
            chosen.append((parent, columns))
            if parent.table.model not in ctes:
                ctes[parent.table.model] = _free(parent.table, ctes.values())
    times = Counter(parent.table.model for parent, _ in chosen)
    joined: list[Joined] = []
    for parent, columns in chosen:
        cte, role = ctes[parent.table.model], _role(parent)
        alias = cte if times[parent.table.model] == 1 or role == parent.table.entity else role
        if alias in (j.alias for j in joined) or (
            alias != cte and (alias in ctes.values() or is_keyword(alias))
        ):
            alias = f"{parent.columns[0].name}_{cte}"
        joined.append(Joined(parent, cte, alias, columns))
    return replace(mart, joined=tuple(joined))


def _free(table: StagedTable, taken: Collection[str]) -> str:
    """The name of a table's CTE."""
    choices = (table.name, f"{table.source}_{table.name}", table.model)
    return next(choice for choice in choices if choice not in taken and not is_keyword(choice))


def _parents(table: StagedTable, references: Sequence[Reference]) -> list[Reference]:
    """References that can be joined without a change of the number of rows, the surest first."""
    usable = [
        reference
        for reference in references
        if len(reference.columns) == 1
        and reference.is_to_key
        and reference.has_one_type
        and reference.table.model != table.model
        and reference.confidence >= SURE
        and not reference.table.is_numbered
    ]
    usable.sort(key=lambda reference: (-reference.confidence, -reference.coverage))
    by_column = {reference.columns[0].name: reference for reference in reversed(usable)}
    return [reference for reference in usable if by_column[reference.columns[0].name] is reference]


def _measures(table: StagedTable) -> list[StagedColumn]:
    return [
        c for c in table.columns if c.kind == "number" and c.group == "numbers" and c.raw and c.raw[0] != "_"
    ]


def _has_date(table: StagedTable) -> bool:
    return any(
        column.data_type in ("DATE", "TIMESTAMP")
        and column.name != table.cursor
        and not UPKEEP.search(column.name)
        for column in table.columns
    )


def _can_be_promised(column: StagedColumn) -> bool:
    """Whether a contract can name its type, and every engine has it."""
    return column.kind in ("text", "number", "boolean", "moment") and not column.data_type.startswith("ENUM")


def _described_by(parent: Reference, taken: set[str]) -> dict[str, StagedColumn]:
    """What the other table says of its rows, by names in the mart: short texts, booleans and dates.

    Of personal data, names alone: who wants to write to people looks at their own table.
    """
    found: dict[str, StagedColumn] = {}
    role = _role(parent)
    for column in parent.table.columns:
        name = _name_in_mart(column.name, role, parent.table.entity)
        if (
            len(found) < MOST_COLUMNS
            and column.name not in parent.table.key
            and column.group in ("strings", "booleans", "dates and times")
            and _can_be_promised(column)
            and column.data_class in (None, "name")
            and column.name != parent.table.cursor
            and not UPKEEP.search(column.name)
            and not LONG_TEXT.search(column.name)
            and name not in taken
        ):
            found[name] = column
    return found


def _role(parent: Reference) -> str:
    """What the other row is to this one, by the column that refers to it: a billing_address."""
    name = parent.columns[0].name
    stem = re.sub(r"_(id|key|uuid|guid|code|number|no)$", "", name)
    return parent.table.entity if stem == name or name in parent.table.key else stem


def _name_in_mart(column: str, role: str, of: str) -> str:
    """The name of another table's column here: city of a customer is customer_city."""
    if column.startswith(f"{of}_"):
        return f"{role}_{column.removeprefix(f'{of}_')}"
    if match := re.match("(is|has|was|can|should|allows|needs)_(.+)", column):
        return f"{match[1]}_{role}_{match[2]}"
    return column if column.startswith(f"{role}_") else f"{role}_{column}"


def mart_sql(mart: Mart) -> str:
    """The text of the model."""
    ctes = {mart.cte: mart.fact.model} | {j.cte: j.reference.table.model for j in mart.joined}
    prefix = f"{mart.cte}." if mart.joined else ""
    items: list[tuple[str, str | None]] = [(f"{prefix}{column.name}", None) for column in mart.columns]
    for joined in mart.joined:
        for name, column in joined.columns.items():
            items.append((f"{joined.alias}.{column.name}", name if name != column.name else None))
    lines = [
        f"{{# one row per {mart.fact.grain} #}}",
        *imports(ctes),
        "",
        *select_list(items),
        f"from {mart.cte}",
    ]
    for joined in mart.joined:
        left = f"{mart.cte}.{joined.reference.columns[0].name}"
        right = f"{joined.alias}.{joined.reference.to_columns[0].name}"
        lines += left_join(joined.cte, joined.alias, left, right)
    return "\n".join(lines) + "\n"


def mart_entry(mart: Mart, config: Mapping[str, object]) -> ModelEntry:
    """What YAML says of the model; `config` is what the project's defaults for marts leave open."""
    fact = mart.fact
    columns = [replace(column, values=()) for column in mart.columns]
    for joined in mart.joined:
        columns += [replace(column, name=name) for name, column in joined.columns.items()]
    paragraphs = [f"One row per {fact.grain}."]
    if mart.joined:
        said = ", ".join(
            f"`{j.reference.table.model}` by `{j.reference.columns[0].name}`" for j in mart.joined
        )
        paragraphs.append(f"**Assumptions**: What describes a row comes from {said}.")
        paragraphs.append(
            "**Nuance**: The joins keep every row; where there is no match, what describes it is null."
        )
    tests = ["min_rows"]
    settings = dict(config)
    if fact.rows == 0:
        tests = []
        meta = {"may_be_empty": f"{fact.source}.{fact.name} had no row when the source was looked at."}
        settings["meta"] = meta
    return ModelEntry(mart.name, paragraphs, columns, fact.key, (), tests, settings, has_contract=True)


def mart_test_name(mart: Mart) -> str:
    return f"{mart.name}_has_every_row_of_the_source"


def mart_test_sql(mart: Mart) -> str:
    """A singular test: the joins neither lose nor repeat rows, and figures add up to those of staging."""
    measure = next(
        (c for c in _measures(mart.fact) if c.data_type.startswith(EXACT) or "INT" in c.data_type), None
    )
    sums = ["count(*) as row_count", *([f"sum({measure.name}) as total"] if measure else [])]
    both = ["row_count", *(["total"] if measure else [])]
    claim = f"{mart.name} differs from {mart.fact.model} in rows{' or in ' + measure.name if measure else ''}"
    lines = [f"{{# A returned row says that {claim}. #}}", "with"]
    select = f"select {', '.join(sums)}"
    lines += [*summed_cte("mart", select, mart.name, comma=True), ""]
    lines += [*summed_cte("staging", select, mart.fact.model, comma=False), ""]
    wanted: list[tuple[str, str | None]]
    wanted = [(f"{cte}.{name}", f"{cte}_{name}") for name in both for cte in ("mart", "staging")]
    lines += [*select_list(wanted), "from mart", "cross join staging"]
    lines += conditions([f"mart.{name} is distinct from staging.{name}" for name in both])
    return "\n".join(lines) + "\n"
