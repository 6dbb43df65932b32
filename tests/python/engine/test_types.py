"""What passes a cast's condition is the same value afterwards; what does not pass is never stored."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sluice.engine.types import cast, declared_type, raw_type


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("set TimeZone = 'UTC'")
        yield opened


def through(
    con: duckdb.DuckDBPyConnection, value: Any, source: str, target: str, mark: str = "."
) -> tuple[bool, Any]:
    """Whether the value passes, and what it becomes."""
    way = cast("v", source, target, mark)
    row = con.execute(
        f"select coalesce({way.keeps or 'true'}, false), {way.value} from (select cast(? as {source}) as v)",
        [value],
    ).fetchone()
    assert row is not None
    return bool(row[0]), row[1]


KEPT = [
    ("42", "BIGINT", 42),
    (" 42 ", "BIGINT", 42),
    ("-7", "SMALLINT", -7),
    ("1.230", "DECIMAL(10,2)", Decimal("1.23")),
    (".5", "DECIMAL(10,2)", Decimal("0.50")),
    ("12345678901234567890.12", "DECIMAL(38,2)", Decimal("12345678901234567890.12")),
    ("0.1", "DOUBLE", 0.1),
    ("0.30000000000000004", "DOUBLE", 0.30000000000000004),
    ("1e3", "DOUBLE", 1000.0),
    ("-1.5E-3", "DOUBLE", -0.0015),
    ("1.7976931348623157e308", "DOUBLE", 1.7976931348623157e308),
    ("Infinity", "DOUBLE", math.inf),
    ("2024-01-05", "DATE", dt.date(2024, 1, 5)),
    ("2024-01-05 10:00", "TIMESTAMP", dt.datetime.fromisoformat("2024-01-05 10:00")),
    ("2024-01-05T10:00:00.123456000Z", "TIMESTAMP", dt.datetime.fromisoformat("2024-01-05 10:00:00.123456")),
    ("2024-01-05 10:00:00+00:00", "TIMESTAMP", dt.datetime.fromisoformat("2024-01-05 10:00")),
    ("2024-01-05 10:00:00+02", "TIMESTAMP WITH TIME ZONE", dt.datetime(2024, 1, 5, 8, tzinfo=dt.UTC)),
    ("2024-01-05 10:00:00.000Z", "TIMESTAMP WITH TIME ZONE", dt.datetime(2024, 1, 5, 10, tzinfo=dt.UTC)),
    ("10:00:00.5", "TIME", dt.time(10, 0, 0, 500000)),
    ("true", "BOOLEAN", True),
    ('{"a": 1}', "JSON", '{"a": 1}'),
]


@pytest.mark.parametrize(("text", "target", "value"), KEPT)
def test_text_that_names_a_value_becomes_it(
    con: duckdb.DuckDBPyConnection, text: str, target: str, value: Any
) -> None:
    assert through(con, text, "VARCHAR", target) == (True, value)


def test_nested_values_and_bytes_become_text_that_says_all(con: duckdb.DuckDBPyConnection) -> None:
    assert through(con, {"a": "x, y", "b": None}, "STRUCT(a VARCHAR, b BIGINT)", "VARCHAR") == (
        True,
        '{"a":"x, y","b":null}',
    )
    assert through(con, [1, 2], "BIGINT[]", "VARCHAR") == (True, "[1,2]")
    assert through(con, "ü".encode(), "BLOB", "VARCHAR") == (True, "ü")
    assert not through(con, b"\xff", "BLOB", "VARCHAR")[0]


REFUSED = [
    ("1.7", "BIGINT"),
    ("1.0", "BIGINT"),
    ("99999999999999999999", "BIGINT"),
    ("0x10", "BIGINT"),
    ("1_000", "BIGINT"),
    ("", "BIGINT"),
    ("1.239", "DECIMAL(10,2)"),
    ("1e3", "DECIMAL(10,2)"),
    ("123456789.00", "DECIMAL(10,2)"),
    ("1,5", "DECIMAL(10,2)"),
    ("1e400", "DOUBLE"),
    ("1e-400", "DOUBLE"),
    ("12345678901234567890.12", "DOUBLE"),
    ("9007199254740993", "DOUBLE"),
    ("0.1000000000000000055511151231257827", "DOUBLE"),
    ("2024-01-05 10:00", "DATE"),
    ("2024-02-30", "DATE"),
    ("05.01.2024", "DATE"),
    ("2024-01-05 10:00:00.1234567", "TIMESTAMP"),
    ("2024-01-05 10:00:00+02", "TIMESTAMP"),
    ("2024-01-05 10:00:00.123456789", "TIMESTAMP WITH TIME ZONE"),
    ("2024-01-05 10:00:00.1234567891", "TIMESTAMP_NS"),
    ("epoch", "TIMESTAMP WITH TIME ZONE"),
    ("10:00:00.1234567", "TIME"),
    ("10:00:00+02", "TIME"),
    ("2", "BOOLEAN"),
    ("{a", "JSON"),
]


@pytest.mark.parametrize(("text", "target"), REFUSED)
def test_text_that_would_be_altered_is_refused(
    con: duckdb.DuckDBPyConnection, text: str, target: str
) -> None:
    assert not through(con, text, "VARCHAR", target)[0]


@pytest.mark.parametrize(
    ("text", "target", "value"),
    [
        ("1.234,50", "DECIMAL(10,2)", Decimal("1234.50")),
        ("-1.234,5", "DOUBLE", -1234.5),
        ("1234,5", "DOUBLE", 1234.5),
        (",5", "DECIMAL(10,2)", Decimal("0.50")),
        ("1,5E-05", "DOUBLE", 1.5e-05),
        ("1.234.567", "BIGINT", 1234567),
        ("1.5", "DECIMAL(10,2)", None),
        ("1.23", "DECIMAL(10,2)", None),
        ("12.34,5", "DECIMAL(10,2)", None),
        ("1.5", "BIGINT", None),
        (",", "DOUBLE", None),
    ],
)
def test_decimal_commas(con: duckdb.DuckDBPyConnection, text: str, target: str, value: Any) -> None:
    passes, found = through(con, text, "VARCHAR", target, ",")
    assert passes == (value is not None)
    assert not passes or found == value


@pytest.mark.parametrize(
    ("value", "source", "target", "passes"),
    [
        (1.5, "DOUBLE", "BIGINT", False),
        (0.1 + 0.2, "DOUBLE", "DECIMAL(10,2)", False),
        (math.nan, "DOUBLE", "BIGINT", False),
        (math.inf, "DOUBLE", "DECIMAL(10,2)", False),
        (2**53 + 1, "BIGINT", "DOUBLE", False),
        (-(2**63), "BIGINT", "DOUBLE", False),
        (2**53, "BIGINT", "DOUBLE", True),
        (2**40, "BIGINT", "INTEGER", False),
        (3, "BIGINT", "BOOLEAN", False),
        (Decimal("1.57"), "DECIMAL(10,2)", "BIGINT", False),
        (Decimal("1.00"), "DECIMAL(10,2)", "BIGINT", True),
        (Decimal("1234567890123456789012345678.12"), "DECIMAL(38,2)", "DOUBLE", False),
        (Decimal("1.25"), "DECIMAL(10,2)", "DECIMAL(10,1)", False),
        ("2024-01-05 10:00", "TIMESTAMP", "DATE", False),
        ("2024-01-05 00:00", "TIMESTAMP", "DATE", True),
        ("2024-01-05 10:00:00.123456789", "TIMESTAMP_NS", "TIMESTAMP", False),
        ("2500-01-05", "DATE", "TIMESTAMP_NS", False),
        (2**64 - 1, "UBIGINT", "DECIMAL(38,0)", True),
        (2**127 - 1, "HUGEINT", "DECIMAL(38,0)", False),
        ("12345678901234567890.12", "JSON", "DECIMAL(38,2)", True),
        ("12345678901234567890.12", "JSON", "DOUBLE", False),
        ('"1.5"', "JSON", "DECIMAL(10,2)", True),
        ("[1]", "JSON", "BIGINT", False),
    ],
)
def test_typed_values(
    con: duckdb.DuckDBPyConnection, value: Any, source: str, target: str, passes: bool
) -> None:
    assert through(con, value, source, target)[0] == passes


def test_json_scalars_keep_all_their_digits(con: duckdb.DuckDBPyConnection) -> None:
    assert through(con, "12345678901234567890.123456", "JSON", "VARCHAR")[1] == "12345678901234567890.123456"
    assert through(con, '"a\\"\\u00fc"', "JSON", "VARCHAR")[1] == 'a"ü'
    assert through(con, "null", "JSON", "VARCHAR")[1] is None
    assert through(con, '{"a":1.10}', "JSON", "VARCHAR")[1] == '{"a":1.10}'


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "BIGINT": st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300),
    "INTEGER": st.integers(-(2**31), 2**31 - 1),
    "DOUBLE": st.floats(allow_nan=False) | st.integers(-1000, 1000).map(lambda n: n / 8),
    "DECIMAL(18,3)": st.decimals(-(10**15) + 1, 10**15 - 1, places=3),
    "DECIMAL(10,2)": st.decimals(-(10**8) + 1, 10**8 - 1, places=2),
    "DATE": st.dates(),
    "TIMESTAMP": st.datetimes(),
    "BOOLEAN": st.booleans(),
    "VARCHAR": st.one_of(
        st.from_regex(r"\A[+-]?[0-9]{0,25}[.,]?[0-9]{0,20}([eE][+-]?[0-9]{1,3})?\Z"),
        st.datetimes().map(str),
        st.datetimes().map(lambda at: at.isoformat(timespec="milliseconds")),
        st.dates().map(str),
        st.text(max_size=8),
    ),
}


def number(text: str, mark: str) -> Decimal:
    return Decimal(text.strip(" ").replace(".", "").replace(",", ".") if mark == "," else text.strip(" "))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from(sorted(VALUES)), st.sampled_from(sorted(VALUES)), st.sampled_from(".,"))
def test_whatever_passes_is_equal(
    con: duckdb.DuckDBPyConnection, data: st.DataObject, source: str, target: str, mark: str
) -> None:
    value = data.draw(VALUES[source])
    if source == "VARCHAR" and "\x00" in value:
        return
    passes, found = through(con, value, source, target, mark)
    if not passes:
        return
    if target == "VARCHAR":
        back = con.execute(f"select cast(? as {source})", [found]).fetchone()
        assert back == (value,)
    elif source != "VARCHAR":
        assert equal(found, value), (found, value)
    elif isinstance(found, bool):
        assert value.strip().lower() in ("true", "false", "t", "f", "1", "0", "y", "n", "yes", "no")
    elif isinstance(found, dt.datetime):
        assert found == dt.datetime.fromisoformat(value.strip(" "))
    elif isinstance(found, dt.date):
        assert found == dt.date.fromisoformat(value.strip(" "))
    elif isinstance(found, float):
        text = number(value, mark)
        # the shortest text of the double names the same number
        assert (text == 0 and found == 0) or text == Decimal(repr(found)), (text, found)
    else:
        assert found == number(value, mark)


def equal(found: Any, value: Any) -> bool:
    """Whether two typed values are the same: a double stands for the number its shortest text names."""
    if isinstance(found, dt.datetime) != isinstance(value, dt.datetime):
        at = dt.datetime.combine
        found, value = (v if isinstance(v, dt.datetime) else at(v, dt.time()) for v in (found, value))
    shortest = [Decimal(repr(v)) if isinstance(v, float) else v for v in (found, value)]
    return bool(found == value or shortest[0] == shortest[1])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=30))
@example("1.7")
@example("2024-01-05")
def test_text_never_becomes_null_in_silence(con: duckdb.DuckDBPyConnection, text: str) -> None:
    if "\x00" in text:
        return
    for target in ("BIGINT", "DOUBLE", "DECIMAL(10,2)", "DATE", "TIMESTAMP", "TIME", "BOOLEAN", "JSON"):
        passes, found = through(con, text, "VARCHAR", target)
        assert not passes or found is not None, target


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("UTINYINT", "SMALLINT"),
        ("UINTEGER", "BIGINT"),
        ("UBIGINT", "DECIMAL(38,0)"),
        ("FLOAT", "DOUBLE"),
        ("INTEGER[]", "JSON"),
        ("STRUCT(a INTEGER)", "JSON"),
        ("MAP(VARCHAR, INTEGER)", "JSON"),
        ("UUID", "VARCHAR"),
        ("INTERVAL", "VARCHAR"),
        ("TIME WITH TIME ZONE", "VARCHAR"),
        ("ENUM('a', 'b')", "VARCHAR"),
        ("BIT", "VARCHAR"),
        ("TIMESTAMP_MS", "TIMESTAMP"),
    ],
)
def test_types_without_a_counterpart_become_one_that_holds_them(name: str, raw: str) -> None:
    assert raw_type(name).name == raw


def test_declared_types() -> None:
    assert declared_type("text").name == "VARCHAR"
    assert declared_type("numeric(12,2)").name == "DECIMAL(12,2)"
    assert declared_type("timestamptz").name == "TIMESTAMP WITH TIME ZONE"
    assert declared_type("bigint").name == "BIGINT"
    for wrong in ("bigintt", "int); drop table x; --"):
        with pytest.raises(ValueError, match="not an SQL type"):
            declared_type(wrong)


def test_a_decimal_that_a_double_would_shorten_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    passes, _ = through(con, Decimal("40027281276526.352"), "DECIMAL(18,3)", "DOUBLE", ".")
    assert not passes
    assert through(con, Decimal("40027281276.352"), "DECIMAL(18,3)", "DOUBLE", ".") == (True, 40027281276.352)


@pytest.mark.parametrize("text", ["01/Jan/2026:00:30:00 +0100", "31/Dec/2025:23:30:00 -0100"])
def test_a_time_with_an_offset_may_be_in_another_year_of_utc(
    con: duckdb.DuckDBPyConnection, text: str
) -> None:
    way = cast("v", "VARCHAR", "TIMESTAMP WITH TIME ZONE", form="%d/%b/%Y:%H:%M:%S %z")
    assert con.execute(f"select {way.keeps} from (select '{text}' as v)").fetchall() == [(True,)]
    short = text.replace("2025", "25").replace("2026", "26")  # which DuckDB takes for the year 25
    assert con.execute(f"select {way.keeps} from (select '{short}' as v)").fetchall() == [(False,)]
