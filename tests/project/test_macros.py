"""Macros with values in and out, run on DuckDB as models would run them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import duckdb
import pytest
from dbt.clients import jinja as dbt_jinja

ROOT = Path(__file__).parents[2]
Call = Callable[..., Any]


class CompilerError(Exception):
    """What dbt's exceptions.raise_compiler_error() raises."""


class _Exceptions:
    @staticmethod
    def raise_compiler_error(message: str) -> NoReturn:
        raise CompilerError(message)


def render(file: Path, *arguments: Any, **named: Any) -> str:
    """The SQL a macro or generic test of the project makes of its arguments."""
    text = file.read_text(encoding="utf-8")
    name = f"test_{file.stem}" if "{% test" in text else file.stem
    template = dbt_jinja.get_template(text, {"exceptions": _Exceptions})  # type: ignore[attr-defined]
    module = template.module
    sql: str = getattr(module, f"dbt_macro__{name}")(*arguments, **named)
    return sql


@pytest.fixture(scope="module")
def value() -> Call:
    """value(macro, *values): what the macro's SQL makes of columns with these values."""

    def call(macro: str, *values: str | None) -> Any:
        columns = [f"c{i}" for i in range(len(values))]
        sql = render(ROOT / "macros" / f"{macro}.sql", *columns)
        given = ", ".join(f"cast(? as varchar) as {column}" for column in columns)
        found = duckdb.execute(f"select {sql} from (select {given})", list(values)).fetchone()
        return found[0] if found else None

    return call


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (" Anna.Meyer@Example.COM ", "anna.meyer@example.com"),
        ("anna.meyer@example.com", "anna.meyer@example.com"),
        ("  ", None),
        (None, None),
    ],
)
def test_normalised_email(value: Call, given: str | None, expected: str | None) -> None:
    assert value("normalised_email", given) == expected


@pytest.mark.parametrize(
    ("spellings", "expected"),
    [
        (["Jürgen Groß", "JÜRGEN  GROSS", "Juergen Gross", " Jurgen Groß "], "jurgen gross"),
        (["Rösterei Köhler GmbH", "ROESTEREI KOEHLER G.m.b.H.", "Rösterei-Köhler"], "rosterei kohler"),
        (["Müller & Söhne GmbH & Co. KG", "Mueller Soehne"], "muller sohne"),
        (["Åsa Håkansson", "Aasa Haakansson", "Asa Hakansson"], "asa hakansson"),
        (["Søren Sæther", "Soeren Saether"], "soren sather"),
        (["Małgorzata Wiśniewska", "Malgorzata Wisniewska"], "malgorzata wisniewska"),
        (["Zoë D'Aubigné", "ZOE DAUBIGNE"], "zo daubigne"),
        (["Kaffe A/S", "KAFFE AS", "Kaffe A/S."], "kaffe"),
        (["Bean S.à r.l.", "Bean SARL"], "bean"),
        (["Coffee Pty Ltd", "Coffee Pty Limited"], "coffee"),
        (["AS Roma", "as roma"], "as roma"),
        ([".", "", None], None),
    ],
)
def test_normalised_name(value: Call, spellings: list[str | None], expected: str | None) -> None:
    assert [value("normalised_name", spelling) for spelling in spellings] == [expected] * len(spellings)


@pytest.mark.parametrize(
    ("phone", "calling_code", "trunk_prefix", "expected"),
    [
        ("+49 (0)30 23125-123", "49", "0", "493023125123"),
        ("0049 30 23125 123", "49", "0", "493023125123"),
        ("030/23125123", "49", "0", "493023125123"),
        ("30 23125123", "49", "0", "493023125123"),
        ("+43 555 123456", "49", "0", "43555123456"),
        ("055 5123", "39", "", "390555123"),
        ("(212) 555-0101", "1", "1", "12125550101"),
        ("1-212-555-0101", "1", "1", "12125550101"),
        ("n/a", "49", "0", None),
        (None, "49", "0", None),
        ("030 1", None, None, None),
        ("+49 30 1", None, None, "49301"),
    ],
)
def test_normalised_phone(
    value: Call, phone: str | None, calling_code: str | None, trunk_prefix: str | None, expected: str | None
) -> None:
    assert value("normalised_phone", phone, calling_code, trunk_prefix) == expected


@pytest.mark.parametrize(
    ("vat_id", "country_code", "expected"),
    [
        ("DE123456789", "DE", "DE123456789"),
        ("de 123.456.789", "DE", "DE123456789"),
        ("123 456 789", "DE", "DE123456789"),
        ("U12345678", "AT", "ATU12345678"),
        (" - ", "DE", None),
        (None, "DE", None),
    ],
)
def test_normalised_vat_id(value: Call, vat_id: str | None, country_code: str, expected: str | None) -> None:
    assert value("normalised_vat_id", vat_id, country_code) == expected


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("s3://bucket/settlement_2026-01-31.csv", 0),
        ("settlements/settlement_2026-01-31_corr1.csv", 1),
        ("settlement_2026-01-31_corr12.xlsx", 12),
        ("settlement_2026-01-31_correction.csv", 0),
        (None, 0),
    ],
)
def test_correction_number(value: Call, file: str | None, expected: int) -> None:
    assert value("correction_number", file) == expected


# -- generic tests -------------------------------------------------------------------------------------------

ROWS = "(select * from (values (1, 'x'), (1, 'y'), (2, 'x'), (null, 'x')) as t (a, b))"
GENERIC = ROOT / "tests" / "generic"


def failures(test: str, **arguments: Any) -> list[tuple[Any, ...]]:
    return duckdb.sql(render(GENERIC / f"{test}.sql", ROWS, **arguments)).fetchall()


def test_primary_key_fails_on_nulls_and_duplicates() -> None:
    assert sorted(failures("primary_key", column_name="a"), key=str) == [(1, 2), (None, 1)]
    assert failures("primary_key", columns=["a", "b"]) == [(None, "x", 1)]


@pytest.mark.parametrize(
    "arguments",
    [{}, {"columns": []}, {"columns": "a"}, {"columns": 5}, {"columns": ["a"], "column_name": "b"}],
)
def test_primary_key_says_what_it_takes(arguments: dict[str, Any]) -> None:
    with pytest.raises(CompilerError, match=r"primary_key: .*columns.*got"):
        failures("primary_key", **arguments)


def test_expression_is_true_fails_on_false_and_null() -> None:
    assert sorted(failures("expression_is_true", expression="a > 1"), key=str) == [
        (1, "x"),
        (1, "y"),
        (None, "x"),
    ]
    assert failures("expression_is_true", expression="b in ('x', 'y')") == []


@pytest.mark.parametrize("expression", [None, "", "  ", 5, ["a > 1"]])
def test_expression_is_true_says_what_it_takes(expression: object) -> None:
    with pytest.raises(CompilerError, match="expression_is_true: `expression` must be a SQL condition, got"):
        failures("expression_is_true", expression=expression)


def test_min_rows_fails_on_fewer() -> None:
    assert failures("min_rows") == []
    assert failures("min_rows", rows=4) == []
    assert failures("min_rows", rows=5) == [(4,)]


@pytest.mark.parametrize("rows", [0, -1, True, "5", 1.5, None])
def test_min_rows_says_what_it_takes(rows: object) -> None:
    with pytest.raises(CompilerError, match="min_rows: `rows` must be a whole number of at least 1, got"):
        failures("min_rows", rows=rows)


@pytest.mark.parametrize(
    ("intervals", "failing"),
    [
        ([("a", 1, 2), ("a", 2, None), ("b", 1, None)], 0),
        ([("a", 1, 3), ("a", 2, None)], 1),  # overlap
        ([("a", 1, None), ("a", 2, 3)], 1),  # two are open, or one is within another
        ([("a", 1, 9), ("a", 2, 3), ("a", 4, 5)], 1),
        ([("a", 1, None), ("a", 1, None)], 1),
        ([("a", 3, 2)], 1),  # ends before it begins
        ([("a", None, 2)], 1),
        ([("a", None, None)], 1),
        ([("a", 1, 9), ("a", 4, 4), ("a", 9, 9)], 0),  # valid at no time
    ],
)
def test_valid_intervals_fails_on_overlap_and_inversion(
    intervals: list[tuple[object, ...]], failing: int
) -> None:
    values = ", ".join(f"({', '.join('null' if v is None else repr(v) for v in row)})" for row in intervals)
    table = f"(select * from (values {values}) as t (id, begins, ends))"
    sql = render(GENERIC / "valid_intervals.sql", table, key=["id"], valid_from="begins", valid_to="ends")
    assert len(duckdb.sql(sql).fetchall()) == failing


@pytest.mark.parametrize("key", [None, [], "id", 5])
def test_valid_intervals_says_what_it_takes(key: object) -> None:
    with pytest.raises(CompilerError, match="valid_intervals: `key` must be a list of column names, got"):
        failures("valid_intervals", key=key)


def test_every_macro_and_generic_test_is_tested_here() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    names = {path.stem for folder in (ROOT / "macros", GENERIC) for path in folder.glob("*.sql")}
    # dbt itself calls these: names of schemas and no warning about grants show in every build, rows of unit tests in
    # test_unit_tests.py
    called_by_dbt = {"generate_schema_name", "duckdb__apply_grants", "format_row"}
    untested = sorted(name for name in names - called_by_dbt if f"def test_{name}" not in tested)
    assert not untested, (
        f"{untested}: no test with values in and out; write test_<macro> into {Path(__file__).name}."
    )
