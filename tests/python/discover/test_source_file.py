"""The text of a source file: tests that every table needs, classes that are not sure, descriptions that fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import sluice
from sluice.config.sources import read_sources
from sluice.discover.contract import DiscoveredColumn, DiscoveredSource, DiscoveredTable, Proposal
from sluice.discover.source_file import ALWAYS_CLASSED, described, render

RULES = Path(sluice.__file__).parent / "conventions" / "dbt-bouncer.yml"


def table_of(folder: Path, *columns: DiscoveredColumn, **keys: Any) -> dict[str, Any]:
    """The entry of a table in the file that is written for it, which is sound."""
    table = DiscoveredTable("things", list(columns), None, **keys)
    source = DiscoveredSource("depot", {"kind": "database", "connection": "depot"}, [table])
    (folder / "depot.yml").write_text(render(source), encoding="utf-8")
    assert read_sources(folder)[1] == []
    entry: dict[str, Any] = yaml.safe_load((folder / "depot.yml").read_text(encoding="utf-8"))["sources"][0][
        "tables"
    ][0]
    return entry


def test_every_table_has_a_test_without_a_key_it_warns(tmp_path: Path) -> None:
    warns = table_of(tmp_path, DiscoveredColumn("a", None), DiscoveredColumn("b", "text"))
    assert warns["columns"] == [
        {
            "name": "b",
            "data_type": "text",
            "description": "Not described at the source.",
            "data_tests": [{"not_null": {"config": {"severity": "warn"}}}],
        }
    ]
    assert warns["config"]["meta"]["load"] == {"columns": {"exclude": ["a"]}}
    required = table_of(
        tmp_path, DiscoveredColumn("a", "text"), DiscoveredColumn("b", "text", nullable=False)
    )
    assert [c.get("data_tests") for c in required["columns"]] == [None, ["not_null"]]


@pytest.mark.parametrize(("confidence", "is_set"), [(0.95, True), (0.8, True), (0.6, False)])
def test_a_class_that_is_likely_is_set_others_are_asked(
    tmp_path: Path, confidence: float, is_set: bool
) -> None:
    column = DiscoveredColumn("mail", "text", data_class=Proposal("email", "by its name", confidence))
    (entry,) = table_of(tmp_path, column)["columns"]
    assert ("config" in entry) == is_set
    assert ("# question: data_class email?" in (tmp_path / "depot.yml").read_text()) != is_set


def test_names_that_the_conventions_want_classified_are(tmp_path: Path) -> None:
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))["manifest_checks"]
    pattern = next(r["column_name_pattern"] for r in rules if r["name"] == "check_source_pii_meta")
    assert all(re.match(pattern, name) for name in ALWAYS_CLASSED)
    asked = re.findall("[a-z_]+", pattern.replace("(first|last|full)_name", "first_name|last_name|full_name"))
    assert {*asked} == {*ALWAYS_CLASSED}
    columns = table_of(tmp_path, *(DiscoveredColumn(name, "text") for name in ALWAYS_CLASSED))["columns"]
    assert {c["name"]: c["config"]["meta"]["data_class"] for c in columns} == ALWAYS_CLASSED


def test_an_unsure_key_is_a_comment(tmp_path: Path) -> None:
    key = Proposal(("a",), "unique in 9 rows", 0.7)
    entry = table_of(tmp_path, DiscoveredColumn("a", "text", nullable=False), primary_key=key)
    assert entry["config"]["meta"]["load"] == {}
    assert (
        "# primary_key: a — unique in 9 rows; not sure, so it is not used"
        in (tmp_path / "depot.yml").read_text()
    )


@pytest.mark.parametrize(
    ("comment", "description"),
    [
        (None, None),
        ("  ", None),
        ("Short", "Short."),
        ("Is it paid?", "In the words of the source. Is it paid?"),
        ("x" * 70, f"In the words of the source. {'x' * 70}."),
        ("Two\nlines {{ x }}", "Two lines { { x }}."),
    ],
)
def test_a_comment_becomes_a_description_that_fits_a_catalog_table(
    comment: str | None, description: str | None
) -> None:
    assert described(comment) == description
