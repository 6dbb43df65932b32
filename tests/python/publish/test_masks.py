"""What each mask leaves of each type: values in and out."""

from __future__ import annotations

import hashlib
from typing import Any

import duckdb
import pytest

from sluice.config.audiences import Treatment
from sluice.errors import DeclarationError
from sluice.privacy.masks import KEY, masked
from sluice.publish import selection
from sluice.publish.selection import Digests

from .conftest import AUDIENCES, CUSTOMERS, Company

TYPES = {
    "VARCHAR": "'Anna Berg'",
    "INTEGER": "1234567",
    "DECIMAL(18,2)": "1234.50",
    "DOUBLE": "0.5",
    "BOOLEAN": "true",
    "DATE": "date '1980-05-17'",
    "TIMESTAMP": "timestamp '1980-05-17 10:20:30'",
    "TIMESTAMP WITH TIME ZONE": "timestamptz '1980-05-17 10:20:30+00'",
    "TIME": "time '10:20:30'",
    "UUID": "uuid '5b7e1b1c-0000-4000-8000-00000000abcd'",
    "BLOB": "'\\xAA'::blob",
    "JSON": """'{"a": 1}'::json""",
    "VARCHAR[]": "['a', 'b']",
    "STRUCT(a INTEGER)": "{'a': 1}",
    "ENUM('anna', 'berta')": "'anna'::enum('anna', 'berta')",
}
SHOWN = [
    ("partial", "email", "'anna.berg@example.com'", "VARCHAR", "a***@example.com"),
    ("partial", "email", "'no address'", "VARCHAR", "n***"),
    ("partial", "email", "'anna@müller-söhne.de'", "VARCHAR", "a***@müller-söhne.de"),
    ("partial", "email", "'anna@a.com; berta@b.com'", "VARCHAR", "a***@b.com"),
    ("partial", "email", """'"anna@home"@b.com'""", "VARCHAR", '"***@b.com'),
    ("partial", "email", "e'anna@a.com\\nberta'", "VARCHAR", "a***"),
    ("partial", "email", "['anna@a.com', 'berta@b.com']", "VARCHAR[]", "[***"),
    ("partial", "email", """'{"to": "anna@a.com", "name": "Anna"}'::json""", "JSON", "{***"),
    ("partial", "email", "''", "VARCHAR", "***"),
    ("partial", "phone", "'+49 30 1234567'", "VARCHAR", "***567"),
    ("partial", "phone", "'123456'", "VARCHAR", "***"),
    ("partial", "payment", "1234567", "INTEGER", "***567"),
    ("generalise", "birth_date", "date '1980-05-17'", "DATE", "1980-01-01"),
    ("generalise", "birth_date", "timestamp '1980-05-17 10:20:30'", "TIMESTAMP", "1980-01-01 00:00:00"),
    ("generalise", "address", "'10115'", "VARCHAR", "10"),
    ("generalise", "address", "'Ä'", "VARCHAR", "Ä"),
    ("clear", "name", "'Anna'", "VARCHAR", "Anna"),
    ("null", "name", "'Anna'", "VARCHAR", None),
    ("hash", "name", "'Anna'", "VARCHAR", hashlib.sha256(b"k" * 64 + b"Anna").hexdigest()[:32]),
    ("hash", "name", "7", "INTEGER", hashlib.sha256(b"k" * 64 + b"7").hexdigest()[:32]),
]


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    found = duckdb.connect()
    found.execute("set TimeZone = 'UTC'")
    found.execute(f"set variable {KEY} = '{'k' * 64}'")
    return found


@pytest.mark.parametrize(("treatment", "data_class", "value", "kind", "expected"), SHOWN)
def test_what_is_left(
    treatment: Treatment,
    data_class: str,
    value: str,
    kind: str,
    expected: str | None,
    con: duckdb.DuckDBPyConnection,
) -> None:
    shown = masked("v", kind, treatment, data_class)
    assert con.execute(f"select cast({shown} as varchar) from (select {value} as v)").fetchall() == [
        (expected,)
    ]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("treatment", ["hash", "partial", "null"])
def test_every_type_can_be_masked(kind: str, treatment: Treatment, con: duckdb.DuckDBPyConnection) -> None:
    """Nothing of the value is left but what `partial` shows, equal values stay equal, and null stays null."""
    shown = masked("v", kind, treatment, "name")
    rows = con.execute(
        f"select cast(v as varchar), {shown} from (select {TYPES[kind]} as v union all select {TYPES[kind]}"
        " union all select null) order by 1 nulls last"
    ).fetchall()
    assert rows[0] == rows[1]
    assert rows[2] == (None, None)
    assert rows[0][0] != rows[0][1]


def test_generalise_is_refused_where_it_means_nothing() -> None:
    for kind in TYPES:
        if not kind.startswith(("VARCHAR", "DATE", "TIMESTAMP")) or kind == "VARCHAR[]":
            with pytest.raises(DeclarationError, match=r"column v is .*: `generalise` makes a year"):
                masked("v", kind, "generalise", "name")


def test_a_type_holds_no_values_either(company: Company) -> None:
    """An ENUM lists its values in the file's catalogue, also when every row is null."""
    company.sql(
        "create or replace table marts.dim_customers as from marts.dim_customers",
        "alter table marts.dim_customers alter name type enum('ENUMCANARY') using 'ENUMCANARY'",
    )
    kind = "enum('ENUMCANARY')"
    company.model("dim_customers", {**CUSTOMERS, "name": (kind, "name")}, ["analysts", "support", "dach"])
    company.publish()
    assert b"ENUMCANARY" in company.path("support").read_bytes()
    assert b"ENUMCANARY" not in company.path("analysts").read_bytes()
    assert company.read("analysts", "select distinct name from dim_customers") == [(None,)]


def test_a_row_filter_for_a_model_that_is_not_there_is_a_mistake(company: Company) -> None:
    company.policy(
        AUDIENCES.replace(
            "unfiltered: [", "models: {dim_custmers: \"region = 'x'\"}, unfiltered: [dim_produkts, "
        )
    )
    with pytest.raises(DeclarationError) as wrong:
        company.publish()
    lines = str(wrong.value).splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "audiences.yml: the row filter of dach names the model 'dim_custmers'",
        "audiences.yml: the row filter of dach names the model 'dim_produkts'",
    ]


def test_masks_that_are_looked_up_are_the_same(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where values repeat, each is hashed once: the fingerprints say that nobody can tell, filtered rows and nulls too."""
    company.policy(
        AUDIENCES.replace("masks: {email: partial, name: hash}", "masks: {email: hash, name: hash}")
    )
    company.sql("update marts.fct_orders set contact_email = null where order_id % 10 = 0")
    company.publish()
    made: list[str | None] = []
    make = Digests._create

    def noted(*arguments: Any) -> str | None:
        made.append(make(*arguments))
        return made[-1]

    monkeypatch.setattr(Digests, "_create", noted)
    monkeypatch.setattr(selection, "FEW_ROWS", 1000)
    monkeypatch.setattr(selection, "REPEATED", 2)
    assert company.publish().written == {"analysts": [], "support": [], "dach": []}
    assert [bool(table) for table in made] == [False, True, False], "customers come once, their orders thrice"
    company.sql("update marts.fct_orders set amount = 0 where order_id = 3")
    assert company.publish().written["dach"], "what is looked up can be written"
