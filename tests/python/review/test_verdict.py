"""A review says "safe" only of what it looked at, and never of what it measured to differ."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sluice.config.settings import Settings
from sluice.review import Level, Review, compare, html, markdown
from sluice.review.clauses import changed_clauses
from sluice.review.file_changes import file_findings
from sluice.review.model_changes import changes
from sluice.review.query_equivalence import same_meaning
from sluice.review.revision import Revision
from tests.python.review.test_scratch_build import ORDERS, SALES, revision, settings

__all__ = ["settings"]

NAMED = 'select id, email, amount + 7 as amount, day from "raw"."shop"."orders" where amount is not null'
REORDERED = NAMED.replace("id, email, amount + 7 as amount, day", "amount + 7 as amount, email, id, day")
MORE = NAMED.replace("is not null", "< 5")


def ids(found: Review) -> set[str]:
    return {f.id for f in found.findings if f.level > Level.SAFE}


def reviewed(
    settings: Settings,
    before: dict[str, str],
    after: dict[str, str],
    *,
    data: bool = True,
    **tests: tuple[str, str],
) -> Review:
    """The review of changed queries; tests: compiled SQL by name, before and after."""
    sides = [revision(settings.root, "base", **before), revision(settings.root, "head", **after)]
    for side, number in zip(sides, (0, 1), strict=True):
        nodes: Any = side.manifest["nodes"]
        for name, sql in tests.items():
            nodes[f"test.x.{name}"] = data_test(name, sql[number])
    return compare(settings if data else None, sides[0], sides[1], settings.root / "scratch")


def data_test(name: str, sql: str) -> dict[str, Any]:
    return {
        "resource_type": "test",
        "name": name,
        "attached_node": "model.x.sales",
        "column_name": "id",
        "test_metadata": {
            "name": name,
            "kwargs": {"to": "ref('orders')", "field": "id", "column_name": "id"},
        },
        "depends_on": {"nodes": ["model.x.sales"], "macros": []},
        "original_file_path": "models/_models.yml",
        "raw_code": "",
        "compiled_code": sql,
        "config": {"severity": "error"},
    }


# -- columns that are read by position ---------------------------------------------------------------


@pytest.mark.parametrize("data", [True, False])
@pytest.mark.parametrize("operator", ["union all", "union", "except", "intersect"])
def test_a_reader_by_position_is_not_safe(settings: Settings, operator: str, data: bool) -> None:
    sales = f'select * from "memory"."s"."orders" {operator} {MORE}'
    found = reviewed(
        settings, {"orders": NAMED, "sales": sales}, {"orders": REORDERED, "sales": sales}, data=data
    )
    assert found.verdict > Level.SAFE
    assert "meaning:sales" in ids(found)
    assert "columns-reordered:orders" not in ids(found)  # by name, all of its columns hold what they held


def test_a_table_that_differs_says_by_how_much_in_the_first_sentence(settings: Settings) -> None:
    sales = f'select * from "memory"."s"."orders" union all {MORE}'
    after = {
        "orders": REORDERED.replace("amount + 7 as amount", "amount * 10 as amount"),
        "sales": sales,
    }
    found = reviewed(settings, {"orders": NAMED, "sales": sales}, after)
    first = markdown(found).split("\n\n")[1]
    assert "`orders`: 90 rows as before, 90 changed" in first
    assert "its sum 5,130 → 45,000 (+777.2%)" in first


def test_one_row_is_not_rows(settings: Settings) -> None:
    after = SALES.replace("select id", "select case when id = 4 then -4 else id end as id")
    text = markdown(reviewed(settings, {}, {"sales": after}, failing=("select 1 where false", "select 1")))
    assert "rows as before, 1 is another one" in text
    assert "1 row fails, 0 before" in text
    assert not re.search("\\b1 (are|rows)\\b", text)


@pytest.mark.parametrize("data", [True, False])
def test_the_order_of_columns_is_safe_where_all_read_by_name(settings: Settings, data: bool) -> None:
    for sales in (SALES, f'select * from "memory"."s"."orders" union all by name {MORE}'):
        before, after = {"orders": NAMED, "sales": sales}, {"orders": REORDERED, "sales": sales}
        found = reviewed(settings, before, after, data=data)
        assert (found.verdict, ids(found)) == (Level.SAFE, set())
        assert "Nothing that was compared changes" in markdown(found) or "No value differs" in markdown(found)


def test_a_star_over_unknown_columns_is_not_safe(settings: Settings) -> None:
    """Nothing declares what the source's columns are, so nobody knows the order in which they arrive."""
    before = revision(settings.root, "base", orders="select * from raw.shop.anything")
    after = revision(settings.root, "head", orders="select *, 1 as one from raw.shop.anything")
    for side in (before, after):
        sales: Any = side.manifest["nodes"]["model.x.sales"]
        sales["compiled_code"] = 'select * from "memory"."s"."orders" union all select * from raw.shop.orders'
    assert "meaning:sales" in ids(compare(None, before, after, settings.root / "scratch"))


COLUMNS = {"w.s.a": {"x": "int", "y": "int"}, "w.s.b": {"x": "int", "y": "int"}}
OTHER_ORDER = {**COLUMNS, "w.s.a": {"y": "int", "x": "int"}}
MORE_COLUMNS = {**COLUMNS, "w.s.a": {"x": "int", "y": "int", "z": "int"}}


@pytest.mark.parametrize(
    ("sql", "after"),
    [
        ("select * from w.s.a union all select * from w.s.b", OTHER_ORDER),
        ("from w.s.a except from w.s.b", OTHER_ORDER),
        ("select a, b from w.s.a as q(a, b)", OTHER_ORDER),
        ("select a from w.s.a as a", OTHER_ORDER),
        ("select hash(a.*) as h from w.s.a as a", OTHER_ORDER),
        ("select * from w.s.a join w.s.b using (x)", OTHER_ORDER),
        ("insert into w.s.b select * from w.s.a", OTHER_ORDER),
        ("select a.x from w.s.a as a natural join w.s.b as b", MORE_COLUMNS),
        ("select min(columns(*)) from w.s.a", MORE_COLUMNS),
        ("pivot w.s.a on x using sum(y)", MORE_COLUMNS),
        ("select distinct * from w.s.a", MORE_COLUMNS),
        ("select x from (select a.x from w.s.a as a natural join w.s.b as b) as inner_one", MORE_COLUMNS),
    ],
)
def test_what_reads_columns_unnamed_means_something_else(sql: str, after: dict[str, dict[str, str]]) -> None:
    assert not same_meaning(sql, sql, COLUMNS, after)


@pytest.mark.parametrize(
    ("before", "after", "is_same"),
    [
        (
            "with q as (select x, y from w.s.a) select x from q",
            "with q as (select y, x from w.s.a) select x from q",
            True,
        ),
        ("select a from (values (1, 2)) as t(a, b)", "select a from (values (1, 2)) as t(b, a)", False),
        (
            "with q as (select x, count(*) as n from w.s.a group by all) select n from q",
            "with q as (select y, count(*) as n from w.s.a group by all) select n from q",
            False,
        ),
        (
            "select x from w.s.a where (x, y) in (select x, y from w.s.b)",
            "select x from w.s.a where (x, y) in (select y, x from w.s.b)",
            False,
        ),
    ],
)
def test_order_within_a_query(before: str, after: str, is_same: bool) -> None:
    assert same_meaning(before, after, COLUMNS, COLUMNS) is is_same


# -- tests ------------------------------------------------------------------------------------------

DUPLICATES = 'select id from "memory"."s"."sales" group by id having count(*) > 1'


@pytest.mark.parametrize(
    ("after", "finding"),
    [
        (DUPLICATES.replace("> 1", "> 2"), "test-weakened"),
        (DUPLICATES.replace("> 1", "> 1 and id > 5"), "test-weakened"),
        (DUPLICATES.replace("group by", "where id > 5 group by"), "test-weakened"),
        (DUPLICATES.replace("> 1", "> 0"), "test-changed"),
        (DUPLICATES.replace("select id", "SELECT  id -- x\n"), ""),
    ],
)
def test_what_a_generic_test_asks_is_compared(settings: Settings, after: str, finding: str) -> None:
    found = reviewed(settings, {}, {}, data=False, once=(DUPLICATES, after))
    assert ids(found) == ({f"{finding}:sales.id.once"} if finding else set())
    if finding == "test-weakened":
        assert found.verdict is Level.STOP


def test_a_relationship_that_breaks_says_how_many_and_which(settings: Settings) -> None:
    orphans = 'select s.id from "memory"."s"."sales" s left join "memory"."s"."orders" o on s.id = o.id where o.id is null'
    after = {"sales": SALES.replace("select id,", "select case when id > 60 then -id else id end as id,")}
    found = reviewed(settings, {}, after, relationships=(orphans, orphans))
    text = next(f.text for f in found.findings if f.id == "test-fails:sales.id.relationships")
    assert text == "`relationships` on `sales.id`: 36 rows have no match in `orders.id`, 0 before"
    assert found.verdict is Level.STOP
    assert "36 rows have no match in `orders.id`" in markdown(found).split("\n\n")[1]


def test_a_test_that_failed_before_is_no_finding(settings: Settings) -> None:
    failing = 'select id from "memory"."s"."sales" where id > 90'
    found = reviewed(
        settings, {}, {"sales": SALES.replace("amount,", "amount + 1 as amount,")}, high=(failing, failing)
    )
    assert not {i for i in ids(found) if i.startswith("test")}


# -- files --------------------------------------------------------------------------------------------


def file_ids(tmp_path: Path, files: dict[str, tuple[str, str]]) -> tuple[dict[str, str], list[str]]:
    sides = [Revision(tmp_path / name, name) for name in ("base", "head")]
    for name, texts in files.items():
        for side, text in zip(sides, texts, strict=True):
            (side.root / name).parent.mkdir(parents=True, exist_ok=True)
            (side.root / name).write_text(text, encoding="utf-8")
    found, unjudged = file_findings(sides[0], sides[1], list(files))
    assert all(f.level is Level.LOOK for f in found)
    return {f.id: f.text for f in found}, unjudged


def test_settings_code_and_versions_are_not_safe(tmp_path: Path) -> None:
    files = {
        "profiles.yml": ("x:\n  TimeZone: UTC\n", "x:\n  TimeZone: America/New_York\n  password: hunter2\n"),
        "requirements.lock": ("duckdb==1.4.1 \\\n    --hash=a\n", "duckdb==1.4.2 \\\n    --hash=b\n"),
        ".env.example": ("SHOP=a\n", "SHOP=topsecret\n"),
        ".github/workflows/check.yml": ("a: 1\n", "a: 2\n"),
        "packages.yml": ("packages: []\n", "packages: [{package: x/y, version: 1}]\n"),
        ".sqlfluff": ("rules = all\n", "rules = LT01\n"),
        "pipelines/shop.py": ("A = 1\n", "A = 2\n"),
        "what.bin": ("a", "b"),
        "dbt_project.yml": ("name: x\nvars: {days: 5}\n", "name: x\nvars: {days: 7}\nflags: {x: true}\n"),
        "docs/how.md": ("a", "b"),
    }
    found, unjudged = file_ids(tmp_path, files)
    assert set(found) == {
        *(
            f"setting:{f}"
            for f in ("profiles.yml", "requirements.lock", ".env.example", "packages.yml", ".sqlfluff")
        ),
        *(
            "setting:.github/workflows/check.yml",
            "setting:dbt_project.yml.vars.days",
            "setting:dbt_project.yml.flags.x",
        ),
        *("not-judged:pipelines", "not-judged:what.bin"),
    }
    assert unjudged == ["docs/how.md"]
    assert "`- TimeZone: UTC`, `+ TimeZone: America/New_York`" in found["setting:profiles.yml"]
    assert "`- duckdb==1.4.1`, `+ duckdb==1.4.2`" in found["setting:requirements.lock"]
    assert "5 → 7" in found["setting:dbt_project.yml.vars.days"]
    assert "hunter2" not in str(found)
    assert "topsecret" not in str(found)


# -- Jinja that a compile does not show ---------------------------------------------------------------


def test_a_branch_of_jinja_that_was_not_compiled_is_not_safe(settings: Settings) -> None:
    sides = revision(settings.root, "base"), revision(settings.root, "head")
    node: Any = sides[1].nodes("model")["model.x.orders"]
    node["raw_code"] = ORDERS + "{% if target.name == 'prod' %} and id > 5 {% endif %}"
    assert [m.how for m in changes(*sides, {})] == ["meaning"]
    for home in (None, settings):  # what was compiled is equal, and is not what will run
        assert "meaning:orders" in ids(compare(home, *sides, settings.root / "scratch"))


# -- personal data ------------------------------------------------------------------------------------


def test_a_missing_class_is_one_finding_per_column(settings: Settings) -> None:
    sides = revision(settings.root, "base"), revision(settings.root, "head")
    (settings.root / "audiences.yml").write_text(
        "audiences:\n- {name: one, description: a}\n- {name: two, description: b}\n", encoding="utf-8"
    )
    node: Any = sides[1].nodes("model")["model.x.sales"]
    node["config"]["grants"] = {"select": ["one", "two"]}
    found = compare(None, *sides, settings.root / "scratch")
    texts = [f.text for f in found.findings if f.kind in ("class-missing", "clear-text")]
    assert len(texts) == 1
    assert "publishing will refuse" in texts[0]
    assert "one, two" in texts[0]


def test_columns_that_are_lost_for_one_reason_are_one_finding(settings: Settings) -> None:
    sides = revision(settings.root, "base"), revision(settings.root, "head", sales="from read_csv('x.csv')")
    (settings.root / "audiences.yml").write_text(
        "audiences:\n- {name: one, description: a}\n", encoding="utf-8"
    )
    node: Any = sides[1].nodes("model")["model.x.sales"]
    node["config"]["grants"] = {"select": ["one"]}
    assert len(node["columns"]) > 1
    found = compare(None, *sides, settings.root / "scratch")
    (missing,) = [f for f in found.findings if f.kind == "class-missing"]
    assert missing.id == "class-missing:sales"
    assert "4 columns of `sales` declare no data class" in missing.text
    assert "table function read_csv" in missing.text


# -- words --------------------------------------------------------------------------------------------


def test_only_the_part_of_an_expression_that_differs_is_shown() -> None:
    long = "case when note = 'a' then 'first of all' when note = 'b' then 'second of all' else {} end"
    before, after = (f"select {long.format(x)} as c from t" for x in ("upper(trim(note))", "trim(note)"))
    (clause,) = changed_clauses(before, after)
    assert clause.text == "`c` changed: `upper(trim(note))` → `trim(note)`"


def test_code_is_not_escaped_twice(settings: Settings) -> None:
    found = reviewed(settings, {}, {"orders": ORDERS + " and id<amount+1"}, data=False)
    assert "`id < amount + 1`" in markdown(found)
    assert "&lt;" not in markdown(found)
    assert "<code>id &lt; amount + 1</code>" in html(found)


def test_keys_without_a_value_are_labelled(settings: Settings) -> None:
    before = {"sales": SALES.replace("select id,", "select nullif(id, 1) as id,") + " where amount < 3"}
    found = reviewed(settings, before, {"sales": before["sales"].replace("amount,", "amount + 1 as amount,")})
    page = markdown(found)
    assert "id (NULL in 1 row)" in page
    assert "id is NULL: 1 → 2" in page


def test_exposures_whose_data_did_not_change_are_not_asked(settings: Settings) -> None:
    found = reviewed(settings, {}, {"sales": SALES.replace("email, amount", "email || '.' as email, amount")})
    assert found.data.tables[-1].is_equal  # the report has no e-mail addresses
    assert "Ann" not in markdown(found)
    assert "Ann" in markdown(
        reviewed(settings, {}, {"sales": SALES.replace(" amount", " amount + 1 as amount")})
    )
