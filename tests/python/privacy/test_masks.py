"""What each mask leaves of each type: values in and out."""

from __future__ import annotations

import hashlib

import duckdb
import pytest

from sluice.config.audiences import Treatment
from sluice.errors import DeclarationError
from sluice.privacy.masks import KEY, masked

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
