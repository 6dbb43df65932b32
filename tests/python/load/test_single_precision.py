"""A number of single precision arrives as the number it is written as: 9.8, not 9.800000190734863."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from servers import MariaDB, Postgres
from tests.python.extract.database.test_database import THROUGH_PYMYSQL, maria
from tests.python.project import Project

SHORT = [9.8, 0.1, -1.57, 16777216.0, 1234567.9, 3.4e38, 1e-40]
"""Numbers that single precision can tell apart, and that are written so by whoever prints it in full."""


def test_postgres(postgres_server: Postgres, tmp_path: Path) -> None:
    server = postgres_server
    values = ", ".join(f"({n}, '{value}', array['{value}'::real])" for n, value in enumerate(SHORT))
    server.sql(
        "drop table if exists single; create table single (id int primary key, x real, xs real[]);"
        f"insert into single values {values}, (90, 'NaN', null), (91, '-Infinity', null), (92, null, null)"
    )
    project = Project(tmp_path)
    project.connect("pg", url=server.url)
    project.declare(
        "pg",
        {"kind": "database", "connection": "pg"},
        {
            "single": {"primary_key": "id"},
            "declared": {"table": "single", "primary_key": "id"},
            "rising": {"table": "single", "primary_key": "id", "cursor": "x", "filter": "x < 100 and x > -2"},
        },
        {"declared": {"id": None, "x": "real"}},
    )
    outcome = project.load()
    assert not outcome.errors
    for table in ("single", "declared"):
        assert project.raw(f"select x from pg.{table} where id < 90 order by id") == [(v,) for v in SHORT]
        assert project.types(f"pg.{table}")["x"] == "DOUBLE"
    assert project.raw("select cast(xs as double[]) from pg.single where id < 90 order by id") == [
        ([v],) for v in SHORT
    ]
    assert project.raw("select x from pg.single where id > 90 order by id") == [(float("-inf"),), (None,)]
    assert project.load().rows == 0
    # 9.9 is a little less in single precision: the source must not be asked for what is at least 9.9
    server.sql("insert into single values (7, 9.9, null)")
    assert project.load("pg.rising")["rising"].rows == 1
    server.sql("insert into single values (8, 9.9, null)")
    assert project.load("pg.rising")["rising"].rows == 1


@pytest.mark.parametrize("driver", ["mysql", THROUGH_PYMYSQL])
def test_mariadb(mariadb_server: MariaDB, tmp_path: Path, driver: str) -> None:
    values = ", ".join(f"({n}, {value})" for n, value in enumerate(SHORT))
    maria(
        mariadb_server,
        "create or replace table single (id int primary key, x float);"
        f"insert into single values {values}, (92, null);"
        "create or replace table single_wide (id int primary key, x float, wide decimal(60,9));"
        "insert into single_wide values (1, 1234567.9, 1.5);"
        "create or replace table single_rising (id int primary key, x float); insert into single_rising values (1, 9.9)",
    )
    project = Project(tmp_path)
    project.connect("my", url=mariadb_server.url.replace("mysql:", f"{driver}:"))
    key = {"primary_key": "id"}
    project.declare(
        "my",
        {"kind": "database", "connection": "my"},
        {"single": key, "single_wide": key, "single_rising": {**key, "cursor": "x"}},
    )
    outcome = project.load()
    assert not outcome.errors
    assert project.raw("select x from my.single order by id") == [*((v,) for v in SHORT), (None,)]
    assert project.raw("select x from my.single_wide") == [(1234567.9,)]
    assert project.load().rows == 0
    maria(mariadb_server, "insert into single_rising values (2, 9.9)")
    assert project.load("my.single_rising")["single_rising"].rows == 1


def arrow(values: list[Any]) -> pa.Table:
    single = pa.array(values, pa.float32())
    return pa.table(
        {
            "x": single,
            "list": pa.array([[v] for v in values], pa.list_(pa.float32())),
            "float": pa.array(
                [{"float": v, "n": 1} for v in values], pa.struct({"float": pa.float32(), "n": pa.int8()})
            ),
        }
    )


def test_parquet_and_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    project = Project(tmp_path)
    folder = tmp_path / "files"
    folder.mkdir()
    pq.write_table(arrow(SHORT), folder / "a.parquet")
    pq.write_table(pa.table({"x": pa.array([9.8], pa.float32())}), folder / "b1.parq")
    pq.write_table(pa.table({"x": [0.1]}), folder / "b2.parq")
    (tmp_path / "single_numbers.py").write_text(
        f"import pyarrow\nSHORT = {SHORT!r}\n"
        "def batches():\n    yield pyarrow.table({'x': pyarrow.array(SHORT, 'float')})\n    yield [{'x': 0.2}]\n"
        "def half():\n    yield pyarrow.table({'x': pyarrow.array([0.5, 0.1]).cast('halffloat')})\n"
    )
    tables = {
        name: {"format": "parquet", "path": path} for name, path in {"a": "*.parquet", "b": "*.parq"}.items()
    }
    project.declare("files", {"kind": "files", "url": "files"}, tables)
    ours = {name: {"resource": f"single_numbers.{name}"} for name in ("batches", "half")}
    project.declare("ours", {"kind": "python"}, ours)
    outcome = project.load()
    assert not outcome.errors
    read = "select x, cast(list as double[])[1], cast(float->>'float' as double) from files.a order by _line"
    assert project.raw(read) == [(v, v, v) for v in SHORT]
    assert project.raw("select x from files.b order by _file") == [(9.8,), (0.1,)]
    assert project.raw("select x from ours.half order by x") == [(0.0999755859375,), (0.5,)]
    assert project.raw("select x from ours.batches order by x") == [(v,) for v in sorted([*SHORT, 0.2])]


def test_a_whole_number_that_becomes_a_real_is_not_rounded(postgres_server: Postgres, tmp_path: Path) -> None:
    server = postgres_server
    server.sql(
        "drop table if exists prices; create table prices (id int primary key, x int, y numeric(10,2));"
        "insert into prices values (1, 2, 1.50)"
    )
    project = Project(tmp_path)
    project.connect("pg", url=server.url)
    project.declare("pg", {"kind": "database", "connection": "pg"}, {"prices": {"primary_key": "id"}})
    assert not project.load().errors
    server.sql(
        "alter table prices alter x type real, alter y type real; insert into prices values (2, 3, 9.75)"
    )
    assert not project.load().errors
    assert project.raw("select x, cast(y as varchar) from pg.prices order by id") == [
        (2, "1.50"),
        (3, "9.75"),
    ]
    server.sql("insert into prices values (3, 1.57, 1), (4, 1, 1.577)")
    error = project.load().error
    assert "pg.prices.x: 1 value(s) of type float are not integer, e.g. id 3, x 1.57" in error
    assert "pg.prices.y: 1 value(s) of type float are not decimal(10,2)" in error
