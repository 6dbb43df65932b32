"""Text of staging models: SQL, and their entries in YAML with the tests of keys, references and values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import wrap

from sluice.discover.sql_layout import exemption, import_cte, select_item
from sluice.discover.staged_tables import StagedColumn, StagedTable
from sluice.discover.yaml_text import WHOLE, WIDTH, block, flow, one_line

Test = str | Mapping[str, Mapping[str, object]]
"""A data test as YAML has it: its name, or with arguments."""
Doc = Mapping[tuple[str, str], str]
"""Names of docs blocks by column and text."""
UNDESCRIBED = "Not described at the source."


@dataclass(frozen=True)
class Reference:
    """Columns of a staging model that refer to the key of another one."""

    columns: tuple[StagedColumn, ...]
    table: StagedTable
    to_columns: tuple[StagedColumn, ...]
    coverage: float
    """Share of the distinct values that the other table has, from 0 to 1."""
    declared: bool
    is_certain: bool
    """Whether every value has its row there, in all that the source holds."""
    confidence: float
    reason: str

    @property
    def is_to_key(self) -> bool:
        """Whether the columns there are the key, so that a join keeps the number of rows."""
        return {column.name for column in self.to_columns} == set(self.table.key)

    @property
    def has_one_type(self) -> bool:
        """Whether values compare without a cast that may fail."""
        return all(a.kind == b.kind for a, b in zip(self.columns, self.to_columns, strict=True))


@dataclass
class ModelEntry:
    """The entry of a model in its folder's YAML file."""

    name: str
    description: Sequence[str]
    """Paragraphs."""
    columns: Sequence[StagedColumn]
    key: tuple[str, ...]
    references: Sequence[Reference] = ()
    tests: Sequence[str] = ()
    """Tests of the whole model, besides that of its key."""
    config: Mapping[str, object] = field(default_factory=dict)
    has_contract: bool = False


def staging_sql(table: StagedTable) -> str:
    """The text of the model."""
    lines = ["with", *import_cte("source", "source", (table.source, table.name), comma=True), ""]
    lines += ["    renamed as (", "        select"]
    heading = ""
    for i, column in enumerate(table.columns, 1):
        if column.group != heading:
            heading = column.group
            lines.append(f"            -- {heading}")
        alias = column.name if column.name != column.sql else None
        comment = exemption(column.raw)
        lines += select_item(column.sql, alias, 12, comma=i < len(table.columns), comment=comment)
    lines.append("        from source")
    if table.leaves_out_deleted:
        lines.append("        where _deleted_at is null")
    return "\n".join([*lines, "    )", "", "select *", "from renamed"]) + "\n"


def staging_entry(table: StagedTable, references: Sequence[Reference]) -> ModelEntry:
    """What YAML says of the model."""
    said = one_line(table.description)
    paragraphs = []
    if said.startswith("One row per "):
        paragraphs.append(said)
    else:
        paragraphs.append(f"One row per {table.grain}.")
        if said and said != UNDESCRIBED:
            paragraphs.append(said.replace("**", ""))
    if table.leaves_out_deleted:
        paragraphs.append(
            "**Nuance**: The loader marks rows that are gone at the source; they are left out here."
        )
    return ModelEntry(table.model, paragraphs, table.columns, table.key, references)


def entry_lines(entry: ModelEntry, docs: Doc, generic_tests: Collection[str]) -> Iterator[str]:
    """The lines of an entry of `models:`; without the generic test `primary_key`, a key has the tests of dbt."""
    yield f"  - name: {entry.name}"
    yield "    description: |"
    for paragraph in (*entry.description, f"**Primary key**: {', '.join(f'`{name}`' for name in entry.key)}"):
        if paragraph is not entry.description[0]:
            yield ""
        yield from wrap(paragraph, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6, **WHOLE)
    if entry.config:
        yield from block("config", entry.config, 4)
    tests = [test for test in entry.tests if test in generic_tests]
    has_key_test = "primary_key" in generic_tests
    tests_key = len(entry.key) > 1 and has_key_test
    if tests_key or tests:
        yield "    data_tests:"
        yield from (f"      - {test}" for test in tests)
    if tests_key:
        yield "      - primary_key:"
        yield from block("arguments", {"columns": list(entry.key)}, 10)
    yield "    columns:"
    for column in entry.columns:
        key_tests = (
            (["primary_key"] if has_key_test else ["unique", "not_null"])
            if entry.key == (column.name,)
            else []
        )
        yield from _column_lines(entry, column, docs, key_tests)


def _column_lines(
    entry: ModelEntry, column: StagedColumn, docs: Doc, key_tests: Sequence[str]
) -> Iterator[str]:
    said: dict[str, object] = {"name": column.name}
    if entry.has_contract:
        said["data_type"] = written_type(column.data_type)
    doc = docs.get((column.name, column.description))
    said["description"] = f"{{{{ doc('{doc}') }}}}" if doc else one_line(column.description)
    if column.data_class:
        said["config"] = {"meta": {"data_class": column.data_class}}
    if entry.has_contract and key_tests:
        said["constraints"] = [{"type": "not_null"}]
    tests: list[Test] = [*key_tests, *_value_tests(entry, column)]
    if all(isinstance(test, str) for test in tests):
        if tests:
            said["data_tests"] = tests
        if len(said) <= 3 and len(line := f"      - {flow(said)}") <= WIDTH:
            yield line
            return
    else:
        said["data_tests"] = None
    first = True
    for key, value in said.items():
        lines = ["        data_tests:"] if value is None else list(block(key, value, 8))
        for line in lines:
            yield f"      - {line.lstrip()}" if first else line
            first = False
    if said.get("data_tests", "") is None:
        for test in tests:
            yield from _test_lines(test)


def _test_lines(test: Test) -> Iterator[str]:
    if isinstance(test, str):
        yield f"          - {test}"
        return
    for name, keys in test.items():
        yield f"          - {name}:"
        for key, value in keys.items():
            yield from block(key, value, 14)


def _value_tests(entry: ModelEntry, column: StagedColumn) -> Iterator[Test]:
    if column.values and not entry.has_contract:
        yield {"accepted_values": {"arguments": {"values": list(column.values)}}}
    for reference in entry.references:
        if reference.columns != (column,) or not reference.has_one_type:
            continue
        to = {"to": f"ref('{reference.table.model}')", "field": reference.to_columns[0].name}
        if reference.is_certain:
            yield {"relationships": {"arguments": to}}
        else:
            yield {
                "relationships": {
                    "description": _doubt(reference),
                    "arguments": to,
                    "config": {"severity": "warn"},
                }
            }


def _doubt(reference: Reference) -> str:
    """Why a reference only warns."""
    if reference.coverage < 1:
        share = min(reference.coverage * 100, 99.9)
        return f"{share:.1f} % of the values were there when the source was looked at."
    if reference.table.leaves_out_deleted:
        return f"{reference.table.model} leaves out rows that are gone at the source."
    return "All values of a sample were there when the source was looked at."


def written_type(data_type: str) -> str:
    """DuckDB's name of a type, as contracts write it."""
    return "text" if data_type == "VARCHAR" else data_type.lower()
