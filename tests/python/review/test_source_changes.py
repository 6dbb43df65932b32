"""Which tables are read whole again after a change of their declaration: what the review says, against real loads.

A SQLite source is loaded as declared before the change, changes itself, and is loaded as declared after it. The load then reads the table again, or refuses, exactly where the review says so; and raw equals a fresh load.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sluice.review.revision import Revision
from sluice.review.source_changes import source_findings
from tests.python.project import Project

KEYED: dict[str, Any] = {"primary_key": "id"}
READ_ON: dict[str, Any] = {**KEYED, "cursor": "updated_at"}
COMPARED: dict[str, Any] = {**READ_ON, "deletes": "compare_keys"}
PAID: dict[str, Any] = {"filter": "status <> 'void'"}
NO_NOTE: dict[str, Any] = {"columns": {"exclude": ["note"]}}
TYPES = {"id": "bigint", "number": "text", "updated_at": "timestamp", "status": "text", "amount": "bigint"}

FIRST = """
create table orders (id integer, number text, updated_at timestamp, status text, amount integer, note text);
insert into orders values (1, 'A', '2026-01-01', 'paid', 10, 'a'), (2, 'B', '2026-01-02', 'void', 20, 'b'),
    (3, 'C', '2026-01-03', 'paid', 30, 'c');
"""
SECOND = """
update orders set amount = 11, updated_at = '2026-01-04' where id = 1;
insert into orders values (4, 'D', '2026-01-05', 'paid', 40, 'd');
"""
THIRD = "insert into orders values (5, 'E', '2026-01-06', 'paid', 50, 'e');"


@dataclass(frozen=True)
class Edit:
    """Load keys before and after, declared types before and after, and what the source does between the first two loads."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    types: tuple[Mapping[str, str], Mapping[str, str]] | None = None
    source: str = ""


EDITS = {
    "cursor added": Edit(KEYED, READ_ON),
    "cursor added, no key": Edit({}, {"cursor": "updated_at"}),
    "cursor removed": Edit(READ_ON, KEYED),
    "cursor removed, no key": Edit({"cursor": "id"}, {}),
    "cursor changed": Edit({**KEYED, "cursor": "id"}, READ_ON),
    "filter added, table replaced": Edit({}, PAID),
    "filter added": Edit(KEYED, {**KEYED, **PAID}),
    "filter added to a cursor": Edit(READ_ON, {**READ_ON, **PAID}),
    "filter added, keys compared": Edit(COMPARED, {**COMPARED, **PAID}),
    "filter removed": Edit({**KEYED, **PAID}, KEYED),
    "filter removed from a cursor": Edit({**READ_ON, **PAID}, READ_ON),
    "filter removed, keys compared": Edit({**COMPARED, **PAID}, COMPARED),
    "key added, table replaced before": Edit({}, KEYED),
    "key added, rows added before": Edit({"cursor": "updated_at"}, READ_ON),
    "key removed, table replaced then": Edit(KEYED, {}),
    "key changed": Edit(
        {"primary_key": ["id", "number"]}, KEYED, source="update orders set number = 'Z' where id = 3;"
    ),
    "columns left out": Edit(READ_ON, {**READ_ON, **NO_NOTE}),
    "columns left out, table replaced": Edit({}, NO_NOTE),
    "columns taken in": Edit({**KEYED, **NO_NOTE}, KEYED),
    "columns taken in with a cursor": Edit({**READ_ON, **NO_NOTE}, READ_ON),
    "lookback": Edit(READ_ON, {**READ_ON, "lookback": "2d"}),
    "deletes": Edit(READ_ON, COMPARED),
    "type": Edit({}, {}, (TYPES, {**TYPES, "amount": "decimal(9,2)"})),
    "new column": Edit(KEYED, KEYED, (TYPES, {**TYPES, "tip": "bigint"})),
    "new column with a cursor": Edit(READ_ON, READ_ON, (TYPES, {**TYPES, "tip": "bigint"})),
}
AGAIN = "the next load reads the whole table again"
QUICK = ["cursor added", "cursor changed", "filter added, keys compared", "filter removed from a cursor"]
QUICK += ["new column", "new column with a cursor"]


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.full) for n in EDITS]
)
@pytest.mark.sample(3)
def test_a_table_is_read_again_where_the_review_says_so(tmp_path: Path, name: str) -> None:
    edit = EDITS[name]
    database = tmp_path / "shop.db"
    old, new = Project(tmp_path / "old"), Project(tmp_path / "new")
    types: tuple[Any, Any] = edit.types or (None, None)
    sides = (old, edit.before, types[0]), (new, edit.after, types[1])
    for project, keys, columns in sides:
        project.connect("shop", url=f"sqlite:///{database}")
        _declare(project, keys, columns)
    added = "alter table orders add column tip integer; update orders set tip = id;"
    with sqlite3.connect(database) as con:
        con.executescript(FIRST)
    assert not old.load().errors
    with sqlite3.connect(database) as con:
        con.executescript(SECOND + edit.source)
    assert not old.load().errors

    _declare(old, edit.after, types[1])
    with sqlite3.connect(database) as con:
        con.executescript(THIRD + (added if "new column" in name else ""))
    outcome = old.load()
    is_again = "changed since its rows were read" in outcome.error or bool(outcome["orders"].message)
    assert not new.load().errors

    found = list(source_findings(_revision(*sides[0]), _revision(*sides[1])))
    assert found, "the change has to be named at all"
    assert any(AGAIN in f.text for f in found) == is_again, [f.text for f in found]

    if outcome.errors:  # what it says to do brings raw to where it is to be
        assert "sluice load shop.orders --full-refresh" in outcome.error
        assert not old.load(full_refresh=True).errors
    assert _state(old) == _state(new)


SINCE = {"cursor_path": "at", "initial_value": 0}


@pytest.mark.parametrize("place", ["table", "defaults"])
@pytest.mark.parametrize("key", [{}, {"primary_key": "id"}], ids=["no key", "key"])
def test_the_cursor_of_an_api_may_stand_in_the_defaults(
    tmp_path: Path, place: str, key: Mapping[str, Any]
) -> None:
    """Rows are added or merged, so those loaded before keep what they have."""
    endpoint = {"path": "orders", **({"incremental": SINCE} if place == "table" else {})}
    load = {
        "kind": "rest",
        "resource_defaults": {"endpoint": {"incremental": SINCE}} if place == "defaults" else {},
    }

    def revision(names: list[str], **keys: Any) -> Revision:
        table = {
            "source_name": "api",
            "name": "orders",
            "columns": {name: {"name": name} for name in names},
            "config": {"meta": {"load": {"endpoint": endpoint, **key, **keys}}},
            "source_meta": {"load": load},
        }
        return Revision(tmp_path, "", {"sources": {"source.x.api.orders": table}})

    (found,) = source_findings(revision(["id"]), revision(["id", "note"]))
    assert AGAIN not in found.text  # raw has the key already, or gets it when a record has it
    (found,) = source_findings(revision(["id"]), revision(["id"], primary_key="number"))
    assert AGAIN in found.text
    (found,) = source_findings(revision(["id"], columns={"exclude": ["note"]}), revision(["id"]))
    assert AGAIN in found.text


def test_a_declaration_that_was_wrong_is_compared_all_the_same(tmp_path: Path) -> None:
    def revision(endpoint: Any) -> Revision:
        table = {
            "source_name": "api",
            "name": "orders",
            "columns": {},
            "config": {"meta": {"load": {"endpoint": endpoint, "primary_key": "id"}}},
            "source_meta": {"load": {"kind": "rest"}},
        }
        return Revision(tmp_path, "", {"sources": {"source.x.api.orders": table}})

    (found,) = source_findings(revision("orders"), revision({"path": "orders"}))
    assert "load.endpoint" in found.text


@dataclass(frozen=True)
class _State:
    columns: list[str]
    rows: list[str] = field(default_factory=list)


def _state(project: Project) -> _State:
    """Columns and rows of raw, without loading's own and without rows that are deleted at the source."""
    types = project.types("shop.orders")
    columns = sorted(f"{n} {t}" for n, t in types.items() if not n.startswith("_"))
    listed = ", ".join(c.split()[0] for c in columns)
    there = "where _deleted_at is null" if "_deleted_at" in types else ""
    return _State(columns, sorted(map(str, project.raw(f"select {listed} from shop.orders {there}"))))


LOAD = {"kind": "database", "connection": "shop"}


def _declare(project: Project, keys: Mapping[str, Any], columns: Any) -> None:
    project.declare("shop", LOAD, {"orders": keys}, {"orders": columns} if columns else None)


def _revision(project: Project, keys: Mapping[str, Any], columns: Any) -> Revision:
    """The declaration as dbt has it in its manifest."""
    table = {
        "source_name": "shop",
        "name": "orders",
        "columns": {n: {"name": n, "data_type": t} for n, t in (columns or {}).items()},
        "config": {"meta": {"load": dict(keys)}},
        "source_meta": {"load": LOAD},
    }
    return Revision(project.root, "", {"sources": {"source.x.shop.orders": table}})
