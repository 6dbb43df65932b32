"""Lineage clause by clause: exactly these sources, exactly these influences; unknown where it cannot be told."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from sluice.dbt.manifest import Manifest
from sluice.errors import SluiceError
from sluice.lineage import (
    EdgeType,
    Graph,
    QueryLineage,
    Ref,
    column_lineage,
    describe,
    export_openlineage,
    load_graph,
    read_project,
    text_tree,
)
from sluice.lineage.query_lineage import field_path
from sluice.lineage.render import closure_json

SCHEMA = {
    "t": {
        "a": "integer",
        "b": "integer",
        "c": "integer",
        "k": "integer",
        "at": "timestamp",
        "l": "integer[]",
        "s": "struct(x integer, y struct(z integer))",
        "page": "json",
    },
    "u": {"k": "integer", "b": "integer", "v": "integer"},
}


def shown(lineage: QueryLineage) -> dict[str, str]:
    """Column -> "sources | influences of its own"; key `rows` for those on every column, `*` for open columns."""
    columns = [*lineage.columns, *([lineage.open] if lineage.open else [])]
    texts = {
        column.name: " ".join(sorted(f"{v.table}.{field_path(v.column, v.path)}" for v in column.values))
        + "".join(
            f" | {text}"
            for text in sorted(f"{i.kind} {i.table}.{field_path(i.column, i.path)}" for i in column.own)
        )
        for column in columns
    }
    texts["rows"] = " | ".join(
        sorted(f"{i.kind} {i.table}.{field_path(i.column, i.path)}" for i in lineage.rows)
    )
    return texts


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select a, b + c as d from t", {"a": "t.a", "d": "t.b t.c", "rows": "rows t.*"}),
        ("select count(*) as n from t", {"n": "", "rows": "rows t.*"}),
        ("select a from t where b > 1 and c = 2", {"a": "t.a", "rows": "filter t.b | filter t.c | rows t.*"}),
        (
            "select sum(a) over w as s, rank() over (w order by at) as r from t window w as (partition by k)",
            {
                "s": "t.a | window_partition t.k",
                "r": " | window_order t.at | window_partition t.k",
                "rows": "rows t.*",
            },
        ),
        (
            "select a from t qualify row_number() over (partition by k order by at desc) = 1",
            {"a": "t.a", "rows": "rows t.* | window_order t.at | window_partition t.k"},
        ),
        ("select a from t qualify a > 1", {"a": "t.a", "rows": "qualify t.a | rows t.*"}),
        (
            "select k, max(a) as m from t group by all having count(b) > 1",
            {"k": "t.k", "m": "t.a", "rows": "group t.k | having t.b | rows t.*"},
        ),
        (
            "select case when b > 1 then a else c end as x, nullif(a, k) as y from t",
            {"x": "t.a t.c | condition t.b", "y": "t.a | condition t.k", "rows": "rows t.*"},
        ),
        (
            "select sum(a) filter (where b > 1) as s, arg_max(a, at) as m, list(a order by k) as l from t",
            {
                "s": "t.a | filter t.b",
                "m": "t.a | aggregate_order t.at",
                "l": "t.a | aggregate_order t.k",
                "rows": "rows t.*",
            },
        ),
        ("select a from t order by b", {"a": "t.a", "rows": "rows t.*"}),
        ("select a from t order by b limit 1", {"a": "t.a", "rows": "order_limit t.b | rows t.*"}),
        (
            "select a from (select a, b from t order by b) limit 1",
            {"a": "t.a", "rows": "order_limit t.b | rows t.*"},
        ),
        ("select distinct a from t", {"a": "t.a", "rows": "distinct t.a | rows t.*"}),
        (
            "select distinct on (k) a from t order by k, at",
            {"a": "t.a", "rows": "distinct t.at | distinct t.k | rows t.*"},
        ),
        (
            "select k, v, t.k as left_k from t right join u using (k)",
            {"k": "u.k", "v": "u.v", "left_k": "t.k", "rows": "join t.k | join u.k | rows t.* | rows u.*"},
        ),
        (
            "select k from t full join u using (k)",
            {"k": "t.k u.k", "rows": "join t.k | join u.k | rows t.* | rows u.*"},
        ),
        (
            "select a from t semi join u on t.k = u.k and u.v > 1",
            {"a": "t.a", "rows": "join t.k | join u.k | join u.v | rows t.* | rows u.*"},
        ),
        (
            "select v from (select k, b from t) natural join u",
            {"v": "u.v", "rows": "join t.b | join t.k | join u.b | join u.k | rows t.* | rows u.*"},
        ),
        (
            "select a from t where exists (select 1 from u where u.k = t.k)",
            {"a": "t.a", "rows": "exists t.k | exists u.* | exists u.k | rows t.*"},
        ),
        (
            "select a from t where b in (select v from u)",
            {"a": "t.a", "rows": "filter t.b | in_subquery u.v | rows t.* | rows u.*"},
        ),
        (
            "select (select max(v) from u where u.k = t.k) as m from t",
            {"m": "u.v | filter t.k | filter u.k | rows u.*", "rows": "rows t.*"},
        ),
        (
            "select a from t union all select v from u",
            {"a": "t.a u.v", "rows": "rows t.* | rows u.*"},
        ),
        (
            "select a from t except select v from u",
            {"a": "t.a", "rows": "rows t.* | rows u.* | set_operation t.a | set_operation u.v"},
        ),
        (
            "select * exclude (at, l, s, page, k) replace (a + c as a) rename (b as d) from t",
            {"a": "t.a t.c", "d": "t.b", "c": "t.c", "rows": "rows t.*"},
        ),
        ("select columns('^[ab]$') from t", {"a": "t.a", "b": "t.b", "rows": "rows t.*"}),
        ("select max(columns(c -> c in ('a', 'b'))) from t", {"a": "t.a", "b": "t.b", "rows": "rows t.*"}),
        (
            "select a * 2 as d, d + b as e from t where e > 1",
            {"d": "t.a", "e": "t.a t.b", "rows": "filter t.a | filter t.b | rows t.*"},
        ),
        ("select b as a, a as b from t", {"a": "t.b", "b": "t.a", "rows": "rows t.*"}),
        ("select unnest(l) as x from t", {"x": "t.l[]", "rows": "rows t.* | unnest t.l"}),
        ("select x from t, unnest(t.l) q(x)", {"x": "t.l[]", "rows": "rows t.* | unnest t.l"}),
        ("select s.y.z, s.* from t", {"z": "t.s.y.z", "x": "t.s.x", "y": "t.s.y", "rows": "rows t.*"}),
        (
            "with p as (select page -> 'meta' as m from t) select m ->> '$.lang' as lang from p",
            {"lang": "t.page.meta.lang", "rows": "rows t.*"},
        ),
        ("select lower(page -> 'a') as x from t", {"x": "t.page.a", "rows": "rows t.*"}),
        (
            "select [x + a for x in l if x > b] as y, list_filter(l, x -> x > c) as z from t",
            {
                "y": "t.a t.l[] | condition t.b | condition t.l[] | unnest t.l",
                "z": "t.l | condition t.c | condition t.l[]",
                "rows": "rows t.*",
            },
        ),
        (
            "select line.value ->> 'sku' as sku from t, json_each(t.page, '$.lines') line",
            {"sku": "t.page.lines[].sku", "rows": "rows t.* | unnest t.page.lines"},
        ),
        (
            """with recursive r as (
                select k, a from t where b = 0 union all select t.k, r.a from t join r on t.c = r.k
            ) select k, a from r""",
            {"k": "t.k", "a": "t.a", "rows": "filter t.b | join t.c | join t.k | rows t.*"},
        ),
        (
            "pivot t on b in (1, 2) using sum(a) as s group by k",
            {"k": "t.k", "1_s": "t.a", "2_s": "t.a", "rows": "group t.k | pivot t.b | rows t.*"},
        ),
        (
            "unpivot (select k, a, b from t) on a, b into name n value v",
            {"k": "t.k", "n": "", "v": "t.a t.b", "rows": "pivot t.a | pivot t.b | rows t.*"},
        ),
        (
            "select v from t left join lateral (select v from u where u.k = t.k order by u.b limit 1) on true",
            {"v": "u.v", "rows": "filter t.k | filter u.k | order_limit u.b | rows t.* | rows u.*"},
        ),
        (
            "select v from t asof join u on t.k = u.k and t.a >= u.b",
            {"v": "u.v", "rows": "join t.a | join t.k | join u.b | join u.k | rows t.* | rows u.*"},
        ),
        ("select x from (values (1, 2)) as w(x, y)", {"x": "", "rows": ""}),
        ("insert into target select a from t", {"a": "t.a", "rows": "rows t.*"}),
    ],
)
def test_query(sql: str, expected: dict[str, str]) -> None:
    lineage = column_lineage(sql, SCHEMA)
    assert lineage.unknowns == ()
    assert shown(lineage) == expected


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("select my_macro(a) as x from t", "function my_macro is not one of DuckDB's own"),
        ("select * from read_parquet('x.parquet')", "table function read_parquet"),
        ("select nothing from t", "no such column"),
        ("select * from elsewhere", "columns whose names"),
        ("select a from t natural join elsewhere", "natural join of a table"),
        ("select a from t where from", "not parsed"),
        ("select 1; select 2", "not exactly one statement"),
        ("drop table t", "not a query"),
        ("select sum(a) over w from t", "no such named window"),
        ("pivot t on b using sum(a) group by k", "columns whose names"),
        ("select json_extract_path_text(page, 'x', k) as y from t", "the parser lost this name"),
        ("select date_trunc(page, at) as y from t", "the parser lost this name"),
        ("select columns('a') from elsewhere", "which columns are meant"),
    ],
)
def test_what_cannot_be_told_is_unknown(sql: str, reason: str) -> None:
    lineage = column_lineage(sql, SCHEMA)
    assert any(reason in unknown.reason for unknown in lineage.unknowns), lineage.unknowns


def test_units_of_time_are_no_lost_names() -> None:
    schema = {"t": {"at": "timestamp", "year": "integer", "day": "integer", "name": "text"}}
    sql = """
        select extract(year from at) as y, at + interval 1 day as d, at - interval (year) day as e, year, name
        from t union all by name select day as year from t
    """
    lineage = column_lineage(sql, schema)
    assert lineage.unknowns == ()
    assert shown(lineage)["e"] == "t.at t.year"


def test_what_the_parser_loses_makes_every_column_unknown() -> None:
    lineage = column_lineage("select date_trunc(page, at) as y, a from t", SCHEMA)
    assert all(column.unknown for column in lineage.columns)


def test_unknown_function_keeps_its_arguments_as_sources() -> None:
    column = column_lineage("select my_macro(a) as x from t", SCHEMA).columns[0]
    assert column.value_columns == {("t", "a")}
    assert column.unknown


def test_known_macros_are_followed() -> None:
    macros = (
        "create macro net(x, y) as x - y * (select max(v) from u)",
        "create or replace macro above(least) as table select a, b from t where c > least",
    )
    scalar = column_lineage("select net(a, b) as n from t", SCHEMA, macros=macros)
    assert shown(scalar)["n"] == "t.a t.b u.v | rows u.*"
    table = column_lineage("select a from above(3)", SCHEMA, macros=macros)
    assert shown(table) == {"a": "t.a", "rows": "filter t.c | rows t.*"}
    assert scalar.unknowns == table.unknowns == ()


def test_dynamic_pivot_knows_what_its_unnamed_columns_depend_on() -> None:
    lineage = column_lineage("pivot t on b using sum(a) group by k", SCHEMA)
    column = lineage.column("2024")
    assert column is not None
    assert column.value_columns == {("t", "a")}
    assert ("t", "b") in column.influence_columns


def test_unknown_table_is_named_by_what_the_query_names() -> None:
    lineage = column_lineage("select x.a, x.b from far.away as x", {})
    assert [column.value_columns for column in lineage.columns] == [{("far.away", "a")}, {("far.away", "b")}]


def test_partly_known_table_keeps_the_way_for_other_columns() -> None:
    lineage = column_lineage("select * from t", {"t": {"a": "integer", "*": ""}})
    other = lineage.column("z")
    assert other is not None
    assert other.value_columns == {("t", "z")}


def test_json_round_trip() -> None:
    lineage = column_lineage("select page ->> 'a' as x, my_macro(b) as y from t where c > 1", SCHEMA)
    assert QueryLineage.from_json(json.loads(json.dumps(lineage.to_json()))) == lineage


# -- projects


def model(name: str, sql: str | None, parents: list[str], **more: Any) -> dict[str, Any]:
    return {
        "unique_id": f"model.p.{name}",
        "resource_type": "model",
        "name": name,
        "relation_name": f'"w"."main"."{name}"',
        "compiled_code": sql,
        "columns": {},
        "config": {"materialized": "table"},
        "depends_on": {"nodes": parents},
        **more,
    }


def column(name: str, data_type: str = "", **meta: str) -> dict[str, Any]:
    return {"name": name, "data_type": data_type, "config": {"meta": meta}}


@pytest.fixture
def manifest() -> dict[str, Any]:
    source = {
        "unique_id": "source.p.web.views",
        "source_name": "web",
        "name": "views",
        "identifier": "views",
        "relation_name": '"raw"."web"."views"',
        "columns": {"id": column("id", "text", field="eventId"), "page": column("page", "json")},
        "config": {"meta": {"owner": "web@example.com", "load": {"stream": "WEB", "subject": "web.views"}}},
        "source_meta": {"load": {"kind": "stream", "connection": "web"}},
    }
    seed = {
        "unique_id": "seed.p.kinds",
        "resource_type": "seed",
        "name": "kinds",
        "relation_name": '"w"."seeds"."kinds"',
        "columns": {},
        "config": {"column_types": {"kind": "text"}},
        "original_file_path": "seeds/kinds.csv",
        "depends_on": {"nodes": []},
    }
    first = "with source as (select * from raw.web.views) select id as view_id, page, _sequence as number from source"
    second = (
        "with __dbt__cte__eph as (select kind from w.seeds.kinds) "
        "select view_id, page ->> '$.kind' as kind, page ->> '$.path' as path "
        "from w.main.stg_views join __dbt__cte__eph e on e.kind = page ->> '$.kind' where number > 1"
    )
    third = "select kind, count(*) as view_count from w.main.fct_views group by kind"
    models = [
        model("stg_views", first, ["source.p.web.views"]),
        model("eph", "select kind from w.seeds.kinds", ["seed.p.kinds"], config={"materialized": "ephemeral"},
              relation_name=None),
        model("fct_views", second, ["model.p.stg_views", "model.p.eph"]),
        model("rpt_views", third, ["model.p.fct_views"]),
        model("by_hand", None, ["model.p.fct_views"], columns={"kind": column("kind")}),
    ]  # fmt: skip
    exposure = {
        "unique_id": "exposure.p.board",
        "name": "board",
        "owner": {"email": "board@example.com"},
        "depends_on": {"nodes": ["model.p.rpt_views"]},
    }
    return {
        "sources": {source["unique_id"]: source},
        "nodes": {node["unique_id"]: node for node in [seed, *models]},
        "exposures": {exposure["unique_id"]: exposure},
    }


@pytest.fixture
def graph(manifest: dict[str, Any], tmp_path: Path) -> Graph:
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds" / "kinds.csv").write_text("kind,reason\nhome,-\n", encoding="utf-8")
    return load_graph(Manifest(manifest), root=tmp_path)


def test_upstream_reaches_the_field_in_the_source(graph: Graph) -> None:
    found = {(r.ref, r.type, r.field): r for r in graph.upstream("model.p.rpt_views", "kind")}
    page = found[Ref("source.p.web.views", "page"), EdgeType.VALUE, "page.kind"]
    assert page.kinds == {"transformation"}
    assert page.path == (
        Ref("model.p.rpt_views", "kind"),
        Ref("model.p.fct_views", "kind"),
        Ref("model.p.stg_views", "page"),
        Ref("source.p.web.views", "page"),
    )
    sequence = found[Ref("source.p.web.views", "_sequence"), EdgeType.INFLUENCE, "_sequence"]
    assert sequence.kinds == {"filter"}
    assert found[Ref("seed.p.kinds", "kind"), EdgeType.INFLUENCE, "kind"].kinds == {"join"}
    assert found[Ref("source.p.web.views", "*"), EdgeType.INFLUENCE, "*"].kinds == {"rows"}


def test_downstream_follows_only_the_field_asked_for(graph: Graph) -> None:
    path = {r.ref for r in graph.downstream("source.p.web.views", "page", ("path",))}
    assert Ref("model.p.fct_views", "path") in path
    assert Ref("model.p.fct_views", "kind") not in path
    kind = {
        r.ref for r in graph.downstream("source.p.web.views", "page", ("kind",)) if r.type is EdgeType.VALUE
    }
    assert {Ref("model.p.rpt_views", "kind"), Ref("exposure.p.board", "*")} <= kind


def test_count_depends_on_rows_only(graph: Graph) -> None:
    found = graph.upstream("model.p.rpt_views", "view_count")
    assert not [r for r in found if r.type is EdgeType.VALUE]
    assert Ref("source.p.web.views", "*") in {r.ref for r in found}


def test_ephemeral_models_stay_nodes(graph: Graph) -> None:
    assert Ref("model.p.eph", "kind") in {r.ref for r in graph.upstream("model.p.fct_views", "kind")}


def test_model_without_sql_may_depend_on_anything_of_its_parents(graph: Graph) -> None:
    assert [node for node, _ in graph.unknowns] == ["model.p.by_hand"]
    found = {r.ref: r.type for r in graph.downstream("source.p.web.views", "id")}
    assert found[Ref("model.p.by_hand", "kind")] is EdgeType.UNKNOWN


def test_names_are_found_and_mistakes_explained(graph: Graph) -> None:
    assert graph.find("web.views.page.kind") == (Ref("source.p.web.views", "page"), ("kind",))
    assert graph.find("model.p.rpt_views.kind") == (Ref("model.p.rpt_views", "kind"), ())
    with pytest.raises(SluiceError, match=r"has no column nonsense\. It has: kind, view_count"):
        graph.find("rpt_views.nonsense")
    with pytest.raises(SluiceError, match="nobody is no model"):
        graph.find("nobody.kind")


def test_a_model_that_reads_itself_ends(manifest: dict[str, Any]) -> None:
    node = manifest["nodes"]["model.p.rpt_views"]
    node["compiled_code"] += " having count(*) > (select max(view_count) from w.main.rpt_views)"
    graph = load_graph(Manifest(manifest))
    assert Ref("model.p.rpt_views", "view_count") in {
        r.ref for r in graph.upstream("model.p.rpt_views", "kind")
    }


def test_snapshot_adds_its_columns(manifest: dict[str, Any]) -> None:
    config = {"unique_key": "view_id", "strategy": "timestamp", "updated_at": "number"}
    snapshot = model("snap", "select * from w.main.stg_views", ["model.p.stg_views"], config=config)
    snapshot |= {"unique_id": "snapshot.p.snap", "resource_type": "snapshot"}
    manifest["nodes"]["snapshot.p.snap"] = snapshot
    found = load_graph(Manifest(manifest)).upstream("snapshot.p.snap", "dbt_valid_from")
    kinds = {r.ref: r.kinds for r in found if r.ref.node == "model.p.stg_views"}
    assert kinds[Ref("model.p.stg_views", "number")] == {"snapshot"}


def test_catalog_closes_a_source(manifest: dict[str, Any]) -> None:
    manifest["nodes"]["model.p.stg_views"]["compiled_code"] = "select * from raw.web.views"
    catalog = {
        "sources": {
            "source.p.web.views": {
                "columns": {
                    "id": {"name": "id", "type": "VARCHAR", "index": 1},
                    "extra": {"name": "extra", "type": "INTEGER", "index": 2},
                }
            }
        }
    }
    assert load_graph(Manifest(manifest)).nodes["model.p.stg_views"].is_open
    node = load_graph(Manifest(manifest), catalog).nodes["model.p.stg_views"]
    assert list(node.columns) == ["id", "extra"]
    assert not node.is_open


def test_cache_gives_the_same_graph(manifest: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "lineage" / "cache.sqlite"
    plain = load_graph(Manifest(manifest)).to_json()
    assert load_graph(Manifest(manifest), cache_file=file).to_json() == plain
    assert load_graph(Manifest(manifest), cache_file=file).to_json() == plain
    manifest["nodes"]["model.p.rpt_views"]["compiled_code"] = "select path as kind from w.main.fct_views"
    assert (
        load_graph(Manifest(manifest), cache_file=file).to_json()
        == load_graph(Manifest(manifest)).to_json()
        != plain
    )


def test_broken_cache_is_thrown_away(manifest: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "cache.sqlite"
    file.write_bytes(b"this is no database" * 100)
    assert (
        load_graph(Manifest(manifest), cache_file=file).to_json() == load_graph(Manifest(manifest)).to_json()
    )
    assert (
        load_graph(Manifest(manifest), cache_file=file).to_json() == load_graph(Manifest(manifest)).to_json()
    )


def test_text_tree(graph: Graph) -> None:
    assert text_tree(graph, "rpt_views.kind").splitlines()[:4] == [
        "rpt_views.kind",
        "└─ identity: fct_views.kind",
        "   └─ transformation: stg_views.page.kind",
        "      └─ identity: web.views.page.kind  [stream web: web.views, field page.kind]",
    ]
    down = text_tree(graph, "web.views.id", up=False)
    assert "[stream web: web.views, field eventId]" in down.splitlines()[0]
    assert "└─ identity: stg_views.view_id" in down
    influences = text_tree(graph, "kinds.kind", up=False)
    assert "board of board@example.com: its rows, so every column (join)" in influences


def test_closure_json(graph: Graph) -> None:
    data = closure_json(graph, "fct_views.view_id")
    top = [r for r in data["reached"] if r["type"] == "value"][-1]
    assert (top["name"], top["column"], top["source_field"]) == ("web.views", "id", "eventId")
    assert top["path"] == ["fct_views.view_id", "stg_views.view_id", "web.views.id"]
    assert data["direction"] == "up"


def test_a_project_is_read_from_its_manifest(manifest: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="Run `dbt compile` first"):
        read_project(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert "fct_views.kind" in describe(read_project(tmp_path), "rpt_views.kind")
    assert (
        json.loads(describe(read_project(tmp_path), "rpt_views.kind", as_json=True))["column"]
        == "rpt_views.kind"
    )


def test_openlineage_files(graph: Graph, tmp_path: Path) -> None:
    time = dt.datetime(2026, 9, 30, tzinfo=dt.UTC)
    files = {file.stem: file for file in export_openlineage(graph, tmp_path / "out", time=time)}
    assert set(files) == {"stg_views", "eph", "fct_views", "rpt_views", "by_hand"}
    event = json.loads(files["fct_views"].read_text(encoding="utf-8"))
    assert event["schemaURL"].endswith("#/$defs/JobEvent")
    assert [dataset["name"] for dataset in event["inputs"]] == ["w.main.stg_views", "eph"]
    facet = event["outputs"][0]["facets"]["columnLineage"]
    (field,) = facet["fields"]["kind"]["inputFields"]
    assert (field["name"], field["field"]) == ("w.main.stg_views", "page")
    assert field["transformations"] == [
        {"type": "DIRECT", "subtype": "TRANSFORMATION", "description": "field page.kind", "masking": False}
    ]
    rows = {(i["field"], t["type"], t["subtype"]) for i in facet["dataset"] for t in i["transformations"]}
    assert rows == {
        ("page", "INDIRECT", "JOIN"),
        ("kind", "INDIRECT", "JOIN"),
        ("number", "INDIRECT", "FILTER"),
    }


@pytest.mark.parametrize(
    ("sql", "sources"),
    [
        ("select (row(a, b)::struct(p int, q text)).q as c from t", {"b"}),
        ("select s.p as c from (select (a, b)::struct(p int, q text) as s from t)", {"a"}),
        ("select (row(a, b)::varchar) as c from t", {"a", "b"}),
        ("select (row(a, row(b, a))::struct(p int, q struct(r text, s int))).q.r as c from t", {"b"}),
        ("select s.q.s as c from (select {'q': (b, a)}::struct(q struct(r text, s int)) as s from t)", {"a"}),
        ("select map {b: a} as c from t", {"a", "b"}),
        ("select map {lower(b): 1, 'k': 2} as c from t", {"b"}),
        ("select map {} as c from t", set()),
        ("select grouping(a) as c from t group by rollup (a, b)", set()),
        ("select grouping_id(a, b) as c from t group by cube (a, b)", set()),
        ("select a as c, b as a from t", {"a"}),
        ("select a as c, b / 100 as a from of_unknown_columns", {"a"}),
        ("select b as a, a as c from t", {"a"}),
        ("select b as d, d as c from t", {"b"}),
        ("select sum(a) over (order by b groups between 1 preceding and current row) as c from t", {"a"}),
        ("select sum(a) over (order by b groups unbounded preceding) as c from t", {"a"}),
        ("select groups as c from (select a as groups from t) where groups between 1 and 2", {"a"}),
    ],
)
def test_a_value_has_these_sources_and_no_others(sql: str, sources: set[str]) -> None:
    lineage = column_lineage(sql, {"t": {"a": "integer", "b": "varchar"}})
    found = next(column for column in lineage.columns if column.name == "c")
    assert {column for _, column in found.value_columns} == sources
    assert not found.unknown
