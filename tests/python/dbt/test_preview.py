"""`sluice show` compiles to the SQL that dbt compiles to, and leaves to dbt what it cannot be sure of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from sluice.config.settings import Settings
from sluice.dbt import preview as module
from sluice.dbt.kept_parse import KeptParse, StaleParseError, read_kept_parse, refuse_stale
from sluice.dbt.preview import preview
from sluice.dbt.rendering import Renderer, UnsureError
from sluice.dbt.runner import dbt
from sluice.errors import LockedError, SluiceError, UsageError

FILES = {
    "dbt_project.yml": """
name: small
profile: small
models: {+materialized: table}
vars: {factor: 3, small: {limit: 7}, words: [a, b]}
flags: {send_anonymous_usage_stats: false}
""",
    "profiles.yml": "small: {target: dev, outputs: {dev: {type: duckdb, path: warehouse/warehouse.duckdb,"
    " settings: {TimeZone: Europe/Berlin}}}}\n",
    "macros/times.sql": "{% macro times(x, by=var('factor')) -%}\n    ({{ x }} * {{ by }})\n{%- endmacro %}",
    "macros/columns.sql": "{% macro columns() %}{{ return(['id', times('id') ~ ' as many']) }}{% endmacro %}",
    "macros/wrapped.sql": "{% macro wrapped() %}({{ caller() }}){% endmacro %}",
    "seeds/colours.csv": "id,colour\n1,red\n2,\n",
    "models/_all.yml": """
sources: [{name: shop, database: warehouse, schema: shop, tables: [{name: orders, identifier: order_rows}]}]
models:
  - {name: aliased, config: {alias: other_name}}
  - {name: grown, config: {materialized: incremental}}
  - name: versioned
    latest_version: 2
    versions: [{v: 1}, {v: 2}]
""",
    "models/base.sql": "select 1 as id, 'a' as name union all select 2, null order by id",
    "models/sourced.sql": "select * from {{ source('shop', 'orders') }}",
    "models/aliased.sql": "select * from {{ ref('base') }}",
    "models/named.sql": "select * from {{ ref('small', 'aliased') }} join {{ ref('colours') }} using (id)",
    "models/versioned_v1.sql": "select 1 as id",
    "models/versioned_v2.sql": "select 2 as id",
    "models/newest.sql": "select * from {{ ref('versioned') }} union all select * from {{ ref('versioned', v=1) }}",
    "models/thin.sql": "{{ config(materialized='ephemeral') }}select * from {{ ref('base') }}",
    "models/thinner.sql": "{{ config(materialized='ephemeral', alias='thinnest') }}\n"
    "with t as (select * from {{ ref('thin') }}) select * from t",
    "models/thick.sql": "-- with a comment\n/* and one more */\nWITH recursive t as (select * from {{ ref('thinner') }})\n"
    "select t.* from t join {{ ref('thin') }} using (id)",
    "models/bare.sql": "select * from {{ ref('thin') }}",
    "models/grown.sql": "select * from {{ ref('base') }}{% if is_incremental() %}\n"
    "where id > (select max(id) - 1 from {{ this }}){% endif %}",
    "models/looped.sql": "{% set found = columns() %}\nselect {% for c in found %}{{ c }}{{ ',' if not loop.last }} "
    "{% endfor %} from {{ ref('base') }} limit {{ var('limit') }}",
    "models/spelled.sql": "select '{{ env_var('SHOWN', 'x') }}' as a, '{{ target.name }}.{{ target.schema }}' as b, "
    "'{{ this.identifier }}' as c, '{{ this }}' as d, {{ var('nothing', 4) }} as e, "
    "{% call wrapped() %}{{ times(2, by=5) }}{% endcall %} as f, {{ execute }} as g, "
    "'{{ var('words') | join('-') }}' as h {% do var('words') %}{# nothing #}",
    "models/zoned.sql": "select timestamptz '2026-01-01 12:00:00+00' as at, 1.10::decimal(9,2) as price, "
    "[1, null] as several, null as nothing, 'nan'::double as odd",
    "models/asking.sql": "select {{ 1 if adapter.get_relation(this.database, this.schema, 'base') else 0 }} as found",
    "models/querying.sql": "select {{ run_query('select 41 + 1').columns[0].values()[0] if execute else 0 }} as x",
    "models/dispatched.sql": "select {{ dbt.length(\"'abc'\") }} as x",
    "models/started.sql": "select '{{ run_started_at }}' <> '' as x",
}
FOR_DBT = {"asking": "adapter", "querying": "run_query", "dispatched": "dbt", "started": "run_started_at"}
"""Models that only dbt compiles, and a word of the reason."""
OWN = sorted(
    Path(name).stem
    for name in FILES
    if name.startswith("models/") and name.endswith(".sql") and Path(name).stem not in FOR_DBT
)
Write = Callable[[str, str], None]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The project, built by dbt."""
    root = tmp_path_factory.mktemp("shown")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / "warehouse").mkdir()
    with duckdb.connect(str(root / "warehouse" / "warehouse.duckdb")) as con:
        con.execute("create schema shop; create table shop.order_rows as select 7 as order_id")
    settings = Settings(root=root, home=root / "warehouse")
    assert dbt(settings, ["build", "--threads", "1"], quiet=True) == 0
    assert dbt(settings, ["compile", "--threads", "1", "--target-path", "target/compared"], quiet=True) == 0
    return settings


@pytest.fixture
def write(built: Settings) -> Iterator[Write]:
    """Writes a file of the project, which is as it was after the test."""

    def change(name: str, text: str) -> None:
        (built.root / name).write_text(text, encoding="utf-8")

    yield change
    for file in (f for folder in ("models", "macros") for f in (built.root / folder).iterdir()):
        if f"{file.parent.name}/{file.name}" not in FILES:
            file.unlink()
    for name, text in FILES.items():
        if not (built.root / name).is_file() or (built.root / name).read_text(encoding="utf-8") != text:
            change(name, text)
    shutil.rmtree(built.target / "show", ignore_errors=True)


@pytest.fixture
def without_dbt(monkeypatch: pytest.MonkeyPatch) -> None:
    """dbt must not be started."""

    def refuse(settings: Settings, name: str) -> None:
        raise AssertionError(f"dbt was started for {name}")

    monkeypatch.setattr(module, "_compiled", refuse)


def kept(settings: Settings, folder: str = "") -> KeptParse:
    found = read_kept_parse(settings.target / folder)
    assert found
    return found


def by_dbt(settings: Settings, folder: str, file: str) -> str:
    nodes = json.loads((settings.target / folder / "manifest.json").read_text(encoding="utf-8"))["nodes"]
    return next(
        str(n["compiled_code"])
        for n in nodes.values()
        if n["resource_type"] == "model" and Path(n["original_file_path"]).stem == file
    )


def ours(settings: Settings, file: str, folder: str = "", *, is_there: bool = True) -> str:
    parse = kept(settings, folder)
    refuse_stale(settings, parse)
    model = next(n for n in parse.models.values() if Path(n["original_file_path"]).stem == file)
    return Renderer(settings, parse, lambda *_: is_there).sql(model)


def spaced(sql: str) -> str:
    return " ".join(sql.split())


@pytest.mark.parametrize("file", OWN)
def test_the_sql_is_that_of_dbt(built: Settings, file: str) -> None:
    assert spaced(ours(built, file)) == spaced(by_dbt(built, "compared", file))


@pytest.mark.parametrize(("file", "reason"), FOR_DBT.items())
def test_what_only_dbt_knows_is_not_guessed(built: Settings, file: str, reason: str) -> None:
    with pytest.raises(UnsureError, match=reason):
        ours(built, file)


@pytest.mark.parametrize(
    "text",
    [
        "select {{ graph.nodes | length }}",
        "{% if graph is defined %}select 1{% else %}select 2{% endif %}",
        "{% if config.get is defined %}select 1{% else %}select 2{% endif %}",
        "select {{ model.config.materialized }}",
        "select '{{ this.type }}'",
        "select '{{ ref('base').include(database=false) }}'",
        "select '{{ target.threads }}'",
        "select {{ var('not_declared') }}",
        "select '{{ env_var('SHOWN_NOT_SET') }}'",
        "select '{{ env_var('SLUICE_HOME', '') }}'",
        "select * from {{ ref('not_there') }}",
        "select * from {{ source('shop', 'not_there') }}",
        "select {{ unknown_macro() }}",
        "select {{ not_set }}",
        "{% macro own() %}1{% endmacro %}select {{ own() }}",
        "{{ config(alias='renamed') }}select 1",
        "select {{ 1 | not_a_filter }}",
        "select {% if %}",
        "select {{ modules.datetime.date.today() }}",
        "select {{ statement('x') }}",
        "select {{ small.times(1) }}",
    ],
)
def test_unknown_jinja_is_refused(built: Settings, write: Write, text: str) -> None:
    write("models/base.sql", text)
    with pytest.raises(UnsureError):
        ours(built, "base")


@pytest.mark.usefixtures("without_dbt")
def test_an_edited_file_is_shown_as_it_is_now(built: Settings, write: Write) -> None:
    write(
        "models/aliased.sql", "select {{ times('id', by=10) }} as ten from {{ ref('base') }} order by 1 desc"
    )
    found = preview(built, "aliased", 1)
    assert (found.values, found.columns, found.reason) == ([{"ten": 20}], ("ten",), "")


@pytest.mark.usefixtures("without_dbt")
def test_rows_are_those_of_the_model(built: Settings) -> None:
    found = preview(built, "base", 5)
    assert found.texts == [("1", "a"), ("2", None)]
    assert found.values == [{"id": 1, "name": "a"}, {"id": 2, "name": None}]
    assert preview(built, "base", 1).texts == [("1", "a")]
    zoned = preview(built, "zoned", 5)
    assert zoned.texts == [("2026-01-01 13:00:00+01", "1.10", "[1, NULL]", None, "nan")]
    json.dumps(zoned.values, allow_nan=False)
    assert [row["id"] for row in preview(built, "grown", 5).values] == [
        2
    ]  # more than the one before the last


def test_incremental_without_a_table(built: Settings) -> None:
    assert "where" not in ours(built, "grown", is_there=False)
    assert "where" in ours(built, "grown", is_there=True)


def test_an_edited_ephemeral_parent_counts(built: Settings, write: Write) -> None:
    write("models/thin.sql", FILES["models/thin.sql"] + " where id = 1")
    assert ours(built, "thick").count("where id = 1") == 1
    write("models/thin.sql", "{{ config(materialized='table') }}select * from {{ ref('base') }}")
    with pytest.raises(UnsureError, match="configuration"):
        ours(built, "thick")


def test_a_parent_that_is_called_otherwise_now_is_refused(built: Settings, write: Write) -> None:
    write("models/base.sql", "{{ config(alias='renamed') }}" + FILES["models/base.sql"])
    with pytest.raises(UnsureError, match="configuration"):
        ours(built, "aliased")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("macros/times.sql", "{% macro times(x, by=1) %}0{% endmacro %}"),
        ("macros/new.sql", "{% macro new() %}0{% endmacro %}"),
        ("models/new.sql", "select 1"),
        ("dbt_project.yml", FILES["dbt_project.yml"].replace("factor: 3", "factor: 4")),
        ("models/_all.yml", FILES["models/_all.yml"].replace("other_name", "another_name")),
    ],
)
def test_what_else_changed_lets_dbt_parse(built: Settings, write: Write, file: str, text: str) -> None:
    refuse_stale(built, kept(built))
    write(file, text)
    with pytest.raises(StaleParseError, match=file.rsplit("/", maxsplit=1)[-1]):
        refuse_stale(built, kept(built))


def test_a_file_that_is_gone_lets_dbt_parse(built: Settings, write: Write) -> None:
    (built.root / "models" / "bare.sql").unlink()
    with pytest.raises(StaleParseError, match=r"bare\.sql"):
        refuse_stale(built, kept(built))
    write("models/bare.sql", FILES["models/bare.sql"])


@pytest.mark.parametrize("name", ["SHOWN", "DBT_FULL_REFRESH", "DBT_ENGINE_EMPTY"])
def test_the_environment_lets_dbt_parse(built: Settings, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(StaleParseError, match=name):
        refuse_stale(built, kept(built))


def test_names_that_are_not_of_a_model(built: Settings) -> None:
    with pytest.raises(UsageError, match=r"no model bass\. Did you mean base"):
        preview(built, "bass", 5)
    with pytest.raises(UsageError, match=r'colours is a seed.*"warehouse"\."main"\."colours"'):
        preview(built, "colours", 5)
    with pytest.raises(UsageError, match="is a source"):
        preview(built, "shop.orders", 5)
    with pytest.raises(UsageError, match=r"versioned\.v"):
        preview(built, "versioned", 5)
    assert preview(built, "versioned.v1", 5).values == [{"id": 1}]


@pytest.mark.usefixtures("without_dbt")
def test_an_error_of_the_sql_names_file_and_line(built: Settings, write: Write) -> None:
    write("models/base.sql", "select 1 as id,\n    nothing_like_it as name")
    with pytest.raises(SluiceError, match=r"(?s)models/base\.sql: line 2 .*nothing_like_it.*LINE 2: "):
        preview(built, "base", 5)


def test_without_a_parse_or_a_warehouse(small: Settings, built: Settings) -> None:
    with pytest.raises(SluiceError, match="sluice build"):
        preview(small, "one", 5)
    file = built.warehouse
    file.rename(file.with_suffix(".away"))
    try:
        with pytest.raises(SluiceError, match=r"warehouse\.duckdb does not exist yet"):
            preview(built, "base", 5)
    finally:
        file.with_suffix(".away").rename(file)


def test_a_warehouse_that_is_written(built: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def held(*_: object, **__: object) -> None:
        raise LockedError("held")

    monkeypatch.setattr(module, "open_warehouse", held)
    with pytest.raises(LockedError):
        preview(built, "base", 5)


def test_dbt_compiles_what_it_alone_can(built: Settings, write: Write) -> None:
    found = preview(built, "querying", 5)
    assert (found.values, found.reason) == ([{"x": 42}], "it uses run_query")
    write("models/querying.sql", "select {{ run_query('select 1') }")
    with pytest.raises(SluiceError, match=r"(?s)dbt does not compile querying.*querying\.sql"):
        preview(built, "querying", 5)


@pytest.mark.full
def test_an_edited_macro_is_compiled_by_dbt_and_then_known(
    built: Settings, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("macros/times.sql", "{% macro times(x, by=1) %}{{ x }} + 100{% endmacro %}")
    first = preview(built, "looped", 5)
    assert "times.sql has changed" in first.reason
    assert [row["many"] for row in first.values] == [101, 102]
    monkeypatch.setattr(module, "_compiled", None)
    assert preview(built, "looped", 5) == replace(first, reason="", sql=ours(built, "looped", "show"))


@pytest.mark.full
@pytest.mark.usefixtures("write")
def test_a_profile_of_a_later_time_is_compared_by_dbt_once(
    built: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "profiles.yml").write_text(FILES["profiles.yml"], encoding="utf-8")
    monkeypatch.setenv("DBT_PROFILES_DIR", str(tmp_path))
    fresh = Settings(root=built.root, home=built.home)
    assert preview(fresh, "base", 5).reason.startswith("profiles.yml has changed")
    assert preview(fresh, "base", 5).reason == ""
    other = FILES["profiles.yml"].replace("type: duckdb", "schema: elsewhere, type: duckdb")
    (tmp_path / "profiles.yml").write_text(other, encoding="utf-8")
    fresh = Settings(root=built.root, home=built.home)
    with pytest.raises(SluiceError, match="elsewhere"):
        preview(fresh, "aliased", 5)


@pytest.mark.full
def test_a_changed_variable(built: Settings, write: Write) -> None:
    write("dbt_project.yml", FILES["dbt_project.yml"].replace("factor: 3", "factor: 9"))
    assert [row["many"] for row in preview(built, "looped", 5).values] == [9, 18]


@pytest.mark.full
@pytest.mark.usefixtures("write")
@pytest.mark.parametrize("model", ["base", "grown", "thick", "zoned", "versioned.v1"])
def test_rows_are_those_of_dbt_show(built: Settings, model: str, capfd: pytest.CaptureFixture[str]) -> None:
    ours = preview(built, model, 5).values
    showing = ["show", "--select", model, "--output", "json", "--target-path", "target/compared"]
    assert dbt(built, showing, quiet=True) == 0
    said = capfd.readouterr().out
    theirs = json.loads(said[said.index("{") : said.rindex("}") + 1])["show"]
    if model == "zoned":  # dbt writes lists and times as Python does
        assert [row["price"] for row in ours] == [row["price"] for row in theirs]
    else:
        assert ours == theirs
