"""Whether a full reload follows a change of a source's declaration: what the review says, against real loads.

A SQLite source or files are loaded as declared before the change, change themselves, and are loaded as declared after
it. A full reload follows exactly if raw then differs from a fresh load, or the load refuses.
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
QUICK = ["cursor added", "cursor changed", "filter added, keys compared", "filter removed from a cursor"]
QUICK += ["new column", "new column with a cursor"]


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.full) for n in EDITS]
)
def test_a_full_reload_follows_where_the_review_says_so(tmp_path: Path, name: str) -> None:
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
    refused = old.load().errors
    assert not new.load().errors
    is_needed = bool(refused) or _state(old) != _state(new)

    found = list(source_findings(_revision(*sides[0]), _revision(*sides[1])))
    assert found, "the change has to be named at all"
    assert any("a full reload follows" in f.text for f in found) == is_needed, [f.text for f in found]

    if is_needed:  # and it repairs what the change left behind
        assert not old.load(full_refresh=True).errors
        assert _state(old) == _state(new)


def test_files_read_before_are_read_again_by_a_full_reload_only(tmp_path: Path) -> None:
    """A decimal sign declared too late: the file that was loaded keeps the text that was read."""
    sides = []
    for name, keys in {"old": {}, "new": {"nulls": ["-"]}}.items():
        project = Project(tmp_path / name)
        (project.root / "in").mkdir()
        (project.root / "in" / "a.csv").write_text("id,v\n1,-\n", encoding="utf-8")
        sides.append((project, {"path": "*.csv", "format": "csv", **keys}, None))
    (old, before, _), (new, after, _) = sides
    _declare(old, before, None, files=True)
    assert not old.load().errors
    for project in (old, new):
        (project.root / "in" / "b.csv").write_text("id,v\n2,-\n", encoding="utf-8")
        _declare(project, after, None, files=True)
        assert not project.load().errors
    assert old.raw("select id, v from shop.orders order by id") == [("1", "-"), ("2", None)]
    assert new.raw("select id, v from shop.orders order by id") == [("1", None), ("2", None)]
    found = list(source_findings(*(_revision(p, k, c, files=True) for p, k, c in sides)))
    assert ["a full reload follows" in f.text for f in found] == [True]
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
    assert "a full reload follows" in found.text
    (found,) = source_findings(revision(["id"]), revision(["id"], primary_key="number"))
    why = "rows in raw were merged by the old key" if key else "rows that were added several times stay"
    assert f"a full reload follows, as {why}" in found.text
    (found,) = source_findings(revision(["id"], columns={"exclude": ["note"]}), revision(["id"]))
    assert "as rows loaded before have null in the new column" in found.text


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


def _load_of(files: bool) -> dict[str, Any]:
    return {"kind": "files", "url": "in"} if files else {"kind": "database", "connection": "shop"}


def _declare(project: Project, keys: Mapping[str, Any], columns: Any, *, files: bool = False) -> None:
    project.declare("shop", _load_of(files), {"orders": keys}, {"orders": columns} if columns else None)


def _revision(project: Project, keys: Mapping[str, Any], columns: Any, *, files: bool = False) -> Revision:
    """The declaration as dbt has it in its manifest."""
    table = {
        "source_name": "shop",
        "name": "orders",
        "columns": {n: {"name": n, "data_type": t} for n, t in (columns or {}).items()},
        "config": {"meta": {"load": dict(keys)}},
        "source_meta": {"load": _load_of(files)},
    }
    return Revision(project.root, "", {"sources": {"source.x.shop.orders": table}})
